"""A schedule runs the chain of its audience for the newest partition, by the clock of the audience's zone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest

from zeotap_pipelines.sandbox import Sandbox
from zeotap_pipelines_tests.project import CHAIN, DAYS, DIFF, GROUP_SYNC, SNAPSHOT, SYNC, Project, members

ONE, TWO, *_ = DAYS
AT_SIX = 'partitions: daily\n  schedule:\n    cron: "0 6 * * *"\n'
DAILY = "partitions: daily\n"


def tick(project: Project, at: str) -> dg.RunRequest | str:
    """Return the run that the schedule asks for at an instant, or why there is none."""
    repository = project.load().get_repository_def()
    context = dg.build_schedule_context(
        instance=project.instance, scheduled_execution_time=datetime.fromisoformat(at), repository_def=repository
    )
    ticked = repository.get_schedule_def("people_schedule").evaluate_tick(context)
    if not ticked.run_requests:
        return str(ticked.skip_message)
    [request] = ticked.run_requests
    return request


def asked(project: Project, at: str) -> str | None:
    """Return the partition that the schedule asks for at an instant."""
    request = tick(project, at)
    assert isinstance(request, dg.RunRequest), request
    return request.partition_key


def chain(project: Project) -> set[tuple[str, ...]]:
    """Return the assets that the job runs."""
    job = project.load().resolve_job_def("people_chain")
    return {tuple(key.path) for key in job.asset_layer.executable_asset_keys}


def test_a_scheduled_run_delivers_the_newest_day_that_is_over(project: Project, group: Sandbox) -> None:
    project.change("people", (DAILY, AT_SIX))
    project.seen({ONE: ["1", "2"], TWO: ["2", "3"]})
    request = tick(project, "2026-01-03T06:00:00+00:00")
    assert isinstance(request, dg.RunRequest) and request.partition_key == TWO
    assert request.tags["zeotap/started_by"] == "schedule"
    run = (
        project.load()
        .resolve_job_def("people_chain")
        .execute_in_process(instance=project.instance, partition_key=request.partition_key, tags=request.tags)
    )
    assert run.success and members(group) == {"2", "3"}


@pytest.mark.parametrize(
    ("cadence", "start", "at", "newest"),
    [
        ("hourly", "2026-01-01-00:00", "2026-01-01T06:30+00:00", "2026-01-01-05:00"),
        ("hourly", "2026-01-01-00:00", "2026-01-01T06:00+00:00", "2026-01-01-05:00"),
        ("daily", "2026-01-01", "2026-01-03T00:00+00:00", "2026-01-02"),
        ("daily", "2026-01-01", "2026-01-02T23:59+00:00", "2026-01-01"),
        ("weekly", "2026-01-04", "2026-01-20T06:00+00:00", "2026-01-11"),
        ("monthly", "2026-01-01", "2026-03-01T06:00+00:00", "2026-02-01"),
    ],
)
def test_of_every_cadence_the_newest_window_that_is_over_is_asked_for(
    project: Project, cadence: str, start: str, at: str, newest: str
) -> None:
    project.change("people", (DAILY, AT_SIX.replace("daily", cadence)), ('start: "2026-01-01"', f'start: "{start}"'))
    assert asked(project, at) == newest


def test_days_and_times_are_those_of_the_audience_s_zone(project: Project) -> None:
    project.change("people", (DAILY, f"{AT_SIX}  timezone: America/New_York\n"))
    schedule = project.load().get_repository_def().get_schedule_def("people_schedule")
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("0 6 * * *", "America/New_York")
    # At four in the morning in UTC the third of January has not begun in New York.
    assert asked(project, "2026-01-03T04:00:00+00:00") == "2026-01-01"
    assert asked(project, "2026-01-03T06:00:00-05:00") == "2026-01-02"


def test_an_audience_that_knows_only_today_is_asked_for_the_window_under_way(project: Project) -> None:
    project.change("people", (DAILY, f"{AT_SIX}  history: current\n"))
    now = datetime.now(UTC)
    # Between the two readings of the clock midnight may pass, and then the first day is over.
    request = tick(project, now.isoformat())
    today = request.partition_key if isinstance(request, dg.RunRequest) else request.split()[1]
    assert today == now.date().isoformat()
    assert tick(project, "2026-01-03T06:00:00+00:00") == (
        "partition 2026-01-03 is over, and the audience's query knows only today"
    )


def test_an_audience_without_partitions_is_asked_for_without_one(project: Project, group: Sandbox) -> None:
    project.change(
        "people",
        (DAILY, AT_SIX.replace("daily", "none")),
        ("where day >= $start and day < $end", ""),
    )
    project.seen({ONE: ["1", "2"]})
    assert asked(project, "2026-01-03T06:00:00+00:00") is None
    assert project.load().resolve_job_def("people_chain").execute_in_process(instance=project.instance).success
    assert members(group) == {"1", "2"}


def test_before_the_first_partition_is_over_nothing_runs(project: Project) -> None:
    project.change("people", (DAILY, AT_SIX))
    assert "2026-01-01, is not over" in str(tick(project, "2026-01-01T06:00:00+00:00"))
    assert "2026-01-01, is not over" in str(tick(project, "2025-06-01T06:00:00+00:00"))


def test_the_last_partition_of_an_audience_that_ended_stays_the_newest(project: Project) -> None:
    project.change("people", (DAILY, f'{AT_SIX}  end: "2026-01-03"\n'))
    assert asked(project, "2026-08-01T06:00:00+00:00") == TWO


def test_the_chain_holds_the_syncs_of_its_audience_that_go_on_their_own(project: Project) -> None:
    project.change("people", (DAILY, AT_SIX))
    other = GROUP_SYNC.replace("name: people_to_group", "name: by_hand").replace("ACTIVE-90D", "OTHER")
    project.declare("by_hand", f"{other}  automatic: false\n")
    assert chain(project) == set(CHAIN)
    project.change("people_to_group", ("mode: mirror", "mode: mirror\n  automatic: false"))
    assert chain(project) == {SNAPSHOT}
    project.declare("by_hand", other)
    assert chain(project) == {SNAPSHOT, ("diffs", "by_hand"), ("syncs", "by_hand")}


@pytest.mark.parametrize(("enabled", "status"), [("true", "RUNNING"), ("false", "STOPPED")])
def test_one_field_says_whether_it_runs_from_the_start(project: Project, enabled: str, status: str) -> None:
    project.change("people", (DAILY, f"{AT_SIX}    enabled: {enabled}\n"))
    assert project.load().get_repository_def().get_schedule_def("people_schedule").default_status.value == status


def test_what_declares_nothing_of_the_kind_runs_by_hand_only(project: Project) -> None:
    repository = project.load().get_repository_def()
    # What was begun is gone on with all the same, unless a sync says otherwise.
    assert not repository.schedule_defs and {sensor.name for sensor in repository.sensor_defs} <= {"going_on"}
    assert "people_chain" not in repository.job_names
    conditions: list[Any] = [spec.automation_condition for spec in project.load().resolve_all_asset_specs()]
    policies: list[Any] = [spec.freshness_policy for spec in project.load().resolve_all_asset_specs()]
    assert set(conditions) == set(policies) == {None}


def policies(project: Project) -> dict[tuple[str, ...], tuple[float, float] | None]:
    """Return after how many hours each asset fails and warns."""
    found: dict[tuple[str, ...], tuple[float, float] | None] = {}
    for spec in project.load().resolve_all_asset_specs():
        policy: Any = spec.freshness_policy
        windows = [policy.fail_window, policy.warn_window] if policy else []
        hours = [window.to_timedelta().total_seconds() / 3600 for window in windows]
        found[tuple(spec.key.path)] = (hours[0], hours[1]) if hours else None
    return found


@pytest.mark.parametrize(
    ("cadence", "settings", "hours"),
    [
        ("daily", "{}", (48, 36)),
        ("weekly", "{}", (336, 252)),
        ("daily", "{fail_after_hours: 30}", (30, 22.5)),
        ("none", "{fail_after_hours: 30, warn_after_hours: 26}", (30, 26)),
        ("daily", "{enabled: false}", None),
    ],
)
def test_freshness_is_of_the_snapshot_and_of_the_delivery(
    project: Project, cadence: str, settings: str, hours: tuple[float, float] | None
) -> None:
    project.change("people", (DAILY, f"partitions: {cadence}\n  freshness: {settings}\n"))
    assert policies(project) == {SNAPSHOT: hours, DIFF: None, SYNC: hours}


def test_what_is_delivered_by_hand_only_has_no_freshness(project: Project) -> None:
    project.change("people", (DAILY, f"{DAILY}  freshness: {{}}\n"))
    project.change("people_to_group", ("mode: mirror", "mode: mirror\n  automatic: false"))
    assert policies(project) == {SNAPSHOT: (48, 36), DIFF: None, SYNC: None}
