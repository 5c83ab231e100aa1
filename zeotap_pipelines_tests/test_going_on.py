"""What is owed and may be asked again is requested: once for a state, and never over a person's head."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from zeotap_pipelines.automation.going_on import going_on_sensor
from zeotap_pipelines.declared import Declared
from zeotap_pipelines.naming import filename
from zeotap_pipelines.sandbox import Fault, Sandbox
from zeotap_pipelines.state import State
from zeotap_pipelines.upkeep import by_hand
from zeotap_pipelines_tests.project import DAYS, DIFF, SNAPSHOT, SYNC, Project, members
from zeotap_pipelines_tests.world import Clock

ONE, TWO, THREE, *_ = DAYS
ENDS = {ONE: "2026-01-02T00:00:00+00:00", TWO: "2026-01-03T00:00:00+00:00"}


def look(project: Project, after: timedelta = timedelta()) -> Any:
    """Evaluate the sensor once, as if so much time had passed."""
    definitions = project.load()
    tree = definitions.component_tree
    assert tree is not None
    sensor = going_on_sensor(Declared(tree), Clock(datetime.now(UTC) + after))
    with dg.build_sensor_context(instance=project.instance, definitions=definitions) as context:
        return sensor.evaluate_tick(context)


def note(project: Project) -> Path:
    folder = project.root / "state" / "owed" / "kognitiv" / "main" / "promotional_member_group"
    return folder / f"{filename('ACTIVE-90D')}.json"


def owes(project: Project, *partitions: str, run: str = "gone", **of_each: Any) -> None:
    """Write the note down."""
    note(project).parent.mkdir(parents=True)
    owed = {key: {"end": ENDS[key], **of_each} for key in partitions}
    note(project).write_text(json.dumps({"partitions": owed, "run": run, "why": "the run was cut off", "until": None}))


def test_what_the_service_put_off_is_requested_when_it_listens_again_and_once(project: Project, group: Sandbox) -> None:
    project.seen({ONE: ["1", "2"]})
    group.faults.add(Fault(kind="status", status=429, path="/members/", times=1, retry_after=3600))
    assert project.run(day=ONE).green() == []
    early = look(project)
    assert not early.run_requests and "people_to_group goes on at " in early.skip_message
    later = timedelta(hours=2)
    [request], [again] = look(project, later).run_requests, look(project, later).run_requests
    assert request.run_key == again.run_key, "Dagster starts no second run for the same key"
    assert request.partition_key == ONE and request.asset_selection == [dg.AssetKey(list(SYNC))]
    (project.root / "state" / "ledger" / "kognitiv" / "main" / "limits.json").unlink()
    assert project.run(SYNC, day=ONE).green() == [ONE] and members(group) == {"1", "2"}
    assert look(project).skip_message == "nothing is owed"


def test_a_run_that_died_goes_on_when_dagster_has_noticed_and_not_before(project: Project) -> None:
    project.seen({ONE: ["1"]})
    run = project.instance.create_run_for_job(
        project.load().resolve_implicit_global_asset_job_def(), status=dg.DagsterRunStatus.STARTED
    )
    owes(project, ONE, run=run.run_id)
    assert "is under way" in look(project).skip_message
    project.instance.report_run_failed(run)
    assert [request.partition_key for request in look(project).run_requests] == [ONE]


def test_a_stopped_plan_is_not_asked_for_again(project: Project, group: Sandbox) -> None:
    project.seen({ONE: ["1", "2", "3"], TWO: []})
    project.run(day=ONE)
    project.run(("snapshots", "people"), day=TWO)
    assert "ApprovePlan: " in project.run(SYNC, day=TWO).failure
    stopped = look(project)
    assert not stopped.run_requests and "waits for a person: ApprovePlan" in stopped.skip_message
    assert project.run(SYNC, day=ONE).green() == [ONE]
    assert "waits for a person: ApprovePlan" in look(project).skip_message, "the older one says nothing of it"


def test_a_trial_and_a_dry_run_owe_nothing(project: Project, group: Sandbox) -> None:
    project.seen({ONE: ["1", "2"]})
    project.run(day=ONE, limit=1)
    project.run(SYNC, day=ONE, dry_run=True)
    assert look(project).skip_message == "nothing is owed"


def test_a_range_is_requested_as_it_was_delivered_and_with_what_a_person_allowed(project: Project) -> None:
    owes(project, ONE, TWO, settings={"restore": True})
    [request] = look(project).run_requests
    assert request.tags["dagster/asset_partition_range_start"] == ONE
    assert request.tags["dagster/asset_partition_range_end"] == TWO
    assert request.run_config == {"ops": {"syncs__people_to_group": {"config": {"restore": True}}}}


@pytest.mark.parametrize("again", [(SNAPSHOT, DIFF, SYNC), (SYNC,)])
def test_a_restore_that_is_not_through_goes_on_whatever_superseded_partition_is_materialized_meanwhile(
    project: Project, group: Sandbox, again: tuple[tuple[str, ...], ...]
) -> None:
    project.seen({ONE: ["1", "2", "3", "4"], TWO: ["2", "3", "4"], THREE: ["2", "3"]})
    for day in (ONE, TWO, THREE):
        project.run(day=day)
    group.faults.add(Fault(kind="status", status=503, method="PUT", path="/members/", times=99))
    attempts = project.attempt(SYNC, day=ONE, restore=True)
    assert attempts.again().retried
    run = project.instance.get_run_by_id(attempts.run_id)
    assert run is not None
    project.instance.report_run_failed(run)
    for day in (THREE, TWO, ONE):
        said = project.run(*again, day=day)
        assert said.succeeded and members(group) == {"2", "3"}
        check = said.checks(SYNC)["nothing_deferred"]
        assert check.description == "2 rows are still to be asked"
    [request] = look(project, timedelta(hours=9)).run_requests
    assert request.partition_key == ONE
    assert request.run_config == {"ops": {"syncs__people_to_group": {"config": {"restore": True}}}}
    group.faults.clear()
    assert project.run(SYNC, day=ONE, restore=True).green() == [ONE] and members(group) == {"1", "2", "3", "4"}
    assert look(project).skip_message == "nothing is owed"


def test_what_was_restored_and_is_to_be_told_again_is_so_whatever_is_materialized_meanwhile(
    project: Project, group: Sandbox
) -> None:
    project.seen({ONE: ["1", "2", "3"], TWO: ["2", "3"]})
    for day, restore in (ONE, False), (TWO, False), (ONE, True):
        project.run(day=day, restore=restore)
    sync = project.sync("people_to_group")
    by_hand.reassert(sync, State(project.root / "state"), run="by hand", now=datetime.now(UTC))
    assert "was restored since" in project.run(day=TWO).observed()[-1]["nothing_sent"]
    [request] = look(project).run_requests
    assert request.partition_key == ONE
    before = len(group.log)
    assert project.run(SYNC, day=ONE, restore=True).green() == [ONE] and len(group.log) >= before + 3


def test_one_field_turns_it_off(project: Project) -> None:
    project.change("people_to_group", ("mode: mirror", "mode: mirror\n  go_on: false"))
    assert not [one for one in project.load().sensors or () if one.name == "going_on"]


def ticks(project: Project, number: int) -> list[str | None]:
    """Look so many times, each time starting what is requested under a new name, as Dagster does; return the names."""
    started: list[str | None] = []
    for _ in range(number):
        for request in look(project).run_requests or []:
            if request.run_key not in started:
                started.append(request.run_key)
                [key] = request.asset_selection
                project.run(tuple(key.path), day=request.partition_key)
    return started


@pytest.mark.parametrize("owed", [True, False])
def test_a_sync_whose_secret_is_not_set_waits_for_a_person(
    project: Project, group: Sandbox, monkeypatch: pytest.MonkeyPatch, owed: bool
) -> None:
    project.seen({ONE: ["1"]})
    if not owed:
        assert project.run(day=ONE).green() == [ONE]
    monkeypatch.delenv("PROJECT_SECRET")
    assert "FixConnection: the environment variable PROJECT_SECRET" in project.run(day=ONE).failure
    assert ticks(project, 3) == []
    assert "waits for a person: FixConnection" in look(project).skip_message


def test_a_defect_before_the_first_request_waits_for_a_person(project: Project, group: Sandbox) -> None:
    project.seen({ONE: ["1"]})
    project.run(SNAPSHOT, DIFF, day=ONE)
    account = project.root / "state" / "ledger" / "kognitiv"
    account.mkdir(parents=True, exist_ok=True)
    for file in sorted(account.rglob("*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()
    (account / "main").write_text("a file where a folder is to be")
    assert project.run(SYNC, day=ONE).failed
    assert ticks(project, 3) == []
    assert "waits for a person" in look(project).skip_message


def test_a_missing_snapshot_waits_for_a_person(project: Project, group: Sandbox) -> None:
    project.seen({ONE: ["1"]})
    assert project.run(SYNC, day=ONE).failed
    assert ticks(project, 3) == [] and "waits for a person" in look(project).skip_message


def test_a_partition_that_the_audience_lost_holds_up_no_look(project: Project) -> None:
    owes(project, ONE)
    project.change("people", ('start: "2026-01-01"', 'start: "2026-01-03"'))
    lost = look(project)
    assert (
        not lost.run_requests and f"waits for a person: {ONE} is no partition of people any more" in lost.skip_message
    )


def requested(project: Project, request: dg.RunRequest, status: dg.DagsterRunStatus) -> dg.DagsterRun:
    """Start what was requested, as Dagster's daemon does."""
    job = project.load().resolve_implicit_global_asset_job_def()
    return project.instance.create_run_for_job(job, tags=dict(request.tags), status=status)


def test_a_run_that_ends_before_its_step_is_requested_again_after_longer_and_longer(project: Project) -> None:
    owes(project, ONE)
    keys = set()
    waits = [0, 5, 10, 20]
    for minutes in waits:
        if minutes:
            early = look(project, timedelta(minutes=minutes - 1))
            assert not early.run_requests and "ended before it began to deliver" in early.skip_message
        [request] = look(project, timedelta(minutes=minutes, seconds=30)).run_requests
        assert request.partition_key == ONE
        keys.add(request.run_key)
        run = requested(project, request, dg.DagsterRunStatus.STARTED)
        assert f"is under way in run {run.run_id[:8]}" in look(project, timedelta(days=9)).skip_message
        project.instance.report_run_failed(run)
    assert len(keys) == len(waits), "Dagster starts no second run for the same key"


def test_a_run_that_a_person_stopped_before_its_step_is_not_requested_again(project: Project) -> None:
    owes(project, ONE)
    [request] = look(project).run_requests
    run = requested(project, request, dg.DagsterRunStatus.STARTED)
    project.instance.report_run_canceled(run)
    assert f"waits for a person: run {run.run_id[:8]} was stopped" in look(project, timedelta(days=9)).skip_message


def test_a_run_that_a_person_stopped_in_the_wait_before_a_retry_is_not_gone_on_with(
    project: Project, group: Sandbox
) -> None:
    project.seen({ONE: ["1", "2"]})
    group.faults.add(Fault(kind="status", status=500, path="/members/2$", times=9))
    attempts = project.attempt(day=ONE)
    assert attempts.again().retried
    run = project.instance.get_run_by_id(attempts.run_id)
    assert run is not None
    project.instance.report_run_canceled(run)  # Dagster tells the step nothing of it.
    later = look(project, timedelta(days=9))
    assert not later.run_requests and f"waits for a person: run {run.run_id[:8]} was stopped" in later.skip_message
    group.faults.clear()
    assert project.run(SYNC, day=ONE).green() == [ONE] and look(project).skip_message == "nothing is owed"


def test_what_was_put_off_goes_on_though_a_person_stopped_the_run_later(project: Project, group: Sandbox) -> None:
    """For the sake of another sync."""
    project.seen({ONE: ["1", "2"]})
    group.faults.add(Fault(kind="status", status=429, path="/members/", times=1, retry_after=3600))
    attempts = project.attempt(day=ONE)
    assert attempts.again().observed()
    run = project.instance.get_run_by_id(attempts.run_id)
    assert run is not None
    project.instance.report_run_canceled(run)
    assert [request.partition_key for request in look(project, timedelta(hours=2)).run_requests] == [ONE]


def test_a_run_that_came_as_far_as_its_sync_is_followed_by_what_the_note_says(project: Project, group: Sandbox) -> None:
    project.seen({ONE: ["1"]})
    project.run(SNAPSHOT, DIFF, day=ONE)
    owes(project, ONE)
    [request] = look(project).run_requests
    project.instance.report_run_failed(requested(project, request, dg.DagsterRunStatus.STARTED))
    group.faults.add(Fault(kind="status", status=429, path="/members/", times=1, retry_after=3600))
    assert project.run(SYNC, day=ONE).green() == []
    assert "goes on at " in look(project, timedelta(minutes=30)).skip_message
    assert look(project, timedelta(hours=2)).run_requests


def test_a_renamed_sync_goes_on_under_its_new_name(project: Project, group: Sandbox) -> None:
    owes(project, ONE)
    project.change("people_to_group", ("name: people_to_group", "name: another_name"))
    [request] = look(project).run_requests
    assert request.asset_selection == [dg.AssetKey(["syncs", "another_name"])]
