"""
DuckDB: the embedded engine, and a source.

A connection for work has a catalogue and temporary tables that are private to the
call. Files are opened read-only wherever they are only read, and for as short as
possible, since one writer keeps every other process out. What runs a user's SQL or
writes to a file has an instance of its own.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import duckdb
import tenacity

from ..errors import FixQuery, RepairState, TryAgainLater
from ..naming import identifier, literal
from ..state import FULL, unwritable
from ..stopping import attended

T = TypeVar("T")

MOST_MEMORY = "3300MB"
"""What computing may take at the most; what doesn't fit is spilled. The process itself comes on top of it."""


class Source(Protocol):
    """A place that audiences are queried from."""

    def write(
        self, query: str, parameters: Mapping[str, object], path: Path, metadata: Mapping[str, str], zone: str
    ) -> None:
        """
        Write the rows of *query* to *path* as Parquet, with *metadata* in its footer.

        A time without a time zone means the clock of *zone*, and one with a time zone is read by it.
        """


@dataclass(frozen=True)
class DuckDBSource:
    """A DuckDB database file, opened read-only while a query runs."""

    database: Path

    def write(
        self, query: str, parameters: Mapping[str, object], path: Path, metadata: Mapping[str, str], zone: str
    ) -> None:
        """Write the rows of *query* to *path* as Parquet, with *metadata* in its footer."""
        if not self.database.is_file():
            raise FixQuery(f"the source database {self.database} does not exist")
        with opened(self.database, read_only=True) as connection:
            copy_query(connection, query, parameters, path, metadata, zone)


def copy_query(
    connection: duckdb.DuckDBPyConnection,
    query: str,
    parameters: Mapping[str, object],
    path: Path,
    metadata: Mapping[str, str],
    zone: str = "UTC",
) -> None:
    """Write the rows of *query*, which uses any of *parameters* and the clock of *zone*, to *path* as Parquet."""
    used = _select(connection, query).named_parameters
    if unknown := sorted(used - parameters.keys()):
        raise FixQuery(f"the query uses ${unknown[0]}; it may use {', '.join('$' + name for name in parameters)}")
    footer = ", ".join(f"{name}: {literal(value)}" for name, value in metadata.items())
    bound = {name: parameters[name] for name in used}
    try:
        rows(connection, f"SET SESSION TimeZone = {literal(zone)}")
        inner = _exact(connection, query.strip().rstrip(";"), bound)
        # A dictionary of names or addresses is given up when it is full: trying takes as long as all the rest.
        how = f"FORMAT parquet, DICTIONARY_SIZE_LIMIT 1000, KV_METADATA {{{footer}}}"
        copy = f"COPY (\n{inner}\n) TO {literal(str(path))} ({how})"
        rows(connection, copy, bound or None)
    except duckdb.Error as error:
        raise FixQuery(first_line(error)) from error


def _exact(connection: duckdb.DuckDBPyConnection, query: str, bound: Mapping[str, object]) -> str:
    """Return *query* with its 128-bit integers as decimals: Parquet would round them, and two people might be one."""
    columns = rows(connection, f"DESCRIBE\n{query}", bound or None)
    wide = [identifier(name) for name, sql_type, *_ in columns if sql_type in ("HUGEINT", "UHUGEINT")]
    if not wide:
        return query
    casts = ", ".join(f"CAST({name} AS DECIMAL(38, 0)) AS {name}" for name in wide)
    return f"SELECT * REPLACE ({casts}) FROM (\n{query}\n)"


def only_value(connection: duckdb.DuckDBPyConnection, query: str) -> Any:
    """Return the one value that *query* gives. Raises FixQuery where it gives another number of them."""
    _select(connection, query)
    try:
        found = rows(connection, query)
    except duckdb.Error as error:
        raise FixQuery(first_line(error)) from error
    if len(found) != 1 or len(found[0]) != 1:
        raise FixQuery(f"the query must give one value; it gives {len(found)} rows")
    return found[0][0]


@contextmanager
def opened(database: Path, *, read_only: bool, wait: float = 30.0) -> Iterator[duckdb.DuckDBPyConnection]:
    """
    Open the file *database*, waiting up to *wait* seconds for a process that holds it.

    Raises TryAgainLater when it holds the file for longer, RepairState when the file is damaged.
    """
    connection = _patiently(lambda: duckdb.connect(str(database), read_only=read_only), database, wait)
    try:
        configure(connection)
        yield connection
    finally:
        connection.close()


@contextmanager
def memory(spill: Path | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """
    Open a connection with an in-memory catalogue of its own; what does not fit into memory is written below *spill*.

    All of a process share one instance: to start another takes longer than most queries.
    """
    connection, name = _instance(spill).cursor(), f"catalogue_{next(_numbers)}"
    try:
        configure(connection)
        rows(connection, f"ATTACH ':memory:' AS {name}; USE {name}")
        yield connection
    except OSError as error:
        if spill is None or error.errno not in FULL:
            raise
        raise unwritable(spill, error) from error
    finally:
        _detach(connection, name)
        connection.close()


@contextmanager
def attached(connection: duckdb.DuckDBPyConnection, database: Path, *, wait: float = 120.0) -> Iterator[str]:
    """
    Attach the file *database*, to be read only, and give the name of its catalogue.

    Raises TryAgainLater when another process writes to it for longer than *wait* seconds,
    RepairState when it is damaged.
    """
    name = f"catalogue_{next(_numbers)}"
    query = f"ATTACH {literal(str(database))} AS {name} (READ_ONLY)"
    _patiently(lambda: rows(connection, query), database, wait)
    try:
        yield name
    finally:
        _detach(connection, name)


def _detach(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    with suppress(duckdb.Error):  # It may be the instance that failed: then the next call starts another.
        # By another connection, since this one may use the catalogue.
        rows(connection.cursor(), f"DETACH {name}")


@dataclass(frozen=True)
class _Instance:
    """An instance in memory, of the process *process*; a forked child has none of its threads."""

    connection: duckdb.DuckDBPyConnection
    process: int
    spill: Path | None

    def serves(self, spill: Path | None) -> bool:
        if self.process != os.getpid() or spill not in (None, self.spill):
            return False
        try:
            rows(self.connection.cursor(), "SELECT 1")
        except duckdb.Error:
            return False  # What goes fatally wrong in one connection ends them all.
        return True


_instances: list[_Instance] = []
_starting = threading.Lock()
_numbers = itertools.count(1)


def _instance(spill: Path | None) -> duckdb.DuckDBPyConnection:
    """Return this process's instance, started where there is none that serves."""
    with _starting:
        for found in _instances:
            if found.serves(spill):
                return found.connection
        connection = duckdb.connect()
        configure(connection)
        # A file that is replaced within the clock's resolution must not be taken for the one before.
        rows(connection, "SET enable_external_file_cache = false")
        limit_memory(connection)
        if spill is not None:
            rows(connection, f"SET temp_directory = {literal(str(spill))}")
        # A parent's instance stays in the list: to close it would wait for threads that are not here.
        _instances[:] = [
            _Instance(connection, os.getpid(), spill),
            *(i for i in _instances if i.process != os.getpid()),
        ]
        return connection


def limit_memory(connection: duckdb.DuckDBPyConnection) -> None:
    """Let *connection* take `MOST_MEMORY`, or what DuckDB allows itself on this machine where that is less."""
    allowed = "parse_formatted_bytes(current_setting('memory_limit'))"
    [(more,)] = rows(connection, f"SELECT {allowed} > parse_formatted_bytes('{MOST_MEMORY}')")
    if more:
        rows(connection, f"SET memory_limit = '{MOST_MEMORY}'")


def _patiently(attempt: Callable[[], T], database: Path, wait: float) -> T:
    """Return what *attempt* returns, which opens *database*: repeated for *wait* seconds while another holds it."""
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(_held),
        wait=tenacity.wait_random_exponential(multiplier=0.02, max=0.5),
        stop=tenacity.stop_after_delay(wait),
        reraise=True,
    )
    try:
        return retrying(attempt)
    except duckdb.IOException as error:
        if _held(error):
            raise TryAgainLater(f"another process writes to {database}; waited {wait:g} s for it to end") from error
        raise RepairState(f"{database} can't be opened: {first_line(error)}") from error
    except duckdb.Error as error:
        raise RepairState(f"{database} is damaged: {first_line(error)}") from error


def configure(connection: duckdb.DuckDBPyConnection) -> None:
    """Make *connection* independent of the machine it runs on: time zone, no network, no progress bar."""
    rows(connection, "SET TimeZone = 'UTC'; SET enable_progress_bar = false")
    rows(connection, "SET autoinstall_known_extensions = false; SET autoload_known_extensions = false")


def rows(connection: duckdb.DuckDBPyConnection, query: str, parameters: Any = None) -> list[tuple[Any, ...]]:
    """
    Run *query* to its end and return its rows; a signal that raises stops it within moments, however long it is.

    Raises what DuckDB raises, and OSError where the disk takes no more.
    """
    return _ran(connection, query, parameters)[1]


def lines(connection: duckdb.DuckDBPyConnection, query: str, parameters: Any = None) -> list[Mapping[str, Any]]:
    """Run *query* as `rows` does and return its rows by column."""
    names, found = _ran(connection, query, parameters)
    return [dict(zip(names, row, strict=True)) for row in found]


def _ran(connection: duckdb.DuckDBPyConnection, query: str, parameters: Any) -> tuple[list[str], list[tuple[Any, ...]]]:
    def run() -> tuple[list[str], list[tuple[Any, ...]]]:
        try:
            ran = connection.execute(query, parameters)
            return [column[0] for column in ran.description or ()], ran.fetchall()
        except duckdb.Error as error:
            for number in FULL:  # Neither the query nor the data is at fault.
                if os.strerror(number) in str(error):
                    raise OSError(number, os.strerror(number)) from error
            raise

    if threading.current_thread() is not threading.main_thread():
        return run()  # Signals are raised in the main thread only.
    # In C nobody looks for signals while DuckDB's own threads do the work.
    return attended(run, connection.interrupt)


def first_line(error: BaseException) -> str:
    """Return the sentence of a DuckDB error without the excerpt of the query that follows it."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__


def _select(connection: duckdb.DuckDBPyConnection, query: str) -> duckdb.Statement:
    """Return *query* as the one SELECT that it must be."""
    try:
        statements = connection.extract_statements(query)
    except duckdb.Error as error:
        raise FixQuery(first_line(error)) from error
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise FixQuery("the query must be one SELECT statement")
    return statements[0]


def _held(error: BaseException) -> bool:
    return isinstance(error, duckdb.IOException) and "lock" in str(error).lower()
