"""The asset graph: a snapshot per audience; a diff and a sync per sync. A thin layer over the core."""

# No postponed annotations here: Dagster reads the types of an asset function's parameters.
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster_duckdb import DuckDBResource
from pydantic import Field

from . import observability, pipeline
from . import snapshot as snapshots
from .automation.following import following
from .building import asset
from .engines.duckdb import copy_query
from .errors import AskForRestore, ContinueLater, FixDeclaration, FixQuery, ZeotapError
from .model import Partition
from .remembered import refuse_lost_state
from .state import State
from .trip import Approval, Summary, Trip

if TYPE_CHECKING:
    from . import sync as core
    from .components.audience import Audience
    from .components.connection import ConnectionDeclaration
    from .components.declaration import Declaration
    from .components.sync import Sync

RETRIES = dg.RetryPolicy(max_retries=2, delay=30, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)
"""What is worth another try is tried twice more in the same run; a failure says which is."""


class SyncConfig(dg.Config):
    """What a person may ask of one run of a sync."""

    dry_run: bool = Field(False, description="Send nothing; record what would be sent.")
    restore: bool = Field(False, description="Go back to a partition older than the newest one delivered.")
    limit: int | None = Field(None, ge=1, description="A trial: send at most so many operations. Not a delivery.")
    approve: str | None = Field(None, description="The id of a stopped plan that may be sent all the same.")
    approved_by: str | None = Field(None, description="Who approves.")
    reason: str | None = Field(None, description="Why.")
    adopt: bool = Field(False, description="Go on although the ledger that remembers earlier deliveries is missing.")

    def approval(self) -> Approval | None:
        """Return the approval, which needs a name and a reason."""
        if self.approve is None:
            return None
        if not (self.approved_by and self.reason):
            raise dg.Failure("an approval carries approved_by and reason", allow_retries=False)
        return Approval(self.approve, self.approved_by, self.reason)


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
        source = _Warehouse(getattr(context.resources, audience.source))
        now = datetime.now(UTC)
        with _failing(audience):
            for partition in _partitions(context, audience, now):
                taken = snapshots.take(definition, partition, source, state(), run=context.run.run_id, now=now)
                found = observability.of_snapshot(taken)
                context.log.info(f"{audience.name} at {partition}: {taken.rows:,} rows")
                if not context.has_partition_key_range:
                    return dg.MaterializeResult(metadata=found)
                context.add_asset_metadata(found, partition_key=partition.key)
        return dg.MaterializeResult()

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
        tags=_tags(definition),
        metadata={"target": str(definition.address), "declared": declared.place()},
        deps=[dg.AssetKey(["snapshots", audience.name])],
        kinds={"duckdb", "diff"},
        description=observability.describe_sync(definition, "What would be sent:", declared.description),
        automation_condition=following(audience, declared),
    )
    checks = [
        dg.AssetCheckSpec(name, asset=key, blocking=True, description=says, partitions_def=partitioning)
        for name, says in observability.GUARDS.items()
    ]

    @asset(spec, checks=checks)
    def diff(context: dg.AssetExecutionContext):  # type: ignore[no-untyped-def]
        plans = []
        with _failing(declared):
            for group in _groups(definition, _partitions(context, audience, datetime.now(UTC))):
                plan = pipeline.plan(definition, group[-1], state(), run=context.run.run_id)
                context.log.info(observability.plan_line(plan))
                past = observability.superseded_by(definition, group[-1], state())
                metadata = observability.of_plan(plan, definition, connection.limits(), state())
                if past:
                    metadata["superseded"] = f"{past}: nothing is sent unless it is restored"
                plans.append((plan, past))
                if context.has_partition_key_range:
                    _note(context, group, metadata)
                    metadata = {}
        # One result for each guard: of the first plan that is stopped, else of the newest.
        plan, past = next(((plan, past) for plan, past in plans if plan.stopped), plans[-1])
        checked = list(observability.guard_results(plan, blocking=past is None))
        return dg.MaterializeResult(metadata=metadata, check_results=checked)

    return diff


def sync_asset(
    declared: "Sync", definition: "core.Sync", audience: "Audience", connection: "ConnectionDeclaration"
) -> dg.AssetsDefinition:
    """Return the asset ``syncs/<sync>``: green where the partition was delivered or superseded, and nowhere else."""
    key = dg.AssetKey(["syncs", declared.name])

    spec = dg.AssetSpec(
        key,
        partitions_def=audience.partitioning(),
        group_name=connection.name,
        owners=declared.owners or audience.owners or None,
        tags=_tags(definition),
        metadata={"target": str(definition.address), "declared": declared.place()},
        deps=[dg.AssetKey(["diffs", declared.name])],
        kinds={definition.target.service},
        description=observability.describe_sync(definition, "Sends it:", declared.description),
        automation_condition=following(audience, declared),
        freshness_policy=audience.freshness_policy() if declared.automatic else None,
    )
    checks = [
        dg.AssetCheckSpec(name, asset=key, description=says, partitions_def=audience.partitioning())
        for name, says in observability.OUTCOMES.items()
    ]

    @asset(
        spec,
        checks=checks,
        config=SyncConfig,
        required=False,
        resource=connection.name,
        pool=f"{connection.service}/{connection.account}",
        retries=RETRIES,
    )
    def sync(context: dg.AssetExecutionContext, config: SyncConfig):  # type: ignore[no-untyped-def]
        with _failing(declared):
            groups = _groups(definition, _partitions(context, audience, datetime.now(UTC)))
            if config.dry_run:
                for *_, newest in groups:
                    plan = pipeline.plan(definition, newest, state(), run=context.run.run_id)
                    metadata = observability.of_plan(plan, definition, connection.limits(), state())
                    yield _observed(context, definition, newest, {"dry_run": True, **metadata})
                yield from observability.outcome_results(definition, state(), newest.key)
                return
            refuse_lost_state(context, definition, state(), adopt=config.adopt)
            trip = Trip(
                state(),
                getattr(context.resources, connection.name).connection(),
                context.run.run_id,
                on_progress=observability.Progress(context.log.info),
            )
        green: list[tuple[list[Partition], dict[str, Any]]] = []
        for group in groups:
            with _failing(declared):
                summary = _carried_out(context, declared, definition, group[-1], trip, config)
            if isinstance(summary, str):
                said: dict[str, Any] = {"superseded": summary}
            else:
                said = _metadata(context, definition, summary, config)
                if not summary.complete or config.limit is not None:
                    break
            green.append((group, {**said, **observability.standing(definition, state())}))
        else:
            heard = summary if isinstance(summary, Summary) else None
            checked = list(observability.outcome_results(definition, state(), groups[-1][-1].key, heard))
            if not context.has_partition_key_range:
                yield dg.MaterializeResult(metadata=green[-1][1], check_results=checked)
                return
            for group, said in green:
                _note(context, group, said)
            yield dg.MaterializeResult(check_results=checked)
            return
        for done, said in green:  # A part of the range is delivered, and only that part is green.
            for partition in done:
                context.log_event(dg.AssetMaterialization(key, partition=partition.key, metadata=said))
        yield _observed(context, definition, group[-1], _metadata(context, definition, summary, config))
        yield from observability.outcome_results(definition, state(), group[-1].key, summary)
        if isinstance(summary.error, ContinueLater) or (config.limit is not None and not summary.error):
            return  # Not green, not failed: what is left is owed, and a later run goes on.
        error = summary.error
        retryable = error.retryable if isinstance(error, ZeotapError) else error is None
        metadata = _metadata(context, definition, summary, config)
        raise dg.Failure(observability.summary_line(summary), metadata=metadata, allow_retries=retryable)

    return sync


def _tags(definition: "core.Sync") -> dict[str, str]:
    return {"zeotap/audience": definition.audience.name, "zeotap/mode": definition.mode.value}


def _groups(definition: "core.Sync", partitions: list[Partition]) -> list[list[Partition]]:
    """
    Return the partitions that are delivered together, each group by its newest.

    A state target is told the newest only; events are in the snapshot of their own
    partition, so that each is delivered.
    """
    return [[partition] for partition in partitions] if definition.target.event else [partitions]


def _carried_out(
    context: dg.AssetExecutionContext,
    declared: "Sync",
    definition: "core.Sync",
    partition: Partition,
    trip: Trip,
    config: SyncConfig,
) -> Summary | str:
    """Deliver *partition*; return why nothing was sent, where it is superseded."""
    try:
        summary = pipeline.carry_out(
            definition,
            partition,
            trip,
            approval=config.approval(),
            restore=config.restore,
            limit=config.limit,
            wait=declared.wait_for_account,
        )
    except AskForRestore as superseded:
        context.log.info(str(superseded))
        return str(superseded)
    context.log.info(observability.summary_line(summary))
    return summary


def _metadata(
    context: dg.AssetExecutionContext, definition: "core.Sync", summary: Summary, config: SyncConfig
) -> dict[str, Any]:
    return observability.of_summary(summary, definition, state(), context.run.run_id, config.approval())


def _note(context: dg.AssetExecutionContext, group: list[Partition], metadata: Mapping[str, Any]) -> None:
    """Give the newest of *group* its metadata, and the others theirs: superseded by it."""
    *older, newest = group
    stands = {name: metadata[name] for name in ("address", "generation", "told") if name in metadata}
    for partition in older:
        context.add_asset_metadata({"superseded_by": newest.key, **stands}, partition_key=partition.key)
    context.add_asset_metadata(dict(metadata), partition_key=newest.key)


def _observed(
    context: dg.AssetExecutionContext, definition: "core.Sync", partition: Partition, metadata: Mapping[str, Any]
) -> dg.AssetObservation:
    """Return the record of what happened where the partition can't be called delivered."""
    key = partition.key if context.has_partition_key or context.has_partition_key_range else None
    stands = observability.standing(definition, state())
    return dg.AssetObservation(context.asset_key, partition=key, metadata={**metadata, **stands})


def _partitions(context: dg.AssetExecutionContext, audience: "Audience", now: datetime) -> list[Partition]:
    """Return the partitions of this run, oldest first."""
    definition = audience.partitioning()
    if definition is None:
        taken = state().snapshot(audience.name, "all")
        if context.asset_key.path[0] != "snapshots" and taken.exists():
            now = snapshots.read(audience.definition(), Partition(now, now, "all"), state()).taken_at
        return [Partition(now, datetime(1970, 1, 1, tzinfo=UTC), "all")]
    found = []
    for key in context.partition_keys:
        window = definition.time_window_for_partition_key(key)
        found.append(Partition(window.end, window.start, key))
    return sorted(found)


@dataclass(frozen=True)
class _Warehouse:
    """A warehouse's resource as a source."""

    resource: DuckDBResource

    def write(self, query: str, parameters: Mapping[str, object], path: Path, metadata: Mapping[str, str]) -> None:
        """Write the rows of *query* to *path* as Parquet."""
        if not Path(self.resource.database).is_file():
            raise FixQuery(f"the warehouse {self.resource.database} does not exist")
        with self.resource.get_connection() as connection:
            copy_query(connection, query, parameters, path, metadata)


@contextmanager
def _failing(declared: "Declaration") -> Iterator[None]:
    """Turn what a person must mend, or stopped, into a failure of one sentence, retried only where that can help."""
    try:
        yield
    except ZeotapError as error:
        place = f"{declared.place()}: " if isinstance(error, FixDeclaration) else ""
        raise dg.Failure(f"{type(error).__name__}: {place}{error}", allow_retries=error.retryable) from None
    except (dg.DagsterExecutionInterruptedError, KeyboardInterrupt) as stopped:
        # By the retry policy Dagster would begin the step of a cancelled run again, as if it had failed.
        left = "; ".join(getattr(stopped, "__notes__", ["what is left is owed"]))
        raise dg.Failure(f"the run was stopped; {left}", allow_retries=False) from None
