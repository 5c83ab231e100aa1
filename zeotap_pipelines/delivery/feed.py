"""Hand out batches, each written down as asked, durably, before anybody gets it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import datetime
from itertools import islice

from ..model import Batch, Operation


class Feed:
    """
    Batches for the speakers of one phase, a window of them written down at a time.

    *write* makes a window durable. With *ahead* the next one is written while the
    last is still being asked, so that nobody waits for the disk; otherwise it is
    only cut meanwhile, and written when everything before was answered.
    """

    def __init__(
        self,
        batches: Iterator[tuple[Operation, ...]],
        moment: Callable[[], datetime],
        write: Callable[[Sequence[Batch]], Awaitable[None]],
        window: int,
        *,
        ahead: bool,
    ) -> None:
        self._batches, self._moment, self._write = batches, moment, write
        self._window, self._ahead = window, ahead
        self._ready: deque[Batch] = deque()
        self._cutting: asyncio.Task[list[tuple[Operation, ...]]] | None = None
        self._filling: asyncio.Task[None] | None = None
        self._dry = False
        self._pending: dict[int, Batch] = {}

    async def take(self) -> Batch | None:
        """Return the next batch, or None when there is none. Raises what cutting or writing raised."""
        while not self._ready:
            if self._dry:
                return None
            self._filling = self._filling or asyncio.create_task(self._fill())
            await asyncio.shield(self._filling)
        batch = self._ready.popleft()
        if not self._dry and self._filling is None and len(self._ready) <= self._window // 2:
            if self._ahead:
                self._filling = asyncio.create_task(self._fill())
            elif self._cutting is None and not self._ready:
                self._cutting = asyncio.create_task(self._cut())
        return batch

    def begun(self, batch: Batch) -> None:
        """Take note that *batch* is being asked by now."""
        del self._pending[batch.rows[0]]

    async def close(self) -> list[Batch]:
        """Return what was written down as asked and never was."""
        for task in (self._filling, self._cutting):
            if task is not None:
                await asyncio.wait([task])  # Soon over: it waits for the disk only.
        return list(self._pending.values())

    async def _cut(self) -> list[tuple[Operation, ...]]:
        return list(islice(self._batches, self._window - len(self._ready)))

    async def _fill(self) -> None:
        some = await (self._cutting or self._cut())
        self._cutting = None
        if some:
            batches = [Batch(operations, self._moment()) for operations in some]
            self._pending |= {batch.rows[0]: batch for batch in batches}
            await self._write(batches)
            self._ready.extend(batches)
        self._dry = not some
        self._filling = None
