"""What a delivery is given, and what is said of it afterwards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx

from .clock import SYSTEM, Clock
from .destinations.base import Connection
from .model import Fate
from .state import State


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
    are removals that wait for approval. *error* says what ended it early.
    """

    plan: str
    partition: str
    asked: int = 0
    calls: int = 0
    seconds: float = 0.0
    fates: Counter[Fate] = field(default_factory=Counter)
    reasons: Counter[tuple[Fate, str]] = field(default_factory=Counter)
    left: int = 0
    withheld: int = 0
    error: Exception | None = None

    @property
    def complete(self) -> bool:
        """Whether nothing is owed any more that may be asked: what a green partition means."""
        return not (self.error or self.left or self.withheld or self.fates[Fate.DEFERRED])


@dataclass(frozen=True)
class Trip:
    """What a delivery needs besides its plan: where state lies, how to reach the service, and how to tell the time."""

    state: State
    connection: Connection
    run: str
    clock: Clock = SYSTEM
    transport: httpx.AsyncBaseTransport | None = None
    on_progress: Callable[[Summary, int], None] | None = None
