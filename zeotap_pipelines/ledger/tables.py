"""The tables of a ledger, and how those of an earlier version become these."""

from __future__ import annotations

from pathlib import Path

import duckdb

from ..destinations.base import Target
from ..engines.duckdb import first_line, rows
from ..errors import RepairState
from ..model import Address
from ..rendering import key
from . import fold

MIGRATIONS = {2: "ALTER TABLE told ADD COLUMN IF NOT EXISTS stamp UBIGINT"}
"""What makes a ledger of one version less into one of this."""

NUMBERED = 3
"""The version from which on an identity that is a number is one row, however it was written: see `_number`."""

SCHEMA_VERSION = max(*MIGRATIONS, NUMBERED)

SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key VARCHAR, value VARCHAR);
CREATE TABLE IF NOT EXISTS movements (
    generation BIGINT, plan VARCHAR, partition VARCHAR, run VARCHAR, sync VARCHAR, moment VARCHAR,
    accepted BIGINT, rejected BIGINT, deferred BIGINT, in_doubt BIGINT
);
CREATE TABLE IF NOT EXISTS told (
    name VARCHAR, value VARCHAR, others VARCHAR[], state VARCHAR, digest BIGINT, digest_version TINYINT, stamp UBIGINT,
    unsettled BOOLEAN, refused_verb VARCHAR, refused_digest BIGINT, refused_partition VARCHAR,
    partition VARCHAR, plan VARCHAR, run VARCHAR, moment VARCHAR
);
-- Of events. The run is one that began the whole plan; without one only what was asked may be asked again.
CREATE TABLE IF NOT EXISTS open_plans (plan VARCHAR, opened BIGINT, run VARCHAR);
CREATE TABLE IF NOT EXISTS decisions (id VARCHAR, decision VARCHAR, decided_by VARCHAR, reason VARCHAR, moment VARCHAR);
"""

TABLES = ("told", "meta", "movements", "open_plans", "decisions")


def prepare(connection: duckdb.DuckDBPyConnection, file: Path, target: Target, address: Address) -> None:
    """Make the tables of the ledger *file* where they are missing, and migrate those of an earlier version."""
    rows(connection, SCHEMA)
    if not rows(connection, "SELECT 1 FROM meta WHERE key = 'schema_version'"):
        rows(connection, "BEGIN")
        fold.set_meta(connection, schema_version=str(SCHEMA_VERSION), address=str(address), generation="0")
        rows(connection, "COMMIT")
    check(connection, "", file, address)
    migrate(connection, target)


def migrate(connection: duckdb.DuckDBPyConnection, target: Target) -> None:
    """Make of a ledger of an earlier version one of this, a version at a time."""
    for version in range(version_of(connection) + 1, SCHEMA_VERSION + 1):
        rows(connection, "BEGIN")
        if version == NUMBERED:
            _number(connection, target)
        else:
            rows(connection, MIGRATIONS[version])
        fold.set_meta(connection, schema_version=str(version))
        rows(connection, "COMMIT")


def _number(connection: duckdb.DuckDBPyConnection, target: Target) -> None:
    """
    Leave one row of those that were told under two spellings of one number: what was said last.

    It was unsettled if one of them was.
    """
    if not target.numbers:
        return
    told_key = key(target, target.identity, "name", "value")
    rows(
        connection,
        f"""
        CREATE OR REPLACE TEMP TABLE spelt AS
        WITH held AS (SELECT rowid AS told_row, {told_key} AS key, unsettled, moment, state FROM told)
        SELECT told_row, bool_or(unsettled) OVER (PARTITION BY key) AS unsettled,
            row_number() OVER (PARTITION BY key ORDER BY moment DESC NULLS LAST, state = 'out' DESC) AS place
        FROM held WHERE key IN (SELECT key FROM held GROUP BY key HAVING count(*) > 1)
        """,
    )
    rows(connection, "UPDATE told SET unsettled = s.unsettled FROM spelt AS s WHERE s.told_row = told.rowid")
    rows(connection, "DELETE FROM told WHERE rowid IN (SELECT told_row FROM spelt WHERE place > 1)")
    rows(connection, "DROP TABLE spelt")


def version_of(connection: duckdb.DuckDBPyConnection, prefix: str = "") -> int:
    """Return the version of the ledger whose tables have that *prefix*; this one's where it has none yet."""
    found = rows(connection, f"SELECT value FROM {prefix}meta WHERE key = 'schema_version'")
    return int(found[0][0]) if found else SCHEMA_VERSION


def check(connection: duckdb.DuckDBPyConnection, prefix: str, file: Path, address: Address) -> None:
    """Raise RepairState where the ledger *file* is damaged, of a newer version, or another target's."""
    try:
        meta: dict[str, str] = dict(rows(connection, f"SELECT key, value FROM {prefix}meta"))
    except duckdb.Error as error:
        raise RepairState(f"the ledger {file} is damaged: {first_line(error)}") from error
    if meta and int(meta["schema_version"]) > SCHEMA_VERSION:
        raise RepairState(f"the ledger {file} was written by a newer version of zeotap_pipelines: install that one")
    if meta and meta["address"] != str(address):
        raise RepairState(f"the ledger {file} belongs to {meta['address']}, not to {address}")
