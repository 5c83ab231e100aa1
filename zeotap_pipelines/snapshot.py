"""Freeze the rows of an audience at one partition as one Parquet file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb
import pyarrow
from pyarrow import parquet

from .audience import Audience, History
from .engines.duckdb import Source, first_line, memory, rows
from .errors import FixQuery, MakePlanAgain, RepairState
from .model import Partition
from .naming import identifier, literal
from .state import State, replacing


@dataclass(frozen=True)
class Snapshot:
    """
    The frozen rows of an audience at one partition.

    *columns* maps names to SQL types, *key* names those that identify a row. *kept*
    says that an earlier attempt of the same run had written it. *digest* names the
    rows: equal ones, in the same order, have the same. *file* is the one they were
    read from: another run may put its own in the same place.
    """

    path: Path
    rows: int
    columns: Mapping[str, str]
    key: tuple[str, ...]
    digest: str
    taken_at: datetime
    file: _File
    kept: bool = False

    @property
    def scan(self) -> str:
        """The SQL of the rows, each with its number in the file."""
        return f"read_parquet({literal(str(self.path))}, file_row_number = true)"

    def refuse_another(self) -> None:
        """Raise MakePlanAgain where the snapshot was taken anew since it was read."""
        try:
            if _File.at(self.path) == self.file:
                return
        except OSError:
            pass  # Deleted.
        raise MakePlanAgain(f"the snapshot {self.path} was taken anew meanwhile: what was read of it does not fit")

    @property
    def null_keys(self) -> int:
        """How many rows have an incomplete key."""
        return self._counted[0]

    @property
    def repeated_keys(self) -> int:
        """How many rows there are beyond the first of their key."""
        return self.rows - self._counted[0] - self._counted[1]

    @cached_property
    def _counted(self) -> tuple[int, int]:
        key = ", ".join(identifier(name) for name in self.key)
        null = " OR ".join(f"{identifier(name)} IS NULL" for name in self.key)
        query = f"""
            SELECT count(*) FILTER ({null}), count(DISTINCT ({key})) FILTER (NOT ({null}))
            FROM read_parquet({literal(str(self.path))})
        """
        with _readable(self.path), memory() as connection:
            [(null_keys, different)] = rows(connection, query)
        return int(null_keys), int(different)


def take(
    audience: Audience, partition: Partition, source: Source, state: State, *, run: str, now: datetime
) -> Snapshot:
    """
    Run the audience's query and return the snapshot, which is complete and durable.

    A new run replaces the snapshot of its partition; a retry within the same run
    keeps it. Raises FixQuery, naming the audience, when the query fails, lacks a
    key column, or asks today's truth for a past partition.
    """
    path = state.snapshot(audience.name, partition.key)
    if path.exists():
        written_by = _footer(path).get("run")
        if written_by == run:
            return _read(audience, path, kept=True)
    zone = ZoneInfo(audience.timezone)
    if audience.history is History.CURRENT and partition.end < now:
        raise FixQuery(
            f"audience {audience.name} knows only today (history: current): partition {partition} ended at "
            f"{partition.end.astimezone(zone):%Y-%m-%d %H:%M %Z}, ask for the current one"
        )
    parameters: dict[str, object] = {
        "partition": partition.key,
        "start": _by_clock(partition.start, zone),
        "end": _by_clock(partition.end, zone),
        "start_utc": partition.start.astimezone(UTC),
        "end_utc": partition.end.astimezone(UTC),
    }
    footer = {"run": run, "audience": audience.name, "partition": partition.key, "taken_at": now.isoformat()}
    with replacing(path) as draft:
        try:
            source.write(audience.query, parameters, draft, footer, audience.timezone)
            taken = _read(audience, draft)
        except FixQuery as error:
            raise FixQuery(f"audience {audience.name}, partition {partition}: {error}") from error
    return replace(taken, path=path)


def _by_clock(instant: datetime, zone: ZoneInfo) -> datetime:
    """
    Return what the clock of *zone* shows at *instant*, without a zone.

    In the hour that comes twice it is the instant itself: engines take what the clock shows for the second of the
    two, and what happened in the first would be in a window that was over before.
    """
    shown = instant.astimezone(zone)
    if shown.replace(fold=0).utcoffset() != shown.replace(fold=1).utcoffset():
        return instant.astimezone(UTC)
    return shown.replace(tzinfo=None)


def read(audience: Audience, partition: Partition, state: State) -> Snapshot:
    """Return the snapshot that was taken; raises MakePlanAgain when there is none, RepairState when it is damaged."""
    path = state.snapshot(audience.name, partition.key)
    if not path.exists():
        raise MakePlanAgain(f"there is no snapshot of {audience.name} at {partition}: materialize it first")
    return _read(audience, path)


@dataclass(frozen=True)
class _File:
    """A file's content, as far as the file system tells it apart from another."""

    path: Path = field(compare=False)
    number: int
    size: int
    modified: int

    @classmethod
    def at(cls, path: Path) -> _File:
        found = path.stat()
        return cls(path, found.st_ino, found.st_size, found.st_mtime_ns)


def _read(audience: Audience, path: Path, *, kept: bool = False) -> Snapshot:
    file = _File.at(path)
    count, columns, digest = _described(file)
    if missing := [name for name in audience.key if name not in columns]:
        raise FixQuery(f"the query returns no column {missing[0]!r}, which is its key; it has {', '.join(columns)}")
    footer = _footer(path)
    if "taken_at" not in footer:
        raise RepairState(f"{path} is no snapshot that was taken here: take it again")
    taken_at = datetime.fromisoformat(footer["taken_at"])
    return Snapshot(path, count, columns, audience.key, digest, taken_at, file, kept)


@lru_cache(maxsize=16)
def _described(file: _File) -> tuple[int, Mapping[str, str], str]:
    """Return the number of rows, the columns with their SQL types, and the digest that names the content."""
    scan = f"read_parquet({literal(str(file.path))})"
    with _readable(file.path), memory() as connection:
        columns = {name: sql_type for name, sql_type, *_ in rows(connection, f"DESCRIBE SELECT * FROM {scan}")}
        [(count,)] = rows(connection, f"SELECT count(*) FROM {scan}")
    return int(count), columns, _digest(file.path, columns)


def _digest(path: Path, columns: Mapping[str, str]) -> str:
    """Return the digest of the rows as they are written; of the footer, what says by whom and when doesn't count."""
    layout = parquet.read_metadata(path).to_dict()["row_groups"]
    digest = hashlib.sha256(repr((sorted(columns.items()), layout)).encode())
    with path.open("rb") as file:
        end = file.seek(-8, os.SEEK_END)
        end -= int.from_bytes(file.read(4), "little")
        file.seek(0)
        while (left := end - file.tell()) > 0:
            digest.update(file.read(min(left, 1 << 20)))
    return digest.hexdigest()[:32]


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except duckdb.Error as error:
        raise RepairState(f"the snapshot {path} can't be read, take it again: {first_line(error)}") from error


def _footer(path: Path) -> dict[str, str]:
    try:
        found: Mapping[bytes, bytes] = parquet.read_metadata(path).metadata or {}
    except (pyarrow.ArrowException, OSError):
        return {}  # Damaged: whoever reads it says so, whoever takes it again replaces it.
    return {name.decode(errors="replace"): value.decode(errors="replace") for name, value in found.items()}
