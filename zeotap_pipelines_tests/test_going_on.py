"""What is owed and may be asked again is requested: once for a state, and never over a person's head."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dagster as dg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zeotap_pipelines.debts import PATIENCE, Debt, load, noting
from zeotap_pipelines.errors import ApprovePlan, ContinueLater, FixConnection, TryAgainLater
from zeotap_pipelines.model import Fate
from zeotap_pipelines.sandbox import Fault, Sandbox
from zeotap_pipelines.trip import Summary
from zeotap_pipelines_tests.project import DAYS, DIFF, SNAPSHOT, SYNC, Project, members
from zeotap_pipelines_tests.specimens import EXAMPLES
from zeotap_pipelines_tests.world import Clock, World, day

ONE, TWO, THREE, *_ = DAYS
NOW = datetime(2026, 11, 22, 8, tzinfo=UTC)
EVENTS = next(specimen for specimen in EXAMPLES if specimen.target.event)


def look(project: Project) -> Any:
    """Evaluate the sensor once."""
    definitions = project.load()
    sensor = definitions.get_repository_def().get_sensor_def("going_on")
    with dg.build_sensor_context(instance=project.instance, definitions=definitions) as context:
        return sensor.evaluate_tick(context)


def note(project: Project) -> Path:
    return project.root / "state" / "owed" / "people_to_group.json"


def waited(project: Project) -> None:
    """Let the time until which the sync waits be over."""
    kept = json.loads(note(project).read_text())
    note(project).write_text(json.dumps({**kept, "until": NOW.replace(year=2020).isoformat()}))


def test_what_the_service_put_off_is_requested_when_it_listens_again_and_once(project: Project, group: Sandbox) -> None:
    project.seen({ONE: ["1", "2"]})
    group.faults.add(Fault(kind="status", status=429, path="/members/", times=1, retry_after=3600))
    assert project.run(day=ONE).green() == []
    early = look(project)
    assert not early.run_requests and "people_to_group goes on at " in early.skip_message
    waited(project)
    [request], [again] = look(project).run_requests, look(project).run_requests
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
    end = "2026-01-02T00:00:00+00:00"
    kept = {"partitions": {ONE: end}, "run": run.run_id, "why": "the run was cut off", "until": None}
    note(project).parent.mkdir(parents=True)
    note(project).write_text(json.dumps(kept))
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


def test_a_trial_and_a_dry_run_owe_nothing(project: Project, group: Sandbox) -> None:
    project.seen({ONE: ["1", "2"]})
    project.run(day=ONE, limit=1)
    project.run(SYNC, day=ONE, dry_run=True)
    assert look(project).skip_message == "nothing is owed"


def test_a_range_is_requested_as_it_was_delivered_and_with_what_a_person_allowed(project: Project) -> None:
    ends = {ONE: "2026-01-02T00:00:00+00:00", TWO: "2026-01-03T00:00:00+00:00"}
    note(project).parent.mkdir(parents=True)
    kept = {"partitions": ends, "run": "gone", "why": "", "until": None, "settings": {"restore": True}}
    note(project).write_text(json.dumps(kept))
    [request] = look(project).run_requests
    assert request.tags["dagster/asset_partition_range_start"] == ONE
    assert request.tags["dagster/asset_partition_range_end"] == TWO
    assert request.run_config == {"ops": {"syncs__people_to_group": {"config": {"restore": True}}}}


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
    note(project).parent.mkdir(parents=True)
    kept = {"partitions": {ONE: "2026-01-02T00:00:00+00:00"}, "run": "gone", "why": "", "until": None}
    note(project).write_text(json.dumps(kept))
    project.change("people", ('start: "2026-01-01"', 'start: "2026-01-03"'))
    lost = look(project)
    assert (
        not lost.run_requests and f"waits for a person: {ONE} is no partition of people any more" in lost.skip_message
    )


# The note.


class Books:
    """The note of a sync, and what it should say."""

    def __init__(self, root: Path, *, events: bool = False) -> None:
        self.world = World(root, EVENTS) if events else World(root)

    def debt(self, run: str = "run", **allowed: Any) -> Debt:
        return Debt(self.world.state, self.world.sync, run, allowed, clock=Clock(NOW))

    @property
    def owed(self) -> set[str]:
        found = load(self.world.state, self.world.sync.name)
        return set(found.partitions) if found else set()


@settings(max_examples=60, deadline=None)
@given(st.booleans(), st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2), st.booleans()), min_size=1, max_size=8))
def test_no_partition_that_owes_something_is_forgotten(events: bool, runs: list[tuple[int, int, bool]]) -> None:
    with TemporaryDirectory() as folder:
        books = Books(Path(folder), events=events)
        owed: set[int] = set()
        for first, more, ends_well in runs:
            chosen = list(range(first, first + more + 1))
            debt = books.debt()
            debt.begins([day(number) for number in chosen])
            if events:
                owed |= set(chosen)
            elif not owed or chosen[-1] >= max(owed):
                owed = set(chosen)
            if ends_well:
                debt.delivered([day(number) for number in chosen])
                owed = {number for number in owed if number not in chosen and (events or number > chosen[-1])}
            else:
                debt.failed(TryAgainLater("down"))
            assert books.owed == {day(number).key for number in owed}


def test_a_restored_partition_is_what_is_owed(tmp_path: Path) -> None:
    books = Books(tmp_path)
    books.debt().begins([day(3)])
    books.debt(restore=True).begins([day(1)])
    assert books.owed == {day(1).key}


def test_who_gets_nothing_accepted_waits_longer_each_time_and_starts_anew_when_he_does(tmp_path: Path) -> None:
    books = Books(tmp_path)
    waits = []
    for accepted in (False, False, False, True, False):
        debt = books.debt()
        debt.begins([day(0)])
        summary = Summary("plan", day(0).key)
        summary.fates[Fate.DEFERRED] = 1
        summary.fates[Fate.ACCEPTED] = int(accepted)
        debt.ended(summary)
        found = load(books.world.state, books.world.sync.name)
        assert found and found.until
        waits.append((found.until - NOW) / PATIENCE)
    assert waits == [1, 2, 4, 1, 2]


@pytest.mark.parametrize("error", [ApprovePlan("stopped"), FixConnection("refused"), ValueError("a defect")])
def test_what_only_a_person_can_mend_waits_for_one(tmp_path: Path, error: Exception) -> None:
    books = Books(tmp_path)
    debt = books.debt()
    debt.begins([day(0)])
    debt.failed(error)
    found = load(books.world.state, books.world.sync.name)
    assert found and "waits for a person" in str(found.reason_to_wait(NOW + timedelta(days=99)))


def test_what_the_service_names_is_waited_for(tmp_path: Path) -> None:
    books = Books(tmp_path)
    debt = books.debt()
    debt.begins([day(0)])
    debt.failed(ContinueLater("busy", NOW + timedelta(hours=2)))
    found = load(books.world.state, books.world.sync.name)
    assert found and found.reason_to_wait(NOW + timedelta(hours=1)) == "goes on at 2026-11-22 10:00 UTC: busy"
    assert found.reason_to_wait(NOW + timedelta(hours=2)) is None


def test_a_run_that_dies_again_and_again_is_asked_for_less_and_less_often(tmp_path: Path) -> None:
    books = Books(tmp_path)
    waits = []
    for run in "abcde":
        books.debt(run).begins([day(0)])
        found = load(books.world.state, books.world.sync.name)
        assert found
        waits.append((found.until - NOW) / PATIENCE if found.until else 0)
    assert waits == [0, 1, 2, 4, 8]
    books.debt("e").begins([day(0)])  # A retry of the same run is no death.
    found = load(books.world.state, books.world.sync.name)
    assert found and found.attempts == 4


def test_earlier_partitions_of_events_follow_each_other_without_a_wait(tmp_path: Path) -> None:
    books = Books(tmp_path, events=True)
    books.debt("a").begins([day(0), day(1), day(2)])
    for run, number in (("b", 2), ("c", 1)):
        debt = books.debt(run)
        debt.begins([day(number)])
        debt.delivered([day(number)])
        found = load(books.world.state, books.world.sync.name)
        assert found and found.reason_to_wait(NOW) is None and found.attempts == 0
    assert books.owed == {day(0).key}


@pytest.mark.parametrize("error", [RuntimeError("a defect"), FixConnection("unset"), OSError("no such folder")])
def test_whatever_ends_a_run_is_noted(tmp_path: Path, error: Exception) -> None:
    books = Books(tmp_path)
    debt = books.debt()
    with pytest.raises(type(error)), noting(debt):
        debt.begins([day(0)])
        raise error
    found = load(books.world.state, books.world.sync.name)
    assert found and "waits for a person" in str(found.reason_to_wait(NOW))


def test_another_state_has_another_name(tmp_path: Path) -> None:
    books = Books(tmp_path)
    names = set()
    for run in ("a", "b"):
        books.debt(run).begins([day(0)])
        found = load(books.world.state, books.world.sync.name)
        assert found
        names.add(found.name)
    assert len(names) == 2
