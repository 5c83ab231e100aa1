"""
What a sync still owes and may be asked for again, noted beside its plans: whoever goes on reads it.

A delivery writes the note before it begins, so that one that was killed leaves it too,
and takes out what it delivered. Whether a partition waits for a person, and what a person
allowed, is noted of that partition; when to ask again, of the sync.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from ..clock import SYSTEM, Clock
from ..engines.duckdb import rows
from ..errors import AskForRestore, ContinueLater, RepairState, TryAgainLater, ZeotapError
from ..ledger import asking
from ..ledger.ledger import Ledger
from ..model import Fate, Partition
from ..state import State, write_text
from ..sync import Sync
from .notes import OWED, place
from .trip import Summary

PATIENCE = timedelta(minutes=5)
"""How long deferred rows wait at first; twice as long after each run that got nothing accepted."""

DOUBLINGS = 6
"""How often that is doubled: five hours at most."""

CUT_OFF = "the run was cut off"
"""What the note says of a run from its beginning until it says something else."""


def patience(attempts: int) -> timedelta:
    """Return how long to wait after so many runs in a row that got nothing accepted: one at least."""
    wait: timedelta = PATIENCE * 2 ** min(attempts - 1, DOUBLINGS)
    return wait


@dataclass(frozen=True)
class Due:
    """
    What is owed of one partition.

    *end* is the window's; *person* is why nobody goes on with it before a person has
    mended something; *settings* are what a person allowed for it. One that is restored
    goes *back_from* where the target stood: the end of the newest partition that was asked from.
    """

    end: str
    person: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    back_from: str | None = None

    def outlasts(self, end: str) -> bool:
        """Return whether a partition that ends at *end* leaves this owed: it is no newer one, or was gone back from."""
        return self.end > end or (self.back_from is not None and self.back_from >= end)


@dataclass(frozen=True)
class Owing:
    """
    What a sync owes.

    *partitions* are owed, by their keys; *run* wrote the note, *until* is the moment
    before which asking is of no use, and *why* is said of it. So many *attempts*, runs
    in a row, got nothing accepted; the last of them that was *counted* isn't counted again.
    """

    partitions: Mapping[str, Due]
    run: str
    why: str
    until: datetime | None = None
    attempts: int = 0
    counted: str = ""

    @property
    def going(self) -> list[str]:
        """The partitions that wait for nobody, oldest first: of a state target, those that are delivered together."""
        found = [(one.end, key) for key, one in self.partitions.items() if one.person is None]
        return [key for _, key in sorted(found)]

    @property
    def name(self) -> str:
        """A name for exactly this state: what was requested for it isn't requested again."""
        return hashlib.sha256(_text(self).encode()).hexdigest()[:16]

    def reason_to_wait(self, now: datetime) -> str | None:
        """Return why it can't be asked for now; None where it can."""
        if not self.going:
            newest = max(self.partitions, key=lambda key: (self.partitions[key].end, key))
            return f"waits for a person: {self.partitions[newest].person}"
        if self.until is not None and now < self.until:
            return f"goes on at {self.until:%Y-%m-%d %H:%M} UTC: {self.why}"
        return None

    def in_vain(self, run: str, now: datetime) -> Owing:
        """Return what is owed after *run* got nothing accepted: it waits, longer after each run, not after each try."""
        attempts = self.attempts + (run != self.counted)
        return replace(self, attempts=attempts, counted=run, until=now + patience(attempts))


def load(state: State, sync: Sync) -> Owing | None:
    """Return what *sync* owes; None where nobody knows of anything."""
    path = place(state, OWED, sync)
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        until = kept.pop("until")
        # Earlier versions kept one word for all partitions.
        held, settings = kept.pop("person", False) and kept["why"], kept.pop("settings", {})
        partitions = {
            key: Due(**one) if isinstance(one, dict) else Due(one, held or None, settings)
            for key, one in kept.pop("partitions").items()
        }
        return Owing(partitions, **kept, until=datetime.fromisoformat(until) if until else None)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise RepairState(f"{path} is damaged: delete it, and materialize what is owed") from error


def wake(
    state: State, sync: Sync, partition: Partition, *, run: str, why: str, back_from: datetime | None = None
) -> None:
    """
    Note that *sync* owes *partition*, since a person said that something is to be asked again.

    One that is older than where the target stands is restored, *back_from* there. What the note has already
    and isn't superseded is delivered with it: that stays as it is, and waits for a person where it did.
    """
    before, due = load(state, sync), Due(_end(partition))
    if back_from is not None:
        due = replace(due, settings={"restore": True}, back_from=_moment(back_from))
    if before is None:
        _write(state, sync, Owing({partition.key: due}, run, why))
        return
    others = {key: one for key, one in before.partitions.items() if key != partition.key}
    if _one_standing(sync):
        others = {key: one for key, one in others.items() if one.person or one.outlasts(due.end)}
    if sync.target.event or all(one.person for one in others.values()):
        due = before.partitions.get(partition.key, due)
        _write(state, sync, replace(before, partitions={partition.key: due, **others}))


def caught_up(state: State, sync: Sync, note: Owing) -> Owing:
    """
    Return *note* with what may go on at the partition that the target stands at, where that is a newer one.

    There another sync moved it, which shares the target: from an older partition nothing would be sent any more.
    """
    ledger = Ledger(state, sync.target, sync.address)
    with ledger.reading() as connection:
        standing = ledger.standing(connection)
    if standing.mark is None or standing.mark_partition is None or standing.restored or not _one_standing(sync):
        return note
    mark = _moment(standing.mark)
    left = {key: one for key, one in note.partitions.items() if one.person or one.end == mark or one.outlasts(mark)}
    if len(left) == len(note.partitions) or any(one.person is None for one in left.values()):
        return note
    return replace(note, partitions={standing.mark_partition: Due(mark), **left})


class Debt:
    """The note on what one run of a sync has to deliver, kept true while it does."""

    def __init__(
        self, state: State, sync: Sync, run: str, settings: Mapping[str, Any], *, clock: Clock = SYSTEM
    ) -> None:
        self._state, self._sync, self._run, self._settings = state, sync, run, dict(settings)
        self._clock = clock
        self._own: frozenset[str] | None = None  # Before it begins: all, since what is wrong then is wrong with all.

    def begins(self, partitions: Sequence[Partition]) -> None:
        """
        Note that *partitions* are owed from now on, whatever becomes of the run.

        A run that dies is gone on with at once; where the one before it died too, the
        next waits, from now on, as after a run that got nothing accepted.
        """
        before, restored = load(self._state, self._sync), self._settings.get("restore", False)
        back_from = _mark(self._state, self._sync) if restored else None
        owed = {one.key: Due(_end(one), None, self._settings, back_from) for one in partitions}
        self._own = frozenset(owed)
        if before and not _one_standing(self._sync):
            owed = {**before.partitions, **owed}
        elif before and not restored:
            last = max(one.end for one in owed.values())
            left = {key: one for key, one in before.partitions.items() if one.outlasts(last)}
            if any(one.person is None for one in left.values()):  # Superseded by what goes on: it owes nothing.
                self._own = frozenset()
                return
            owed = {**left, **owed}
        note = Owing(owed, self._run, CUT_OFF)
        if before:
            note = replace(note, attempts=before.attempts, counted=before.counted)
            if before.why == CUT_OFF and before.run != self._run:
                note = note.in_vain(before.run, self._clock.now())
        self._write(note)

    def delivered(self, partitions: Sequence[Partition], *, others: bool = True, superseded: bool = False) -> None:
        """
        Take out *partitions*, which were delivered or *superseded*, and with them the *others* that they supersede.

        What is restored stays owed where they were superseded: nothing of it was asked.
        """
        note = load(self._state, self._sync)
        if note is None:
            return
        done, last = {one.key for one in partitions}, max(map(_end, partitions))
        if superseded:
            done = {key for key in done if key in note.partitions and not note.partitions[key].back_from}
        left = {
            key: one
            for key, one in note.partitions.items()
            if key not in done and (self._sync.target.event or not others or one.outlasts(last))
        }
        if not left:
            place(self._state, OWED, self._sync).unlink(missing_ok=True)
        elif left != note.partitions:
            why = "earlier partitions are owed"
            self._write(replace(note, partitions=left, why=why, until=None, attempts=0, counted=""))

    def put_off(self, why: str) -> None:
        """Note that nothing was asked, because of a pause or the hour: whoever goes on looks at both himself."""
        self._change(why)

    def stopped(self) -> None:
        """Note that a person, or the machine, stopped the run: nobody goes on by himself."""
        self._change("the run was stopped", person=True)

    def ended(self, summary: Summary) -> None:
        """Note how a delivery ended that did not come to its end, and when it may go on."""
        note = load(self._state, self._sync)
        if note is not None and summary.fates[Fate.ACCEPTED]:
            self._write(replace(note, attempts=0, counted=""))
        self.failed(summary.error or TryAgainLater("rows were deferred"))

    def failed(self, error: Exception) -> None:
        """Note what ended the run: what only a person can mend is not asked again."""
        if isinstance(error, ContinueLater):
            self._change(str(error), until=error.until)
        elif isinstance(error, ZeotapError):
            why = f"{type(error).__name__}: {error}"
            self._change(why, person=not error.retryable, in_vain=error.retryable)
        else:
            self._change(type(error).__name__, person=True)

    def _change(self, why: str, *, until: datetime | None = None, person: bool = False, in_vain: bool = False) -> None:
        """Note *why* the run ended, and of what it was to deliver that it waits for a *person*."""
        note = load(self._state, self._sync)
        if note is None or self._own == frozenset():
            return
        owed = {
            key: replace(one, person=why) if person and (self._own is None or key in self._own) else one
            for key, one in note.partitions.items()
        }
        note = replace(note, partitions=owed, run=self._run, why=why, until=until)
        self._write(note.in_vain(self._run, self._clock.now()) if in_vain else note)

    def _write(self, note: Owing) -> None:
        _write(self._state, self._sync, note)


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


def _one_standing(sync: Sync) -> bool:
    """
    Return whether a newer partition of *sync* supersedes what older ones owe.

    Events are each partition's own; what is filled once keeps to the partition that it was begun from.
    """
    return not (sync.target.event or sync.target.once)


def _mark(state: State, sync: Sync) -> str | None:
    """Return the end of the newest partition that the target was asked from."""
    ledger = Ledger(state, sync.target, sync.address)
    with ledger.reading() as connection:
        mark = ledger.standing(connection).mark
    return _moment(mark) if mark else None


def _end(partition: Partition) -> str:
    return _moment(partition.end)


def _moment(time: datetime) -> str:
    return time.astimezone(UTC).isoformat()


def _write(state: State, sync: Sync, note: Owing) -> None:
    write_text(place(state, OWED, sync), _text(note))


def _text(note: Owing) -> str:
    kept = {**asdict(note), "until": note.until.isoformat() if note.until else None}
    return json.dumps(kept, indent=2, ensure_ascii=False) + "\n"


def in_doubt(sync: Sync, state: State) -> int:
    """Return how many rows of *sync* wait for a person to say whether they happened."""
    if not sync.target.event:
        return 0
    with Ledger(state, sync.target, sync.address).reading() as connection:
        [(count,)] = rows(connection, f"SELECT count(*) FROM told WHERE {asking.in_doubt(sync.target)}")
    return int(count)
