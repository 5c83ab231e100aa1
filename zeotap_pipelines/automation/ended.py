"""What the runs in Dagster's event log meant for each sync."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Literal

import dagster as dg

from .notices import Ended, reason

ENDS: tuple[Literal[dg.DagsterEventType.RUN_SUCCESS, dg.DagsterEventType.RUN_FAILURE], ...] = (
    dg.DagsterEventType.RUN_SUCCESS,
    dg.DagsterEventType.RUN_FAILURE,
)
"""How a run ends that says something of its syncs. A run that somebody terminated says nothing."""

TOLD = {
    dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
    dg.DagsterEventType.ASSET_MATERIALIZATION,
    dg.DagsterEventType.ASSET_CHECK_EVALUATION,
    dg.DagsterEventType.STEP_FAILURE,
    dg.DagsterEventType.STEP_SUCCESS,
}
PARTITION, LAST_OF_RANGE = "dagster/partition", "dagster/asset_partition_range_end"


def failing_since(
    instance: dg.DagsterInstance, since: float, *, limit: int, events: Collection[str]
) -> tuple[int, list[Ended]]:
    """
    Return the place in the log of the newest run that ended, and the failures up to it that nothing made up for.

    The newest *limit* runs that failed after *since*, in seconds since 1970, are looked at: however many
    others succeeded, what became of a sync that failed is told by what is green since. *events* are the
    syncs whose every partition counts.
    """
    ends = [instance.fetch_run_status_changes(kind, limit=1).records for kind in ENDS]
    last = max((record.storage_id for records in ends for record in records), default=0)
    failed = dg.RunStatusChangeRecordsFilter(
        dg.DagsterEventType.RUN_FAILURE, after_timestamp=since, before_storage_id=last + 1
    )
    records = instance.fetch_run_status_changes(failed, limit=limit).records
    return last, [
        left
        for record in reversed(records)
        for ended in _of(instance, record.event_log_entry.run_id, datetime.fromtimestamp(record.timestamp, UTC))
        if ended.failed and (left := _left(instance, ended, record.storage_id, event=ended.sync in events))
    ]


def _left(instance: dg.DagsterInstance, failure: Ended, place: int, *, event: bool) -> Ended | None:
    """Return *failure* without what became green after *place* in the log; None where that made up for it."""
    key = dg.AssetKey(["syncs", failure.sync])
    if failure.asked == {""}:
        since = instance.fetch_materializations(dg.AssetRecordsFilter(key, after_storage_id=place), limit=1).records
        return None if since else failure
    green = instance.get_materialized_partitions(key, after_cursor=place)
    if event:
        failure = replace(failure, green=failure.green | green)
        return failure if failure.asked - failure.green else None
    return None if max(green, default="") >= max(failure.asked) else failure


def ended_since(instance: dg.DagsterInstance, after: int, *, limit: int) -> Iterator[tuple[int, list[Ended]]]:
    """Yield, in the log's order, the places of the *limit* runs that ended after *after*, and what they meant."""
    found: list[tuple[int, str, float]] = []
    seen_up_to: list[int] = []
    for kind in ENDS:
        wanted = dg.RunStatusChangeRecordsFilter(kind, after_storage_id=after)
        records = instance.fetch_run_status_changes(wanted, limit=limit, ascending=True).records
        found += [(record.storage_id, record.event_log_entry.run_id, record.timestamp) for record in records]
        if len(records) == limit:
            seen_up_to.append(records[-1].storage_id)
    for place, run, at in sorted(found)[:limit]:
        if seen_up_to and place > min(seen_up_to):
            return  # Beyond that one kind was read further than the other.
        yield place, list(_of(instance, run, datetime.fromtimestamp(at, UTC)))


def _of(instance: dg.DagsterInstance, run_id: str, at: datetime) -> Iterator[Ended]:
    """Yield what a run that ended meant for each sync that it was to deliver: not to try out."""
    run = instance.get_run_by_id(run_id)
    if run is None:  # Deleted meanwhile.
        return
    events = [entry.dagster_event for entry in instance.all_logs(run_id, of_type=TOLD) if entry.dagster_event]
    asked_for = run.tags.get(LAST_OF_RANGE) or run.tags.get(PARTITION) or ""
    planned = [event for event in events if event.is_asset_materialization_planned]
    keys = {event.asset_key for event in planned}
    for sync in sorted(key.path[-1] for key in keys if key is not None and key.path[0] == "syncs"):
        if _tried_out(run, sync):
            continue
        key = dg.AssetKey(["syncs", sync])
        green = {event.partition or "" for event in events if event.is_step_materialization and event.asset_key == key}
        asked = {partition for event in planned if event.asset_key == key for partition in _partitions(event)}
        failures = {event.step_key: event for event in events if event.is_step_failure}
        done = any(event.is_step_success and event.step_key == f"syncs__{sync}" for event in events)
        # A step that ended well without a green partition: what is left is asked later, and nothing has failed.
        failed = f"syncs__{sync}" in failures or (run.status is dg.DagsterRunStatus.FAILURE and not done)
        yield Ended(
            sync,
            run_id,
            at,
            failed,
            asked=frozenset(asked or {asked_for}),
            green=frozenset(green),
            why=_why(sync, failures, events) if failed else "",
        )


def _partitions(planned: dg.DagsterEvent) -> Iterable[str]:
    """Return the partitions that a run was to materialize, as far as Dagster says."""
    if planned.partitions_subset is not None:
        return planned.partitions_subset.get_partition_keys()
    return [planned.partition] if planned.partition else []


def _tried_out(run: dg.DagsterRun, sync: str) -> bool:
    """Return whether a run was a dry run or a trial of *sync*, which mean nothing for it however they end."""
    steps: Any = run.run_config.get("ops") or {}
    config = (steps.get(f"syncs__{sync}") or {}).get("config") or {}
    return bool(config.get("dry_run") or config.get("only")) or config.get("limit") is not None


def _why(sync: str, failures: dict[str | None, dg.DagsterEvent], events: list[dg.DagsterEvent]) -> str:
    """Return why a sync failed: its own step's reason, its diff's, the snapshot's, or that the run died."""
    diff = dg.AssetKey(["diffs", sync])
    stopped = [
        evaluation.check_name
        for event in events
        if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION
        for evaluation in [event.asset_check_evaluation_data]
        if evaluation.asset_key == diff
        and not evaluation.passed
        and evaluation.blocking
        and evaluation.severity is dg.AssetCheckSeverity.ERROR
    ]
    snapshots = [step for step in failures if step and step.startswith("snapshots__")]
    for step in (f"syncs__{sync}", f"diffs__{sync}", *snapshots):
        if step not in failures:
            continue
        if step.startswith("diffs__") and stopped:
            return f"the plan was stopped by {', '.join(sorted(stopped))} and waits for an approval"
        return reason(_said(failures[step].step_failure_data))
    return "the run ended before its time"


def _said(failure: Any) -> str:
    described = failure.user_failure_data and failure.user_failure_data.description
    return str(described or "")
