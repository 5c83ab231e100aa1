"""
What only events need: the rows of earlier plans that are still owed.

A state target's next plan asks again for whatever differs; an event is in the
snapshot of its own partition only. So the ledger remembers which plans were begun,
and a new plan takes over what they left unasked, deferred or released. Of a plan that a
guard stopped, and of which a person let a part be tried, only what was asked is taken
over: the rest was never approved, and stays with its partition, as if nobody had begun.
"""

from __future__ import annotations

from pathlib import Path

import duckdb

from ..destinations.base import Target
from ..engines.duckdb import rows
from ..naming import literal
from ..rendering import key
from ..state import State
from . import forgotten

CLOSED = "('in', 'doubt', 'dropped')"
"""The states in which nobody asks for an event again."""


def carry_over(connection: duckdb.DuckDBPyConnection, target: Target, state: State) -> None:
    """
    Add to ``judged`` what earlier plans left owed, and make ``taken_over`` with its bodies; forgotten events go.

    Rows that the service rejected wait until a person has mended what was wrong, and says so: `Ledger.ask_again`.
    """
    rows(connection, "CREATE TEMP TABLE taken_over (key VARCHAR, body VARCHAR)")
    for plan, run in rows(connection, "SELECT plan, run FROM open_plans ORDER BY opened DESC"):
        path = state.find_plan(plan)
        if path is None:
            continue  # Retention keeps open plans; without its rows nothing can be asked.
        rows(
            connection,
            f"""
            CREATE OR REPLACE TEMP TABLE left_over AS
            SELECT p.*, l.state AS told_state {_owed(target, path, run)}
                AND p.key NOT IN (SELECT key FROM judged)
                AND p.key NOT IN (SELECT key FROM mapped WHERE key IS NOT NULL)
            """,
        )
        rows(
            connection,
            """
            INSERT INTO judged BY NAME
            SELECT key, true AS is_wanted, name, value, others, digest, stamp, told_state, verb, change,
                CASE told_state WHEN 'released' THEN 'released' ELSE 'left by an earlier plan' END AS why
            FROM left_over
            """,
        )
        rows(connection, "INSERT INTO taken_over SELECT key, body FROM left_over")
    # Whoever was forgotten is left out last: a plan still has the rows if forgetting was cut off before its file.
    happened, hashes = forgotten.happened(connection, state)
    rows(connection, f"DELETE FROM judged WHERE {happened}", hashes)


def remember_plans(connection: duckdb.DuckDBPyConnection, target: Target, state: State) -> None:
    """Note, within a fold, which plans were begun, and forget those of which nothing is owed any more."""
    whole = "SELECT plan FROM lines WHERE kind = 'begin' AND part IS NULL"
    rows(connection, f"DELETE FROM open_plans WHERE run IS NULL AND plan IN ({whole})")
    rows(
        connection,
        """
        INSERT INTO open_plans
        SELECT plan, min(n), max(run) FILTER (part IS NULL) FROM lines
        WHERE kind = 'begin' AND plan NOT IN (SELECT plan FROM open_plans) GROUP BY plan
        """,
    )
    happened, hashes = forgotten.happened(connection, state)
    for plan, run in rows(connection, "SELECT plan, run FROM open_plans"):
        path = state.find_plan(plan)
        if path is not None:
            owed = f"SELECT count(*) FROM (SELECT p.key {_owed(target, path, run)}) WHERE NOT {happened}"
        if path is None or rows(connection, owed, hashes) == [(0,)]:
            rows(connection, "DELETE FROM open_plans WHERE plan = ?", [plan])


def left_over(connection: duckdb.DuckDBPyConnection, target: Target, state: State) -> list[str]:
    """Return the SQL of the keys that are owed of plans that were begun, whatever the next one holds."""
    begun = rows(connection, "SELECT plan, run FROM open_plans")
    files = [(state.find_plan(plan), run) for plan, run in begun]
    released = f"SELECT {key(target, target.identity, 'name', 'value')} AS key FROM told WHERE state = 'released'"
    return [f"SELECT p.key {_owed(target, path, run)}" for path, run in files if path] + [released]


def _owed(target: Target, plan: Path, run: str | None) -> str:
    """Return the SQL of the rows ``p`` that are owed of an open *plan*; ``l`` is what was told of each."""
    told_key = key(target, target.identity, "name", "value")
    return f"""
        FROM read_parquet({literal(str(plan))}) AS p
        LEFT JOIN (SELECT *, {told_key} AS told_key FROM told) AS l ON l.told_key = p.key
        WHERE coalesce(l.state, 'unknown') NOT IN {CLOSED} AND l.refused_verb IS NULL
            AND {"l.state IS NOT NULL" if run is None else "true"}
    """
