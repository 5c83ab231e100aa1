"""A project as Dagster serves it: a webserver, a daemon and a process per run, spoken to through GraphQL."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pytest
from dagster_graphql import DagsterGraphQLClient

from zeotap_pipelines_tests.project import Project
from zeotap_pipelines_tests.test_declarations import DEFINITIONS

INSTANCE = """\
telemetry:
  enabled: false
concurrency:
  pools:
    default_limit: 1
    granularity: op
run_coordinator:
  module: dagster
  class: QueuedRunCoordinator
  config:
    dequeue_interval_seconds: 1
"""
PATIENCE = 300.0
"""Seconds after which what is waited for is taken to be broken."""
OVER = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
ASSETS = "__ASSET_JOB"

ENTRIES = """metadataEntries {
    label
    ... on IntMetadataEntry { value: intValue }
    ... on FloatMetadataEntry { float: floatValue }
    ... on TextMetadataEntry { text }
    ... on MarkdownMetadataEntry { text: mdStr }
    ... on PathMetadataEntry { text: path }
}"""
Asset = tuple[str, ...]


@dataclass(frozen=True)
class Served:
    """A served project; what is asked goes through the webserver, as the UI's questions do."""

    port: int
    location: str
    log: Path

    @property
    def client(self) -> DagsterGraphQLClient:
        """Dagster's own client."""
        return DagsterGraphQLClient("127.0.0.1", port_number=self.port)

    @property
    def repository(self) -> dict[str, str]:
        """What names the project's definitions in GraphQL."""
        return {"repositoryName": "__repository__", "repositoryLocationName": self.location}

    def answers(self) -> bool:
        """Whether the webserver is there."""
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/server_info", timeout=10).is_success
        except httpx.TransportError:
            return False

    def ask(self, query: str, **variables: Any) -> Any:
        """Return the one answer to a question that Dagster's client has no method for."""
        body = {"query": query, "variables": variables}
        answer = httpx.post(f"http://127.0.0.1:{self.port}/graphql", json=body, timeout=PATIENCE).json()
        assert "errors" not in answer, answer["errors"]
        [found] = answer["data"].values()
        return found

    def until(self, true: Callable[[], Any]) -> Any:
        """Wait for what is to become true and return it; what Dagster said is shown where it doesn't."""
        deadline = time.monotonic() + PATIENCE
        while not (found := true()):
            if time.monotonic() > deadline:
                pytest.fail(self.log.read_text()[-5000:])
            time.sleep(0.2)
        return found

    def launch(self, job: str, *assets: Asset, day: str | None = None, config: Mapping[str, Any] | None = None) -> str:
        """Run a job, or *assets* for a day, until it is over, and return the run's id."""
        run = self.begin(job, *assets, day=day, config=config)
        self.until(lambda: self.client.get_run_status(run) in OVER)
        return run

    def begin(self, job: str, *assets: Asset, day: str | None = None, config: Mapping[str, Any] | None = None) -> str:
        """Launch a run and return its id at once."""
        return self.client.submit_job_execution(
            job,
            repository_location_name=self.location,
            repository_name="__repository__",
            run_config=config or {},
            tags={"dagster/partition": day} if day else None,
            asset_selection=[list(asset) for asset in assets] or None,
        )

    def succeeded(self, run: str) -> bool:
        return self.client.get_run_status(run) is dg.DagsterRunStatus.SUCCESS

    def steps(self, run: str) -> dict[str, str]:
        """Return how each step of a run that began ended."""
        query = """query($run: ID!) { runOrError(runId: $run) { ... on Run { stepStats { stepKey status } } } }"""
        return {step["stepKey"]: step["status"] for step in self.ask(query, run=run)["stepStats"]}

    def metadata(self, asset: Asset, day: str) -> dict[str, Any] | None:
        """Return what was recorded with the newest materialization of a day; None where there is none."""
        return self._newest("assetMaterializations", asset, day)

    def observed(self, asset: Asset, day: str) -> dict[str, Any] | None:
        """Return what was observed last of a day; None where nothing was."""
        return self._newest("assetObservations", asset, day)

    def _newest(self, kind: str, asset: Asset, day: str) -> dict[str, Any] | None:
        query = f"""query($key: AssetKeyInput!, $day: String!) {{ assetOrError(assetKey: $key) {{ ... on Asset {{
            {kind}(partitions: [$day], limit: 1) {{ {ENTRIES} }} }} }} }}"""
        found = self.ask(query, key={"path": asset}, day=day).get(kind)
        return entries(found[0]) if found else None

    def check(self, asset: Asset, name: str, day: str) -> dict[str, Any]:
        """Return the newest evaluation of a check for a day."""
        query = (
            """query($key: AssetKeyInput!, $name: String!, $day: String!) {
                assetCheckExecutions(assetKey: $key, checkName: $name, partition: $day, limit: 9) { status evaluation {
                    success severity description """
            + ENTRIES
            + "} } }"
        )
        found = self.ask(query, key={"path": asset}, name=name, day=day)
        # The newest may be planned only: by a run that has begun since.
        evaluation = next(one["evaluation"] for one in found if one["evaluation"])
        return {**evaluation, "metadata": entries(evaluation)}


def entries(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event's metadata by name."""
    said = {}
    for entry in event["metadataEntries"]:
        said[entry["label"]] = next((entry[kind] for kind in ("value", "float", "text") if kind in entry), None)
    return said


@contextmanager
def serving(project: Project, home: Path, environment: Mapping[str, str]) -> Iterator[Served]:
    """Serve *project* with an instance in the folder *home*."""
    home.mkdir()
    (home / "dagster.yaml").write_text(INSTANCE)
    (project.package / "definitions.py").write_text(DEFINITIONS)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    apart = {"DAGSTER_HOME": str(home), "DAGSTER_DISABLE_TELEMETRY": "1", "PYTHONPATH": str(project.root)}
    module = f"{project.module}.definitions"
    command = [sys.executable, "-m", "dagster", "dev", "-m", module, "-h", "127.0.0.1", "-p", str(port)]
    served = Served(port, module, home / "log")
    with served.log.open("w") as log:
        process = subprocess.Popen(
            command, cwd=project.root, env={**os.environ, **environment, **apart}, stdout=log, stderr=log
        )
        try:
            served.until(lambda: process.poll() is not None or served.answers())
            assert process.poll() is None, served.log.read_text()[-5000:]
            yield served
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)
