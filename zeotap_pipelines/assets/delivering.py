"""The sync asset: sends what is owed of a plan, and is green where that was delivered, or superseded."""

# No postponed annotations here: Dagster reads the types of an asset function's parameters.
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from .. import pipeline
from ..automation.following import following
from ..delivery.debts import Debt, noting
from ..delivery.pauses import Closed
from ..delivery.progress import WATCHER, Progress, Stand
from ..delivery.trip import Summary, Trip
from ..errors import AskForRestore, ContinueLater, HalfFilled, RestoredSince, ZeotapError
from ..model import Mode, Partition
from . import lineage, observability
from .assets import RETRIES, failing, groups, never_again, no_retry, note, partitions, state, tags
from .building import asset
from .launchpad import SyncConfig
from .remembered import refuse_lost_state

if TYPE_CHECKING:
    from .. import sync as core
    from ..components.audience import Audience
    from ..components.connection import ConnectionDeclaration
    from ..components.sync import Sync


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
        tags=tags(definition),
        metadata={"target": str(definition.address), "declared": declared.place(), **lineage.of_sync(definition)},
        deps=[dg.AssetKey(["diffs", declared.name])],
        kinds={definition.target.service},
        description=observability.describe_sync(definition, "Sends", declared.description),
        automation_condition=following(audience, declared),
        freshness_policy=audience.freshness_policy() if declared.automatic else None,
    )
    checks = [
        dg.AssetCheckSpec(name, asset=key, description=says, partitions_def=audience.partitioning())
        for name, says in observability.OUTCOMES.items()
        if name != observability.AGREES or definition.mode is Mode.MIRROR
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
        said: dict[str, Any]
        if config.trial:
            never_again(context)
        with failing(context, declared, again=not config.trial):
            together = groups(definition, partitions(context, audience, datetime.now(UTC)))
            newest = [group[-1] for group in together]
            config.check(len(together))
            if config.dry_run:
                for partition in newest:
                    plan = pipeline.plan(definition, partition, state(), run=context.run.run_id)
                    metadata = observability.of_plan(plan, definition, connection.limits(), state())
                    yield _observed(context, definition, partition, {"dry_run": True, **metadata})
                yield from observability.outcome_results(definition, state(), newest)
                return
            # A trial owes nothing, and leaves the note as it is.
            debt = None if config.trial else Debt(state(), definition, context.run.run_id, config.allowed())
            with noting(debt):
                refuse_lost_state(context, definition, state(), adopt=config.adopt)
                if debt:
                    debt.begins([partition for group in together for partition in group])
                closed = declared.closed(definition, audience, state(), datetime.now(UTC))
                if closed and debt:
                    debt.put_off(closed.why)
            if closed:
                yield _put_off(context, definition, together[-1][-1], closed)
                return
            with noting(debt):
                trip = Trip(
                    state(),
                    getattr(context.resources, connection.name).connection(),
                    context.run.run_id,
                    hours=declared.hours(audience),
                    on_progress=Progress(_observing(context, definition, together[-1][-1])),
                )
        green: list[tuple[list[Partition], dict[str, Any]]] = []
        for group in together:
            with failing(context, declared, again=not config.trial), noting(debt):
                try:
                    summary = _carried_out(context, declared, definition, group[-1], trip, config)
                    if isinstance(summary, Summary):
                        said = _metadata(context, definition, summary, config)
                    else:
                        said = {"superseded": str(summary)}
                    said |= observability.standing(definition, state())
                except BaseException as stopped:
                    if debt and not isinstance(stopped, Exception):
                        debt.stopped()  # Before all else: who stopped it may be in a hurry.
                    yield from _green(context, green, debt)
                    raise
                if isinstance(summary, ContinueLater):
                    yield from _green(context, green, debt)
                    if debt:
                        debt.put_off(str(summary))
                    break
                if isinstance(summary, HalfFilled):  # The partition that it is filled from is still owed.
                    if debt:
                        debt.delivered([one for one in group if one.key != summary.pinned], others=False)
                    break
                if isinstance(summary, Summary) and (config.trial or not summary.complete):
                    yield from _green(context, green, debt)
                    if debt:
                        debt.ended(summary)
                    break
                if isinstance(summary, RestoredSince):  # By a person: neither delivered nor superseded, and not owed.
                    if debt:
                        debt.delivered(group, superseded=True)
                    break
                green.append((group, said))
        else:
            heard = summary if isinstance(summary, Summary) else None
            checked = list(observability.outcome_results(definition, state(), newest, heard))
            if context.has_partition_key_range:
                for group, said in green:
                    note(context, group, said)
                yield dg.MaterializeResult(check_results=checked)
            else:
                yield dg.MaterializeResult(metadata=green[-1][1], check_results=checked)
            with failing(context, declared):
                for group, said in green:
                    if debt:
                        debt.delivered(group, superseded="superseded" in said)
            return
        if isinstance(summary, ContinueLater):
            yield _put_off(context, definition, group[-1], Closed(str(summary), summary.until))
            yield from observability.outcome_results(definition, state(), newest)
            return
        if isinstance(summary, AskForRestore):
            yield _observed(context, definition, group[-1], {"nothing_sent": str(summary)})
            yield from observability.outcome_results(definition, state(), newest)
            return
        yield _observed(context, definition, group[-1], _metadata(context, definition, summary, config))
        yield from observability.outcome_results(definition, state(), newest, summary)
        if isinstance(summary.error, ContinueLater) or (config.trial and not summary.error):
            return  # Not green, not failed: what is left is owed, and a later run goes on.
        error = summary.error
        retryable = not config.trial and (error.retryable if isinstance(error, ZeotapError) else error is None)
        if not retryable:
            no_retry(context)
        metadata = _metadata(context, definition, summary, config)
        raise dg.Failure(observability.summary_line(summary), metadata=metadata, allow_retries=retryable)

    return sync


def _green(
    context: dg.AssetExecutionContext, done: list[tuple[list[Partition], dict[str, Any]]], debt: Debt | None
) -> Iterator[dg.AssetMaterialization]:
    """Yield what makes the part of a range green that was delivered; what is recorded is owed no more."""
    for group, said in done:
        for partition in group:
            yield dg.AssetMaterialization(context.asset_key, partition=partition.key, metadata=said)
        if debt:
            debt.delivered(group, superseded="superseded" in said)


def _carried_out(
    context: dg.AssetExecutionContext,
    declared: "Sync",
    definition: "core.Sync",
    partition: Partition,
    trip: Trip,
    config: SyncConfig,
) -> Summary | AskForRestore | ContinueLater:
    """Deliver *partition*; return why nothing was sent, where it is superseded, or may not be delivered now."""
    try:
        summary = pipeline.carry_out(
            definition,
            partition,
            trip,
            approval=config.approval(),
            restore=config.restore,
            limit=config.limit,
            only=config.only or None,
            wait=declared.wait_for_account,
        )
    except ContinueLater as put_off:
        return put_off
    except AskForRestore as superseded:
        context.log.info(str(superseded))
        return superseded
    context.log.info(observability.summary_line(summary))
    return summary


def _metadata(
    context: dg.AssetExecutionContext, definition: "core.Sync", summary: Summary, config: SyncConfig
) -> dict[str, Any]:
    return observability.of_summary(summary, definition, state(), context.run.run_id, config.approval())


def _observing(
    context: dg.AssetExecutionContext, definition: "core.Sync", partition: Partition
) -> Callable[[Stand], None]:
    """Return what logs and records how far a delivery is."""
    stands = observability.standing(definition, state())
    # The newest record of a sync says how often the ledger had moved: a lost state is told by it.
    known = {name: stands[name] for name in ("address", "generation")}
    key = partition.key if context.has_partition_key or context.has_partition_key_range else None
    watcher = WATCHER.get()

    def say(stand: Stand) -> None:
        context.log.info(str(stand))
        if watcher:
            watcher(stand)
        metadata = {
            "done": stand.done,
            "of": stand.of,
            "rows_per_second": round(stand.rate, 1),
            "seconds_left": round(stand.left),
            **known,
        }
        context.log_event(dg.AssetObservation(context.asset_key, partition=key, metadata=metadata))

    return say


def _put_off(
    context: dg.AssetExecutionContext, definition: "core.Sync", partition: Partition, closed: Closed
) -> dg.AssetObservation:
    """Return the record of why nothing is sent, and of when that goes on."""
    context.log.info(f"nothing is sent: {closed.why}; goes on {closed.goes_on}")
    return _observed(context, definition, partition, {"nothing_sent": closed.why, "goes_on": closed.goes_on})


def _observed(
    context: dg.AssetExecutionContext, definition: "core.Sync", partition: Partition, metadata: Mapping[str, Any]
) -> dg.AssetObservation:
    """Return the record of what happened where the partition can't be called delivered."""
    key = partition.key if context.has_partition_key or context.has_partition_key_range else None
    stands = observability.standing(definition, state())
    return dg.AssetObservation(context.asset_key, partition=key, metadata={**metadata, **stands})
