"""With ``follow``, diffs and syncs follow their audience, and nothing passes a plan that a guard stopped."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest

from zeotap_pipelines.sandbox import Sandbox
from zeotap_pipelines_tests.project import CHAIN, DIFF, SNAPSHOT, SYNC, Project, members

END = "2026-01-08"
"""Where the audience ends: its last day stays the newest, whenever the test runs."""
LAST, BEFORE = "2026-01-07", "2026-01-06"


class Follower:
    """What the automation of a project requests, look by look."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self._cursor: Any = None

    def look(self) -> dict[tuple[str, ...], set[str | None]]:
        """Return which partitions of which assets are requested now."""
        definitions = self.project.load()
        result = dg.evaluate_automation_conditions(
            defs=definitions,
            instance=self.project.instance,
            cursor=self._cursor,
            evaluation_time=datetime.now(UTC),
        )
        self._cursor = result.cursor
        found = {asset: result.get_requested_partitions(dg.AssetKey(list(asset))) for asset in CHAIN}
        return {asset: partitions for asset, partitions in found.items() if partitions}


@pytest.fixture
def follower(project: Project) -> Follower:
    project.change("people", ('start: "2026-01-01"', f'start: "2026-01-01"\n  end: "{END}"\n  follow: true'))
    project.seen({BEFORE: ["1", "2", "3", "4"], LAST: ["1", "2", "3", "4"]})
    follower = Follower(project)
    assert follower.look() == {}, "what is missing when it is turned on stays missing"
    return follower


def test_a_diff_and_a_sync_follow_a_snapshot_and_are_asked_for_once(project: Project, follower: Follower) -> None:
    project.run(SNAPSHOT, day=LAST)
    assert follower.look() == {DIFF: {LAST}, SYNC: {LAST}}
    project.run(DIFF, SYNC, day=LAST)
    assert follower.look() == follower.look() == {}


def test_what_one_run_did_whole_is_not_done_again(project: Project, follower: Follower) -> None:
    project.run(day=LAST)
    assert follower.look() == {}


def test_a_sync_follows_a_diff_whose_guards_passed(project: Project, follower: Follower, group: Sandbox) -> None:
    project.run(SNAPSHOT, day=LAST)
    follower.look()
    project.run(DIFF, SYNC, day=LAST)
    assert follower.look() == {}
    project.run(DIFF, day=LAST)
    assert follower.look() == {SYNC: {LAST}}
    assert members(group) == {"1", "2", "3", "4"}


def test_no_sync_follows_a_plan_that_a_guard_stopped_until_it_passes(
    project: Project, follower: Follower, group: Sandbox
) -> None:
    project.run(day=BEFORE)
    project.seen({LAST: ["1"]})
    stopped = project.run(SNAPSHOT, DIFF, day=LAST)
    assert stopped.failed == ["diffs__people_to_group"] and not stopped.checks()["removed_share"].passed
    for _ in range(3):
        assert SYNC not in follower.look()
    project.seen({LAST: ["1", "2", "3"]})
    assert project.run(SNAPSHOT, DIFF, day=LAST).succeeded
    assert follower.look() == {SYNC: {LAST}}
    assert project.run(SYNC, day=LAST).green() == [LAST]
    assert members(group) == {"1", "2", "3"}


def test_a_stopped_plan_of_an_older_day_holds_nothing_up(project: Project, follower: Follower) -> None:
    project.seen({"2026-01-05": ["1"], BEFORE: [], LAST: ["1", "2"]})
    assert project.run(day="2026-01-05").succeeded
    assert project.run(SNAPSHOT, DIFF, day=BEFORE).failed
    assert SYNC not in follower.look()
    project.run(SNAPSHOT, day=LAST)
    assert follower.look() == {DIFF: {LAST}, SYNC: {LAST}}


def test_a_sync_follows_the_newest_day_s_diff_of_a_range(project: Project, follower: Follower, group: Sandbox) -> None:
    assert project.run(SNAPSHOT, DIFF, days=(BEFORE, LAST)).succeeded
    assert follower.look() == {SYNC: {LAST}}
    assert project.run(SYNC, day=LAST).green() == [LAST] and members(group) == {"1", "2", "3", "4"}
    assert follower.look() == {}


def test_no_sync_follows_a_range_whose_newest_plan_was_stopped(project: Project, follower: Follower) -> None:
    project.seen({"2026-01-05": ["1", "2", "3", "4"], BEFORE: ["1", "2", "3", "4"], LAST: ["1"]})
    assert project.run(day="2026-01-05").succeeded
    stopped = project.run(SNAPSHOT, DIFF, days=(BEFORE, LAST))
    assert stopped.failed == ["diffs__people_to_group"] and not stopped.checks()["removed_share"].passed
    for _ in range(3):
        assert SYNC not in follower.look()


def test_an_older_day_is_not_followed(project: Project, follower: Follower) -> None:
    project.run(SNAPSHOT, day=BEFORE)
    assert follower.look() == {}


def test_a_sync_that_is_done_by_hand_does_not_follow(project: Project, follower: Follower) -> None:
    project.change("people_to_group", ("mode: mirror", "mode: mirror\n  automatic: false"))
    assert follower.look() == {}
    project.run(SNAPSHOT, day=LAST)
    assert follower.look() == {}


def test_an_audience_without_partitions_is_followed_too(project: Project) -> None:
    project.change(
        "people",
        ("partitions: daily", "partitions: none\n  follow: true"),
        ("where day >= $start and day < $end", ""),
    )
    project.seen({LAST: ["1"]})
    follower = Follower(project)
    assert follower.look() == {}
    project.run(SNAPSHOT)
    assert follower.look() == {DIFF: {None}, SYNC: {None}}


def test_the_sensor_that_looks_runs_from_the_start_where_something_follows(project: Project) -> None:
    def sensors() -> list[dg.SensorDefinition]:
        return [one for one in project.load().get_repository_def().sensor_defs if one.name != "going_on"]

    assert sensors() == []
    project.change("people", ("partitions: daily", "partitions: daily\n  follow: true"))
    [sensor] = sensors()
    assert (sensor.name, sensor.default_status.value) == ("default_automation_condition_sensor", "RUNNING")


def test_what_is_declared_in_code_is_looked_at_by_the_same_sensor(project: Project) -> None:
    project.change("people", ("partitions: daily", "partitions: daily\n  follow: true"))

    @dg.asset(automation_condition=dg.AutomationCondition.eager())
    def other() -> None: ...

    both = dg.Definitions.merge(project.load(), dg.Definitions(assets=[other]))
    names = {sensor.name for sensor in both.get_repository_def().sensor_defs}
    assert names == {"default_automation_condition_sensor", "going_on"}
