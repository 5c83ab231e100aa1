"""The shipped definitions and an instance to run them in, for real."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg

from .. import components, definitions
from ..components.connection import ConnectionDeclaration
from ..components.sync import Sync as SyncDeclaration
from ..model import Change
from ..project import load
from ..sync import Sync

OVER = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}

HEADING = (
    f"{'partition':<24} {'sync':<28} {'audience':>9} {'entered':>8} {'changed':>8} {'left':>6} "
    f"{'requests':>9} {'seconds':>8}"
)


@dataclass(frozen=True)
class Line:
    """One sync in one run."""

    partitions: str
    sync: str
    audience: int
    entered: int
    changed: int
    left: int
    requests: int
    seconds: float

    def __str__(self) -> str:
        return (
            f"{self.partitions:<24} {self.sync:<28} {self.audience:>9,} {self.entered:>8,} {self.changed:>8,} "
            f"{self.left:>6,} {self.requests:>9,} {self.seconds:>8.1f}"
        )


class Failed(Exception):
    """A run failed: what it said."""


class Stage:
    """Loads the shipped definitions from the environment, once; whoever does holds the place's sandbox."""

    def __init__(self) -> None:
        self._defs = load(Path(definitions.__file__).parent)
        self._job = self._defs.resolve_implicit_global_asset_job_def()
        self._instance = dg.DagsterInstance.get()
        _end_the_killed(self._instance)

    def run(self, days: Sequence[date], audiences: Sequence[str], syncs: Sequence[str]) -> list[Line]:
        """Materialize the snapshots of *audiences* and the chains of *syncs* over *days* in one run. Raises Failed."""
        keys = {dg.AssetKey(["snapshots", name]) for name in audiences}
        keys |= {dg.AssetKey([kind, name]) for name in syncs for kind in ("diffs", "syncs")}
        first, last = days[0].isoformat(), days[-1].isoformat()
        partition: dict[str, Any] = {"partition_key": first}
        if len(days) > 1:
            span = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
            partition = {"tags": span}
        result = self._job.get_subset(asset_selection=keys).execute_in_process(
            instance=self._instance, run_config=QUIET, raise_on_error=False, **partition
        )
        if not result.success:
            raise Failed("\n".join(_failures(result)))
        return [_line(result, days, name) for name in syncs]

    def sync(self, name: str) -> Sync:
        """Return the sync called *name* as the core knows it."""
        tree = self._defs.component_tree
        assert tree is not None

        def find(kind: type[Any], called: str) -> Any:
            return next(one for one in tree.get_all_components(of_type=kind) if one.name == called)

        declared = find(SyncDeclaration, name)
        audience = find(components.Audience, declared.audience)
        found: Sync = declared.definition(audience, find(ConnectionDeclaration, declared.connection))
        return found


def _end_the_killed(instance: dg.DagsterInstance) -> None:
    """
    Fail the runs that a killed process left unfinished, and free the slots that they hold in their accounts' pools.

    No daemon does it here, and Dagster would wait for such a slot for ever. Whoever holds the sandbox is alone in the
    place, so that a run that isn't over has nobody who carries it out.
    """
    unfinished = [status for status in dg.DagsterRunStatus if status not in OVER]
    for run in instance.get_runs(dg.RunsFilter(statuses=unfinished)):
        instance.report_run_failed(run, "its process was killed")
    for run_id in instance.event_log_storage.get_concurrency_run_ids():
        instance.event_log_storage.free_concurrency_slots_for_run(run_id)


def _line(result: Any, days: Sequence[date], sync: str) -> Line:
    """Return what the run said of *sync*: of its newest partition, and for events of all of them."""
    found: dict[str, float] = {}
    for event in result.get_asset_materialization_events():
        if event.asset_key.path == ["syncs", sync]:
            for name, value in event.materialization.metadata.items():
                if isinstance(value.value, int | float) and not isinstance(value.value, bool):
                    found[name] = found.get(name, 0) + value.value

    def total(name: str) -> int:
        return int(found.get(name, 0))

    return Line(
        partitions=days[0].isoformat() if len(days) == 1 else f"{days[0]} … {days[-1]}",
        sync=sync,
        audience=total("audience"),
        entered=total(Change.ENTERED),
        changed=total(Change.CHANGED),
        left=total(Change.LEFT),
        requests=total("requests"),
        seconds=found.get("seconds", 0.0),
    )


def _failures(result: Any) -> list[str]:
    said = []
    for event in result.filter_events(lambda event: event.is_step_failure):
        failure = event.step_failure_data
        said.append(
            (failure.user_failure_data and failure.user_failure_data.description) or failure.error_display_string
        )
    return said
