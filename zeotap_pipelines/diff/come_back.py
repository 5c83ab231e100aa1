"""Events that come back under another id: what was asked for and is gone, and what is new and like it."""

from __future__ import annotations

from collections.abc import Collection

from ..engines.duckdb import rows
from ..ledger.events import CLOSED
from ..mapping import Field, Kind
from ..naming import literal
from ..rendering import digest, field, key, mapped
from ..sync import Sync
from .comparison import Comparison

PAIRS = 10_000_000
"""So many pairs of a new event and one that is gone are compared, about: five seconds."""


def count(compared: Comparison, *, identity_changed: bool) -> int:
    """
    Return how many rows in ``judged`` seem to be events that were asked for from this partition under another id.

    An event that the audience no longer has, and a new one that is like it in all but
    its id: a changed mapping, a column of another type, an edited source. A field that
    is made of the id, or may hold it as JSON, is compared with the other id in its
    place. Every new row is suspect where that can't be done, or the mapping of the id changed.
    """
    connection, sync = compared.connection, compared.sync
    rows(connection, "CREATE TEMP TABLE fresh AS SELECT src, digest FROM judged WHERE why = 'never told'")
    [(fresh,)] = rows(connection, "SELECT count(*) FROM fresh")
    asked = f"partition = {literal(compared.partition.key)} AND state IN {CLOSED}"
    if not fresh or rows(connection, f"SELECT count(*) FROM told WHERE {asked}") == [(0,)]:
        return 0
    told_key = key(sync.target, sync.target.identity, "name", "value")
    rows(
        connection,
        f"""
        CREATE TEMP TABLE gone AS
        SELECT digest, value FROM told
        WHERE {asked} AND {told_key} NOT IN (SELECT key FROM mapped WHERE key IS NOT NULL)
        """,
    )
    if rows(connection, "SELECT count(*) FROM gone") == [(0,)]:
        return 0
    holders = _holders(sync)
    if identity_changed or holders is None:
        return int(fresh)
    alike = "digest IN (SELECT digest FROM gone)"
    if holders:
        alike += f" OR src IN ({_under_their_ids(compared, holders, PAIRS // fresh)})"
    [(found,)] = rows(connection, f"SELECT count(*) FROM fresh WHERE {alike}")
    return int(found)


def _holders(sync: Sync) -> list[str] | None:
    """Return the fields that hold the event's id, or may; None where one holds it in a form that can't be put back."""
    [identity] = sync.identity
    origin = sync.mapping[identity]
    as_it_is = origin.column is not None and origin == Field(column=origin.column)
    holders = []
    for name, other in sync.mapping.items():
        shared = set(other.columns) & set(origin.columns)
        if name == identity or not (shared or sync.target.kinds.get(name) is Kind.JSON):
            continue
        if shared and other != origin and (other.hash or other.date_format or not as_it_is):
            return None
        holders.append(name)
    return holders


def _under_their_ids(compared: Comparison, holders: Collection[str], most: int) -> str:
    """Return the SQL of the new rows that an event which is gone would be like, had they its id; *most* are tried."""
    sync = compared.sync
    [identity] = sync.identity

    def swapped(name: str) -> str:
        text = field(name)
        if name == identity:
            return "g.value"
        if name not in holders:
            return text
        other = sync.mapping[name]
        old, new = (f"{other.case}({one})" if other.case else one for one in (field(identity), "g.value"))
        if sync.target.kinds.get(name) is Kind.JSON:  # As a text, or else as a number.
            quoted = [f"CAST(to_json({one}) AS VARCHAR)" for one in (old, new)]
            swap = f"replace({text}, {quoted[0]}, {quoted[1]})"
            return f"CASE WHEN contains({text}, {quoted[0]}) THEN {swap} ELSE replace({text}, {old}, {new}) END"
        return f"replace({text}, {old}, {new})"

    fields = ", ".join(f"{swapped(name)} AS {field(name)}" for name in sync.mapping)
    return f"""
        WITH f AS ({mapped(sync, compared.picked("fresh"), compared.snapshot.columns)}),
        tried AS (SELECT value, digest FROM gone ORDER BY value LIMIT {max(most, 10)}),
        swapped AS (SELECT f.src, g.digest AS told, {fields} FROM f CROSS JOIN tried AS g)
        SELECT src FROM swapped WHERE told = {digest(sync)}
    """
