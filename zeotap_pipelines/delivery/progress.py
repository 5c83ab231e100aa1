"""How far a delivery is: a line, a record and a bar, every few seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TextIO

from .trip import Summary

WIDTH = 30
"""Characters of a bar."""


@dataclass(frozen=True)
class Stand:
    """How far a delivery is: *rate* is in rows a second, *left* in seconds, as far as the rate tells."""

    done: int
    of: int
    rate: float
    left: float

    def __str__(self) -> str:
        return f"{self.done:,} of {self.of:,} rows asked, {self.rate:,.0f} a second, about {self.left:,.0f} s left"


class Progress:
    """Says every few seconds how far a delivery is."""

    def __init__(
        self, say: Callable[[Stand], None], every: float = 5.0, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._say, self._every, self._monotonic = say, every, monotonic
        self._started = self._said = monotonic()

    def __call__(self, summary: Summary, total: int) -> None:
        """Take note of one more batch."""
        now = self._monotonic()
        if now - self._said < self._every:
            return
        self._said = now
        rate = summary.asked / max(now - self._started, 0.001)
        self._say(Stand(summary.asked, total, rate, (total - summary.asked) / rate if rate else 0.0))


WATCHER: ContextVar[Callable[[Stand], None] | None] = ContextVar("watcher", default=None)
"""Who else watches the deliveries of this process: a terminal's bar."""


class Bar:
    """A bar on a terminal; nothing where *stream* is none."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._drawn = stream, False

    def __call__(self, stand: Stand) -> None:
        """Draw how far it is over what was drawn before."""
        if not self._stream.isatty():
            return
        full = WIDTH * stand.done // max(stand.of, 1)
        self._stream.write(f"\r\x1b[K{'█' * full}{'░' * (WIDTH - full)} {stand}")
        self._stream.flush()
        self._drawn = True

    def close(self) -> None:
        """Take the bar away."""
        if self._drawn:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
