"""What a source looks like from outside: whether it changed is seen without running the audience's query."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import TryAgainLater
from ..naming import identifier
from .duckdb import only_value, opened

Seen = Mapping[str, str]
"""What was seen of a source: a number or a digest for each thing watched. No value of a row is in it."""

STAT = "stat"
"""Size and time of a file whose digest is what counts: while they stay, the file isn't read again."""


@dataclass(frozen=True)
class Watch:
    """
    What is watched of a source; at least one of the four.

    *row_count* is a table, *max_of* a table and a column, *version* a query for one
    value. A *file* has changed when its size or time has; with *digest*, when its
    content has.
    """

    row_count: str | None = None
    max_of: str | None = None
    version: str | None = None
    file: Path | None = None
    digest: bool = False


def look(watch: Watch, database: Path, before: Seen, wait: float = 10.0) -> dict[str, str]:
    """
    Return what is to be seen now of a file and of the DuckDB file *database*.

    Raises TryAgainLater or RepairState where the source is down, FixQuery where it
    holds no such table, column or value.
    """
    seen: dict[str, str] = {}
    if watch.file is not None:
        seen |= _file(watch.file, before if watch.digest else None)
    queries = {}
    if watch.row_count is not None:
        queries["row_count"] = f"SELECT count(*) FROM {_quoted(watch.row_count)}"
    if watch.max_of is not None:
        table, _, column = watch.max_of.rpartition(".")
        queries["max_of"] = f"SELECT max({identifier(column)}) FROM {_quoted(table)}"
    if watch.version is not None:
        queries["version"] = watch.version
    if not queries:
        return seen
    if not database.is_file():
        raise TryAgainLater(f"the warehouse {database} does not exist")
    with opened(database, read_only=True, wait=wait) as connection:
        for name, query in queries.items():
            value = only_value(connection, query)
            seen[name] = str(value) if name == "row_count" else _digest(repr(value).encode())
    return seen


def changed(before: Seen, seen: Seen) -> list[str]:
    """Return the names of what is *seen* otherwise than *before*; what was never seen counts as changed."""
    return [name for name, value in seen.items() if name != STAT and before.get(name) != value]


def _file(path: Path, before: Seen | None) -> dict[str, str]:
    """Return how a file looks; where *before* is given, by its content, read only if size or time are others."""
    try:
        found = path.stat()
        stat = f"{found.st_size} bytes, {found.st_mtime_ns}"
        if before is None:
            return {"file": stat}
        if before.get(STAT) == stat and "file" in before:
            return {"file": before["file"], STAT: stat}
        with path.open("rb") as content:
            return {"file": hashlib.file_digest(content, "sha256").hexdigest(), STAT: stat}
    except OSError as error:
        raise TryAgainLater(f"the watched file {path} can't be read: {error.strerror}") from error


def _quoted(table: str) -> str:
    return ".".join(identifier(part) for part in table.split("."))


def _digest(value: bytes) -> str:
    return hashlib.sha256(value).hexdigest()[:16]
