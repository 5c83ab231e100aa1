"""A sync that is paused, or outside its hours, sends nothing, says why, and goes on when it may."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zeotap_pipelines.assets.assets import state
from zeotap_pipelines.delivery.debts import load
from zeotap_pipelines.delivery.delivery import deliver
from zeotap_pipelines.delivery.pauses import Pause, closed, pause, paused, resume
from zeotap_pipelines.destinations.kognitiv import PromotionalMemberGroup
from zeotap_pipelines.errors import ContinueLater, FixDeclaration, FixSettings
from zeotap_pipelines.hours import WEEKDAYS, Hours
from zeotap_pipelines.model import Mode
from zeotap_pipelines.sandbox import Sandbox
from zeotap_pipelines.upkeep import by_hand
from zeotap_pipelines.upkeep.orphans import find_orphan
from zeotap_pipelines_tests import test_commands
from zeotap_pipelines_tests.project import DAYS, DIFF, SYNC, Project, asked, members
from zeotap_pipelines_tests.test_commands import CANARY, CREDIT_CHAIN
from zeotap_pipelines_tests.test_going_on import look
from zeotap_pipelines_tests.world import World

ONE, TWO, THREE, *_ = DAYS
credits = test_commands.credits
ZONES = ["UTC", "Europe/Vienna", "America/New_York", "Asia/Kathmandu", "Pacific/Auckland"]
MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC))
CLOCKS = st.tuples(st.integers(0, 23), st.integers(0, 59)).map(lambda found: f"{found[0]:02}:{found[1]:02}")


@given(MOMENTS, CLOCKS, CLOCKS, st.lists(st.sampled_from(WEEKDAYS), unique=True), st.sampled_from(ZONES))
def test_a_window_is_open_between_its_hours_and_tells_when_it_opens_and_closes(
    now: datetime, begin: str, end: str, weekdays: list[str], zone: str
) -> None:
    hours = Hours.of(f"{begin}-{end}", weekdays, zone)
    opens = hours.opens(now)
    if opens is None:
        closes = hours.closes(now)
        assert now < closes
        assert hours.opens(closes - timedelta(microseconds=1)) is None
        return
    assert hours.closes(now) == now < opens <= now + timedelta(days=9)
    assert hours.opens(opens - timedelta(microseconds=1)) == opens and hours.opens(opens) is None
    local = opens.astimezone(ZoneInfo(zone))
    assert not weekdays or WEEKDAYS[local.weekday()] in weekdays


@pytest.mark.parametrize(
    ("hours", "weekdays", "zone", "moment", "opens"),
    [
        ("08:00-20:00", [], "UTC", "2026-11-22T07:59", "2026-11-22T08:00"),
        ("08:00-20:00", [], "UTC", "2026-11-22T08:00", None),
        ("08:00-20:00", [], "UTC", "2026-11-22T20:00", "2026-11-23T08:00"),
        ("08:00-20:00", [], "Europe/Vienna", "2026-11-22T07:00", None),
        ("08:00-20:00", [], "Europe/Vienna", "2026-07-22T05:59", "2026-07-22T06:00"),
        ("08:00-20:00", ["mon"], "UTC", "2026-11-22T12:00", "2026-11-23T08:00"),
        ("22:00-06:00", ["sun"], "UTC", "2026-11-23T05:00", None),
        ("22:00-06:00", ["sun"], "UTC", "2026-11-23T23:00", "2026-11-29T22:00"),
        ("00:00-24:00", ["mon"], "UTC", "2026-11-23T23:59", None),
    ],
)
def test_windows_by_example(hours: str, weekdays: list[str], zone: str, moment: str, opens: str | None) -> None:
    found = Hours.of(hours, weekdays, zone).opens(datetime.fromisoformat(moment).replace(tzinfo=UTC))
    assert found == (datetime.fromisoformat(opens).replace(tzinfo=UTC) if opens else None)


@pytest.mark.parametrize(
    ("hours", "weekdays", "zone", "says"),
    [
        ("8-20", [], "UTC", "write them as 08:00-20:00"),
        ("08:00-25:00", [], "UTC", "write them as 08:00-20:00"),
        ("08:00-20:00", ["Monday"], "UTC", "'Monday' is no weekday: write mon, tue"),
        ("08:00-20:00", [], "Europe/Atlantis", "there is no time zone 'Europe/Atlantis'"),
    ],
)
def test_hours_that_can_not_be_are_named(hours: str, weekdays: list[str], zone: str, says: str) -> None:
    with pytest.raises(FixDeclaration, match=says):
        Hours.of(hours, weekdays, zone)


def test_a_delivery_ends_with_its_window_and_the_rest_is_owed(tmp_path: Path) -> None:
    world = World(tmp_path)
    people = [str(number) for number in range(200)]
    world.take(people)
    soon = world.clock.now() + timedelta(minutes=5)
    hours = Hours.of(f"{world.clock.now():%H:%M}-{soon:%H:%M}", [], "UTC")
    done = world.carry_out(trip=world.trip(hours=hours, on_progress=lambda *_: world.clock.pass_(10)))
    assert isinstance(done.error, ContinueLater) and done.error.until == world.clock.now().replace(
        hour=8, minute=0, second=0, microsecond=0
    ) + timedelta(days=1)
    assert 0 < done.asked < 200 and done.left == 200 - done.asked
    assert len(world.held) == done.asked
    assert world.carry_out().asked == 200 - done.asked


def hours_of(first: datetime, last: datetime) -> Hours:
    return Hours.of(f"{first:%H:%M}-{last:%H:%M}", [], "UTC")


def test_who_may_no_longer_speak_when_he_holds_the_account_asks_nothing(tmp_path: Path) -> None:
    """It was open, and nobody had paused it, before another sync spoke for as long."""
    world = World(tmp_path)
    world.take(["1"])
    now = world.clock.now()
    opens = now + timedelta(hours=2)
    with pytest.raises(ContinueLater, match="outside its delivery window") as over:
        world.carry_out(trip=world.trip(hours=hours_of(opens, opens + timedelta(hours=1))))
    assert over.value.until == opens
    pause(world.sync, world.state, by="ada", reason="the list is wrong", now=now)
    with pytest.raises(ContinueLater, match=r"paused by ada since .*: the list is wrong") as held:
        world.carry_out()
    assert held.value.until is None
    assert not world.sandbox.log
    resume(world.sync, world.state)
    assert world.carry_out().complete


def test_a_window_that_closes_before_the_first_request_is_over_and_not_the_next_one(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.take(["1", "2"])
    plan = world.plan()
    now = world.clock.now()
    ended = hours_of(now - timedelta(hours=1), now)
    done = deliver(world.sync, plan, world.trip(hours=ended))
    assert isinstance(done.error, ContinueLater) and done.error.until == now + timedelta(hours=23)
    assert (done.asked, done.left) == (0, 2) and not world.sandbox.log


def test_a_pause_holds_until_it_is_resumed_and_names_who_and_why(tmp_path: Path) -> None:
    world = World(tmp_path)
    now, sync = world.clock.now(), world.sync
    with pytest.raises(FixSettings, match="who pauses and why"):
        pause(sync, world.state, by=" ", reason="why", now=now)
    assert closed(sync, world.state, None, now) is None
    pause(sync, world.state, by="ada", reason="the list is wrong", now=now)
    found = closed(sync, world.state, None, now + timedelta(days=99))
    assert found and found.why == "paused by ada since 2026-11-21T08:00: the list is wrong" and found.until is None
    another = replace(sync, target=PromotionalMemberGroup("ANOTHER"))
    assert closed(another, world.state, None, now) is None
    assert resume(sync, world.state) == "sync may deliver again"
    assert paused(sync, world.state) is None and resume(sync, world.state) == "sync was not paused"


def test_a_renamed_sync_stays_paused(tmp_path: Path) -> None:
    world = World(tmp_path)
    pause(world.sync, world.state, by="ada", reason="why", now=world.clock.now())
    renamed = world.renamed(name="another_name")
    assert paused(renamed, world.state)
    assert resume(renamed, world.state) == "another_name may deliver again" and not paused(renamed, world.state)


def test_of_two_syncs_that_share_a_target_each_has_a_pause_of_its_own(tmp_path: Path) -> None:
    adds, removes = (World(tmp_path, mode=mode).sync for mode in (Mode.ADD, Mode.REMOVE))
    world = World(tmp_path)
    pause(removes, world.state, by="ada", reason="why", now=world.clock.now())
    assert paused(removes, world.state) and not paused(adds, world.state)
    assert paused(replace(removes, name="another_name"), world.state)


def test_a_pause_from_before_the_target_was_its_name_holds_and_is_kept_by_the_target(tmp_path: Path) -> None:
    world = World(tmp_path)
    before = world.state.root / "pauses" / "sync.json"
    before.parent.mkdir(parents=True)
    before.write_text('{"by": "ada", "reason": "why", "since": "2026-11-21T08:00:00+00:00"}')
    assert paused(world.sync, world.state) == Pause("ada", "why", "2026-11-21T08:00:00+00:00")
    assert paused(world.renamed(name="another_name"), world.state) and not before.exists()
    resume(world.sync, world.state)
    assert not paused(replace(world.sync, name="sync"), world.state)


def test_a_target_that_is_given_up_is_not_paused_for_whoever_takes_it_next(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.deliver(["1"])
    pause(world.sync, world.state, by="ada", reason="why", now=world.clock.now())
    by_hand.decommission(find_orphan(world.state, [], str(world.sync.address)), world.trip())
    assert not paused(world.sync, world.state)


def held_back(project: Project, group: Sandbox) -> dict[str, Any]:
    """Run the chain, which sends nothing, and return what is observed."""
    project.seen({ONE: ["1", "2"]})
    run = project.run(day=ONE)
    assert run.succeeded and run.green() == [] and run.green(DIFF) == [ONE]
    assert group.log == []
    [observed] = run.observed()
    return observed


def test_a_sync_outside_its_hours_is_neither_green_nor_failed_and_goes_on_when_they_begin(
    project: Project, group: Sandbox
) -> None:
    begin, end = (datetime.now(UTC) + timedelta(hours=hours) for hours in (3, 5))
    block = f'mode: mirror\n  deliver_between:\n    hours: "{begin:%H:%M}-{end:%H:%M}"\n    timezone: UTC'
    project.change("people_to_group", ("mode: mirror", block))
    assert held_back(project, group)["nothing_sent"] == "outside its delivery window"
    waits = look(project)
    assert not waits.run_requests and f"goes on {begin:%Y-%m-%d %H:%M} UTC" in waits.skip_message
    project.change("people_to_group", (block, "mode: mirror"))
    assert [request.partition_key for request in look(project).run_requests] == [ONE]
    assert project.run(SYNC, day=ONE).green() == [ONE] and members(group) == {"1", "2"}


def test_a_sync_that_is_paused_from_the_ui_sends_nothing_until_it_is_resumed(project: Project, group: Sandbox) -> None:
    def job(name: str, op: str, **config: str) -> None:
        run_config = {"ops": {op: {"config": {"sync": "people_to_group", **config}}}}
        found = project.load().resolve_job_def(name)
        assert found.execute_in_process(run_config=run_config, instance=project.instance).success

    job("pause", "pause_sync", by="ada", reason="the list is wrong")
    observed = held_back(project, group)
    assert observed["nothing_sent"].startswith("paused by ada since ") and observed["goes_on"] == "when it is resumed"
    assert "the list is wrong" in look(project).skip_message
    project.change("people_to_group", ("name: people_to_group", "name: another_name"))
    assert look(project).skip_message.startswith("another_name goes on when it is resumed: paused by ada")
    project.change("people_to_group", ("name: another_name", "name: people_to_group"))
    job("resume", "resume_sync")
    assert [request.partition_key for request in look(project).run_requests] == [ONE]


def test_a_sync_that_is_paused_between_two_partitions_sends_no_more_of_them(credits: Project, group: Sandbox) -> None:
    name = "people_to_credits"
    paused_one = credits.sync(name)
    credits.change("people", ("select distinct person", "select distinct person, day"))
    credits.change(name, ("visit of {person}", "visit of {person} on {day}"))
    credits.seen({ONE: [CANARY], TWO: [CANARY], THREE: [CANARY]})

    def listen(entry: dg.EventLogEntry) -> None:
        if entry.step_key == f"syncs__{name}" and "1 accepted" in entry.user_message:
            pause(paused_one, state(), by="ada", reason="the list is wrong", now=datetime.now(UTC))

    run = credits.run(*CREDIT_CHAIN, days=(ONE, THREE), listen=listen)
    sync = CREDIT_CHAIN[-1]
    assert run.succeeded and run.green(sync) == [ONE] and len(group.crowdtwist.credits()) == 1
    assert "paused by ada" in run.observed(sync)[-1]["nothing_sent"]
    owed = load(state(), paused_one)
    assert owed and owed.going == [TWO, THREE]
    assert "the list is wrong" in look(credits).skip_message
    resume(paused_one, state())
    assert credits.run(sync, days=(TWO, THREE)).green(sync) == [TWO, THREE]
    assert len(group.crowdtwist.credits()) == 3 and look(credits).skip_message == "nothing is owed"


def test_a_sync_that_is_paused_by_its_declaration_says_where(project: Project, group: Sandbox) -> None:
    project.change("people_to_group", ("mode: mirror", "mode: mirror\n  paused: true"))
    assert "people_to_group/defs.yaml:8" in held_back(project, group)["nothing_sent"]
    trial = project.run(SYNC, day=ONE, limit=1)
    assert trial.succeeded and asked(group) == []
    assert project.run(SYNC, day=ONE, dry_run=True).observed()[0]["dry_run"] is True
