"""What Agillic's document says, over the whole way from snapshot to recipients, groups and tables."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import pytest

from zeotap_pipelines.assets.observability import of_summary
from zeotap_pipelines.destinations.agillic import Agillic, AgillicTarget
from zeotap_pipelines.destinations.agillic_groups import AgillicTargetGroup
from zeotap_pipelines.destinations.agillic_recipients import AgillicRecipients
from zeotap_pipelines.errors import ContinueLater, FixConnection, FixDeclaration, FixTarget, TryAgainLater
from zeotap_pipelines.mapping import Field
from zeotap_pipelines.model import Fate, Mode
from zeotap_pipelines.sandbox import AgillicSettings, Fault, Sandbox
from zeotap_pipelines.upkeep.connections import try_connection
from zeotap_pipelines_tests.specimens import agillic
from zeotap_pipelines_tests.test_documents_kognitiv import outcomes
from zeotap_pipelines_tests.world import Rows, Specimen, World, day

GROUP = "Active 90 days"
PROFILES, MEMBERS = AgillicRecipients("profiles"), AgillicTargetGroup(GROUP)


def people(
    target: AgillicTarget = PROFILES, mode: Mode = Mode.UPSERT, connection: Agillic | None = None, **mapping: Any
) -> Specimen:
    return Specimen(
        target=target,
        connection=connection or agillic(),
        mode=mode,
        mapping=mapping or {"EMAIL": "mail", "FIRSTNAME": "name"},
        person=lambda who: {"mail": f"{who}@example.com", "name": who.title()},
        held=lambda sandbox: sandbox.agillic.recipients(),
        asks="/recipients",
    )


def told(world: World) -> str:
    """What the files of outcomes say."""
    return " ".join(str(reason) for *_, reason in outcomes(world.state))


def notes(world: World, summary: Any) -> str:
    found: str = of_summary(summary, world.sync, world.state, "run", None)["notes"].value
    return found


@pytest.mark.parametrize("id_field", ["EMAIL", "CUSTOMER_ID"])
@pytest.mark.parametrize("target", [PROFILES, MEMBERS])
def test_a_mapping_without_email_is_refused_whatever_identifies_a_recipient(
    tmp_path: Path, target: AgillicTarget, id_field: str
) -> None:
    with pytest.raises(FixDeclaration, match="map a column to EMAIL"):
        World(tmp_path, people(replace(target, recipient_id_field=id_field), CUSTOMER_ID="name"))


def test_a_recipient_without_an_address_is_set_aside_and_the_others_are_delivered(tmp_path: Path) -> None:
    target = AgillicRecipients("crm", recipient_id_field="CUSTOMER_ID")
    world = World(tmp_path, people(target, EMAIL="mail", CUSTOMER_ID="name"))
    world.sandbox = Sandbox(clock=world.clock.unix, agillic=AgillicSettings(id_field="CUSTOMER_ID"))
    world.take(Rows({"mail": ["a@x.dk", None, " "], "name": ["1", "2", "3"]}))
    plan = world.plan()
    assert plan.set_aside == {"EMAIL is empty, and Agillic requires it": 2} and plan.operations == 1
    assert world.carry_out().complete
    assert set(world.held) == {"1"}


def test_a_recipient_is_identified_by_the_field_that_is_set(tmp_path: Path) -> None:
    """An address that changes is an update of the same recipient, not a second one."""
    target = AgillicRecipients("crm", recipient_id_field="CUSTOMER_ID")
    world = World(tmp_path, people(target, EMAIL="mail", CUSTOMER_ID="name"))
    world.sandbox = Sandbox(clock=world.clock.unix, agillic=AgillicSettings(id_field="CUSTOMER_ID"))
    world.deliver(Rows({"mail": ["a@x.dk"], "name": ["1"]}))
    world.deliver(Rows({"mail": ["b@x.dk"], "name": ["1"]}), day(1))
    assert world.held == {"1": {"CUSTOMER_ID": "1", "EMAIL": "b@x.dk"}}


def test_an_id_field_that_identifies_nobody_ends_the_run_before_duplicates_are_made(tmp_path: Path) -> None:
    world = World(tmp_path, people(AgillicRecipients("crm", recipient_id_field="MOBILE"), EMAIL="mail", MOBILE="name"))
    with pytest.raises(FixTarget, match="stored twice: its identifiers are EMAIL"):
        world.deliver(["ann"])
    assert world.held == {}


def test_an_upsert_creates_who_is_new_and_updates_who_is_there(tmp_path: Path) -> None:
    world = World(tmp_path, people())
    world.sandbox.agillic.put_recipients({"EMAIL": "ann@example.com", "FIRSTNAME": "Old", "LASTNAME": "Kept"})
    summary = world.deliver(["ann", "bob"])
    assert summary.fates == {Fate.ACCEPTED: 2}
    assert world.held["ann@example.com"] == {"EMAIL": "ann@example.com", "FIRSTNAME": "Ann", "LASTNAME": "Kept"}
    assert world.held["bob@example.com"]["FIRSTNAME"] == "Bob"
    with_task = outcomes(world.state, "key, request")
    assert all(request for _, request in with_task), "the task's id is kept"


def test_a_thousand_recipients_travel_in_one_request_and_members_by_the_hundred(tmp_path: Path) -> None:
    world = World(tmp_path, people(MEMBERS, Mode.MIRROR))
    names = [f"p{number}" for number in range(1_150)]
    world.deliver(names)
    routes = world.sandbox.stats()["agillic"]["routes"]
    assert routes["POST /recipients/v2/:upsert"] == 2
    assert routes["POST /recipients/:addToStaticTargetGroup"] == 10 + 2
    world.deliver(names[:1_000], day(1))
    routes = world.sandbox.stats()["agillic"]["routes"]
    assert routes["POST /recipients/:removeFromStaticTargetGroup"] == 2
    assert world.sandbox.stats()["agillic"]["most_in_flight"] <= 20
    assert len(world.sandbox.agillic.group(GROUP)) == 1_000
    assert not world.sandbox.violations


def test_an_insert_of_a_known_recipient_is_rejected_and_says_to_upsert(tmp_path: Path) -> None:
    world = World(tmp_path, people(mode=Mode.INSERT))
    world.sandbox.agillic.put_recipients({"EMAIL": "ann@example.com", "FIRSTNAME": "Old"})
    assert world.deliver(["ann", "bob"]).fates == {Fate.REJECTED: 1, Fate.ACCEPTED: 1}
    assert "use mode upsert to update existing recipients" in told(world)
    assert world.held["ann@example.com"]["FIRSTNAME"] == "Old"


def test_an_update_of_a_missing_recipient_is_rejected_says_to_upsert_and_creates_nobody(tmp_path: Path) -> None:
    world = World(tmp_path, people(mode=Mode.UPDATE))
    world.sandbox.agillic.put_recipients({"EMAIL": "ann@example.com", "FIRSTNAME": "Old"})
    assert world.deliver(["ann", "bob"]).fates == {Fate.ACCEPTED: 1, Fate.REJECTED: 1}
    assert "recipient not found" in told(world) and "use mode upsert for new ones" in told(world)
    assert {who: given["FIRSTNAME"] for who, given in world.held.items()} == {"ann@example.com": "Ann"}


def test_a_malformed_recipient_is_rejected_alone_with_the_remedy(tmp_path: Path) -> None:
    world = World(tmp_path, people())
    assert world.deliver(["ann", "bad"]).fates == {Fate.ACCEPTED: 1, Fate.REJECTED: 1}
    assert "check that every required field is filled and well-formed" in told(world)


def test_any_person_data_field_can_be_mapped_and_one_that_does_not_exist_is_named(tmp_path: Path) -> None:
    world = World(tmp_path, people(EMAIL="mail", SPEND_90D="spend"))
    assert world.deliver(Rows({"mail": ["a@x.dk"], "spend": ["12"]})).complete
    assert world.held["a@x.dk"]["SPEND_90D"] == "12"
    world.renamed(mapping={**world.sync.mapping, "Firstname": Field("spend")})
    with pytest.raises(FixTarget, match=r"no field Firstname \(names are case-sensitive: FIRSTNAME exists\)"):
        world.deliver(Rows({"mail": ["a@x.dk"], "spend": ["13"]}), day(1))


def test_dates_are_written_as_the_instance_writes_them(tmp_path: Path) -> None:
    row: Mapping[str, Any] = {"mail": ["a@x.dk"], "bought": [date(1997, 2, 1)]}
    world = World(tmp_path, people(EMAIL="mail", LAST_PURCHASE="bought"))
    assert world.deliver(Rows(row)).complete
    assert world.held["a@x.dk"]["LAST_PURCHASE"] == "01.02.1997"


def test_the_days_calls_end_the_run_and_the_next_day_goes_on(tmp_path: Path) -> None:
    """Five calls for each active recipient; spacing out the schedule is what the document advises."""
    world = World(tmp_path, people(mode=Mode.INSERT, connection=agillic(unique_active_recipients=1)))
    summary = world.deliver([f"p{number}" for number in range(8)])
    assert isinstance(summary.error, ContinueLater)
    assert "the day's budget of 5 calls is used up" in str(summary.error)
    world.clock.pass_(86_400)
    assert world.carry_out().asked == 4
    assert len(world.held) == 8


def test_three_runs_deliver_what_needs_a_hundred_calls_on_forty_a_day(tmp_path: Path) -> None:
    world = _frugal(tmp_path)
    runs = []
    for _ in range(3):
        runs.append(world.carry_out())
        again = world.carry_out()
        assert again.calls == 0, "nothing is left of the day, or nothing is owed"
        assert again.complete is runs[-1].complete
        world.clock.pass_(86_400)
    assert [run.calls for run in runs] == [40, 40, 23], "a question of Person Data, and a call for each recipient"
    assert [type(run.error) for run in runs] == [ContinueLater, ContinueLater, type(None)]
    assert _calls_of_days(world) == [40, 40, 23]
    assert len(world.held) == 100
    assert not world.sandbox.violations


def test_forty_calls_a_day_are_never_exceeded_by_runs_over_midnight(tmp_path: Path) -> None:
    world = _frugal(tmp_path)
    world.clock.pass_(16 * 3600 - 65)
    world.sandbox.faults.add(Fault(kind="delay", seconds=7, probability=0.5))
    for _ in range(8):
        if world.carry_out().complete:
            break
        world.clock.pass_(12 * 3600)
    assert len(world.held) == 100
    assert max(_calls_of_days(world)) <= 40
    assert not world.sandbox.violations


def _frugal(root: Path) -> World:
    """A hundred recipients to insert, one call each, at an account that has forty calls a day."""
    world = World(root, people(mode=Mode.INSERT, connection=agillic(unique_active_recipients=8)))
    world.take([f"p{number}" for number in range(100)])
    return world


def _calls_of_days(world: World) -> list[int]:
    """How many calls Agillic counted on each of its days; a token is none."""
    counted = Counter(int(entry.at // 86_400) for entry in world.sandbox.log if "/oauth2/" not in entry.target)
    return [counted[number] for number in sorted(counted)]


def test_the_credentials_are_told_apart_from_the_address(tmp_path: Path) -> None:
    world = World(tmp_path, people(connection=agillic(developer_secret="wrong")))
    with pytest.raises(FixConnection, match=r"developer_key and developer_secret; where they are revoked, create new"):
        world.deliver(["ann"])
    world = World(tmp_path / "gone", people())
    unreachable = httpx.MockTransport(_refuse)
    error = world.deliver(["ann"], trip=world.trip(transport=unreachable)).error
    assert isinstance(error, TryAgainLater)
    assert "check base_url, and that the network lets HTTPS out" in str(error)


def _refuse(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("Name or service not known", request=request)


def test_an_address_without_its_protocol_is_refused() -> None:
    with pytest.raises(ValueError, match="write the address with its protocol, for example https://"):
        agillic(base_url="api-eu1.agillic.net")


def test_calls_that_are_refused_for_a_moment_are_asked_again(tmp_path: Path) -> None:
    world = World(tmp_path, people())
    world.sandbox.faults.add(Fault(kind="status", status=429, path="/:upsert", times=2))
    assert world.deliver(["ann"]).complete
    assert world.clock.slept and len(world.held) == 1


def test_calls_that_are_refused_for_minutes_say_to_space_out_the_schedules(tmp_path: Path) -> None:
    world = World(tmp_path, people())
    world.sandbox.faults.add(Fault(kind="status", status=429, path="/:upsert"))
    error = world.deliver(["ann"]).error
    assert isinstance(error, ContinueLater)
    assert "has answered 429 for minutes: space out the schedules" in str(error)
    world.sandbox.faults.clear()
    world.clock.pass_(3_600)
    assert world.carry_out().complete


def test_what_a_read_only_test_leaves_open_is_said(tmp_path: Path) -> None:
    world = World(tmp_path, people(MEMBERS, Mode.MIRROR))
    asked = {"run": "run", "clock": world.clock, "transport": world.trip().transport}
    account, group = try_connection("agillic", world.connection, [world.sync], world.state, **asked)
    assert account.passed and group.passed
    assert account.says.endswith(
        "unverified: the permissions to write recipients, target groups and one-to-many tables"
    )
    assert {entry.method for entry in world.sandbox.log if "/oauth2/" not in entry.target} == {"GET"}
