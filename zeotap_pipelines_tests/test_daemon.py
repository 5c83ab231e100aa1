"""Dagster's own daemon, in a process: it looks at a source, delivers, and tells a webhook what fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest

from zeotap_pipelines.sandbox import Sandbox
from zeotap_pipelines_tests.project import AUDIENCE, GROUP_SYNC, SNAPSHOT, SYNC, Project, members
from zeotap_pipelines_tests.test_declarations import DEFINITIONS
from zeotap_pipelines_tests.webhook import webhook

BEFORE, DAY = "2026-01-02", "2026-01-03"
NOTIFIER = "type: zeotap_pipelines.Notifier\nattributes:\n  name: team\n  webhook: PROJECT_WEBHOOK\n  every: 1\n"
INSTANCE = "telemetry:\n  enabled: false\nrun_coordinator:\n  module: dagster\n  class: QueuedRunCoordinator\n"
PATIENCE = 300.0
"""Seconds after which what is waited for is taken to be broken."""


@contextmanager
def daemon(project: Project, home: Path) -> Iterator[None]:
    """Run the daemon of the project, and end it as a restart does."""
    environment = os.environ | {
        "DAGSTER_HOME": str(home),
        "DAGSTER_DISABLE_TELEMETRY": "1",
        "PYTHONPATH": os.pathsep.join([str(project.root), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    command = [sys.executable, "-m", "dagster._daemon", "run", "-m", f"{project.module}.definitions"]
    with (home / "daemon.log").open("a") as log:
        process = subprocess.Popen(command, cwd=project.root, env=environment, stdout=log, stderr=log)
        try:
            yield
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def until(true: Callable[[], object], home: Path) -> None:
    """Wait for what is to become true; what the daemon said is shown where it doesn't."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > deadline:
            pytest.fail((home / "daemon.log").read_text()[-5000:])
        time.sleep(0.1)


@pytest.mark.slow
def test_a_change_is_delivered_and_a_failure_told_once_however_often_the_daemon_starts(
    project: Project, group: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text(INSTANCE)
    (project.package / "definitions.py").write_text(DEFINITIONS)
    project.declare("team", NOTIFIER)
    ends = 'start: "2026-01-01"\n  end: "2026-01-04"\n'
    project.change("people", ('start: "2026-01-01"\n', f"{ends}  watch: {{row_count: seen, every: 1}}\n"))
    project.change("people_to_group", ("ACTIVE-90D", "NO-SUCH-GROUP"))
    project.seen({DAY: ["1", "2"]})
    with webhook() as hook, dg.DagsterInstance.from_config(str(home)) as instance:
        monkeypatch.setenv("PROJECT_WEBHOOK", hook.url)

        with daemon(project, home):
            until(lambda: hook.taken, home)
        [failing] = hook.taken
        assert failing.startswith(f"Sync people_to_group is failing at {DAY}: ") and "(FixTarget)" in failing

        project.change("people_to_group", ("NO-SUCH-GROUP", "ACTIVE-90D"))
        project.seen({DAY: ["1", "2", "3"]})
        with daemon(project, home):
            until(lambda: len(hook.taken) > 1, home)
        assert members(group) == {"1", "2", "3"}
        assert [message.split(" at ")[0] for message in hook.taken] == [
            "Sync people_to_group is failing",
            "Sync people_to_group has recovered",
        ]
        runs = instance.get_runs()
        assert [run.tags["zeotap/started_by"] for run in runs] == ["watch", "watch"]


@pytest.mark.slow
def test_a_range_that_was_cut_off_goes_on_by_itself_and_once(project: Project, group: Sandbox, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text(INSTANCE)
    (project.package / "definitions.py").write_text(DEFINITIONS)
    whole = AUDIENCE.replace("name: people", "name: everybody").replace("daily", "none")
    project.declare("everybody", whole.replace(" where day >= $start and day < $end", ""))
    other = GROUP_SYNC.replace("people", "everybody").replace("ACTIVE-90D", "OTHER")
    project.declare("everybody_to_group", other)
    project.seen({BEFORE: ["1"], DAY: ["1", "2"]})
    project.run(SNAPSHOT, days=(BEFORE, DAY))
    owed = {BEFORE: f"{DAY}T00:00:00+00:00", DAY: "2026-01-04T00:00:00+00:00"}
    by_name = tmp_path / "state" / "owed" / "people_to_group.json"
    by_name.parent.mkdir(parents=True)
    by_name.write_text(json.dumps({"partitions": owed, "run": "gone", "why": "the run was cut off", "until": None}))
    with dg.DagsterInstance.from_config(str(home)) as instance, daemon(project, home):
        until(lambda: not list((tmp_path / "state" / "owed").rglob("*.json")), home)
        until(lambda: all(run.is_finished for run in instance.get_runs()), home)
        assert members(group) == {"1", "2"}
        [run] = instance.get_runs()
        assert run.tags["zeotap/started_by"] == "going_on"
        assert set(instance.get_materialized_partitions(dg.AssetKey(list(SYNC)))) == {BEFORE, DAY}
