"""
What a target was last told, per key.

One DuckDB file per target, open only while it is read or folded, and a journal
beside it that a running sync appends to. A row's ``state`` is

    in       the target was told to hold it, with ``digest``
    out      the target was told to drop it
    unknown  nothing conclusive was ever answered
    doubt    an event that may have happened; a person decides

and ``unsettled`` says that something was asked since, and no conclusive answer is known.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from ..destinations.base import Target
from ..engines.duckdb import attached, first_line, memory, opened, rows
from ..errors import RepairState
from ..model import Address
from ..state import State, folder, replacing, unwritable
from . import asking, fold, stamps, tables
from .journal import Header, Journal, follows, header, read_header

LEDGER, JOURNAL = "ledger.duckdb", "journal.jsonl"
"""The files in a target's folder."""


FRUGAL = "SET threads = 1; SET memory_limit = '96MB'"
"""
A fold's share of the machine: what doesn't fit is spilled.

Two threads would leave two row groups half full, which are then written again.
"""


@dataclass(frozen=True)
class Standing:
    """
    Where a target stands: how often its ledger moved, and by which plans.

    *mark* is the end of the newest partition that was asked from, or found in
    step; *restored* says that an older one was asked from since, *told_last* is the
    one that anything was told of last. *reassert_before* is the moment before which
    what was told must be told again. A target that is filled once is *pinned* to the
    first partition that was asked from, and *filled* when that one was delivered.
    """

    generation: int
    plans: tuple[tuple[int, str], ...]
    mark: datetime | None
    mark_partition: str | None
    restored: bool
    told_last: str | None
    identity: str | None
    reassert_before: str | None
    last_at: datetime | None
    pinned: str | None
    filled: bool

    def moved_since(self, generation: int) -> set[str]:
        """Return the plans that moved the ledger after *generation*."""
        return {plan for moved, plan in self.plans if moved > generation}


@dataclass(frozen=True)
class Ledger:
    """The ledger of one target."""

    state: State
    target: Target
    address: Address

    @property
    def file(self) -> Path:
        """The ledger's database file."""
        return self.state.target(self.address) / LEDGER

    @property
    def journal_file(self) -> Path:
        """The journal beside it."""
        return self.state.target(self.address) / JOURNAL

    @property
    def stamps_file(self) -> Path:
        """What the next fold is to know of stamps."""
        return self.state.target(self.address) / stamps.FILE

    def exists(self) -> bool:
        """Whether anything was ever told to the target."""
        return self.file.exists()

    def check(self) -> None:
        """
        Raise RepairState where the ledger or its journal is missing, or is none: what it held may have been asked.

        A ledger that once had a journal always has one, and a journal that follows another has a ledger.
        """
        # The journal is looked at first: one that is under way may make its ledger meanwhile, and never loses it.
        refuse_lost_ledger(self.file, self.journal_file)
        if self.exists() and not self.journal_file.exists():
            with self.reading() as connection:
                if rows(connection, "SELECT 1 FROM meta WHERE key = 'journal'"):
                    raise RepairState(
                        f"the journal {self.journal_file} is missing, and with it what was asked last: put it back; "
                        f"if it is lost, move {self.file.name} away too and adopt what the target holds (zeotap adopt)"
                    )

    def journal(self) -> Journal:
        """Open the journal to append to it, once it is checked. The account's lock must be held."""
        self.check()
        return Journal(self.journal_file, self.state.witness)

    def fold(self, journal: Journal) -> None:
        """
        Move what the journal holds into the ledger, in one transaction, and start the journal anew.

        Folding twice is folding once: the ledger remembers which journal it has folded.
        The account's lock must be held.
        """
        if journal.empty:
            return
        journal.flush()
        try:
            if self.stamps_file.exists():
                with self.writing() as connection:
                    stamps.renew(connection, self.stamps_file)
            with self.writing() as connection:
                if found := read_header(self.journal_file):
                    self._follows_on(connection, "", found, journal.lines)
                rows(connection, FRUGAL)
                fold.fold(connection, self.target, self.state, journal.id, self.journal_file, outcomes=True)
        except duckdb.Error as error:
            raise RepairState(f"the ledger {self.file} can't be written: {first_line(error)}") from error
        self.state.witness("folded")
        journal.restart()

    @contextmanager
    def writing(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """
        Open the ledger to change it, made and migrated where it must be.

        Raises RepairState where the disk takes no more.
        """
        if not self.file.exists():
            # Made aside: a disk that is full by now must not leave half a ledger.
            with replacing(self.file) as draft, opened(draft, read_only=False) as connection:
                tables.prepare(connection, self.file, self.target, self.address)
        try:
            with opened(self.file, read_only=False, wait=600.0) as connection:
                tables.prepare(connection, self.file, self.target, self.address)
                yield connection
        except OSError as error:
            raise unwritable(self.file, error) from error

    @contextmanager
    def reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """
        Open a connection in which ``told``, ``meta`` and ``movements`` say what the target was told by now.

        What the journal holds is folded into a copy, so that a sync that is under way
        is not disturbed; what that one is asking at the moment is in ``temp.asked``.
        """
        tail = self._tail()
        with memory(folder(self.state.root / "spill")) as connection, ExitStack() as stack:
            asking.prepare(connection)
            if self.file.exists():
                ledger = stack.enter_context(attached(connection, self.file))
                tables.check(connection, f"{ledger}.", self.file, self.address)
                tail = self._tail()  # Nobody folds while the ledger is open here.
            else:
                rows(connection, tables.SCHEMA)
                ledger = None
            first = header(tail.partition(b"\n")[0], self.journal_file) if tail else None
            lines = tail.count(b"\n")
            unfolded = bool(first and (not ledger or self._follows_on(connection, f"{ledger}.", first, lines)))
            unfolded = unfolded and lines > 1
            if ledger and (unfolded or tables.version_of(connection, f"{ledger}.") < tables.SCHEMA_VERSION):
                for table in tables.TABLES:
                    rows(connection, f"CREATE TABLE {table} AS FROM {ledger}.{table}")
                stack.close()
                ledger = None
                tables.migrate(connection, self.target)
            if unfolded:
                assert first is not None
                with _copied(tail, self.state) as copy:
                    before = self.standing(connection).generation
                    fold.fold(connection, self.target, self.state, first.id, copy, asked=True)
                asking.leave_the_dead(connection, self.state.account(self.address), self.journal_file, first.id)
                # The sync that is under way may add to the same movement: what is made from a part of it fits no more
                # when it has ended.
                fold.set_meta(connection, generation=str(before))
            elif ledger:
                rows(connection, f"USE {ledger}")
            yield connection

    def standing(self, connection: duckdb.DuckDBPyConnection) -> Standing:
        """Return where the target stands, from an open connection."""
        meta: dict[str, str] = dict(rows(connection, "SELECT key, value FROM meta"))
        moved = rows(connection, "SELECT generation, plan, partition FROM movements ORDER BY generation")
        return Standing(
            generation=int(meta.get("generation", "0")),
            plans=tuple((generation, plan) for generation, plan, _ in moved),
            told_last=next((partition for *_, partition in reversed(moved) if partition), None),
            mark=_moment(meta.get("mark")),
            mark_partition=meta.get("mark_partition"),
            restored=meta.get("restored") == "true",
            identity=meta.get("identity"),
            reassert_before=meta.get("reassert_before"),
            last_at=_moment(meta.get("last_at")),
            pinned=meta.get("pinned"),
            filled=meta.get("filled") == "true",
        )

    def reassert(self, now: datetime) -> None:
        """
        Let the next plan tell everything again that was told before *now*.

        Adds are sent again, removals are kept, and nothing is emptied in between. The
        account's lock must be held.
        """
        with self.writing() as connection:
            rows(connection, "BEGIN")
            told: dict[str, str] = dict(rows(connection, "SELECT key, value FROM meta WHERE key = 'last_at'"))
            before = max(now.astimezone(UTC).isoformat(), told.get("last_at", ""))
            # What is told next gets a later moment, even if the clock goes back.
            fold.set_meta(connection, reassert_before=before, last_at=before, pinned=None, filled=None)
            fold.move(connection, "reassert", now)  # Plans that were made before no longer fit.
            rows(connection, "COMMIT")

    def ask_again(self, now: datetime) -> int:
        """
        Let what the service rejected be asked again, and return how many rows that is: whatever was wrong is mended.

        Events are taken over by the next plan of any partition, as far as the plan that they
        came from is kept. The account's lock must be held.
        """
        with self.writing() as connection:
            rows(connection, "BEGIN")
            found = rows(connection, "SELECT plan FROM told WHERE refused_verb IS NOT NULL")
            rows(
                connection,
                "UPDATE told SET refused_verb = NULL, refused_digest = NULL, refused_partition = NULL "
                "WHERE refused_verb IS NOT NULL",
            )
            if found and self.target.event:
                rows(
                    connection,
                    "INSERT INTO open_plans SELECT DISTINCT plan, 0, NULL FROM (SELECT unnest(?) AS plan) "
                    "WHERE plan NOT IN (SELECT plan FROM open_plans)",
                    [[plan for (plan,) in found]],
                )
            if found:
                fold.move(connection, "asked again", now)  # Plans that were made before no longer fit.
            rows(connection, "COMMIT")
        return len(found)

    def _tail(self) -> bytes:
        return self.journal_file.read_bytes() if self.journal_file.exists() else b""

    def _follows_on(self, connection: duckdb.DuckDBPyConnection, at: str, journal: Header, lines: int) -> bool:
        """
        Return whether *journal*, which has so many *lines*, is one that the ledger has not folded.

        Raises RepairState where it is neither the last one that was, with all lines that were folded, nor the one
        after that: one of the two files is a copy from another moment, and what was told since would be told again.
        """
        query = f"SELECT key, value FROM {at}meta WHERE key IN ('journal', 'journal_lines')"
        meta: dict[str, str] = dict(rows(connection, query))
        folded = meta.get("journal")
        lacking = folded == journal.id and lines < int(meta.get("journal_lines", 0))
        if folded not in (journal.id, journal.follows) or lacking:
            raise RepairState(
                f"the ledger {self.file} and its journal are of different moments: put back both as they were last; if "
                "one of them is lost, move the other away too and adopt what the target holds (zeotap adopt)"
            )
        return folded != journal.id


def refuse_lost_ledger(file: Path, journal: Path) -> None:
    """Raise RepairState where the ledger at *file* is missing, though its *journal* says that there was one."""
    if follows(journal) and not file.exists():
        raise RepairState(
            f"the ledger {file} is missing, and with it what was told: put it back; "
            f"if it is lost, move {journal.name} away too and adopt what the target holds (zeotap adopt)"
        )


@contextmanager
def _copied(journal: bytes, state: State) -> Iterator[Path]:
    """Give a file with the whole lines of *journal*: the original goes on growing."""
    with tempfile.NamedTemporaryFile(dir=folder(state.root / "spill"), suffix=".jsonl") as file:
        file.write(journal[: journal.rfind(b"\n") + 1])
        file.flush()
        yield Path(file.name)


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
