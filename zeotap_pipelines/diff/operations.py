"""The operations of a plan: what is judged owed, numbered and rendered, as the file that a delivery reads."""

from __future__ import annotations

import duckdb

from .. import rendering
from ..engines.duckdb import rows
from ..naming import literal
from ..sync import Sync
from . import opposed
from .comparison import CONFLICT, Comparison

NO_IDENTITY = "no identity"
"""Why a row is set aside that says of nobody whom it is about."""


def number(connection: duckdb.DuckDBPyConnection) -> tuple[int, int]:
    """Make ``owed`` of what is to be asked, additions first; return how many operations, and their fingerprint."""
    rows(
        connection,
        """
        CREATE TEMP TABLE owed AS
        SELECT row_number() OVER (ORDER BY verb = 'remove', key) - 1 AS "row", * FROM judged
        WHERE why NOT IN ('refused before', 'changed, not sent') AND verb IS NOT NULL
        """,
    )
    [(operations, fingerprint)] = rows(
        connection,
        """
        SELECT count(*), coalesce(bit_xor(md5_number_lower(line)), 0)
        FROM (SELECT concat("row", ':', verb, ':', coalesce(digest, -1), ':', key) AS line FROM owed)
        """,
    )
    return int(operations), int(fingerprint)


def identity_mapping(sync: Sync) -> str:
    """Return what the identity of a row is made of: when it changes, everybody at the target is replaced."""
    return "; ".join(f"{name} ← {sync.mapping[name].describe()}" for name in sync.identity)


def copied(compared: Comparison, path: str) -> str:
    """Return the SQL that writes ``owed`` to *path* with the rendered bodies."""
    sync = compared.sync
    if len(sync.mapping) > 1:
        mapped = rendering.mapped(sync, compared.picked("owed"), compared.snapshot.columns)
        rendered = f"""
            SELECT o."row", {rendering.body(sync)} AS body FROM ({mapped}) AS m JOIN owed AS o ON o.src = m.src
            WHERE o.verb <> 'remove'"""
    else:
        only = rendering.identity_body({sync.identity[0]: "value"})
        rendered = f"""SELECT "row", {only} AS body FROM owed WHERE verb <> 'remove'"""
    earlier = "(SELECT t.body FROM taken_over AS t WHERE t.key = o.key)" if sync.target.event else "NULL"
    return f"""
        COPY (
            WITH rendered AS ({rendered})
            SELECT o."row", o.verb, o.change, o.why, o.key, o.name, o.value, o.others,
                o.digest, CAST({rendering.DIGEST_VERSION} AS TINYINT) AS digest_version, o.stamp,
                coalesce(b.body, {earlier}, {removal_body(sync)}) AS body,
                o.why IN ('unsettled', 'released') AS repeated
            FROM owed AS o LEFT JOIN rendered AS b ON b."row" = o."row"
            ORDER BY o."row"
        ) TO {literal(path)} (FORMAT parquet, ROW_GROUP_SIZE 50000)
    """


def removal_body(sync: Sync) -> str:
    """Return the SQL of a removal's payload: the identity that was delivered, as far as nobody wanted carries it."""
    if len(sync.target.identity) == 1:
        # By the name it was delivered under, which is the mapped one unless that was changed.
        return "'{' || CAST(to_json(o.name) AS VARCHAR) || ':' || CAST(to_json(o.value) AS VARCHAR) || '}'"
    pairs = {}
    for name in sync.target.identity:
        kept = "(o.change <> 'left' OR list_contains(o.others, o.name || '=' || o.value))"
        own = f"CASE WHEN o.name = {literal(name)} AND {kept} THEN o.value END"
        listed = f"list_filter(o.others, lambda x: starts_with(x, {literal(name + '=')}))[1]"
        pairs[name] = f"coalesce({own}, substr({listed}, {len(name) + 2}))"
    return rendering.identity_body(pairs)


def set_aside(compared: Comparison, null_keys: int, in_both: int) -> tuple[dict[str, int], int]:
    """
    Return how many rows are neither sent nor removed, by reason, and how many say again what another one says.

    Unfit rows are those of the whole snapshot, and so are the *in_both* whom the
    sync's opposite wants otherwise.
    """
    connection = compared.connection
    [(conflicting, repeated)] = rows(
        connection,
        """
        SELECT coalesce(sum(copies) FILTER (conflicting), 0), coalesce(sum(copies - 1) FILTER (NOT conflicting), 0)
        FROM suspects WHERE unfit IS NULL
        """,
    )
    query = "SELECT unfit, count(*) FROM looked WHERE unfit IS NOT NULL AND key IS NOT NULL GROUP BY unfit"
    found = {NO_IDENTITY: null_keys, CONFLICT: conflicting, **dict(rows(connection, query))}
    if compared.sync.opposite:
        found[opposed.reason(compared.sync.opposite)] = in_both
    return {reason: int(count) for reason, count in sorted(found.items()) if count}, int(repeated)


def odd(connection: duckdb.DuckDBPyConnection, sync: Sync) -> dict[str, int]:
    """Count the rows to be sent that deserve a warning."""
    reasons = [reason for reason, _ in sync.target.odd()]
    if not reasons:
        return {}
    counts = ", ".join(f"count(odd_{number})" for number in range(len(reasons)))
    [found] = rows(connection, f"SELECT {counts} FROM looked WHERE src IN (SELECT src FROM owed)")
    return {reason: int(count) for reason, count in zip(reasons, found, strict=True) if count}
