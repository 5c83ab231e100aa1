"""What a delivery is given, and what is said of it afterwards."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import httpx

from ..clock import SYSTEM, Clock
from ..destinations.base import Connection
from ..hours import Hours
from ..model import Batch, Fate, Receipt
from ..state import State


@dataclass(frozen=True)
class Approval:
    """A person's word that a stopped plan may be sent: the plan's id, who says so, and why."""

    plan: str
    by: str
    reason: str


@dataclass
class Summary:
    """
    How a delivery went.

    *fates* counts the operations that were asked in this run; *reasons* counts what
    the service said of those that it did not accept; *left* were not asked; *withheld*
    are removals that wait for approval. *settled* are the reasons of rows that were
    refused for good, since the service holds them. *error* says what ended it early.
    """

    plan: str
    partition: str
    asked: int = 0
    calls: int = 0
    seconds: float = 0.0
    fates: Counter[Fate] = field(default_factory=Counter)
    reasons: Counter[tuple[Fate, str]] = field(default_factory=Counter)
    settled: set[str] = field(default_factory=set)
    left: int = 0
    withheld: int = 0
    error: Exception | None = None

    def take(self, batch: Batch, receipt: Receipt) -> None:
        """Count what became of *batch*."""
        self.asked += len(batch)
        outcomes = [receipt.outcome(one) for one in batch] if receipt.except_for else [receipt.everyone]
        for outcome in outcomes:
            times = len(batch) // len(outcomes)
            self.fates[outcome.fate] += times
            if outcome.reason:
                self.reasons[outcome.fate, outcome.reason] += times
                if outcome.final:
                    self.settled.add(outcome.reason)

    @property
    def complete(self) -> bool:
        """Whether nothing is owed any more that may be asked: what a green partition means."""
        return not (self.error or self.left or self.withheld or self.fates[Fate.DEFERRED])


@dataclass(frozen=True)
class Trip:
    """
    What a delivery needs besides its plan: where state lies, how to reach the service, and how to tell the time.

    Outside *hours* nothing is asked. *aside* does work that waits for the disk, and
    nothing else, while the conversations go on.
    """

    state: State
    connection: Connection
    run: str
    clock: Clock = SYSTEM
    transport: httpx.AsyncBaseTransport | None = None
    aside: Callable[[Callable[[], None]], Awaitable[None]] = asyncio.to_thread
    hours: Hours | None = None
    on_progress: Callable[[Summary, int], None] | None = None
