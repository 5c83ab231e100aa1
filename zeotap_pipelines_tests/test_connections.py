"""A connection test names the wrong setting, changes nothing, and asks what every sync needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from zeotap_pipelines.destinations.agillic_groups import AgillicTargetGroup
from zeotap_pipelines.destinations.kognitiv import PromotionalMemberGroup
from zeotap_pipelines.ledger.lock import speaking
from zeotap_pipelines.mapping import Field
from zeotap_pipelines.model import Mode
from zeotap_pipelines.sandbox import BASE_URL, Fault
from zeotap_pipelines.sync import Sync
from zeotap_pipelines.upkeep.connections import Finding, try_connection
from zeotap_pipelines_tests import specimens
from zeotap_pipelines_tests.world import World

SERVICES = {
    "kognitiv": (specimens.group(Mode.MIRROR), "client_secret"),
    "moengage": (specimens.cohort(Mode.MIRROR), "secret_key"),
    "crowdtwist": (specimens.profile(Mode.UPSERT), "api_key"),
    "agillic": (specimens.recipients(Mode.UPSERT), "developer_secret"),
}
SIGNED = specimens.credit(connection=specimens.signed())


def findings(world: World, *syncs: Sync, **settings: Any) -> list[Finding]:
    connection = world.connection.model_copy(update=settings)
    transport = world.trip().transport
    return try_connection(
        "mine", connection, syncs, world.state, run="test", clock=world.clock, transport=transport, wait=0.0
    )


@pytest.mark.parametrize("service", SERVICES)
def test_a_connection_that_is_right_passes_and_changes_nothing(tmp_path: Path, service: str) -> None:
    world = World(tmp_path, SERVICES[service][0])
    before = world.held
    found = findings(world, world.sync)
    assert [(one.sync, one.passed) for one in found] == [("", True), ("sync", True)], found
    assert world.held == before
    # MoEngage has nothing to read: it is asked for nothing at all, which it refuses after knowing us.
    assert all("action is missing" in str(one) for one in world.sandbox.violations)
    assert not world.ledger.exists()


@pytest.mark.parametrize("service", SERVICES)
def test_wrong_credentials_are_named(tmp_path: Path, service: str) -> None:
    specimen, setting = SERVICES[service]
    world = World(tmp_path, specimen)
    wrong = "0123456789abcdef-wrong"
    found = findings(world, world.sync, **{setting: SecretStr(wrong)})
    assert not found[0].passed and setting in found[0].says, found[0].says
    assert wrong not in found[0].says
    assert "not asked" in found[1].says


def test_wrong_signing_keys_are_named(tmp_path: Path) -> None:
    found = findings(World(tmp_path, SIGNED), private_key=SecretStr("wrong-private-key"))
    assert "private_key" in found[0].says


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("host", [f"{BASE_URL}/elsewhere", "reset"])
def test_a_wrong_host_is_named(tmp_path: Path, service: str, host: str) -> None:
    world = World(tmp_path, SERVICES[service][0])
    if host == "reset":
        world.sandbox.faults.add(Fault(kind="reset_before"))
        found = findings(world)
    else:
        found = findings(world, base_url=host)
    assert not found[0].passed
    assert any(word in found[0].says for word in ("base_url", "token_url", "data_center")), found[0].says


@pytest.mark.parametrize("service", SERVICES)
def test_a_missing_permission_is_named(tmp_path: Path, service: str) -> None:
    world = World(tmp_path, SERVICES[service][0])
    world.sandbox.faults.add(Fault(kind="status", status=403, path="^(?!.*token)"))
    found = findings(world)
    says = {"moengage": "blocked this account"}.get(service, "permission")
    assert not found[0].passed and says in found[0].says, found[0].says


def test_a_missing_group_or_field_is_named_by_the_sync_that_needs_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    missing = world.renamed(name="lost", target=PromotionalMemberGroup("NO-SUCH-GROUP"))
    found = findings(world, missing)
    assert found[0].passed and not found[1].passed
    assert found[1].sync == "lost" and "NO-SUCH-GROUP" in found[1].says
    world = World(tmp_path / "agillic", SERVICES["agillic"][0])
    field = world.renamed(mapping={**world.sync.mapping, "NO_SUCH_FIELD": Field("given")})
    group = World(tmp_path / "group", specimens.target_group(Mode.MIRROR)).renamed(target=AgillicTargetGroup("Nobody"))
    found = findings(world, field, group)
    assert "NO_SUCH_FIELD" in found[1].says and "Nobody" in found[2].says


def test_a_test_counts_as_the_accounts_calls_and_waits_for_nobody_in_vain(tmp_path: Path) -> None:
    world = World(tmp_path, SERVICES["agillic"][0])
    world.connection = specimens.agillic(unique_active_recipients=1)
    assert findings(world, world.sync)[1].passed
    assert findings(world, world.sync)[1].passed
    last = findings(world, world.sync)
    assert "budget of 5 calls is used up" in last[-1].says
    with speaking(world.state.account(world.sync.address), run="r7", sync="busy"):
        assert "busy (run r7" in findings(world)[0].says
