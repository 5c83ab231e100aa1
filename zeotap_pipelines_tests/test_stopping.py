"""A run that is told to stop does so within seconds, whatever it is doing: real processes, real signals."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.events import StepFailureData
from dagster._utils.error import serializable_error_info_from_exc_info

from zeotap_pipelines.assets.assets import Stopped
from zeotap_pipelines.commands.running import _sentence
from zeotap_pipelines.ledger.lock import speaking
from zeotap_pipelines.sandbox import Fault, Sandbox
from zeotap_pipelines.state import State
from zeotap_pipelines_tests.project import AUDIENCE, DAYS, SYNC, Project, asked, members, said

ROOT = Path(__file__).resolve().parents[1]
FOR_HOURS = "select hash(a, b) as person from range(1000000) as a (a), range(100000000) as b (b) where hash(a, b) = 3"
"""A query that leaves all of the work to DuckDB's own threads, where Python sees no signal."""

SNAPSHOT = f"""
import signal, sys
from pathlib import Path
from zeotap_pipelines.audience import Audience
from zeotap_pipelines.clock import SYSTEM
from zeotap_pipelines.engines.duckdb import DuckDBSource
from zeotap_pipelines.snapshot import take
from zeotap_pipelines.state import State
from zeotap_pipelines_tests.world import day

signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
audience, source = Audience("people", "{FOR_HOURS}", ("person",)), DuckDBSource(Path(sys.argv[1], "warehouse.duckdb"))
take(audience, day(0), source, State(Path(sys.argv[1], "state")), run="slow", now=SYSTEM.now())
"""


@contextmanager
def running(command: Sequence[str], folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process of this environment, killed where it does not end by itself."""
    environment = {**os.environ, "DAGSTER_HOME": str(folder / "home"), "PYTHONPATH": os.pathsep.join(["", str(folder)])}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def until(begun, process: subprocess.Popen[str], seconds: float = 60) -> None:
    ends = time.monotonic() + seconds
    while not begun():
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < ends, "waited in vain"
        threading.Event().wait(0.02)


def drafts(state: Path) -> list[Path]:
    return list(state.rglob("*.tmp"))


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            Stopped("the run was stopped; 3 of 9 operations were asked"),
            "the run was stopped; 3 of 9 operations were asked",
        ),
        (dg.DagsterExecutionInterruptedError(), "the run was stopped; what is left is owed"),
        (KeyboardInterrupt(), "the run was stopped; what is left is owed"),
    ],
)
def test_whatever_a_stopped_run_ends_with_its_command_says_in_the_same_words(
    error: BaseException, sentence: str
) -> None:
    with suppress(BaseException):
        raise error
    info = serializable_error_info_from_exc_info((type(error), error, error.__traceback__))
    assert _sentence(StepFailureData(info, None)) == sentence


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_query_of_hours_is_given_up_and_leaves_nothing_behind(project: Project, tmp_path: Path, number: int) -> None:
    state = tmp_path / "state"
    with running([sys.executable, "-c", SNAPSHOT, str(tmp_path)], tmp_path) as process:
        until(lambda: drafts(state), process)
        process.send_signal(number)
        process.wait(timeout=10)
    assert process.returncode in (143, -signal.SIGINT, 130, 1)
    assert [path for path in state.rglob("*") if path.is_file()] == []


def test_a_command_that_is_stopped_says_so_and_does_the_rest_when_it_is_said_again(
    project: Project, group: Sandbox, tmp_path: Path
) -> None:
    project.seen({DAYS[0]: ["1", "2"]})
    project.run(day=DAYS[0])
    state = State(project.root / "state")
    account = state.account(project.sync("people_to_group").address)
    command = [str(Path(sys.executable).with_name("zeotap")), "forget", "1", "--yes", "--project", str(tmp_path)]
    with speaking(account, run="other", sync="people_to_group", wait=0), running(command, tmp_path) as process:
        waits = str(account / "account.lock")
        until(lambda: waits in map(os.path.realpath, Path(f"/proc/{process.pid}/fd").iterdir()), process)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 130
        assert process.stderr and process.stderr.read() == "forget was stopped: say it again for what is left\n"
    with running(command, tmp_path) as process:
        assert process.wait(timeout=60) == 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_command_that_waits_for_its_retry_ends_within_seconds(
    project: Project, group: Sandbox, tmp_path: Path, number: int
) -> None:
    (tmp_path / "home").mkdir()
    project.seen({DAYS[0]: ["1", "2"]})
    group.faults.add(Fault(kind="status", status=500, path="/members/2$"))
    program = str(Path(sys.executable).with_name("zeotap"))
    command = [program, "sync", "people_to_group", "--project", str(tmp_path), "--partition", DAYS[0]]
    with running(command, tmp_path) as process, dg.DagsterInstance.from_config(str(tmp_path / "home")) as instance:

        def waits() -> bool:
            kind = dg.DagsterEventType.STEP_UP_FOR_RETRY
            return any(instance.all_logs(run.run_id, kind) for run in instance.get_runs())

        until(waits, process, seconds=200)
        sent = time.monotonic()
        process.send_signal(number)
        # Its wait is of a random length, half a minute on average; where it is over already the step is stopped.
        assert process.wait(timeout=100) in (130, 1)
        assert time.monotonic() - sent < 15
        assert process.stderr and "Traceback" not in process.stderr.read()
    group.faults.clear()
    assert project.run(day=DAYS[0]).green() == [DAYS[0]] and members(group) == {"1", "2"}


@pytest.mark.slow
@pytest.mark.parametrize("busy_with", ["a query", "a request"])
def test_a_run_of_dagster_that_is_cancelled_ends_within_seconds(
    project: Project, group: Sandbox, tmp_path: Path, busy_with: str
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    (project.package / "definitions.py").write_text(
        "from pathlib import Path\nimport dagster as dg\nfrom zeotap_pipelines.project import load\n"
        "@dg.definitions\ndef defs() -> dg.Definitions:\n    return load(Path(__file__).parent)\n"
    )
    project.seen({DAYS[0]: ["1", "2"]})
    project.declare("others", AUDIENCE.replace("name: people", "name: zz_others"))  # A step that depends on none.
    if busy_with == "a query":
        query = project.file("people").read_text().rpartition("query: ")[2].strip()
        project.change("people", (query, FOR_HOURS))
    group.faults.add(Fault(kind="delay", seconds=60, path="/members/2$"))
    program = str(Path(sys.executable).with_name("dagster"))
    launch = ["asset", "materialize", "-m", f"{project.module}.definitions", "--select", "*", "--partition", DAYS[0]]
    state = tmp_path / "state"
    with running([program, *launch], tmp_path) as process:
        until(lambda: drafts(state) if busy_with == "a query" else "PUT 2" in asked(group), process)
        with dg.DagsterInstance.from_config(str(tmp_path / "home")) as instance:
            [run] = instance.get_runs()
            instance.report_run_canceling(run)  # As the UI does before it sends the signal.
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)
            assert instance.get_run_by_id(run.run_id).status is dg.DagsterRunStatus.CANCELED
            assert instance.get_materialized_partitions(dg.AssetKey(list(SYNC))) == set()
            [failed] = [
                entry.dagster_event for entry in instance.all_logs(run.run_id, dg.DagsterEventType.STEP_FAILURE)
            ]
            begun = instance.all_logs(run.run_id, dg.DagsterEventType.STEP_START)
            assert begun[-1].dagster_event.step_key == failed.step_key, (
                "no other step is begun, not even this one again"
            )
            left = {"a query": "what is left is owed", "a request": "2 of 2 operations were asked, the others are owed"}
            assert f"the run was stopped; {left[busy_with]}" in said(failed.step_failure_data)
    assert drafts(state) == []
    group.faults.clear()
    if busy_with == "a request":
        assert project.run(day=DAYS[0]).green() == [DAYS[0]]
        assert members(group) == {"1", "2"}
