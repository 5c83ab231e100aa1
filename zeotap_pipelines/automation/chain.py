"""The chain of an audience: its snapshot, and the diff and the sync of each of its syncs, in one job."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

if TYPE_CHECKING:
    from ..components.audience import Audience
    from ..components.sync import Sync

Job = Any
"""A job before Dagster has resolved its selection."""


@dataclass(frozen=True)
class Chain:
    """An audience and the syncs that go on their own."""

    audience: Audience
    syncs: tuple[str, ...]

    @classmethod
    def of(cls, audience: Audience, syncs: Iterable[Sync]) -> Chain:
        """Return the chain of *audience*, whose syncs are *syncs*."""
        return cls(audience, tuple(sync.name for sync in syncs if sync.automatic))

    @property
    def name(self) -> str:
        """The name of the chain's job."""
        return f"{self.audience.name}_chain"

    @property
    def keys(self) -> list[dg.AssetKey]:
        """The assets of the chain."""
        following = [dg.AssetKey([kind, name]) for name in self.syncs for kind in ("diffs", "syncs")]
        return [dg.AssetKey(["snapshots", self.audience.name]), *following]

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

    def _newest(self, at: datetime) -> str | None:
        definition = self.audience.partitioning()
        assert definition is not None
        with dg.partition_loading_context(effective_dt=at):
            return definition.get_last_partition_key()


def chain_job(chain: Chain) -> Job:
    """Return the job that runs the chain."""
    reaches = ", ".join(f"`{name}`" for name in chain.syncs) or "no sync"
    return dg.define_asset_job(
        chain.name,
        selection=dg.AssetSelection.assets(*chain.keys),
        description=f"Freezes audience `{chain.audience.name}` and delivers it to {reaches}.",
    )
