"""A segment that is filled once, in real Dagster runs: half filled it is completed, and no other partition is green."""

from __future__ import annotations

import os

import pytest

from zeotap_pipelines.assets.assets import state
from zeotap_pipelines.delivery.debts import load
from zeotap_pipelines.sandbox import MOENGAGE_SECRET, Fault, Sandbox
from zeotap_pipelines_tests.project import DAYS, Project
from zeotap_pipelines_tests.test_commands import MOENGAGE
from zeotap_pipelines_tests.test_going_on import look

ONE, TWO, THREE, *_ = DAYS
NAME = "people_to_segment"
SNAPSHOT, DIFF, SYNC = CHAIN = (("snapshots", "people"), ("diffs", NAME), ("syncs", NAME))
SEGMENT = f"""\
type: zeotap_pipelines.MoEngageCohortSync
attributes:
  name: {NAME}
  audience: people
  connection: moengage
  cohort_id: c
  cohort_name: C
  sync_type: one_time
  mode: add
  mapping: {{uid: person}}
"""
SEEN = {ONE: ["1", "2", "3"], TWO: ["1", "4"], THREE: ["5"]}


@pytest.fixture
def segment(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project that fills a segment once."""
    monkeypatch.setenv("PROJECT_MOENGAGE", os.environ["PROJECT_KOGNITIV"].replace("kognitiv", "moengage"))
    monkeypatch.setenv("PROJECT_MOENGAGE_KEY", MOENGAGE_SECRET)
    project.declare("moengage", MOENGAGE)
    project.declare(NAME, SEGMENT)
    project.seen(SEEN)
    return project


def owed(segment: Project) -> list[str]:
    found = load(state(), segment.sync(NAME))
    return sorted(found.partitions) if found else []


def half_filled(segment: Project, group: Sandbox) -> None:
    """Ask from the first day, with a service that fails."""
    group.faults.add(Fault(kind="status", status=503, path="/cohortsync", times=1))
    assert segment.run(SNAPSHOT, DIFF, day=ONE).succeeded
    assert segment.attempt(SYNC, day=ONE).again().retried and owed(segment) == [ONE]


def test_a_half_filled_segment_is_completed_from_the_day_it_was_begun_from(segment: Project, group: Sandbox) -> None:
    half_filled(segment, group)
    later = segment.run(*CHAIN, day=TWO)
    assert later.succeeded and later.green(SYNC) == []
    assert f"is not through with {ONE}: nothing of {TWO} is sent" in later.observed(SYNC)[0]["nothing_sent"]
    assert owed(segment) == [ONE] and group.moengage.members("c") == set()
    [request] = look(segment).run_requests
    assert request.partition_key == ONE
    assert segment.run(SYNC, day=ONE).green(SYNC) == [ONE] and group.moengage.members("c") == set(SEEN[ONE])
    assert owed(segment) == []
    after = segment.run(*CHAIN, day=THREE)
    assert after.green(SYNC) == [THREE] and f"did from {ONE}" in after.metadata(SYNC)["superseded"]
    assert group.moengage.members("c") == set(SEEN[ONE])


def test_a_range_that_holds_the_day_it_was_begun_from_leaves_that_day_owed(segment: Project, group: Sandbox) -> None:
    half_filled(segment, group)
    assert segment.run(*CHAIN, days=(ONE, TWO)).green(SYNC) == [] and owed(segment) == [ONE]


def test_a_segment_that_nothing_was_asked_of_is_filled_from_the_next_day(
    segment: Project, group: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PROJECT_MOENGAGE_KEY")
    assert segment.run(*CHAIN, day=ONE).failed and owed(segment) == [ONE]
    monkeypatch.setenv("PROJECT_MOENGAGE_KEY", MOENGAGE_SECRET)
    assert segment.run(*CHAIN, day=TWO).green(SYNC) == [TWO] and owed(segment) == []
    assert group.moengage.members("c") == set(SEEN[TWO])


def test_a_trial_leaves_the_segment_to_the_next_delivery(segment: Project, group: Sandbox) -> None:
    assert segment.run(SNAPSHOT, DIFF, SYNC, day=ONE, limit=1).green(SYNC) == []
    tried = group.moengage.members("c")
    assert len(tried) == 1 and owed(segment) == []
    later = segment.run(*CHAIN, day=TWO)
    assert later.green(SYNC) == [TWO] and "superseded" not in later.metadata(SYNC)
    assert group.moengage.members("c") == tried | set(SEEN[TWO])
