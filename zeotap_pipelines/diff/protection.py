"""
Nobody is taken out who is wanted: what removals must not say where a person has several identifiers.

Removing somebody's old anonymous_id would take out the person who is wanted under a
uid. Rows that were set aside protect their identifiers in the same way.
"""

from __future__ import annotations

import duckdb

from .. import rendering
from ..engines.duckdb import rows
from ..sync import Sync


def protect(connection: duckdb.DuckDBPyConnection, sync: Sync) -> int:
    """Strip removals of every identifier that a wanted row carries or carried; return how many have none left."""
    if not rows(connection, "SELECT 1 FROM judged WHERE change = 'left' LIMIT 1"):
        return 0
    target = sync.target
    rows(connection, f"CREATE TEMP MACRO same_form(x) AS {rendering.same_form(target, 'x')}")
    rows(
        connection,
        """
        CREATE TEMP TABLE every AS
        SELECT key, x, same_form(x) AS identifier FROM (
            SELECT key, unnest(list_distinct(list_concat([name || '=' || value], others))) AS x
            FROM judged WHERE change = 'left'
        )
        """,
    )
    told_key = rendering.key(target, sync.identity, "name", "value")
    rows(
        connection,
        f"""
        CREATE TEMP TABLE carried AS
        WITH wanted AS (SELECT same_form(unnest(others)) AS identifier FROM mapped WHERE key IS NOT NULL),
        told_before AS (
            SELECT {told_key} AS key, same_form(x) AS identifier
            FROM (SELECT name, value, unnest(others || [name || '=' || value]) AS x FROM told)
        ), touched AS (
            SELECT key, identifier FROM told_before WHERE identifier IN (SELECT identifier FROM every)
        ), linked AS (
            -- Told of somebody wanted; or together with all that somebody wanted is known by, who may be that person.
            SELECT DISTINCT key FROM told_before
            WHERE key IN (SELECT key FROM touched) AND identifier IN (SELECT key FROM mapped)
        )
        SELECT identifier FROM wanted WHERE identifier IN (SELECT identifier FROM every)
        UNION SELECT identifier FROM touched WHERE key IN (SELECT key FROM linked)
        """,
    )
    rows(
        connection,
        """
        CREATE TEMP TABLE leaving AS
        WITH wanted AS (SELECT key FROM mapped WHERE key IN (SELECT identifier FROM every))
        SELECT key, CASE
            -- Somebody wanted is known by nothing else: the service may take the two for one person.
            WHEN bool_or(identifier IN (SELECT key FROM wanted)) THEN []
            ELSE list_sort(list(x) FILTER (identifier NOT IN (SELECT identifier FROM carried))) END AS remaining
        FROM every GROUP BY key
        """,
    )
    [(kept,)] = rows(connection, "SELECT count(*) FROM leaving WHERE coalesce(len(remaining), 0) = 0")
    rows(connection, "DELETE FROM judged WHERE key IN (SELECT key FROM leaving WHERE coalesce(len(remaining), 0) = 0)")
    rows(connection, "UPDATE judged SET others = l.remaining FROM leaving AS l WHERE l.key = judged.key")
    return int(kept)
