"""
A desk: a service that answers as a law wants it to, without HTTP.

What is asked of it, in which pieces and when, is remembered; where it stands
in a world and its ledger is as with any other target.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from zeotap_pipelines.destinations.base import Target, Visit
from zeotap_pipelines.destinations.kognitiv import GROUPS, PromotionalMemberGroup
from zeotap_pipelines.model import Batch, Call, Conversation, Question, Receipt
from zeotap_pipelines_tests.world import World, kognitiv


class Desk:
    """Answers each batch of rows as *answer* says, and remembers which were asked."""

    def __init__(self, answer: Callable[[tuple[int, ...]], Receipt]) -> None:
        self.answer = answer
        self.asked: list[list[int]] = []
        self.moments: list[datetime] = []
        self.learnt: list[Visit] = []
        self.waited_for: list[str] = []

    def __call__(self, batch: Batch) -> Receipt:
        self.asked.append(list(batch.rows))
        self.moments.append(batch.at)
        return self.answer(batch.rows)


def at(desk: Desk, *, items: int = 1, **is_: Any) -> Target:
    """A target whose conversations are held at *desk*."""

    class AtDesk(PromotionalMemberGroup):
        asks = False

        def preflight(self, visit: Visit) -> Question:
            desk.learnt.append(visit)
            yield from ()

        def await_task(self, task: str) -> Question:
            desk.waited_for.append(task)
            yield from ()

        def converse(self, batch: Batch, visit: Visit) -> Conversation:
            if self.asks:
                yield Call("GET", GROUPS)
            return desk(batch)

    for name, value in {"items": items, **is_}.items():
        setattr(AtDesk, name, value)
    return AtDesk("ACTIVE-90D")


def world(root: Path, target: Target, **connection: Any) -> World:
    """A world with *target* in it."""
    made = World(root, target=target)
    made.connection = kognitiv(**connection)
    return made


def people(number: int) -> list[str]:
    """So many people, in the order of their rows."""
    return sorted(str(one) for one in range(1000, 1000 + number))
