"""Adopt a target: keys that the service already holds become told, without asking anything."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb

from ..engines.duckdb import first_line, rows
from ..errors import FixDeclaration
from ..ledger import fold
from ..ledger.ledger import Ledger
from ..naming import identifier, literal
from ..rendering import DIGEST_VERSION, UNKNOWN_DIGEST, key
from ..sync import Sync

PLAN = "adopted"
"""What the ledger names in place of a plan."""


@dataclass(frozen=True)
class Adopted:
    """How many keys became told, were told already, and how many lines named nobody."""

    adopted: int
    known: int
    nameless: int


def adopt(ledger: Ledger, sync: Sync, file: Path, *, run: str, now: datetime) -> Adopted:
    """
    Let every key in *file*, a CSV with a column per identity field, count as told.

    Its digest is unknown, so that attributes are sent once. What the ledger knows
    better (a row that is unsettled, in doubt or dropped) stays as it is. The account's
    lock must be held, and the journal folded.
    """
    if not file.is_file():
        raise FixDeclaration(f"there is no file {file}")
    scan = f"read_csv({literal(str(file))}, header = true, all_varchar = true, delim = ',', quote = '\"')"
    with ledger.writing() as connection:
        try:
            columns = [name for name, *_ in rows(connection, f"DESCRIBE FROM {scan}")]
        except duckdb.Error as error:
            raise FixDeclaration(f"{file} can't be read as CSV: {first_line(error)}") from None
        _check(sync, file, columns)
        _read(connection, sync, scan, columns)
        [(nameless, known, fresh)] = rows(
            connection,
            """
            SELECT count(*) FILTER (key IS NULL), count(DISTINCT key) FILTER (key IS NOT NULL AND is_known),
                count(DISTINCT key) FILTER (key IS NOT NULL AND NOT is_known) FROM listed
            """,
        )
        if fresh:
            _tell(connection, run, now)
    return Adopted(int(fresh), int(known), int(nameless))


def _check(sync: Sync, file: Path, columns: list[str]) -> None:
    target = sync.target
    if unknown := [name for name in columns if name not in target.identity]:
        raise FixDeclaration(
            f"{file} has a column {unknown[0]!r}; the identity fields of {sync.name} are {', '.join(target.identity)}"
        )
    if target.composite and (missing := [name for name in target.identity if name not in columns]):
        raise FixDeclaration(f"{file} has no column {missing[0]!r}: all identity fields together are the key")


def _read(connection: duckdb.DuckDBPyConnection, sync: Sync, scan: str, columns: list[str]) -> None:
    """Make ``listed``: the file's rows as the ledger would hold them, with the row that it holds already."""
    target = sync.target
    names = [name for name in target.identity if name in columns]
    texts = {n: identifier(n) if n in target.exact else f"trim({identifier(n)})" for n in names}
    present = {n: f"nullif({text}, '')" for n, text in texts.items()}
    if target.composite:
        whole = " AND ".join(f"{text} IS NOT NULL" for text in present.values())
        name, value, others = (
            "'row'",
            f"CASE WHEN {whole} THEN CAST(to_json([{', '.join(present.values())}]) AS VARCHAR) END",
            "[]",
        )
    else:
        name = f"CASE {' '.join(f'WHEN {text} IS NOT NULL THEN {literal(n)}' for n, text in present.items())} END"
        value = f"coalesce({', '.join(present.values())})"
        parts = [
            f"CASE WHEN {name} <> {literal(n)} THEN {literal(n + '=')} || {text} END" for n, text in present.items()
        ]
        others = f"list_filter([{', '.join(parts)}], lambda x: x IS NOT NULL)"
    rows(
        connection,
        f"""
        CREATE OR REPLACE TEMP TABLE listed AS
        WITH read AS (SELECT {name} AS name, {value} AS value, CAST({others} AS VARCHAR[]) AS others FROM {scan}),
        keyed AS (SELECT *, {key(target, target.identity, "name", "value")} AS key FROM read),
        held AS (
            SELECT rowid AS old_row, state, unsettled, {key(target, target.identity, "name", "value")} AS key FROM told
        )
        SELECT k.*, h.old_row,
            h.key IS NOT NULL AND (h.unsettled OR h.state IN ('in', 'doubt', 'dropped')) AS is_known
        FROM keyed AS k LEFT JOIN held AS h ON h.key = k.key
        """,
    )


def _tell(connection: duckdb.DuckDBPyConnection, run: str, now: datetime) -> None:
    rows(connection, "BEGIN")
    rows(connection, "DELETE FROM told WHERE rowid IN (SELECT old_row FROM listed WHERE NOT is_known)")
    rows(
        connection,
        f"""
        INSERT INTO told BY NAME
        SELECT any_value(name) AS name, min(value) AS value, list_distinct(flatten(list(others))) AS others,
            'in' AS state, {UNKNOWN_DIGEST} AS digest, {DIGEST_VERSION} AS digest_version, false AS unsettled,
            {literal(PLAN)} AS plan, {literal(run)} AS run, {literal(now.isoformat())} AS moment
        FROM listed WHERE key IS NOT NULL AND NOT is_known GROUP BY key
        """,
    )
    fold.move(connection, PLAN, now)
    rows(connection, "COMMIT")
