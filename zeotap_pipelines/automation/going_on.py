"""Runs for whatever is owed and may be asked again."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from ..assets import state
from ..components.declaration import refer
from ..debts import Owing, in_doubt, load
from ..errors import ZeotapError
from ..state import State

if TYPE_CHECKING:
    from ..components.audience import Audience
    from ..components.sync import Sync
    from ..declared import Declared

SHOWN = 10
"""So many reasons to wait are shown of a look that requests nothing."""


def going_on_sensor(declared: Declared) -> dg.SensorDefinition:
    """Return the sensor that requests the runs which go on with what syncs owe."""
    syncs = {name: sync for name, sync in declared.declarations.items() if sync.go_on}

    @dg.sensor(
        name="going_on",
        asset_selection=dg.AssetSelection.assets(*(dg.AssetKey(["syncs", name]) for name in syncs)),
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Requests runs for what was put off, deferred or cut off, as soon as it may be asked again.",
    )
    def going_on(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        requests, waiting, now = [], [], datetime.now(UTC)
        for name, sync in syncs.items():
            try:
                note = load(state(), name)
                if note is None:
                    continue
                why = _reason_to_wait(context.instance, declared, sync, note, state(), now)
            except ZeotapError as error:
                why = f"{type(error).__name__}: {error}"
            except Exception as error:  # What is wrong with one sync holds up no other.
                why = type(error).__name__
            if why:
                waiting.append(f"{name} {why}")
            elif note:
                requests.append(_request(declared, sync, note))
        if requests:
            return dg.SensorResult(run_requests=requests)
        more = f"; and {len(waiting) - SHOWN} more" if len(waiting) > SHOWN else ""
        return dg.SkipReason("; ".join(waiting[:SHOWN]) + more if waiting else "nothing is owed")

    return going_on


def _reason_to_wait(
    instance: dg.DagsterInstance, declared: Declared, sync: Sync, note: Owing, where: State, now: datetime
) -> str | None:
    """Return why nothing is requested for *sync* now; None where it may go on."""
    run = instance.get_run_by_id(note.run)
    if run is not None and not run.is_finished:
        return f"is under way in run {note.run[:8]}"
    if why := note.reason_to_wait(now):
        return why
    audience, connection = refer(sync, "audience", declared.audiences), refer(sync, "connection", declared.connections)
    if gone := _gone(audience, note):
        return f"waits for a person: {gone} is no partition of {audience.name} any more"
    if closed := sync.closed(audience, where, now):
        return f"goes on {closed.goes_on}: {closed.why}"
    if count := in_doubt(sync.definition(audience, connection), where):
        return f"waits for a person: {count:,} rows are in doubt"
    return None


def _gone(audience: Audience, note: Owing) -> str | None:
    """Return a partition that is owed and that the audience, declared anew, doesn't have."""
    definition = audience.partitioning()
    if definition is None:
        return None
    return next((key for key in (note.newest, note.oldest) if not definition.has_partition_key(key)), None)


def _request(declared: Declared, sync: Sync, note: Owing) -> dg.RunRequest:
    """Return the run that goes on: for the range that is delivered together, of events for the newest partition."""
    audience = refer(sync, "audience", declared.audiences)
    tags = {"zeotap/audience": audience.name, "zeotap/started_by": "going_on"}
    partition: dict[str, Any] = {}
    if audience.partitioning() is not None:
        first = note.newest if sync.target_type.event else note.oldest
        if first == note.newest:
            partition = {"partition_key": first}
        else:
            tags["dagster/asset_partition_range_start"] = first
            tags["dagster/asset_partition_range_end"] = note.newest
    step = f"syncs__{sync.name}"
    return dg.RunRequest(
        run_key=f"{sync.name}:{note.name}",
        run_config={"ops": {step: {"config": dict(note.settings)}}} if note.settings else {},
        asset_selection=[dg.AssetKey(["syncs", sync.name])],
        tags=tags,
        **partition,
    )
