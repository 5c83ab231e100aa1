"""Of events no partition is skipped: what nobody asked for while Dagster was down is asked for at the next tick."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from zeotap_pipelines.sandbox import Sandbox
from zeotap_pipelines_tests import test_commands
from zeotap_pipelines_tests.project import DAYS, SNAPSHOT, Project, asked, members
from zeotap_pipelines_tests.test_schedules import AT_SIX, DAILY
from zeotap_pipelines_tests.test_watching import tick as look

ONE, TWO, THREE, FOUR, FIVE, *_ = DAYS
credits = test_commands.credits
CREDIT_CHAIN = test_commands.CREDIT_CHAIN
PEOPLE = test_commands.CANARY, "2"


@pytest.fixture
def daily(credits: Project, tmp_path: Path) -> Project:
    """Every visit of a day is an event; the chain runs at six, and delivers a group too; a real event log."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    credits.instance = dg.DagsterInstance.from_config(str(home))
    credits.change("people", (DAILY, AT_SIX), ("select distinct person", "select distinct person, day"))
    credits.change("people_to_credits", ("visit of {person}", "visit of {person} on {day}"))
    credits.seen({ONE: PEOPLE, TWO: PEOPLE, THREE: PEOPLE[:1], FOUR: PEOPLE[1:]})
    return credits


def six(day: str) -> str:
    """The time of the tick at which *day* is the newest that is over."""
    return f"{datetime.fromisoformat(day) + timedelta(days=1):%Y-%m-%d}T06:00:00+00:00"


def tick(project: Project, at: str) -> list[dg.RunRequest]:
    """Return the runs that the schedule asks for at an instant."""
    repository = project.load().get_repository_def()
    context = dg.build_schedule_context(
        instance=project.instance, scheduled_execution_time=datetime.fromisoformat(at), repository_def=repository
    )
    return list(repository.get_schedule_def("people_schedule").evaluate_tick(context).run_requests or [])


def days(requests: list[dg.RunRequest]) -> list[str | None]:
    return [request.partition_key for request in requests]


def launch(project: Project, request: dg.RunRequest) -> bool:
    """Do what Dagster does with a request."""
    job = project.load().resolve_job_def("people_chain")
    selection = list(request.asset_selection) if request.asset_selection else None
    done = job.execute_in_process(
        instance=project.instance,
        partition_key=request.partition_key,
        tags=dict(request.tags),
        asset_selection=selection,
        raise_on_error=False,
    )
    return bool(done.success)


def note_run(project: Project, request: dg.RunRequest, **tags: str) -> None:
    """Let Dagster know of a run that was requested, and that has ended."""
    create_run_for_test(
        project.instance,
        job_name="people_chain",
        tags={**request.tags, **tags},
        status=dg.DagsterRunStatus.SUCCESS,
    )


def test_the_credits_of_the_days_on_which_dagster_was_down_are_given_once_and_a_state_target_is_told_the_newest_only(
    daily: Project, group: Sandbox
) -> None:
    daily.change("people_to_group", ("max_removed_percent: 60", "max_removed_percent: 100"))
    for request in tick(daily, six(ONE)):
        assert launch(daily, request)
    requests = tick(daily, six(FOUR))
    assert days(requests) == [TWO, THREE, FOUR], "the oldest first"
    assert len({request.run_key for request in requests}) == 3
    assert all(launch(daily, request) for request in requests)
    assert len(group.crowdtwist.credits()) == 6
    green = daily.instance.get_materialized_partitions(dg.AssetKey(list(CREDIT_CHAIN[-1])))
    assert green == {ONE, TWO, THREE, FOUR}
    assert members(group) == set(PEOPLE[1:])
    assert asked(group) == sorted([*(f"PUT {person}" for person in PEOPLE), f"DELETE {PEOPLE[0]}"])
    assert days(tick(daily, six(FOUR))) == [FOUR]


def test_a_tick_that_was_cut_off_asks_for_the_rest_by_the_same_keys(daily: Project) -> None:
    for request in tick(daily, six(ONE)):
        note_run(daily, request)
    whole = tick(daily, six(THREE))
    assert days(whole) == [TWO, THREE]
    for number, request in enumerate(whole, 1):
        note_run(daily, request)
        rest = tick(daily, six(THREE))
        assert [one.run_key for one in rest] == [one.run_key for one in whole[number:] or whole[-1:]]


def test_without_events_the_newest_day_alone_is_asked_for(daily: Project) -> None:
    daily.change("people_to_credits", ("stream: visits", "stream: visits\n  automatic: false"))
    for request in tick(daily, six(ONE)):
        note_run(daily, request)
    assert days(tick(daily, six(FOUR))) == [FOUR]


def test_a_chain_that_never_ran_by_itself_begins_with_the_newest_day(daily: Project) -> None:
    assert days(tick(daily, six(FOUR))) == [FOUR]
    daily.instance.report_runless_asset_event(dg.AssetMaterialization(CREDIT_CHAIN[-1], partition=ONE))
    assert days(tick(daily, six(FOUR))) == [FOUR], "what a person tries out is no beginning"


def test_what_a_person_delivered_meanwhile_is_not_asked_for_and_what_is_missing_before_it_is(daily: Project) -> None:
    for request in tick(daily, six(ONE)):
        note_run(daily, request)
    daily.instance.report_runless_asset_event(dg.AssetMaterialization(CREDIT_CHAIN[-1], partition=THREE))
    daily.instance.report_runless_asset_event(dg.AssetMaterialization(SNAPSHOT, partition=TWO))
    assert days(tick(daily, six(FOUR))) == [TWO, FOUR]


def test_what_was_asked_for_is_not_asked_for_again_however_it_ended(daily: Project) -> None:
    daily.change("people", ("select distinct", "select distinct nothing,"))
    [request] = tick(daily, six(ONE))
    assert not launch(daily, request)
    assert days(tick(daily, six(TWO))) == [TWO]
    assert days(tick(daily, six(THREE))) == [TWO, THREE]


def test_an_older_day_that_is_run_again_is_no_new_beginning(daily: Project) -> None:
    (first,), (second,) = tick(daily, six(ONE)), tick(daily, six(FOUR))
    for request in (first, second, first):
        note_run(daily, request)
    assert days(tick(daily, six(FIVE))) == [FIVE]


def test_nothing_before_the_start_of_the_audience_is_made_up_for(daily: Project) -> None:
    for request in tick(daily, six(ONE)):
        note_run(daily, request)
    daily.change("people", ('start: "2026-01-01"', f'start: "{THREE}"'))
    assert days(tick(daily, six(FOUR))) == [THREE, FOUR]


def test_an_audience_that_is_cut_otherwise_begins_anew(daily: Project) -> None:
    for request in tick(daily, six(ONE)):
        note_run(daily, request)
    daily.change("people", ("partitions: daily", "partitions: hourly"), (f'"{ONE}"', f'"{ONE}-00:00"'))
    assert days(tick(daily, six(FOUR))) == [f"{FIVE}-05:00"]


def test_days_that_an_audience_can_not_know_any_more_are_said_and_not_tried(daily: Project) -> None:
    now = datetime.now(UTC)
    before = (now - timedelta(days=3)).date().isoformat()
    daily.change("people", (DAILY, f"{DAILY}  history: current\n"))
    [request] = tick(daily, now.isoformat())
    note_run(daily, request, **{"dagster/partition": before})
    [request] = tick(daily, now.isoformat())
    gone = [str((now - timedelta(days=number)).date()) for number in (2, 1)]
    assert request.tags["zeotap/skipped"] == f"2 partitions, {gone[0]} to {gone[1]}"
    assert request.partition_key == now.date().isoformat()


def test_a_watch_makes_up_for_what_was_skipped_too(daily: Project) -> None:
    for request in tick(daily, six(ONE)):
        note_run(daily, request)
    daily.change("people", (AT_SIX, f'{DAILY}  watch: {{row_count: seen}}\n  end: "{FOUR}"\n'))
    requests = look(daily, None).run_requests
    assert days(requests) == [TWO, THREE]


@pytest.mark.parametrize(
    ("start", "newest", "hours"),
    [("2026-10-25-00:00", "2026-10-25-05:00", 5), ("2026-03-29-00:00", "2026-03-29-05:00", 3)],
)
def test_the_hours_of_a_night_on_which_the_clock_is_put_are_each_asked_for_once(
    daily: Project, start: str, newest: str, hours: int
) -> None:
    daily.change("people", ("partitions: daily", "partitions: hourly\n  timezone: Europe/Vienna"))
    daily.change("people", (f'start: "{ONE}"', f'start: "{start}"'))
    [first] = tick(daily, f"{start[:10]}T01:00:00{'+02:00' if '-10-' in start else '+01:00'}")
    assert first.partition_key == start
    note_run(daily, first)
    requests = tick(daily, f"{start[:10]}T06:00:00{'+01:00' if '-10-' in start else '+02:00'}")
    assert days(requests)[-1] == newest
    assert len(set(days(requests))) == len(requests) == hours + 1
