"""What a plan and a delivery show: changed fields, earlier plans, agreement with the snapshot, progress."""

from __future__ import annotations

import io
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zeotap_pipelines.assets.observability import of_plan, outcome_results
from zeotap_pipelines.assets.plan_page import LAST, changed_fields, fields_table, last_plans, plans_table
from zeotap_pipelines.delivery.progress import Bar, Progress, Stand
from zeotap_pipelines.delivery.trip import Summary
from zeotap_pipelines.destinations.base import Limits
from zeotap_pipelines.diff.agreement import Agreement, agreement
from zeotap_pipelines.engines.duckdb import rows
from zeotap_pipelines.model import Change, Fate, Mode
from zeotap_pipelines.sandbox import Fault, Sandbox
from zeotap_pipelines_tests.project import DAYS, DIFF, SYNC, Project
from zeotap_pipelines_tests.specimens import MAIN
from zeotap_pipelines_tests.world import World, day

ONE, TWO, *_ = DAYS
PROFILE = next(example for example in MAIN if example.target.carries_attributes and not example.target.event)


def differing(before: str, now: str) -> list[str]:
    """The mapped fields in which somebody differs from before."""
    was, is_ = PROFILE.person(before), PROFILE.person(now)
    return [name for name, column in PROFILE.mapping.items() if was[column] != is_[column]]


def test_the_fields_that_changed_since_the_last_delivery_are_counted(tmp_path: Path) -> None:
    world = World(tmp_path, PROFILE)
    world.deliver(["ann", "bob", "cid", "dot"])
    world.take(["ann!2", "bob!2", "cid", "eve"], day(1))
    plan = world.plan(day(1))
    wanted = differing("ann", "ann!2")
    assert wanted and plan.count(Change.CHANGED) == 2
    changed = changed_fields(plan, world.sync, world.state)
    assert changed == dict.fromkeys(sorted(wanted), 2)
    assert f"| `{wanted[0]}` | 2 |" in str(fields_table(changed, plan))


def test_without_the_delivered_snapshot_the_page_says_that_nobody_knows(tmp_path: Path) -> None:
    world = World(tmp_path, PROFILE)
    world.deliver(["ann"])
    world.take(["ann!2"], day(1))
    plan = world.plan(day(1))
    world.state.snapshot("people", day(0).key).unlink()
    assert changed_fields(plan, world.sync, world.state) is None
    assert "1 rows changed; the snapshot that was delivered last is gone" in str(fields_table(None, plan))


def test_of_the_days_calls_a_small_plan_takes_little_and_not_nothing(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.take(["1"], day(0))
    found = of_plan(world.plan(day(0)), world.sync, Limits(per_day=99_999), world.state)
    assert found["share_of_daily_budget"] == pytest.approx(found["predicted_calls"] / 99_999, rel=0.01)


def test_what_did_not_change_has_no_table(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.deliver(["1"])
    world.take(["1", "2"], day(1))
    assert fields_table(changed_fields(world.plan(day(1)), world.sync, world.state), world.plan(day(1))) is None


def test_a_plan_is_shown_beside_those_of_the_last_partitions(tmp_path: Path) -> None:
    world = World(tmp_path)
    for number in range(LAST + 3):
        world.take([str(who) for who in range(number + 1)], day(number))
        plan = world.plan(day(number))
        world.clock.pass_(60)
    shown = last_plans(plan, world.state)
    assert shown[0]["id"] == plan.id and len(shown) == LAST + 1
    assert [said["audience"] for said in shown] == sorted((said["audience"] for said in shown), reverse=True)
    table = str(plans_table(shown))
    assert "| partition | made | audience | told | entered | add |" in table and f"| {plan.partition} |" in table
    assert plans_table(shown[:1]) is None


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sets(st.sampled_from(["1", "2", "3", "4", "bad", "no"]), min_size=1), min_size=1, max_size=3))
def test_after_a_mirror_ledger_and_snapshot_agree_whatever_was_rejected(history: list[set[str]]) -> None:
    with TemporaryDirectory() as folder:
        world = World(Path(folder))
        for who in ("bad", "no"):
            world.sandbox.kognitiv.set_standing(who, "missing")
        for number, audience in enumerate(history):
            world.deliver([*sorted(audience), *sorted(audience)[:1]], day(number))
            assert agreement(world.sync, day(number), world.state) == Agreement(0, 0)


def test_a_ledger_that_was_tampered_with_does_not_agree(tmp_path: Path) -> None:
    world = World(tmp_path)
    done = world.deliver(["1", "2", "3"])
    with world.ledger.writing() as connection:
        rows(connection, "DELETE FROM told WHERE value = '1'")
        rows(connection, "UPDATE told SET value = '9' WHERE value = '2'")
    assert agreement(world.sync, day(0), world.state) == Agreement(2, 1)
    found = {one.check_name: one for one in outcome_results(world.sync, world.state, [day(0)], done)}
    check = found["ledger_equals_snapshot"]
    assert not check.passed and "2 members are missing in the ledger, 1 are too many" in str(check.description)


def test_only_a_mirror_at_its_own_partition_is_compared(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.deliver(["1"])
    world.deliver(["2"], day(1))
    assert agreement(world.sync, day(0), world.state) is None
    assert agreement(world.renamed(mode=Mode.ADD), day(1), world.state) is None


@pytest.mark.parametrize(("deferred", "severity"), [(1, "WARN"), (5, "ERROR")])
def test_deferred_rows_warn_and_a_tenth_of_all_is_an_error(tmp_path: Path, deferred: int, severity: str) -> None:
    world = World(tmp_path)
    world.take([f"{number:02}" for number in range(20)])
    world.sandbox.faults.add(Fault(kind="status", status=500, method="PUT", path="/members/", times=deferred))
    done = world.carry_out(trip=world.trip(connection=world.connection.model_copy(update={"retries": 0})))
    found = {one.check_name: one for one in outcome_results(world.sync, world.state, [day(0)], done)}
    check = found["nothing_deferred"]
    assert not check.passed and check.severity.value == severity
    assert check.description == f"{deferred} rows are still to be asked"
    assert "ledger_equals_snapshot" not in found
    world.carry_out()
    assert all(one.passed for one in outcome_results(world.sync, world.state, [day(0)], None))


def test_who_left_an_audience_that_is_only_added_to_is_not_still_to_be_asked(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.renamed(mode=Mode.ADD)
    world.take(["1", "2"])
    world.sandbox.faults.add(Fault(kind="reset_after", method="PUT", path="/members/2"))
    deferred = world.carry_out(trip=world.trip(connection=world.connection.model_copy(update={"retries": 0})))
    assert deferred.fates[Fate.DEFERRED] == 1
    for people, rows_left in (["1", "2"], 1), (["1"], 0), (["1", "2"], 1):
        world.take(people, day(1))
        world.plan(day(1))
        found = {one.check_name: one for one in outcome_results(world.sync, world.state, [day(1)], None)}
        assert found["nothing_deferred"].metadata["rows"].value == rows_left
    world.sandbox.faults.clear()
    world.carry_out(day(1))
    assert all(one.passed for one in outcome_results(world.sync, world.state, [day(1)], None))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_said_every_few_seconds_with_rate_and_time_left() -> None:
    said: list[Stand] = []
    seconds = iter([0.0, 2.0, 5.0, 6.0, 10.0])
    progress = Progress(said.append, every=5.0, monotonic=lambda: next(seconds))
    for asked in (10, 100, 150, 200):
        progress(Summary("plan", "day", asked=asked), 400)
    assert said == [Stand(100, 400, 20.0, 15.0), Stand(200, 400, 20.0, 10.0)]
    assert str(said[0]) == "100 of 400 rows asked, 20 a second, about 15 s left"


def test_a_terminal_shows_a_bar_and_nothing_else_does() -> None:
    terminal, file = Terminal(), io.StringIO()
    for stream in (terminal, file):
        bar = Bar(stream)
        bar(Stand(100, 400, 20.0, 15.0))
        bar.close()
    assert file.getvalue() == ""
    assert f"{'█' * 7}{'░' * 23} 100 of 400 rows asked" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\x1b[K"), "the bar is taken away"


def test_the_page_of_a_plan_and_the_checks_of_a_delivery_are_in_dagster(project: Project, group: Sandbox) -> None:
    project.seen({ONE: ["1", "2"], TWO: ["2", "3"]})
    project.run(day=ONE)
    run = project.run(day=TWO)
    assert f"| {ONE} |" in run.metadata(DIFF)["last_plans"]
    assert {name: check.passed for name, check in run.checks(SYNC).items()} == {
        "everything_accepted": True,
        "nothing_deferred": True,
        "nothing_in_doubt": True,
        "ledger_equals_snapshot": True,
    }
