"""What a destination is made of: a connection, and the targets it offers."""

from __future__ import annotations

import ipaddress
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar
from urllib.parse import urlsplit

import httpx
from pydantic import BaseModel, ConfigDict, Field, field_validator

from ..mapping import Kind
from ..model import (
    ACCEPTED,
    MODES,
    Address,
    Batch,
    Change,
    Conversation,
    Fate,
    Mode,
    Operation,
    Outcome,
    Question,
    Verb,
)
from ..naming import NAME
from .answers import names_an_error

TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses that say nothing against the row: asking again may succeed."""


@dataclass(frozen=True)
class Limits:
    """
    What an account allows: requests at once, per second, per minute and per day.

    None means unknown: the wire then adapts to refusals. The day begins at midnight UTC.
    """

    concurrency: int = 1
    per_second: float | None = None
    per_minute: float | None = None
    per_day: int | None = None


class Connection(BaseModel, ABC):
    """
    One account at one service: address, credentials, limits.

    *account* is a permanent name that the user chooses; state hangs on it, so it
    stays when URLs, keys or the connection's name change.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    service: ClassVar[str]
    credentials: ClassVar[tuple[str, ...]]
    """The settings that say whose account it is: two connections that share one speak to the same."""

    unverified: ClassVar[str]
    """What `test` leaves open, because asking for it would change something."""

    account: str = Field(description="A permanent name for this account; what was delivered is remembered under it")
    base_url: str
    timeout: float = Field(60.0, gt=0, description="Seconds for one request, from connecting to the last byte")
    retries: int = Field(3, ge=0, le=10, description="How often a request that may be repeated is asked again")

    @field_validator("account")
    @classmethod
    def _account_is_a_name(cls, value: str) -> str:
        if not NAME.fullmatch(value):
            raise ValueError(f"account {value!r}: use letters, digits and underscores")
        return value

    @field_validator("base_url")
    @classmethod
    def _base_url_is_safe(cls, value: str) -> str:
        return safe_url(value)

    @abstractmethod
    def auth(self) -> httpx.Auth:
        """Return how requests are signed. Called once per run: tokens live as long as the returned value."""

    @abstractmethod
    def limits(self) -> Limits:
        """Return what the account allows."""

    def headers(self) -> Mapping[str, str]:
        """Return the headers that every request carries besides the credentials."""
        return {}

    @abstractmethod
    def test(self) -> Question:
        """Ask, changing nothing, whether the credentials, the host and the permissions are right."""


@dataclass(frozen=True)
class Visit:
    """What a target's conversations have learnt in this run, for those that follow."""

    known: dict[str, Any] = field(default_factory=dict)
    fields: tuple[str, ...] = ()
    """The destination fields that the sync maps."""
    constants: Mapping[str, str] = field(default_factory=dict)
    """Those of them that it maps to a constant, with their values."""


class Target(ABC):
    """
    Something at a connection that rows go to: a small frozen value without secrets.

    A target declares what it is and holds a conversation per batch. It never sees
    a socket, a clock, a token, a retry or the ledger.
    """

    service: ClassVar[str]
    kind: ClassVar[str]
    verbs: ClassVar[frozenset[Verb]]
    required: ClassVar[tuple[str, ...]] = ()
    """The fields that a mapping must name, besides an identity."""

    default_fields: ClassVar[tuple[str, ...]] = ()
    """The destination fields that the service's document lists."""

    email: ClassVar[frozenset[str]] = frozenset()
    """The identity fields that are compared without regard to case."""

    composite: ClassVar[bool] = False
    """Whether all identity fields together are the key, rather than the first that is present."""

    exact: ClassVar[frozenset[str]] = frozenset()
    """The identity fields that are compared byte for byte; all others are trimmed."""

    aliases: ClassVar[frozenset[str]] = frozenset()
    """Fields besides the identity that the service takes for the same thing: trimmed as it is."""

    numbers: ClassVar[frozenset[str]] = frozenset()
    """The identity fields that are whole numbers to the service: 0100, +100 and 100 are one."""

    kinds: ClassVar[Mapping[str, Kind]] = {}
    """The JSON types of the fields that aren't text."""

    carries_attributes: ClassVar[bool] = False
    """Whether a row holds more than its identity, so that it can change."""

    event: ClassVar[bool] = False
    """Whether a row is something that happens, so that it must never be asked twice."""

    ordered: ClassVar[bool] = False
    """Whether batches must arrive in the order of their moments, one at a time."""

    items: ClassVar[int] = 1
    """How many operations fit into one batch, unless `batch_items` says otherwise."""

    max_bytes: ClassVar[int | None] = None
    """How many bytes of bodies fit into one batch."""

    notes: ClassVar[tuple[str, ...]] = ()
    """What the reader of a summary must know, because the service gives no sign of it."""

    @property
    @abstractmethod
    def identity(self) -> tuple[str, ...]:
        """The fields that identify a row, the primary one first: the first that is present is the key."""

    @property
    def namespace(self) -> str:
        """Which ids the identity's values are of, where the same value may name two people; told rows are of one."""
        return ""

    @property
    def date_format(self) -> str | None:
        """How dates and times are written where the mapping doesn't say; None leaves them in ISO 8601."""
        return None

    @property
    def once(self) -> bool:
        """Whether the target is filled from one partition and then left alone."""
        return False

    @property
    @abstractmethod
    def name(self) -> str:
        """What tells this target from the others of its kind at the account."""

    def address(self, account: str) -> Address:
        """Return what identifies this target for ever."""
        return Address(self.service, account, self.kind, self.name)

    @classmethod
    def modes(cls) -> Mapping[Mode, Mapping[Change, Verb]]:
        """Return the modes that this target supports, each with the verb for every change."""
        return {
            mode: {c: verb for c, verb in verbs.items() if cls.carries_attributes or c is not Change.CHANGED}
            for mode, verbs in MODES.items()
            if set(verbs.values()) <= cls.verbs
        }

    def check(self, mode: Mode, fields: Collection[str]) -> None:
        """Refuse a *mode* or mapped *fields* that this very target can't take. Raises FixDeclaration."""
        return

    def apart(self, operation: Operation) -> str | None:
        """Return what must not overlap: operations of the same text are never in flight together. None: any may be."""
        return None

    def batch_items(self, verb: Verb) -> int:
        """Return how many operations of *verb* fit into one batch."""
        return self.items

    def calls(self, verb: Verb, operations: int) -> int:
        """Return how many requests so many operations of *verb* need at the least, as far as items limit them."""
        return -(-operations // self.batch_items(verb))

    def invalid(self) -> Iterable[tuple[str, str]]:
        """
        Return what makes a row unfit to be sent: pairs of reason and SQL condition.

        A condition names the canonical text of a mapped field in braces: ``{EMAIL}``;
        it is left out where a field of it isn't mapped.
        """
        return ()

    def odd(self) -> Iterable[tuple[str, str]]:
        """Return what is worth a warning and no more, as pairs of reason and SQL condition."""
        return ()

    def preflight(self, visit: Visit) -> Question:
        """Ask, before the first batch of a run, whether the target exists. Raises FixTarget naming it."""
        yield from ()

    @property
    def task_life(self) -> float:
        """The seconds within which a task that a call of this target starts has ended; 0 where there are no tasks."""
        return 0.0

    def await_task(self, task: str) -> Question:
        """Wait until a *task* that an earlier run started has ended. Raises TryAgainLater where it hasn't in time."""
        yield from ()

    @abstractmethod
    def converse(self, batch: Batch, visit: Visit) -> Conversation:
        """Ask for *batch*, one yielded call at a time, and return what became of it."""

    def judge(self, response: httpx.Response) -> Outcome:
        """Return what *response* means for everything that was asked in it."""
        return judge(response, event=self.event)


def judge(response: httpx.Response, *, event: bool = False) -> Outcome:
    """
    Return what a status means: 2xx is success, a transient one is asked again, anything else is the row's fault.

    Only a 429 is certain to have done nothing. An *event* that may have happened is in doubt.
    A 2xx that holds a web page (a portal, a notice of maintenance) or an error is no success.
    """
    status = response.status_code
    if response.is_success and (instead := _in_place_of_an_answer(response)):
        reason = f"HTTP {status} with {instead} in place of an answer: check base_url"
        return Outcome(Fate.IN_DOUBT if event else Fate.DEFERRED, reason, status)
    if response.is_success:
        return ACCEPTED if status == 200 else Outcome(Fate.ACCEPTED, status=status)
    reason = f"HTTP {status}{_said(response)}"
    if status == httpx.codes.TOO_MANY_REQUESTS:
        return Outcome(Fate.DEFERRED, reason, status, untouched=True)
    if status in TRANSIENT or status < 400 or status >= 500:
        return Outcome(Fate.IN_DOUBT if event else Fate.DEFERRED, reason, status)
    return Outcome(Fate.REJECTED, reason, status, untouched=True)


def _in_place_of_an_answer(response: httpx.Response) -> str:
    """Return what a success holds that is none, whatever its type and status say; nothing where it is one."""
    if response.content.lstrip()[:1] == b"<":
        return "a web page"
    try:
        return "an error" if names_an_error(response.json()) else ""
    except RecursionError:
        return "a body nested without end"
    except ValueError:
        return ""


def _said(response: httpx.Response) -> str:
    """Return the start of an error's text, on one line; never fails on a body that is no text."""
    text = " ".join(response.text.split())
    return f": {text[:300]}" if text else ""


def safe_url(value: str) -> str:
    """Return *value* without a trailing slash; refuse anything but https, except for this very machine."""
    parts = urlsplit(value)
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise ValueError("write the address with its protocol, for example https://api.example.com")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("the address must hold no credentials, query or fragment")
    if parts.scheme == "http" and not loopback(parts.hostname):
        raise ValueError("credentials travel over https only; http is allowed for this machine itself")
    return value.rstrip("/")


def loopback(host: str) -> bool:
    """Return whether *host* is this very machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
