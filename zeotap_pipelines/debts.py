"""
What a sync still owes and may be asked for again, noted beside its plans: whoever goes on reads it.

A delivery writes the note before it begins, so that one that was killed leaves it too,
and takes out what it delivered. What waits for a person is noted as such.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from .clock import SYSTEM, Clock
from .engines.duckdb import rows
from .errors import AskForRestore, ContinueLater, RepairState, TryAgainLater, ZeotapError
from .ledger import Ledger
from .model import Fate, Partition
from .state import State, write_text
from .sync import Sync
from .trip import Summary

PATIENCE = timedelta(minutes=5)
"""How long deferred rows wait at first; twice as long after each run that got nothing accepted."""

DOUBLINGS = 6
"""How often that is doubled: five hours at most."""

CUT_OFF = "the run was cut off"
"""What the note says of a run from its beginning until it says something else."""


@dataclass(frozen=True)
class Owing:
    """
    What a sync owes.

    *partitions* are owed, as key to the window's end, oldest first; *run* wrote the
    note, *until* is the moment before which asking is of no use, and *why* is said of
    it. *person*: nobody goes on before a person has mended something. So many
    *attempts* in a row got nothing accepted; *settings* are what a person allowed.
    """

    partitions: Mapping[str, str]
    run: str
    why: str
    until: datetime | None = None
    person: bool = False
    attempts: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def newest(self) -> str:
        """The newest partition."""
        return max(self.partitions, key=lambda key: (self.partitions[key], key))

    @property
    def oldest(self) -> str:
        """The oldest partition."""
        return min(self.partitions, key=lambda key: (self.partitions[key], key))

    @property
    def name(self) -> str:
        """A name for exactly this state: what was requested for it isn't requested again."""
        return hashlib.sha256(_text(self).encode()).hexdigest()[:16]

    def reason_to_wait(self, now: datetime) -> str | None:
        """Return why it can't be asked for now; None where it can."""
        if self.person:
            return f"waits for a person: {self.why}"
        if self.until is not None and now < self.until:
            return f"goes on at {self.until:%Y-%m-%d %H:%M} UTC: {self.why}"
        return None


def load(state: State, sync: str) -> Owing | None:
    """Return what *sync* owes; None where nobody knows of anything."""
    path = state.owed(sync)
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        until = kept.pop("until")
        return Owing(**kept, until=datetime.fromisoformat(until) if until else None)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise RepairState(f"{path} is damaged: delete it, and materialize what is owed") from error


class Debt:
    """The note on what one run of a sync has to deliver, kept true while it does."""

    def __init__(
        self, state: State, sync: Sync, run: str, settings: Mapping[str, Any], *, clock: Clock = SYSTEM
    ) -> None:
        self._state, self._sync, self._run, self._settings = state, sync, run, dict(settings)
        self._clock = clock
        self._attempts = 0

    def begins(self, partitions: Sequence[Partition]) -> None:
        """
        Note that *partitions* are owed from now on, whatever becomes of the run.

        A run that dies is gone on with at once; where the one before it died too, the
        next waits, from now on, as after a run that got nothing accepted.
        """
        before = load(self._state, self._sync.name)
        self._attempts = before.attempts if before else 0
        until = None
        if before and before.why == CUT_OFF and before.run != self._run:
            until = self._later()
        owed = {one.key: one.end.isoformat() for one in partitions}
        if before and (self._sync.target.event or self._sync.target.once):
            # Each has events of its own; what is filled once keeps to the one that it was begun from.
            owed = {**before.partitions, **owed}
        elif before and max(before.partitions.values()) > max(owed.values()) and not self._settings.get("restore"):
            owed = dict(before.partitions)  # What is older is superseded, and owes nothing.
        self._write(Owing(owed, self._run, CUT_OFF, until, attempts=self._attempts, settings=self._settings))

    def delivered(self, partitions: Sequence[Partition], *, others: bool = True) -> None:
        """Take out *partitions*, which were delivered or superseded, and with them the *others* that they supersede."""
        note = load(self._state, self._sync.name)
        if note is None:
            return
        done, last = {one.key for one in partitions}, max(one.end for one in partitions).isoformat()
        left = {
            key: end
            for key, end in note.partitions.items()
            if key not in done and (self._sync.target.event or not others or end > last)
        }
        self._attempts = 0
        if left:
            self._write(replace(note, partitions=left, why="earlier partitions are owed", until=None, attempts=0))
        else:
            self._state.owed(self._sync.name).unlink(missing_ok=True)

    def put_off(self, why: str) -> None:
        """Note that nothing was asked, because of a pause or the hour: whoever goes on looks at both himself."""
        self._change(why=why, until=None, person=False)

    def stopped(self) -> None:
        """Note that a person, or the machine, stopped the run: nobody goes on by himself."""
        self._change(why="the run was stopped", until=None, person=True)

    def ended(self, summary: Summary) -> None:
        """Note how a delivery ended that did not come to its end, and when it may go on."""
        if summary.fates[Fate.ACCEPTED]:
            self._attempts = 0
        self.failed(summary.error or TryAgainLater("rows were deferred"))

    def failed(self, error: Exception) -> None:
        """Note what ended the run: what only a person can mend is not asked again."""
        if isinstance(error, ContinueLater):
            self._change(why=str(error), until=error.until, person=False)
            return
        known = isinstance(error, ZeotapError)
        why = f"{type(error).__name__}: {error}" if known else type(error).__name__
        again = isinstance(error, ZeotapError) and error.retryable
        later = self._later()
        self._change(why=why, until=later if again else None, person=not again)

    def _later(self) -> datetime:
        """Return when to ask again, and count the attempt."""
        later: datetime = self._clock.now() + PATIENCE * 2 ** min(self._attempts, DOUBLINGS)
        self._attempts += 1
        return later

    def _change(self, **changed: Any) -> None:
        note = load(self._state, self._sync.name)
        if note is not None:
            self._write(replace(note, run=self._run, attempts=self._attempts, **changed))

    def _write(self, note: Owing) -> None:
        write_text(self._state.owed(self._sync.name), _text(note))


@contextmanager
def noting(debt: Debt | None) -> Iterator[None]:
    """Note what ends the run meanwhile, whatever it is: what nobody noted would be asked for at every look."""
    try:
        yield
    except AskForRestore:  # Superseded: it owes nothing.
        raise
    except Exception as error:
        if debt:
            debt.failed(error)
        raise
    except BaseException:  # A person, or the machine, stopped it.
        if debt:
            debt.stopped()
        raise


def _text(note: Owing) -> str:
    kept = {**asdict(note), "until": note.until.isoformat() if note.until else None}
    return json.dumps(kept, indent=2, ensure_ascii=False) + "\n"


def in_doubt(sync: Sync, state: State) -> int:
    """Return how many rows of *sync* wait for a person to say whether they happened."""
    if not sync.target.event:
        return 0
    with Ledger(state, sync.target, sync.address).reading() as connection:
        [(count,)] = rows(connection, "SELECT count(*) FROM told WHERE state = 'doubt'")
    return int(count)
