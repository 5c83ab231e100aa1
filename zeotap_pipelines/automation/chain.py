"""The chain of an audience: its snapshot, and the diff and the sync of each of its syncs, in one job."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

if TYPE_CHECKING:
    from ..components.audience import Audience
    from ..components.sync import Sync

Job = Any
"""A job before Dagster has resolved its selection."""

Context = dg.ScheduleEvaluationContext | dg.SensorEvaluationContext

BY_ITSELF = ("schedule", "watch")
"""What starts a chain without a person."""

LOOKED_AT = 50
"""Runs looked at for the newest partition that was asked for: one that is run again may be younger and of an older."""


@dataclass(frozen=True)
class Chain:
    """
    An audience and the syncs that go on their own; *events* are those of them whose every partition counts.

    *opposing* are the audiences whose snapshots their plans are made of too: those of their opposites.
    """

    audience: Audience
    syncs: tuple[str, ...]
    events: tuple[str, ...] = ()
    opposing: tuple[str, ...] = ()

    @classmethod
    def of(cls, audience: Audience, syncs: Iterable[Sync], opposites: Mapping[str, Sync]) -> Chain:
        """Return the chain of *audience*, whose syncs are *syncs*; *opposites* are by the name of whom they oppose."""
        automatic = [sync for sync in syncs if sync.automatic]
        events = [sync.name for sync in automatic if sync.target_type.event]
        others = {opposites[sync.name].audience for sync in automatic if sync.name in opposites}
        opposing = tuple(sorted(others - {audience.name}))
        return cls(audience, tuple(sync.name for sync in automatic), tuple(events), opposing)

    @property
    def name(self) -> str:
        """The name of the chain's job."""
        return f"{self.audience.name}_chain"

    @property
    def keys(self) -> list[dg.AssetKey]:
        """The assets of the chain."""
        return [*self._up_to(self.syncs), *(dg.AssetKey(["snapshots", name]) for name in self.opposing)]

    def request(self, at: datetime, started_by: str) -> dg.RunRequest | str:
        """
        Return the run for the newest partition at the instant *at*, or why there is none.

        That is the newest window that is over; with `history: current` the one that
        isn't, unless *at* is so long ago that it is over meanwhile and would be refused.
        """
        tags = {"zeotap/audience": self.audience.name, "zeotap/started_by": started_by}
        if self.audience.partitioning() is None:
            return dg.RunRequest(tags=tags)
        newest = self._newest(at)
        if newest is None:
            return f"the first partition, which begins at {self.audience.start}, is not over yet"
        if self.audience.history == "current" and newest != self._newest(datetime.now(UTC)):
            return f"partition {newest} is over, and the audience's query knows only today"
        return dg.RunRequest(partition_key=newest, tags=tags)

    def requests(self, context: Context, at: datetime, started_by: str) -> list[dg.RunRequest] | str:
        """
        Return the run for the newest partition at the instant *at*, or why there is none.

        Where the chain delivers events, runs for the partitions come before it that nobody
        asked for since the chain ran by itself last: each has events of its own. Of
        `history: current` they can't be taken any more, which is logged, and a tag of the run.
        """
        request = self.request(at, started_by)
        if isinstance(request, str):
            return request
        newest = request.partition_key
        if newest is None or not self.events:
            return [request]
        # A tick that was cut off is made again: by its key Dagster tells which of its runs are there already.
        request = request.with_replaced_attrs(run_key=f"{self.audience.name}:{newest}:{at.isoformat()}")
        skipped = self._skipped(context.instance, newest)
        if not skipped:
            return [request]
        which = skipped[0] if len(skipped) == 1 else f"{len(skipped)} partitions, {skipped[0]} to {skipped[-1]}"
        if self.audience.history == "current":
            context.log.warning(
                f"nobody asked for {which}, and the audience's query knows only today: "
                f"an event of then that it doesn't return any more is never sent by {', '.join(self.events)}"
            )
            return [request.with_replaced_attrs(tags={**request.tags, "zeotap/skipped": which})]
        context.log.info(f"nobody asked for {which}: made up for, since {', '.join(self.events)} sends events")
        earlier = [
            dg.RunRequest(
                run_key=f"{self.audience.name}:{key}",
                partition_key=key,
                asset_selection=self._up_to(self.events),
                tags=request.tags,
            )
            for key in skipped
        ]
        return [*earlier, request]

    def _skipped(self, instance: dg.DagsterInstance, newest: str) -> list[str]:
        """Return the undelivered partitions from the newest that the chain ran for by itself to *newest*."""
        definition = self.audience.partitioning()
        assert definition is not None
        ran = dg.RunsFilter(job_name=self.name, tags={"zeotap/started_by": list(BY_ITSELF)})
        ends = []
        for run in instance.get_runs(ran, limit=LOOKED_AT):
            with suppress(ValueError):  # The audience was cut otherwise.
                window = definition.time_window_for_partition_key(run.tags.get("dagster/partition", ""))
                ends.append(window.end.astimezone(UTC))
        if not ends:
            return []
        begin = max(*ends, definition.start.astimezone(UTC))
        end = definition.time_window_for_partition_key(newest).start.astimezone(UTC)
        between = definition.get_partition_keys_in_time_window(dg.TimeWindow(begin, end))
        if not between:
            return []
        green = [instance.get_materialized_partitions(dg.AssetKey(["syncs", name])) for name in self.events]
        return [key for key in between if key not in set.intersection(*green)]

    def _up_to(self, syncs: Iterable[str]) -> list[dg.AssetKey]:
        following = [dg.AssetKey([kind, name]) for name in syncs for kind in ("diffs", "syncs")]
        return [dg.AssetKey(["snapshots", self.audience.name]), *following]

    def _newest(self, at: datetime) -> str | None:
        definition = self.audience.partitioning()
        assert definition is not None
        with dg.partition_loading_context(effective_dt=at):
            return definition.get_last_partition_key()


def chain_job(chain: Chain) -> Job:
    """Return the job that runs the chain."""
    reaches = ", ".join(f"`{name}`" for name in chain.syncs) or "no sync"
    beside = "".join(f" (and `{name}`, to see who is in both)" for name in chain.opposing)
    return dg.define_asset_job(
        chain.name,
        selection=dg.AssetSelection.assets(*chain.keys),
        description=f"Freezes audience `{chain.audience.name}`{beside} and delivers it to {reaches}.",
    )
