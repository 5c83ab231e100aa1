"""A chain whenever its source has changed."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from ..engines.watching import Watch, changed, look
from ..errors import FixQuery, ZeotapError
from .chain import Chain, Job

if TYPE_CHECKING:
    from ..components.automation import WatchSettings

UNDER_WAY = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def watch_sensor(chain: Chain, job: Job, watched: tuple[WatchSettings, Watch]) -> dg.SensorDefinition:
    """
    Return the sensor that runs *chain* for its newest partition when the source has changed.

    What was seen is the cursor, and moves only with a request for a run: what changes
    while a run is under way, or before the first partition is over, is seen later.
    """
    declared, watch = watched
    audience = chain.audience

    @dg.sensor(
        name=f"{audience.name}_watch",
        job=job,
        minimum_interval_seconds=declared.every,
        default_status=dg.DefaultSensorStatus.RUNNING if declared.enabled else dg.DefaultSensorStatus.STOPPED,
        description=f"Delivers the newest partition of audience `{audience.name}` when its source has changed.",
        required_resource_keys={audience.source},
    )
    def watching(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        if run := _under_way(context.instance, chain):
            return dg.SkipReason(f"run {run} is under way; the source is looked at when it has ended")
        before = _seen(context.cursor)
        try:
            seen = look(watch, Path(getattr(context.resources, audience.source).database), before)
        except FixQuery as wrong:
            raise dg.Failure(f"FixQuery: {audience.place('watch')}: {wrong}") from None
        except ZeotapError as down:
            return dg.SkipReason(f"the source is down: {down}")
        if not (news := changed(before, seen)):
            return dg.SkipReason("the source has not changed")
        asked = chain.requests(context, datetime.now(UTC), "watch")
        if isinstance(asked, str):
            return dg.SkipReason(asked)
        context.log.info(f"{', '.join(news)} changed")
        return dg.SensorResult(run_requests=asked, cursor=json.dumps(seen))

    return watching


def _seen(cursor: str | None) -> dict[str, str]:
    """Return what the cursor holds; one that somebody edited by hand into something else counts as none."""
    try:
        kept = json.loads(cursor or "{}")
    except ValueError:
        return {}
    return kept if isinstance(kept, dict) else {}


def _under_way(instance: dg.DagsterInstance, chain: Chain) -> str | None:
    """Return the id of a run of the chain that hasn't ended."""
    found = instance.get_runs(dg.RunsFilter(job_name=chain.name, statuses=UNDER_WAY), limit=1)
    return found[0].run_id[:8] if found else None
