"""
A Dagster project in a folder of its own, with a warehouse, a sandbox over real HTTP, a state and an instance.

Who was seen on a day is a row of the table ``seen``; the audience of a day is who was seen then.
"""

from __future__ import annotations

import itertools
import sys
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any

import dagster as dg
import duckdb
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import create_execution_plan, execute_plan
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.plan.state import KnownExecutionState
from dagster._core.execution.retries import RetryMode

from zeotap_pipelines.declared import Declared
from zeotap_pipelines.project import load
from zeotap_pipelines.sandbox import CLIENT_ID, CLIENT_SECRET, Sandbox
from zeotap_pipelines.sync import Sync

SNAPSHOT, DIFF, SYNC = ("snapshots", "people"), ("diffs", "people_to_group"), ("syncs", "people_to_group")
CHAIN = (SNAPSHOT, DIFF, SYNC)
DAYS = tuple(f"2026-01-0{number}" for number in range(1, 8))

WAREHOUSE = """\
type: zeotap_pipelines.DuckDBWarehouse
attributes:
  name: warehouse
  database: warehouse.duckdb
"""
CONNECTION = f"""\
type: zeotap_pipelines.KognitivConnection
attributes:
  name: kognitiv
  account: main
  base_url: "{{{{ env('PROJECT_KOGNITIV') }}}}"
  client_id: {CLIENT_ID}
  client_secret: PROJECT_SECRET
  retries: 0
"""
AUDIENCE = """\
type: zeotap_pipelines.Audience
attributes:
  name: people
  description: Who was seen on the day.
  source: warehouse
  key: [person]
  partitions: daily
  start: "2026-01-01"
  query: select distinct person from seen where day >= $start and day < $end
"""
GROUP_SYNC = """\
type: zeotap_pipelines.KognitivGroupSync
attributes:
  name: people_to_group
  audience: people
  connection: kognitiv
  group: ACTIVE-90D
  mode: mirror
  mapping:
    member_internal_id: person
  guards:
    max_removed_percent: 60
"""
DOCUMENTS = {"warehouse": WAREHOUSE, "kognitiv": CONNECTION, "people": AUDIENCE, "people_to_group": GROUP_SYNC}

_numbers = itertools.count(1)


class Project:
    """A project that only has the package installed and its own ``defs.yaml`` files."""

    def __init__(self, root: Path, documents: Mapping[str, str] = DOCUMENTS) -> None:
        self.root = root
        self.module = f"project_{next(_numbers)}"
        self.instance = dg.DagsterInstance.ephemeral()
        package = root / self.module
        (package / "defs").mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "defs" / "__init__.py").touch()
        (root / "pyproject.toml").write_text(
            dedent(f"""\
            [project]
            name = "{self.module}"
            version = "1"
            [tool.dg]
            directory_type = "project"
            [tool.dg.project]
            root_module = "{self.module}"
            """)
        )
        for name, text in documents.items():
            self.declare(name, text)
        self.seen({})

    @property
    def package(self) -> Path:
        return self.root / self.module

    @property
    def warehouse(self) -> Path:
        return self.root / "warehouse.duckdb"

    def file(self, name: str) -> Path:
        return self.package / "defs" / name / "defs.yaml"

    def declare(self, name: str, text: str) -> None:
        """Write a document, in the place of the one of that name."""
        self.file(name).parent.mkdir(exist_ok=True)
        self.file(name).write_text(text)

    def change(self, name: str, *pairs: tuple[str, str]) -> None:
        """Replace texts in a document."""
        text = self.file(name).read_text()
        for old, new in pairs:
            assert old in text, f"{old!r} is not in {name}"
            text = text.replace(old, new)
        self.declare(name, text)

    def seen(self, days: Mapping[str, Collection[str | None]]) -> None:
        """Make the warehouse anew: who was seen on which day."""
        pairs = [[person, day] for day, people in days.items() for person in people]
        with duckdb.connect(self.warehouse) as connection:
            connection.execute("create or replace table seen (person varchar, day date)").fetchall()
            if pairs:
                connection.executemany("insert into seen values (?, ?)", pairs)

    def load(self) -> dg.Definitions:
        with _importable(self.root):
            return load(self.package)

    def sync(self, name: str) -> Sync:
        """The sync called *name* as the core knows it."""
        tree = self.load().component_tree
        assert tree is not None
        return Declared(tree).sync(name)

    def run(
        self,
        *assets: tuple[str, ...],
        day: str | None = None,
        days: tuple[str, str] | None = None,
        instance: dg.DagsterInstance | None = None,
        listen: Callable[[dg.EventLogEntry], None] | None = None,
        **config: Any,
    ) -> Run:
        """Materialize *assets* (the chain where none are named) in one run; *config* is the sync's, *listen* hears."""
        job, arguments = self._job(assets, day, days, config)
        if listen:
            arguments["run_id"] = str(uuid.uuid4())
            (instance or self.instance).add_event_listener(arguments["run_id"], listen)
        result = job.execute_in_process(instance=instance or self.instance, raise_on_error=False, **arguments)
        return Run(list(result.all_events), instance or self.instance)

    def attempt(self, *assets: tuple[str, ...], day: str, **config: Any) -> Attempts:
        """Begin a run whose retries are made by the test, at once instead of after a while."""
        job, arguments = self._job(assets, day, None, config)
        return Attempts(job, self.instance, day, arguments["run_config"])

    def _job(
        self, assets: tuple[tuple[str, ...], ...], day: str | None, days: tuple[str, str] | None, config: dict[str, Any]
    ) -> tuple[dg.JobDefinition, dict[str, Any]]:
        chosen = {dg.AssetKey(list(asset)) for asset in assets or CHAIN}
        job = self.load().resolve_implicit_global_asset_job_def().get_subset(asset_selection=chosen)
        run_config: dict[str, Any] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        if config:
            sync = next((asset for asset in assets if asset[0] == "syncs"), SYNC)
            run_config["ops"] = {"__".join(sync): {"config": config}}
        arguments: dict[str, Any] = {"run_config": run_config}
        if days:
            first, last = days
            span = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
            arguments["tags"] = span
        elif day:
            arguments["partition_key"] = day
        return job, arguments


class Run:
    """What a run left in the event log."""

    def __init__(self, events: list[dg.DagsterEvent], instance: dg.DagsterInstance) -> None:
        self.events = events
        self.instance = instance

    @property
    def succeeded(self) -> bool:
        assert not self.failed, self.failure
        return not any(event.is_failure for event in self.events)

    @property
    def failure(self) -> str:
        """The sentence that the failed step ended with."""
        [event] = [event for event in self.events if event.is_step_failure]
        return said(event.step_failure_data)

    @property
    def failed(self) -> list[str | None]:
        """The steps that ended in failure."""
        return [event.step_key for event in self.events if event.is_step_failure]

    @property
    def retried(self) -> list[str]:
        """The sentences of the steps that Dagster is to try again."""
        return [event.step_retry_data.error.cause.message for event in self.events if event.is_step_up_for_retry]

    def green(self, asset: tuple[str, ...] = SYNC) -> list[str | None]:
        """The partitions that were materialized."""
        return [event.partition for event in self._of("ASSET_MATERIALIZATION", asset)]

    def metadata(self, asset: tuple[str, ...] = SYNC, day: str | None = None) -> dict[str, Any]:
        """What was recorded with the materialization (of a day)."""
        [found] = [e for e in self._of("ASSET_MATERIALIZATION", asset) if day in (None, e.partition)]
        return {name: value.value for name, value in found.materialization.metadata.items()}

    def observed(self, asset: tuple[str, ...] = SYNC) -> list[dict[str, Any]]:
        """What was recorded without calling it delivered."""
        found = self._of("ASSET_OBSERVATION", asset)
        return [
            {name: value.value for name, value in event.asset_observation_data.asset_observation.metadata.items()}
            for event in found
        ]

    def checks(self, asset: tuple[str, ...] = DIFF) -> dict[str, Any]:
        """The check evaluations by name."""
        found = self._of("ASSET_CHECK_EVALUATION", asset)
        return {e.asset_check_evaluation_data.check_name: e.asset_check_evaluation_data for e in found}

    def _of(self, kind: str, asset: tuple[str, ...]) -> list[Any]:
        key = dg.AssetKey(list(asset))
        of_kind = [event for event in self.events if event.event_type_value == kind]
        if kind == "ASSET_CHECK_EVALUATION":
            return [event for event in of_kind if event.asset_check_evaluation_data.asset_key == key]
        return [event for event in of_kind if event.asset_key == key]


class Attempts:
    """One run, attempt by attempt: what Dagster would try again after a while is tried again when the test says so."""

    def __init__(
        self, job: dg.JobDefinition, instance: dg.DagsterInstance, day: str, run_config: dict[str, Any]
    ) -> None:
        self._tags, self._tried = {"dagster/partition": day}, Counter[str]()
        self._job, self._instance, self._config = InMemoryJob(job), instance, run_config
        self._run = instance.create_run_for_job(
            job, execution_plan=self._plan(), run_config=run_config, tags=self._tags
        )

    @property
    def run_id(self) -> str:
        return self._run.run_id

    def again(self) -> Run:
        """Try once; a step that is to be retried is left to the next call."""
        events = execute_plan(self._plan(), self._job, self._instance, self._run, self._config, RetryMode.DEFERRED)
        self._tried.update(event.step_key for event in events if event.is_step_up_for_retry and event.step_key)
        return Run(events, self._instance)

    def _plan(self) -> ExecutionPlan:
        known = KnownExecutionState(dict(self._tried))
        return create_execution_plan(self._job, self._config, tags=self._tags, known_state=known)


def said(failure: Any) -> str:
    """Return the sentence of a failed step."""
    if failure.user_failure_data and failure.user_failure_data.description:
        return str(failure.user_failure_data.description)
    return str(failure.error_display_string)


def members(sandbox: Sandbox) -> set[str]:
    return sandbox.kognitiv.members("ACTIVE-90D")


def asked(sandbox: Sandbox) -> list[str]:
    """The requests that were to change something, as method and member, sorted."""
    log = [entry for entry in sandbox.log if "/members/" in entry.target]
    return sorted(f"{entry.method} {entry.target.rsplit('/', 1)[-1]}" for entry in log)


def environment(address: str, state: Path) -> dict[str, str]:
    """Return the environment that leads a project to a sandbox."""
    return {
        "PROJECT_KOGNITIV": f"{address}/kognitiv",
        "PROJECT_SECRET": CLIENT_SECRET,
        "ZEOTAP_STATE": str(state),
    }


@contextmanager
def _importable(root: Path) -> Iterator[None]:
    sys.path.insert(0, str(root))
    try:
        yield
    finally:
        sys.path.remove(str(root))
