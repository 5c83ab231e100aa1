"""The asset graph up to the plan: a snapshot per audience, a diff per sync. A thin layer over the core."""

# No postponed annotations here: Dagster reads the types of an asset function's parameters.
import math
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import duckdb
from dagster_duckdb import DuckDBResource

from .. import pipeline
from .. import snapshot as snapshots
from ..automation.following import following
from ..engines.duckdb import copy_query
from ..errors import FixDeclaration, FixQuery, ZeotapError
from ..model import UNPARTITIONED, Partition
from ..state import State
from . import lineage, observability
from .building import asset, of_partition

if TYPE_CHECKING:
    from .. import sync as core
    from ..components.audience import Audience
    from ..components.connection import ConnectionDeclaration
    from ..components.declaration import Declaration
    from ..components.sync import Sync

RETRIES = dg.RetryPolicy(max_retries=2, delay=30, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)
"""What is worth another try is tried twice more in the same run; a failure says which is."""

LINE_EVERY = 1.0
"""Seconds from one line in the log to the next while a run freezes many partitions."""

HELD_OPEN = 1.0
"""Seconds after which a warehouse is closed between two queries, so that others may write to it."""

RUN_RETRIES = "dagster/retry_on_asset_or_op_failure"
"""The tag by which a run says whether the instance's `run_retries` may begin it again after a failed step."""

MAX_RETRIES = "dagster/max_retries"
"""The tag by which a run says how often they may, whatever ended it."""

RETRIED = "dagster/retry_number"
"""The tag of a run that they began again."""


def state() -> State:
    """Return where state lies: ``ZEOTAP_STATE``, or ``data/state`` below the working directory."""
    return State(Path(os.environ.get("ZEOTAP_STATE") or Path("data") / "state").resolve())


def snapshot_asset(audience: "Audience") -> dg.AssetsDefinition:
    """Return the asset ``snapshots/<audience>``: the audience's rows, frozen per partition."""
    definition = audience.definition()

    spec = dg.AssetSpec(
        ["snapshots", audience.name],
        partitions_def=audience.partitioning(),
        group_name="audiences",
        kinds={"duckdb", "parquet"},
        owners=audience.owners or None,
        description=observability.describe_audience(audience),
        freshness_policy=audience.freshness_policy(),
        metadata={"query": dg.MetadataValue.md(f"```sql\n{audience.query.strip()}\n```"), "declared": audience.place()},
        tags={"zeotap/audience": audience.name},
    )

    @asset(spec, resource=audience.source, retries=RETRIES)
    def snapshot(context: dg.AssetExecutionContext):  # type: ignore[no-untyped-def]
        now = datetime.now(UTC)
        found: Mapping[str, Any] = {}
        with failing(context, audience), _Warehouse(getattr(context.resources, audience.source)) as source:
            asked = partitions(context, audience, now)
            said = -math.inf
            for number, partition in enumerate(asked, 1):
                taken = snapshots.take(definition, partition, source, state(), run=context.run.run_id, now=now)
                found = observability.of_snapshot(taken)
                # To store a line takes Dagster as long as to freeze a small audience.
                if number == len(asked) or time.monotonic() - said >= LINE_EVERY:
                    said = time.monotonic()
                    which = f" ({number:,} of {len(asked):,} partitions)" if len(asked) > 1 else ""
                    context.log.info(f"{audience.name} at {partition}: {taken.rows:,} rows{which}")
                if context.has_partition_key_range:
                    context.add_asset_metadata(found, partition_key=partition.key)
        return dg.MaterializeResult(metadata={} if context.has_partition_key_range else found)

    return snapshot


def diff_asset(
    declared: "Sync", definition: "core.Sync", audience: "Audience", connection: "ConnectionDeclaration"
) -> dg.AssetsDefinition:
    """Return the asset ``diffs/<sync>``: the plan, with the guards as blocking checks."""
    key = dg.AssetKey(["diffs", declared.name])
    partitioning = audience.partitioning()

    spec = dg.AssetSpec(
        key,
        partitions_def=partitioning,
        group_name=connection.name,
        owners=declared.owners or audience.owners or None,
        tags=tags(definition),
        metadata={"target": str(definition.address), "declared": declared.place(), **lineage.of_diff(definition)},
        deps=[dg.AssetKey(["snapshots", name]) for name in needed(definition)],
        kinds={"duckdb", "diff"},
        description=observability.describe_sync(definition, "Says what would be sent of", declared.description),
        automation_condition=following(audience, declared),
    )
    checks = [
        dg.AssetCheckSpec(name, asset=key, blocking=True, description=says, partitions_def=partitioning)
        for name, says in observability.GUARDS.items()
    ]

    @asset(spec, checks=checks)
    def diff(context: dg.AssetExecutionContext):  # type: ignore[no-untyped-def]
        plans = []
        with failing(context, declared):
            for group in groups(definition, partitions(context, audience, datetime.now(UTC))):
                plan = pipeline.plan(definition, group[-1], state(), run=context.run.run_id)
                past = observability.superseded_by(definition, group[-1], state())
                context.log.info(observability.plan_line(plan) + (f"; it is {past}: nothing is sent" if past else ""))
                metadata = observability.of_plan(plan, definition, connection.limits(), state())
                if past:
                    metadata = observability.of_the_past(metadata, past)
                plans.append((plan, past))
                if context.has_partition_key_range:
                    note(context, group, metadata)
                    metadata = {}
        # One result for each guard: of the first plan that is stopped, else of the newest.
        plan, past = next(((plan, past) for plan, past in plans if plan.stopped), plans[-1])
        checked = list(observability.guard_results(plan, blocking=past is None))
        if plan.stopped and past is None:
            no_retry(context)
        yield dg.MaterializeResult(metadata=metadata, check_results=checked)
        if context.has_partition_key_range:
            newest, past = plans[-1]
            for result in observability.guard_results(newest, blocking=past is None):
                context.log_event(of_partition(context, result, newest.partition))

    return diff


def needed(definition: "core.Sync") -> list[str]:
    """Return the audiences whose snapshots a plan is made of: its own, and that of the sync's opposite."""
    both = [definition.audience, *([definition.opposite.audience] if definition.opposite else [])]
    return list(dict.fromkeys(audience.name for audience in both))


def tags(definition: "core.Sync") -> dict[str, str]:
    """Return the tags of a sync's assets."""
    return {"zeotap/audience": definition.audience.name, "zeotap/mode": definition.mode.value}


def groups(definition: "core.Sync", partitions: list[Partition]) -> list[list[Partition]]:
    """
    Return the partitions that are delivered together, each group by its newest.

    A state target is told the newest only; events are in the snapshot of their own
    partition, so that each is delivered.
    """
    return [[partition] for partition in partitions] if definition.target.event else [partitions]


def note(context: dg.AssetExecutionContext, group: list[Partition], metadata: Mapping[str, Any]) -> None:
    """Give the newest of *group* its metadata, and the others theirs: superseded by it."""
    *older, newest = group
    stands = {name: metadata[name] for name in ("address", "generation", "told") if name in metadata}
    for partition in older:
        context.add_asset_metadata({"superseded_by": newest.key, **stands}, partition_key=partition.key)
    context.add_asset_metadata(dict(metadata), partition_key=newest.key)


def partitions(context: dg.AssetExecutionContext, audience: "Audience", now: datetime) -> list[Partition]:
    """Return the partitions of this run, oldest first."""
    definition = audience.partitioning()
    if definition is None:
        taken = state().snapshot(audience.name, UNPARTITIONED)
        if context.asset_key.path[0] != "snapshots" and taken.exists():
            now = snapshots.read(audience.definition(), Partition(now, now, UNPARTITIONED), state()).taken_at
        return [Partition(now, datetime(1970, 1, 1, tzinfo=UTC), UNPARTITIONED)]
    found = []
    for key in context.partition_keys:
        window = definition.time_window_for_partition_key(key)
        # As UTC: of two times of one zone, Python compares what the clock shows, which comes twice in autumn.
        found.append(Partition(window.end.astimezone(UTC), window.start.astimezone(UTC), key))
    return sorted(found)


class _Warehouse:
    """
    A warehouse's resource as a source, to be closed.

    From one query to the next the file stays open, for `HELD_OPEN` seconds at the most: to open
    it takes longer than most queries, and as long as it is open nobody can write to it.
    """

    def __init__(self, resource: DuckDBResource) -> None:
        self._resource, self._open, self._since = resource, ExitStack(), 0.0
        self._connection: duckdb.DuckDBPyConnection | None = None

    def __enter__(self) -> "_Warehouse":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection = None
        self._open.close()

    def write(
        self, query: str, parameters: Mapping[str, object], path: Path, metadata: Mapping[str, str], zone: str
    ) -> None:
        """Write the rows of *query* to *path* as Parquet."""
        if not Path(self._resource.database).is_file():
            raise FixQuery(f"the warehouse {self._resource.database} does not exist")
        if self._connection is not None and time.monotonic() - self._since > HELD_OPEN:
            self.__exit__()
        if self._connection is None:
            self._connection = self._open.enter_context(self._resource.get_connection())
            self._since = time.monotonic()
        copy_query(self._connection, query, parameters, path, metadata, zone)


class Stopped(dg.DagsterError, dg.DagsterExecutionInterruptedError):
    """
    The run was stopped.

    As an interruption alone it would be a failure of the step, which Dagster begins again by its retry policy; as a
    failure that is not retried the run would go on with the steps of other targets. As both it ends the run.
    """


def no_retry(context: dg.AssetExecutionContext | dg.OpExecutionContext) -> None:
    """Say of the run that it is not to be begun again by itself: a failure's own word holds for its step's retries."""
    context.instance.add_run_tags(context.run.run_id, {RUN_RETRIES: "false"})


def never_again(context: dg.AssetExecutionContext) -> None:
    """Raise Failure where the step is begun again by itself; let nobody begin the run again, whatever ends it."""
    context.instance.add_run_tags(context.run.run_id, {RUN_RETRIES: "false", MAX_RETRIES: "0"})
    if context.retry_number:  # After an error that nobody foresaw: Dagster retries those by itself.
        says = "a trial is not begun again by itself, since it would send as much again: see why it failed"
        raise dg.Failure(says, allow_retries=False)


@contextmanager
def failing(context: dg.AssetExecutionContext, declared: "Declaration", *, again: bool = True) -> Iterator[None]:
    """
    Turn what a person must mend, or stopped, into a failure of one sentence.

    It is retried where that can help, and may happen *again*.
    """
    try:
        yield
    except ZeotapError as error:
        retryable = again and error.retryable
        if not retryable:
            no_retry(context)
        place = f"{declared.place()}: " if isinstance(error, FixDeclaration) else ""
        raise dg.Failure(f"{type(error).__name__}: {place}{error}", allow_retries=retryable) from None
    except (dg.DagsterExecutionInterruptedError, KeyboardInterrupt) as stopped:
        left = "; ".join(getattr(stopped, "__notes__", ["what is left is owed"]))
        raise Stopped(f"the run was stopped; {left}") from None
