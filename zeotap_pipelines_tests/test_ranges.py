"""Gaps, late snapshots, failed partitions that are run again, and ranges of credits, in real Dagster runs."""

from __future__ import annotations

import json
import os
import signal
import threading
import time

import dagster as dg
import pytest
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import create_execution_plan, execute_plan_iterator

from zeotap_pipelines.delivery import debts
from zeotap_pipelines.sandbox import Fault, Sandbox
from zeotap_pipelines.state import State
from zeotap_pipelines_tests import test_commands
from zeotap_pipelines_tests.project import CHAIN, DAYS, DIFF, SNAPSHOT, SYNC, Project, asked, members
from zeotap_pipelines_tests.test_going_on import look

ONE, TWO, THREE, FOUR, FIVE, *_ = DAYS
SEEN = {ONE: ["1"], TWO: ["1", "2"], THREE: ["1", "2", "3"], FOUR: ["2", "3"], FIVE: ["2", "3", "4"]}
credits = test_commands.credits
TO_SNAPSHOT, TO_DIFF, TO_SYNC = test_commands.CREDIT_CHAIN


def test_a_gap_is_no_absence_and_is_superseded_when_it_is_filled(project: Project, group: Sandbox) -> None:
    project.seen(SEEN)
    assert project.run(days=(ONE, TWO)).green() == [ONE, TWO]
    assert project.run(days=(FOUR, FIVE)).green() == [FOUR, FIVE]
    assert members(group) == set(SEEN[FIVE])
    assert asked(group) == ["DELETE 1", "PUT 1", "PUT 2", "PUT 3", "PUT 4"], "the net differences, each once"
    run = project.run(day=THREE)
    assert run.green() == [THREE] and f"superseded by {FIVE}" in run.metadata()["superseded"]
    assert len(asked(group)) == 5


def test_a_late_snapshot_of_an_older_day_changes_nothing_and_of_the_newest_what_differs(
    project: Project, group: Sandbox
) -> None:
    project.seen({ONE: ["1"], TWO: ["1", "2"]})
    project.run(day=ONE)
    project.run(day=TWO)
    before = asked(group)
    project.seen({ONE: ["1", "late"], TWO: ["1", "2"]})
    assert project.run(day=ONE).green() == [ONE] and asked(group) == before
    project.seen({ONE: ["1"], TWO: ["1", "2", "7"]})
    assert project.run(SNAPSHOT, day=TWO).succeeded and asked(group) == before
    assert project.run(DIFF, SYNC, day=TWO).green() == [TWO]
    assert asked(group) == sorted([*before, "PUT 7"])


def test_a_range_whose_newest_snapshot_is_missing_sends_nothing_until_it_is_there(
    project: Project, group: Sandbox
) -> None:
    project.seen(SEEN)
    assert project.run(SNAPSHOT, days=(ONE, THREE)).succeeded
    run = project.run(DIFF, SYNC, days=(ONE, FOUR))
    assert run.failed == ["diffs__people_to_group"] and f"at {FOUR}" in run.failure
    assert asked(group) == [] and run.green() == []
    assert project.run(SNAPSHOT, day=FOUR).succeeded
    assert project.run(DIFF, SYNC, days=(ONE, FOUR)).green() == [ONE, TWO, THREE, FOUR]
    assert asked(group) == ["PUT 2", "PUT 3"]


def test_a_partition_that_failed_is_run_again_and_asks_for_what_was_left(project: Project, group: Sandbox) -> None:
    project.seen(SEEN)
    group.faults.add(Fault(kind="status", status=500, method="PUT", path="/members/3$", times=1))
    assert project.attempt(day=THREE).again().retried
    assert project.run(*CHAIN, days=(ONE, THREE)).green() == [ONE, TWO, THREE]
    assert members(group) == set(SEEN[THREE])
    assert asked(group) == ["PUT 1", "PUT 2", "PUT 3", "PUT 3"]


@pytest.fixture
def visits(credits: Project) -> Project:
    """Every visit of a day is an event."""
    credits.change("people", ("select distinct person", "select distinct person, day"))
    credits.change("people_to_credits", ("visit of {person}", "visit of {person} on {day}"))
    people = test_commands.CANARY, "2"
    credits.seen({ONE: people, TWO: people, THREE: people[:1]})
    return credits


@pytest.mark.parametrize(
    "runs", [[(ONE, THREE)], [(ONE, TWO), (TWO, THREE), (ONE, THREE)], [(THREE, THREE), (ONE, TWO)]]
)
def test_of_a_range_of_credits_every_day_s_events_are_sent_each_once(
    visits: Project, group: Sandbox, runs: list[tuple[str, str]]
) -> None:
    for days in runs:
        first, last = DAYS.index(days[0]), DAYS.index(days[1])
        run = visits.run(*test_commands.CREDIT_CHAIN, days=days)
        assert run.green(test_commands.CREDIT_CHAIN[-1]) == list(DAYS[first : last + 1])
    assert len(group.crowdtwist.credits()) == 5


def owing(project: Project) -> debts.Owing | None:
    return debts.load(State(project.root / "state"), project.sync("people_to_credits"))


def test_what_was_delivered_of_a_range_is_green_however_the_rest_ended(visits: Project, group: Sandbox) -> None:
    for day in (ONE, THREE):
        assert visits.run(TO_SNAPSHOT, day=day).succeeded
    run = visits.run(TO_SYNC, days=(ONE, THREE))
    assert f"there is no snapshot of people at {TWO}" in run.failure
    assert run.green(TO_SYNC) == [ONE] and len(group.crowdtwist.credits()) == 2
    note = owing(visits)
    assert note and set(note.partitions) == {TWO, THREE} and not note.going and "no snapshot" in note.why
    assert visits.run(TO_SNAPSHOT, day=TWO).succeeded
    assert visits.run(TO_SYNC, days=(TWO, THREE)).green(TO_SYNC) == [TWO, THREE]
    assert len(group.crowdtwist.credits()) == 5 and owing(visits) is None


def test_what_was_delivered_of_a_range_that_somebody_stops_is_green(visits: Project, group: Sandbox) -> None:
    assert visits.run(TO_SNAPSHOT, TO_DIFF, days=(ONE, THREE)).succeeded
    group.faults.add(Fault(kind="delay", seconds=60, path="/v2/users", nth=3))
    ended = threading.Event()

    def stop() -> None:
        while not ended.is_set() and len(group.requests("crowdtwist", method="POST")) < 3:
            time.sleep(0.02)
        if not ended.is_set():
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=stop)
    thread.start()
    try:
        visits.run(TO_SYNC, days=(ONE, THREE))
    except KeyboardInterrupt:
        pass
    finally:
        ended.set()
        thread.join()
    assert visits.instance.get_materialized_partitions(dg.AssetKey(list(TO_SYNC))) == {ONE}
    note = owing(visits)
    assert note and set(note.partitions) == {TWO, THREE} and not note.going and note.why == "the run was stopped"


def test_a_partition_is_owed_until_its_being_green_is_recorded(visits: Project) -> None:
    """Whoever dies in between leaves it to the run that goes on, which asks nothing and makes it green."""
    assert visits.run(TO_SNAPSHOT, TO_DIFF, days=(ONE, THREE)).succeeded
    chosen = {dg.AssetKey(list(TO_SYNC))}
    job = visits.load().resolve_implicit_global_asset_job_def().get_subset(asset_selection=chosen)
    tags = {"dagster/asset_partition_range_start": ONE, "dagster/asset_partition_range_end": THREE}
    plan = create_execution_plan(InMemoryJob(job), tags=tags)
    run = visits.instance.create_run_for_job(job, execution_plan=plan, tags=tags)
    green = 0
    for event in execute_plan_iterator(plan, InMemoryJob(job), run, visits.instance):
        if event.is_step_materialization:
            note, green = owing(visits), green + 1
            assert note and event.partition in note.partitions
    assert green == 3 and owing(visits) is None


@pytest.mark.parametrize("refused", [ONE, TWO, THREE])
def test_what_is_rejected_of_any_day_of_a_range_fails_its_check(visits: Project, group: Sandbox, refused: str) -> None:
    visits.seen({ONE: ["2"], TWO: ["2"], THREE: ["2"], refused: ["2", "nobody"]})
    run = visits.run(*test_commands.CREDIT_CHAIN, days=(ONE, THREE))
    assert run.green(TO_SYNC) == [ONE, TWO, THREE]
    check = run.checks(TO_SYNC)["everything_accepted"]
    assert not check.passed and check.metadata["rows"].value == 1


def test_of_credits_a_run_that_a_person_stopped_holds_up_its_own_partitions_only(credits: Project) -> None:
    job = credits.load().resolve_implicit_global_asset_job_def()
    span = {"dagster/asset_partition_range_start": TWO, "dagster/asset_partition_range_end": THREE}
    run = credits.instance.create_run_for_job(job, tags=span, status=dg.DagsterRunStatus.STARTED)
    owed = {key: {"end": f"2026-01-0{number}T00:00:00+00:00"} for number, key in enumerate([ONE, TWO, THREE], 2)}
    place = credits.root / "state" / "owed" / "people_to_credits.json"
    place.parent.mkdir(parents=True)
    place.write_text(json.dumps({"partitions": owed, "run": run.run_id, "why": debts.CUT_OFF, "until": None}))
    credits.instance.report_run_canceled(run)
    assert [request.partition_key for request in look(credits).run_requests] == [ONE]
