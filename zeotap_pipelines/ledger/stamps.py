"""
Stamps that a new release of the engine makes anew, once: else every later comparison would have to digest all rows.

A comparison that finds rows in step though their stamps differ writes what the stamps
should be; the next fold, which may write to the ledger, takes them over. A stamp
belongs to a digest, whoever it is of: no person's data is in here.
"""

from __future__ import annotations

from pathlib import Path

import duckdb

from ..engines.duckdb import rows
from ..naming import literal
from ..rendering import DIGEST_VERSION
from ..state import replacing

FILE = "stamps.parquet"


def note(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Write to *path* the stamps of the rows that were looked at and found in step."""
    [(in_step,)] = rows(
        connection,
        """
        SELECT (SELECT count(*) FROM met WHERE src IS NOT NULL AND told_row IS NOT NULL)
            > (SELECT count(*) FROM judged WHERE is_wanted AND told_state IS NOT NULL)
        """,
    )
    if not in_step:
        return
    with replacing(path) as draft:
        rows(
            connection,
            f"""
            COPY (
                SELECT DISTINCT l.digest, w.stamp
                FROM met AS m JOIN looked AS w ON w.src = m.src JOIN told AS l ON l.rowid = m.told_row
                WHERE l.digest = w.digest AND l.digest_version = {DIGEST_VERSION} AND l.stamp IS DISTINCT FROM w.stamp
            ) TO {literal(str(draft))} (FORMAT parquet)
            """,
        )


def renew(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Take over what `note` wrote to *path*; the ledger is open to be written."""
    rows(
        connection,
        f"""
        UPDATE told SET stamp = s.stamp FROM read_parquet({literal(str(path))}) AS s
        WHERE told.digest = s.digest AND told.digest_version = {DIGEST_VERSION}
        """,
    )
    path.unlink()
