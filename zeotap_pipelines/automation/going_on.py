"""Runs for whatever is owed and may be asked again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

import dagster as dg

from .. import sync as core
from ..assets.assets import state
from ..clock import SYSTEM, Clock
from ..components.declaration import refer
from ..delivery.debts import CUT_OFF, DOUBLINGS, Owing, caught_up, in_doubt, load, patience
from ..errors import ZeotapError

if TYPE_CHECKING:
    from ..components.audience import Audience
    from ..components.sync import Sync
    from ..declared import Declared

SHOWN = 10
"""So many reasons to wait are shown of a look that requests nothing."""

OWED = "zeotap/owed"
"""The tag of a run by which it is known for which state of which sync's note it was requested."""


def going_on_sensor(declared: Declared, clock: Clock = SYSTEM) -> dg.SensorDefinition:
    """Return the sensor that requests the runs which go on with what syncs owe."""
    syncs = {name: sync for name, sync in declared.declarations.items() if sync.go_on}

    keys = {dg.AssetKey(["syncs", name]) for name in syncs}
    for name in syncs.keys() & declared.opposites.keys():
        keys |= _made_first(name, declared.opposites[name])

    @cache
    def definition(name: str) -> core.Sync:
        sync = syncs[name]
        audience = refer(sync, "audience", declared.audiences)
        return sync.definition(audience, refer(sync, "connection", declared.connections))

    @dg.sensor(
        name="going_on",
        asset_selection=dg.AssetSelection.assets(*keys),
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Requests runs for what was put off, deferred or cut off, as soon as it may be asked again.",
    )
    def going_on(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        requests, waiting, now = [], [], clock.now()
        for name, sync in syncs.items():
            try:
                note = load(state(), definition(name))
                if note is None:
                    continue
                found = _next(context.instance, declared, sync, definition(name), note, now)
            except ZeotapError as error:
                found = f"{type(error).__name__}: {error}"
            except Exception as error:  # What is wrong with one sync holds up no other.
                found = type(error).__name__
            if isinstance(found, str):
                waiting.append(f"{name} {found}")
            else:
                requests.append(found)
        if requests:
            return dg.SensorResult(run_requests=requests)
        more = f"; and {len(waiting) - SHOWN} more" if len(waiting) > SHOWN else ""
        return dg.SkipReason("; ".join(waiting[:SHOWN]) + more if waiting else "nothing is owed")

    return going_on


def _next(
    instance: dg.DagsterInstance, declared: Declared, sync: Sync, definition: core.Sync, note: Owing, now: datetime
) -> dg.RunRequest | str:
    """Return the run that goes on with *sync*, or why none is requested now."""
    run = instance.get_run_by_id(note.run)
    if run is not None and not run.is_finished:
        return f"is under way in run {note.run[:8]}"
    if run is not None and run.status is dg.DagsterRunStatus.CANCELED:
        note = _stopped(note, run)
    if sync.name in declared.opposites:
        note = caught_up(state(), definition, note)
    if why := note.reason_to_wait(now):
        return why
    audience = refer(sync, "audience", declared.audiences)
    if gone := _gone(audience, note):
        return f"waits for a person: {gone} is no partition of {audience.name} any more"
    if closed := sync.closed(definition, audience, state(), now):
        return f"goes on {closed.goes_on}: {closed.why}"
    if count := in_doubt(definition, state()):
        return f"waits for a person: {count:,} rows are in doubt"
    key = f"{sync.name}:{note.name}"
    asked = instance.get_run_records(dg.RunsFilter(tags={OWED: key}), limit=DOUBLINGS + 1)
    return _in_vain(asked, now) or _request(declared, sync, note, key, asked)


def _stopped(note: Owing, run: dg.DagsterRun) -> Owing:
    """
    Return *note* after somebody stopped the *run* that wrote it: what that was to deliver waits for a person.

    A run that is stopped in the wait before a retry, or killed, doesn't come to note it. What
    it had put off before is no part of what was stopped.
    """
    if note.why != CUT_OFF and note.counted != run.run_id:
        return note
    one = run.tags.get("dagster/partition")
    first, last = (run.tags.get(f"dagster/asset_partition_range_{end}", one) for end in ("start", "end"))
    why = f"run {run.run_id[:8]} was stopped"
    owed = {
        key: replace(due, person=due.person or why) if not (first and last) or first <= key <= last else due
        for key, due in note.partitions.items()
    }
    return replace(note, partitions=owed)


def _in_vain(asked: Sequence[dg.RunRecord], now: datetime) -> str | None:
    """
    Return why no other run is requested after those that were *asked* for, newest first; None where one may be.

    They left the note as it was: none of them came as far as the sync.
    """
    if not asked:
        return None
    last = asked[0].dagster_run
    if not last.is_finished:
        return f"is under way in run {last.run_id[:8]}"
    if last.status is dg.DagsterRunStatus.CANCELED:
        return f"waits for a person: run {last.run_id[:8]} was stopped"
    until = datetime.fromtimestamp(asked[0].end_time or asked[0].update_timestamp.timestamp(), UTC)
    until += patience(len(asked))
    if now < until:
        return f"goes on at {until:%Y-%m-%d %H:%M} UTC: run {last.run_id[:8]} ended before it began to deliver"
    return None


def _gone(audience: Audience, note: Owing) -> str | None:
    """Return a partition that is owed and that the audience, declared anew, doesn't have."""
    definition = audience.partitioning()
    if definition is None:
        return None
    return next((key for key in (note.going[-1], note.going[0]) if not definition.has_partition_key(key)), None)


def _request(declared: Declared, sync: Sync, note: Owing, key: str, asked: Sequence[dg.RunRecord]) -> dg.RunRequest:
    """Return the run that goes on: for the range that is delivered together, of events for the newest partition."""
    audience = refer(sync, "audience", declared.audiences)
    tags = {"zeotap/audience": audience.name, "zeotap/started_by": "going_on", OWED: key}
    newest = note.going[-1]
    partition: dict[str, Any] = {}
    if audience.partitioning() is not None:
        first = newest if sync.target_type.event else note.going[0]
        if first == newest:
            partition = {"partition_key": first}
        else:
            tags["dagster/asset_partition_range_start"] = first
            tags["dagster/asset_partition_range_end"] = newest
    settings = note.partitions[newest].settings
    assets = [dg.AssetKey(["syncs", sync.name])]
    opposite = declared.opposites.get(sync.name)
    # Where the opposite was declared since, its snapshot is not there; what knows only today can't say what was then.
    if opposite and audience.history == "as_of" and not state().snapshot(opposite.audience, newest).exists():
        assets += _made_first(sync.name, opposite)
    return dg.RunRequest(
        # Dagster starts no second run of one key: after one that came to nothing the next has another.
        run_key=f"{key}:{asked[0].dagster_run.run_id}" if asked else key,
        run_config={"ops": {f"syncs__{sync.name}": {"config": dict(settings)}}} if settings else {},
        asset_selection=assets,
        tags=tags,
        **partition,
    )


def _made_first(name: str, opposite: Sync) -> set[dg.AssetKey]:
    """Return what is made before the sync called *name* goes on, where the snapshot of its *opposite* is missing."""
    return {dg.AssetKey(["diffs", name]), dg.AssetKey(["snapshots", opposite.audience])}
