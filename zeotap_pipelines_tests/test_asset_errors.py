"""What is wrong ends a run in one clear sentence, and only what may help is tried again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest

from zeotap_pipelines.assets.assets import RUN_RETRIES
from zeotap_pipelines.ledger.lock import speaking
from zeotap_pipelines.sandbox import CLIENT_ID, Client, Fault, KognitivSettings, Sandbox, running
from zeotap_pipelines_tests.project import DAYS, SNAPSHOT, SYNC, Project, asked, environment, members

ONE, TWO, *_ = DAYS
CANARY = "canary-7f3e91"


def folder(project: Project) -> Path:
    return project.root / "state"


def account(project: Project) -> Path:
    return folder(project) / "ledger" / "kognitiv" / "main"


def test_wrong_credentials_fail_at_once_and_are_not_tried_again(
    project: Project, group: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.seen({ONE: ["1"]})
    monkeypatch.setenv("PROJECT_SECRET", "wrong")
    run = project.attempt(day=ONE).again()
    assert run.retried == [] and run.failed == ["syncs__people_to_group"]
    assert run.failure.startswith("FixConnection: the credentials are refused")
    assert asked(group) == []


@pytest.mark.parametrize("trouble", ["credentials", "target", "query", "guard"])
def test_what_a_person_must_mend_is_not_begun_again_by_the_instance_s_run_retries_either(
    project: Project, group: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, trouble: str
) -> None:
    settings = {"run_retries": {"enabled": True, "max_retries": 3}}
    with dg.DagsterInstance.ephemeral(str(tmp_path), settings=settings) as instance:
        project.seen({ONE: ["1", "2"], TWO: ["3"]})
        match trouble:
            case "credentials":
                monkeypatch.setenv("PROJECT_SECRET", "wrong")
            case "target":
                project.change("people_to_group", ("ACTIVE-90D", "NOBODY"))
            case "query":
                project.change("people", ("from seen", "from nowhere"))
            case "guard":
                assert project.run(day=ONE, instance=instance).succeeded
        assert project.run(day=TWO, instance=instance).failed
        [failed] = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]))
        assert failed.tags["dagster/will_retry"] == "false"


def test_what_may_help_is_left_to_the_instance_s_run_retries(project: Project, group: Sandbox) -> None:
    project.seen({ONE: ["1", "2"]})
    group.faults.add(Fault(kind="status", status=500, method="PUT", path="/members/2$", times=1))
    attempts = project.attempt(day=ONE)
    assert attempts.again().retried
    run = project.instance.get_run_by_id(attempts.run_id)
    assert run is not None and RUN_RETRIES not in run.tags


def test_an_unset_secret_fails_only_the_run_that_needs_it(
    project: Project, group: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.seen({ONE: ["1"]})
    monkeypatch.delenv("PROJECT_SECRET")
    assert project.run(SNAPSHOT, day=ONE).succeeded
    run = project.run(day=ONE)
    assert run.failed == ["syncs__people_to_group"]
    assert run.failure == (
        "FixConnection: the environment variable PROJECT_SECRET, which holds client_secret of account main at "
        "kognitiv, is not set"
    )


def test_a_group_that_does_not_exist_is_named_before_anything_is_sent(project: Project, group: Sandbox) -> None:
    project.seen({ONE: ["1"]})
    project.change("people_to_group", ("ACTIVE-90D", "NOBODY"))
    run = project.attempt(day=ONE).again()
    assert run.retried == [] and "FixTarget: " in run.failure and "'NOBODY'" in run.failure
    assert asked(group) == []


def test_a_service_that_is_down_is_tried_again(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.seen({ONE: ["1"]})
    with Sandbox() as other, running(other) as address:
        pass
    monkeypatch.setenv("PROJECT_KOGNITIV", f"{address}/kognitiv")
    run = project.attempt(day=ONE).again()
    assert run.failed == [] and run.green() == []
    assert len(run.retried) == 1, run.retried


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("select person from nowhere", "nowhere"),
        ("delete from seen", "the query must be one SELECT statement"),
        ("select 1; select 2", "the query must be one SELECT statement"),
        ("select person from seen where day = $day", "the query uses $day; it may use $partition, $start"),
        ("select 'a' as somebody", "the query returns no column 'person', which is its key; it has somebody"),
        ("select person from seen where (", "syntax error"),
    ],
)
def test_a_query_that_can_not_be_used_is_told_by_audience_and_partition(
    project: Project, query: str, says: str
) -> None:
    query_now = "select distinct person from seen where day >= $start and day < $end"
    project.change("people", (query_now, query))
    run = project.attempt(day=ONE).again()
    assert run.failed == ["snapshots__people"] and run.retried == []
    assert run.failure.startswith(f"FixQuery: audience people, partition {ONE}: ")
    assert says in run.failure
    assert not list(folder(project).rglob("*.parquet"))


def test_a_mapped_column_that_the_query_lacks_is_named_before_anything_is_sent(
    project: Project, group: Sandbox
) -> None:
    project.seen({ONE: ["1"]})
    project.change("people_to_group", ("member_internal_id: person", "member_internal_id: member"))
    run = project.run(day=ONE)
    assert run.failed == ["diffs__people_to_group"]
    assert "the mapping names column 'member'; the audience has person" in run.failure
    assert run.failure.startswith(f"FixDeclaration: {project.module}/defs/people_to_group/defs.yaml:1: ")
    assert group.log == []


def test_a_missing_warehouse_is_named(project: Project) -> None:
    project.warehouse.unlink()
    run = project.run(day=ONE)
    assert run.failure == (
        f"FixQuery: audience people, partition {ONE}: the warehouse {project.warehouse} does not exist"
    )


def test_a_damaged_warehouse_is_named(project: Project) -> None:
    project.warehouse.write_bytes(b"no database" * 1000)
    run = project.run(day=ONE)
    assert str(project.warehouse) in run.failure and "\n" not in run.failure


def test_a_warehouse_that_somebody_writes_to_is_tried_again(project: Project) -> None:
    project.seen({ONE: ["1"]})
    project.change("warehouse", ("warehouse.duckdb\n", "warehouse.duckdb\n  wait_for_writer: 0.1\n"))
    attempts = project.attempt(SNAPSHOT, day=ONE)
    with writing(project.warehouse):
        [said] = attempts.again().retried
    assert f"another process writes to {project.warehouse}" in said
    assert attempts.again().green(SNAPSHOT) == [ONE]


def test_rows_without_a_key_hold_back_the_removals(project: Project, group: Sandbox) -> None:
    project.seen({ONE: ["1", "2", "3"], TWO: ["1", "2", "4", None]})
    project.change("people_to_group", ("max_removed_percent: 60", "max_set_aside_percent: 50"))
    project.run(day=ONE)
    run = project.attempt(day=TWO).again()
    assert run.checks()["null_keys"].passed is False
    assert run.green() == [] and run.retried == [] and "ApprovePlan: " in run.failure
    assert run.observed()[0]["withheld"] == 1
    assert members(group) == {"1", "2", "3", "4"}


def test_a_lost_state_is_refused_until_somebody_says_adopt(project: Project, group: Sandbox) -> None:
    project.seen({ONE: ["1", "2"], TWO: ["2", "3"]})
    project.run(day=ONE)
    folder(project).rename(project.root / "elsewhere")
    run = project.attempt(day=TWO).again()
    assert run.retried == [] and run.failed == ["syncs__people_to_group"]
    assert run.failure.startswith("AdoptTarget: Dagster remembers deliveries to kognitiv/main/")
    assert str(folder(project)) in run.failure
    assert members(group) == {"1", "2"}
    assert project.run(day=TWO, adopt=True).green() == [TWO]
    assert members(group) == {"1", "2", "3"}
    assert project.run(SYNC, day=TWO).green() == [TWO]


def test_a_lost_state_is_noticed_after_a_delivery_that_was_cut_short(project: Project, group: Sandbox) -> None:
    project.seen({ONE: ["1", "2"]})
    project.run(day=ONE, limit=1)
    shutil.rmtree(folder(project))
    assert "AdoptTarget: " in project.run(day=ONE).failure


def test_a_lost_state_is_noticed_under_the_sync_s_new_name(project: Project, group: Sandbox) -> None:
    project.seen({ONE: ["1", "2"]})
    project.run(day=ONE)
    shutil.rmtree(folder(project))
    project.change("people_to_group", ("people_to_group", "renamed"))
    assert "AdoptTarget: " in project.run(SNAPSHOT, ("diffs", "renamed"), ("syncs", "renamed"), day=ONE).failure


def test_a_sync_waits_for_the_account_and_then_delivers(project: Project, group: Sandbox) -> None:
    project.seen({ONE: ["1"]})
    attempts = project.attempt(day=ONE)
    held, begun = threading.Event(), threading.Event()
    asked_before: list[str] = []

    def speak() -> None:
        with speaking(account(project), run="another", sync="somebody"):
            held.set()
            begun.wait()
            asked_before.extend(asked(group))

    def listen(entry: dg.EventLogEntry) -> None:
        if entry.step_key == "syncs__people_to_group":
            begun.set()

    project.instance.add_event_listener(attempts.run_id, listen)
    speaker = threading.Thread(target=speak)
    speaker.start()
    held.wait()
    try:
        run = attempts.again()
    finally:
        begun.set()
        speaker.join()
    assert run.green() == [ONE] and asked_before == [] and members(group) == {"1"}


def test_a_sync_that_waited_long_enough_names_who_speaks_and_is_tried_again(project: Project, group: Sandbox) -> None:
    project.seen({ONE: ["1"]})
    project.change("people_to_group", ("  mode:", "  wait_for_account: 0\n  mode:"))
    attempts = project.attempt(day=ONE)
    with speaking(account(project), run="another", sync="somebody"):
        [said] = attempts.again().retried
    assert "WaitForAccount: sync somebody (run another, process" in said
    assert attempts.again().green() == [ONE]
    assert asked(group) == ["PUT 1"]


def test_a_damaged_ledger_is_named_and_nothing_is_sent(project: Project, group: Sandbox) -> None:
    project.seen({ONE: ["1"], TWO: ["2"]})
    project.run(day=ONE)
    [ledger] = folder(project).rglob("ledger.duckdb")
    ledger.write_bytes(b"no database" * 1000)
    before = asked(group)
    run = project.run(day=TWO)
    assert "RepairState: " in run.failure and str(ledger) in run.failure
    assert asked(group) == before


def test_no_secret_is_ever_written_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(client_id=CLIENT_ID, client_secret=CANARY)
    with Sandbox(kognitiv=KognitivSettings(client=client)) as group, running(group) as address:
        for name, value in environment(address, tmp_path / "state").items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("PROJECT_SECRET", CANARY)
        project = Project(tmp_path)
        project.seen({ONE: ["1", "2"], TWO: ["1", "2", "3"]})
        echo = f'{{"message": "the token of {CANARY} is not for member 1"}}'
        group.faults.add(Fault(kind="status", status=422, path="/members/1$", body=echo))
        run = project.run(day=ONE)
        assert run.green() == [ONE] and members(group) == {"2"}
        group.faults.add(Fault(kind="status", status=400, path="/connect/token", body=echo))
        assert not project.run(day=TWO).green()
        assert CANARY in os.environ["PROJECT_SECRET"]
        resources = project.load().resources or {}
    records = [record for run in project.instance.get_runs() for record in project.instance.all_logs(run.run_id)]
    runs = [(run.run_config, run.tags) for run in project.instance.get_runs()]
    for text in (repr(records), repr(runs), repr(resources), repr(dict(resources["kognitiv"]))):
        assert len(text) > 50 and CANARY not in text
    for file in folder(project).rglob("*"):
        assert not file.is_file() or CANARY.encode() not in file.read_bytes(), file


@contextmanager
def writing(warehouse: Path) -> Iterator[None]:
    """Hold the warehouse open for writing, in another process."""
    code = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(warehouse)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None and writer.stdin is not None
        assert writer.stdout.readline() == b"held\n"
        yield
        writer.stdin.close()
