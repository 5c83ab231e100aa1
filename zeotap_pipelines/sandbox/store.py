"""What the stand-ins remember: SQLite, in memory or in a file; an effect and its log entry commit together."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS seeded (service TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS log (
    seq INTEGER PRIMARY KEY, at REAL NOT NULL, service TEXT NOT NULL, method TEXT NOT NULL, target TEXT NOT NULL,
    route TEXT NOT NULL, status INTEGER, note TEXT NOT NULL, violation TEXT);
CREATE INDEX IF NOT EXISTS violations ON log (seq) WHERE violation IS NOT NULL;
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One request in the log.

    `target` is path and query as sent, secrets removed; `route` the documented path it matched, else empty; `status`
    what the service answered, None where the connection was cut before it could; `violation` what was wrong with it.
    """

    seq: int
    at: float
    service: str
    method: str
    target: str
    route: str
    status: int | None
    note: str
    violation: str | None


class Store:
    """The state of one sandbox. Safe to use from several threads; one process at a time."""

    def __init__(self, path: Path | None = None) -> None:
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(
            ":memory:" if path is None else path, check_same_thread=False, isolation_level=None, timeout=0.5
        )
        try:
            # Exclusive: no shared memory to keep in step, and a second sandbox on the same file is refused.
            # synchronous=OFF: the page cache outlives a killed process; only a power loss may lose requests.
            self._connection.executescript(
                "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;" + _SCHEMA
            )
        except sqlite3.DatabaseError as error:
            self._connection.close()
            raise RuntimeError(f"cannot open the sandbox's state {path}: {error}") from error

    def close(self) -> None:
        """Close the state; nothing more can be asked of it."""
        with self._lock:
            self._connection.close()

    def define(self, schema: str) -> None:
        """Create the tables of a service; the statements must be repeatable."""
        with self._lock:
            self._connection.executescript(schema)

    def execute(self, sql: str, *values: object) -> list[tuple[object, ...]]:
        """The rows of one statement, within the open transaction of this thread or on its own."""
        with self._lock:
            return self._connection.execute(sql, values).fetchall()

    def column(self, sql: str, *values: object) -> list[str]:
        """The first column of one statement, as text."""
        return [str(row[0]) for row in self.execute(sql, *values)]

    def count(self, sql: str, *values: object) -> int:
        """The one number that a statement yields."""
        return int(str(self.execute(sql, *values)[0][0]))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what the block does as one, or nothing of it."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def undo(self) -> None:
        """Forget what the open transaction did so far and go on in a new one."""
        self._connection.execute("ROLLBACK")
        self._connection.execute("BEGIN IMMEDIATE")

    def record(
        self,
        at: float,
        service: str,
        method: str,
        target: str,
        route: str,
        status: int | None,
        note: str,
        violation: str | None,
    ) -> None:
        """Append one request to the log."""
        with self._lock:
            self._connection.execute(
                "INSERT INTO log (at, service, method, target, route, status, note, violation)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (at, service, method, target, route, status, note, violation),
            )

    def entries(self, where: str = "1", *values: object, newest: int | None = None) -> list[Entry]:
        """The log's entries that satisfy `where`, oldest first; with `newest`, only that many of the latest."""
        with self._lock:
            rows = self._connection.execute(
                f"SELECT seq, at, service, method, target, route, status, note, violation FROM log WHERE {where}"
                " ORDER BY seq DESC LIMIT ?",
                (*values, -1 if newest is None else newest),
            ).fetchall()
        return [Entry(*row) for row in reversed(rows)]
