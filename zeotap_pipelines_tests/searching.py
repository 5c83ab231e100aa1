"""Everything that was written down, as text: for laws of what must be nowhere."""

import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from zeotap_pipelines.engines.duckdb import memory, opened, rows
from zeotap_pipelines.naming import identifier, literal

SECRET = "not-a-secret"
"""What every secret of the sandbox begins with."""

TOKENS = "/(Auth/connect/token|oauth2/token)$"
"""The paths at which tokens are fetched."""


def database(path: Path) -> Iterator[str]:
    """Everything that a file of DuckDB holds."""
    with opened(path, read_only=True) as connection:
        for (table,) in rows(connection, "SELECT table_name FROM duckdb_tables() WHERE NOT internal"):
            yield repr(rows(connection, f"SELECT * FROM {identifier(table)}"))


def kept(state: Path) -> Iterator[tuple[str, str]]:
    """Everything below *state* as text, with "rows" for the files that hold people, "words" for all others."""
    with memory() as connection:
        for path in sorted(state.rglob("*")):
            if path.suffix == ".parquet":
                name = literal(str(path))
                yield "rows", repr(rows(connection, f"SELECT * FROM read_parquet({name})"))
                yield "words", repr(rows(connection, f"SELECT key, value FROM parquet_kv_metadata({name})"))
            elif path.suffix == ".duckdb":
                yield from (("rows", text) for text in database(path))
            elif path.is_file():
                yield "words", path.read_bytes().decode(errors="replace")
        if files := [str(path) for path in state.glob("outcomes/**/*.parquet")]:
            listed = ", ".join(map(literal, files))
            yield "words", repr(rows(connection, f"SELECT DISTINCT reason, request FROM read_parquet([{listed}])"))


def logged(home: Path) -> Iterator[str]:
    """Everything below the home of a Dagster instance: its databases, what it packed, and what steps printed."""
    for path in sorted(home.rglob("*")):
        if not path.is_file():
            continue
        yield path.read_bytes().decode(errors="replace")
        if path.suffix == ".db":
            with closing(sqlite3.connect(path)) as connection:
                tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
                for (table,) in tables:
                    for row in connection.execute(f"SELECT * FROM {identifier(table)}"):
                        yield from map(_text, row)


def _text(value: object) -> str:
    if not isinstance(value, bytes):
        return str(value)
    try:
        return zlib.decompress(value).decode(errors="replace")
    except zlib.error:
        return value.decode(errors="replace")
