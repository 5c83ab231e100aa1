"""
The vocabulary. Every other module speaks in these words:

    snapshot --diff--> plan of operations --delivery--> receipts --fold--> ledger
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import httpx


class Change(StrEnum):
    """How a row differs from what the target was last told."""

    ENTERED = "entered"
    CHANGED = "changed"
    LEFT = "left"


class Verb(StrEnum):
    """What is asked for one row."""

    ADD = "add"
    REMOVE = "remove"
    UPSERT = "upsert"
    INSERT = "insert"
    UPDATE = "update"


class Mode(StrEnum):
    """Which changes a sync delivers, and as what."""

    UPSERT = "upsert"
    INSERT = "insert"
    UPDATE = "update"
    ADD = "add"
    REMOVE = "remove"
    MIRROR = "mirror"


MODES: Mapping[Mode, Mapping[Change, Verb]] = {
    Mode.UPSERT: {Change.ENTERED: Verb.UPSERT, Change.CHANGED: Verb.UPSERT},
    Mode.INSERT: {Change.ENTERED: Verb.INSERT},
    Mode.UPDATE: {Change.ENTERED: Verb.UPDATE, Change.CHANGED: Verb.UPDATE},
    Mode.ADD: {Change.ENTERED: Verb.ADD, Change.CHANGED: Verb.ADD},
    Mode.REMOVE: {Change.ENTERED: Verb.REMOVE},  # The audience names who is to go.
    Mode.MIRROR: {Change.ENTERED: Verb.ADD, Change.CHANGED: Verb.ADD, Change.LEFT: Verb.REMOVE},
}
"""What a mode makes of each change. A target that carries no attributes never sees *changed*."""


class Fate(StrEnum):
    """What became of an operation. Accepted and rejected are the service's own word."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"  # The service said no: the row is at fault.
    DEFERRED = "deferred"  # Must be asked again; it may have happened all the same.
    IN_DOUBT = "in_doubt"  # May have happened and must not happen twice: a person decides.


@lru_cache(maxsize=64)
def _loaded(body: str) -> dict[str, Any]:
    """Return a body's fields; whoever asks for them does so again soon."""
    loaded: dict[str, Any] = json.loads(body)
    return loaded


class Operation(NamedTuple):
    """
    One row's verb.

    *row* numbers it within its plan, *body* is its payload as JSON text, and
    *repeated* says that an earlier attempt may have been applied.
    """

    row: int
    verb: Verb
    body: str
    repeated: bool = False

    @property
    def fields(self) -> dict[str, Any]:
        """The payload as a dictionary: destination field to value."""
        return dict(_loaded(self.body))


@dataclass(frozen=True)
class Batch:
    """
    Operations that travel together: one verb, one moment.

    *at* is when the batch is asked: strictly later than any earlier batch's for
    the same target, across runs.
    """

    operations: tuple[Operation, ...]
    at: datetime

    @property
    def verb(self) -> Verb:
        """The verb that all its operations share."""
        return self.operations[0].verb

    @cached_property
    def rows(self) -> tuple[int, ...]:
        """The plan's row numbers, in the order of the operations."""
        return tuple(operation.row for operation in self.operations)

    def __iter__(self) -> Iterator[Operation]:
        return iter(self.operations)

    def __len__(self) -> int:
        return len(self.operations)


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    What became of one operation.

    *untouched* says that it certainly did not happen, so that nothing needs to be
    asserted again. *final* says that a rejected row need never be asked again,
    because the target already holds it. *request* is the service's own number
    for the request, for its support desk.
    """

    fate: Fate
    reason: str = ""
    status: int | None = None
    untouched: bool = False
    final: bool = False
    request: str | None = None


ACCEPTED = Outcome(Fate.ACCEPTED)


@dataclass(frozen=True, slots=True)
class Receipt:
    """
    The answer to a batch: what became of everyone, except of some, by row number.

    Total by construction: no operation can be left without an outcome. *split*
    says that the service refused the batch as a whole and nothing of it was
    applied: it is asked again in halves until the rows at fault stand alone.
    """

    everyone: Outcome
    except_for: Mapping[int, Outcome] = field(default_factory=dict)
    split: bool = False

    def outcome(self, operation: Operation) -> Outcome:
        """What became of *operation*."""
        return self.except_for.get(operation.row, self.everyone)


@dataclass(frozen=True, slots=True)
class Call:
    """
    One HTTP request as a plain value.

    *path* is relative to the connection's base, each segment percent-encoded.
    Wait *after* seconds before sending it: how a conversation polls. *starts* says
    that it may start a task, which goes on after the answer.
    """

    method: str
    path: str
    content: bytes | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    after: float = 0.0
    starts: bool = False


@dataclass(frozen=True, slots=True)
class Task:
    """A task of the service that goes on after its request was answered: yielded to be remembered."""

    id: str


Conversation = Generator[Call | Task, httpx.Response, Receipt]
"""Yields calls, is sent their responses, and returns the receipt. Never touches a socket or a clock."""

Question = Generator[Call, httpx.Response, None]
"""A conversation that changes nothing at the service: it passes, or raises what must be fixed."""


class Unanswered(Exception):
    """
    Thrown into a conversation whose call got no answer that could be used.

    A conversation that has learnt something already catches it and returns a
    receipt for what it knows; otherwise *outcome* holds for the whole batch.
    """

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome


class Halt(Exception):
    """Raised by a conversation to end the run: *receipt* accounts for the batch, *error* says what to fix."""

    def __init__(self, receipt: Receipt, error: Exception) -> None:
        super().__init__(str(error))
        self.receipt = receipt
        self.error = error


@dataclass(frozen=True, slots=True)
class Address:
    """
    What identifies a target for ever: service, account, kind and name.

    The account is a declared, permanent name, independent of URLs, keys and the
    connection's name.
    """

    service: str
    account: str
    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.service}/{self.account}/{self.kind}/{self.name}"


UNPARTITIONED = "all"
"""The key of the one partition of an audience that doesn't cut time."""


@dataclass(frozen=True, slots=True, order=True)
class Partition:
    """A window of time [start, end) as UTC instants, and its key. Ordered by its end."""

    end: datetime
    start: datetime
    key: str

    @property
    def occasion(self) -> str:
        """What is rejected once at most: the key, or the moment of the snapshot where time isn't cut."""
        return self.end.astimezone(UTC).isoformat() if self.key == UNPARTITIONED else self.key

    def __str__(self) -> str:
        return self.key
