"""What Kognitiv's document says, over the whole way from snapshot to group."""

import logging
from pathlib import Path

import pytest
from pydantic import SecretStr

from zeotap_pipelines.assets.observability import of_summary, summary_line
from zeotap_pipelines.delivery.trip import Summary
from zeotap_pipelines.destinations.kognitiv import Kognitiv
from zeotap_pipelines.diff.plan import Level
from zeotap_pipelines.engines.duckdb import memory, rows
from zeotap_pipelines.errors import FixConnection, TryAgainLater
from zeotap_pipelines.model import Fate
from zeotap_pipelines.sandbox import CLIENT_ID, CLIENT_SECRET, Client, Fault, KognitivSettings, Sandbox
from zeotap_pipelines.state import State
from zeotap_pipelines_tests.world import World, day, kognitiv


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def outcomes(state: State, columns: str = "key, fate, reason") -> list[tuple[object, ...]]:
    """What the files of outcomes say of every operation."""
    with memory() as connection:
        return rows(
            connection, f"SELECT {columns} FROM read_parquet('{state.root}/outcomes/**/*.parquet') ORDER BY key"
        )


def test_members_whom_kognitiv_fails_for_are_named_in_the_file_of_outcomes_and_nowhere_else(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """A person needs the ids and the group for Kognitiv's support; no log needs them."""
    caplog.set_level(logging.DEBUG)
    world.sandbox.faults.add(Fault(kind="status", status=500, path="/members/770077$"))
    summary = world.deliver(["770077", "880088"])
    assert summary.fates == {Fate.DEFERRED: 1, Fate.ACCEPTED: 1}
    [(failed, fate, reason)] = [row for row in outcomes(world.state) if row[1] != "accepted"]
    assert (failed, fate) == ("770077", "deferred")
    assert "give Kognitiv's support the group 'ACTIVE-90D' and the members' ids" in str(reason)
    said = [summary_line(summary), str(of_summary(summary, world.sync, world.state, "run", None)), str(reason)]
    said += [record.getMessage() for record in caplog.records if record.name.startswith("zeotap")]
    assert "770077" not in "".join(said)


def test_a_member_that_kognitiv_failed_for_is_asked_again_by_the_next_run(world: World) -> None:
    world.sandbox.faults.add(Fault(kind="status", status=500, path="/members/1$", times=4))
    assert world.deliver(["1", "2"]).fates == {Fate.DEFERRED: 1, Fate.ACCEPTED: 1}
    assert world.carry_out().fates == {Fate.ACCEPTED: 1}
    assert world.held == {"1", "2"}


def test_a_run_that_asked_nothing_says_whether_anything_was_owed() -> None:
    assert summary_line(Summary("p", "d")) == "nothing was owed in 0.0 s"
    down = Summary("p", "d", left=10, error=TryAgainLater("the service is down"))
    assert summary_line(down) == "nothing was asked; 10 not asked in 0.0 s; TryAgainLater: the service is down"


def test_members_go_one_at_a_time(world: World) -> None:
    world.deliver([str(number) for number in range(30)])
    assert world.sandbox.stats()["kognitiv"]["most_in_flight"] == 1
    assert kognitiv().limits().concurrency == 1


def test_ids_that_are_no_numbers_are_sent_with_a_warning_in_the_plan(world: World) -> None:
    world.take(["1001", "ann@example.com"])
    [warning] = world.plan().verdicts
    assert (warning.guard, warning.level) == ("odd_rows", Level.WARN)
    assert "1 rows: member_internal_id is not a number" in warning.message and "external ids" in warning.message
    world.carry_out()
    assert world.held == {"1001", "ann@example.com"}


def test_an_unknown_member_is_told_which_kind_of_id_is_wanted(world: World) -> None:
    world.deliver(["1001", "stranger"])
    assert [row[2] for row in outcomes(world.state) if row[0] == "stranger"] == [
        "member not found: check that member_internal_id is Kognitiv's internal member id"
    ]


def test_an_inactive_member_is_rejected_and_the_summary_speaks_of_propagation(world: World) -> None:
    world.sandbox.kognitiv.set_standing("1002", "inactive")
    summary = world.deliver(["1001", "1002"])
    assert world.held == {"1001"}
    assert any("inactive members can't be added" in reason for _, reason in summary.reasons)
    notes = of_summary(summary, world.sync, world.state, "run", None)["notes"].value
    assert "some minutes to show in Kognitiv's console" in notes and "use a manual group" in notes


def test_a_renewal_that_is_refused_is_told_apart_from_wrong_credentials_and_from_a_token_service_in_trouble(
    world: World,
) -> None:
    world.sandbox.faults.add(Fault(kind="status", status=400, path="/Auth/", nth=2, body='{"error":"invalid_client"}'))
    world.sandbox.faults.add(Fault(kind="token_expiry", path="/members/2$", times=1))
    revoked = world.deliver(["1", "2"]).error
    assert isinstance(revoked, FixConnection)
    assert "client_id and client_secret" in str(revoked) and "taken earlier in this run: revoked" in str(revoked)

    world.connection = kognitiv(client_secret="wrong")
    with pytest.raises(FixConnection, match=r"invalid_client.*client_id and client_secret") as wrong:
        world.deliver(["1", "2", "3"], day(1))
    assert "earlier in this run" not in str(wrong.value)

    world.connection = kognitiv()
    world.sandbox.faults.clear()
    world.sandbox.faults.add(Fault(kind="status", status=503, path="/Auth/"))
    trouble = world.deliver(["1", "2", "3"], day(1)).error
    assert isinstance(trouble, TryAgainLater) and not isinstance(trouble, FixConnection)
    assert "not the credentials" in str(trouble) and "status page" in str(trouble)


@pytest.mark.parametrize(("setting", "placed"), [("body", "form"), ("header", "basic")])
def test_the_credentials_travel_in_the_form_or_in_the_header_as_the_setting_says(
    tmp_path: Path, setting: str, placed: str
) -> None:
    world = World(tmp_path)
    client = Client(client_id=CLIENT_ID, client_secret=CLIENT_SECRET, credentials_in=placed)  # type: ignore[arg-type]
    world.sandbox = Sandbox(clock=world.clock.unix, kognitiv=KognitivSettings(client=client))
    world.connection = kognitiv(credentials_in=setting)
    assert world.deliver(["1"]).complete and world.held == {"1"}
    assert not world.sandbox.violations


def test_the_token_service_the_scope_and_the_version_are_settings(world: World) -> None:
    assert kognitiv().auth().token_url.endswith("/kognitiv/Auth/connect/token")  # type: ignore[attr-defined]
    elsewhere = kognitiv(token_url="https://login.example.com/token", scope="groups", api_version="2025.3")
    assert elsewhere.auth().token_url == "https://login.example.com/token"  # type: ignore[attr-defined]
    assert elsewhere.headers() == {"api-version": "2025.3"} and not kognitiv().headers()


def test_a_base_url_without_a_region_is_that_of_the_united_states() -> None:
    made = Kognitiv(account="demo", client_id="x", client_secret=SecretStr("y"))
    assert made.base_url == "https://app.kognitivloyalty.com"
