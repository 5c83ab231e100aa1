"""Gaps, late snapshots, failed partitions that are run again, and ranges of credits, in real Dagster runs."""

from __future__ import annotations

import pytest

from zeotap_pipelines.sandbox import Fault, Sandbox
from zeotap_pipelines_tests import test_commands
from zeotap_pipelines_tests.project import CHAIN, DAYS, DIFF, SNAPSHOT, SYNC, Project, asked, members

ONE, TWO, THREE, FOUR, FIVE, *_ = DAYS
SEEN = {ONE: ["1"], TWO: ["1", "2"], THREE: ["1", "2", "3"], FOUR: ["2", "3"], FIVE: ["2", "3", "4"]}
credits = test_commands.credits


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


@pytest.mark.parametrize(
    "runs", [[(ONE, THREE)], [(ONE, TWO), (TWO, THREE), (ONE, THREE)], [(THREE, THREE), (ONE, TWO)]]
)
def test_of_a_range_of_credits_every_day_s_events_are_sent_each_once(
    credits: Project, group: Sandbox, runs: list[tuple[str, str]]
) -> None:
    people = test_commands.CANARY, "2"
    credits.change("people", ("select distinct person", "select distinct person, day"))
    credits.change("people_to_credits", ("visit of {person}", "visit of {person} on {day}"))
    credits.seen({ONE: people, TWO: people, THREE: people[:1]})
    for days in runs:
        first, last = DAYS.index(days[0]), DAYS.index(days[1])
        run = credits.run(*test_commands.CREDIT_CHAIN, days=days)
        assert run.green(test_commands.CREDIT_CHAIN[-1]) == list(DAYS[first : last + 1])
    assert len(group.crowdtwist.credits()) == 5
