"""What a plan's page shows beside its counts: its verbs, which fields changed, and how earlier plans compare."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from .. import rendering
from ..diff import comparison
from ..diff.plan import Plan
from ..engines.duckdb import memory, rows
from ..ledger.ledger import Ledger
from ..model import Change, Verb
from ..naming import filename, literal, masked
from ..state import State
from ..sync import Sync

LAST = 5
"""So many earlier plans are shown."""

COMPARED = 100_000
"""So many changed rows are looked at for which fields changed; of more, the first ones."""


def operations_table(plan: Plan, state: State) -> str:
    """Return the verbs as a table: counts, and the first and last rows, their keys masked, with the ids for `only`."""
    if not plan.operations:
        return "Nothing is owed."
    query = f"""
        SELECT verb, count(*), arg_min(key, "row"), min("row"), arg_max(key, "row"), max("row")
        FROM read_parquet({literal(str(plan.file(state)))}) GROUP BY verb ORDER BY verb
    """
    with memory() as connection:
        found = rows(connection, query)
    lines = [
        f"| {verb} | {count:,} | {masked(first)} `{plan.row_id(low)}` | {masked(last)} `{plan.row_id(high)}` |"
        for verb, count, first, low, last, high in found
    ]
    return "| verb | rows | first | last |\n|---|---|---|---|\n" + "\n".join(lines)


def changed_fields(plan: Plan, sync: Sync, state: State) -> dict[str, int] | None:
    """
    Return how many of the plan's changed rows differ in each field from the snapshot that was delivered last.

    The fields are those of the destination, most often changed first. None where that
    snapshot is gone: it was deleted, replaced, or has other columns.
    """
    if not plan.count(Change.CHANGED) or len(sync.mapping) == len(sync.identity):
        return {}
    ledger = Ledger(state, sync.target, sync.address)
    with ledger.reading() as connection:
        delivered = ledger.standing(connection).mark_partition
    sides = [state.snapshot(sync.audience.name, key) for key in (delivered, plan.partition) if key is not None]
    if len(sides) < 2 or delivered == plan.partition or not all(side.exists() for side in sides):
        return None
    fields = [name for name in sync.mapping if name not in sync.identity]
    counts = ", ".join(
        f"count(*) FILTER (b.{rendering.field(name)} IS DISTINCT FROM n.{rendering.field(name)})" for name in fields
    )
    scan = f"read_parquet({literal(str(plan.file(state)))})"
    changed = f"""SELECT key FROM {scan} WHERE change = 'changed' AND verb <> 'remove' LIMIT {COMPARED}"""
    try:
        with memory() as connection:
            rows(connection, f"CREATE TEMP TABLE changed AS {changed}")
            before, now = (_fields(connection, sync, side) for side in sides)
            found = rows(connection, f"SELECT {counts} FROM ({before}) AS b JOIN ({now}) AS n ON n.key = b.key")[0]
    except duckdb.Error:
        return None
    pairs = sorted(zip(fields, map(int, found), strict=True), key=lambda pair: (-pair[1], pair[0]))
    return {name: count for name, count in pairs if count}


def _fields(connection: duckdb.DuckDBPyConnection, sync: Sync, side: Path) -> str:
    """Return the SQL of the mapped fields of the changed rows in the snapshot *side*, one row a key."""
    described = rows(connection, f"DESCRIBE SELECT * FROM read_parquet({literal(str(side))})")
    types = {name: kind for name, kind, *_ in described}
    scan = f"read_parquet({literal(str(side))}, file_row_number = true)"
    keys = comparison.mapped_rows(sync, scan, types)
    mapped = rendering.mapped(sync, scan, types)
    return f"""
        SELECT k.key, any_value(COLUMNS(m.* EXCLUDE (src)))
        FROM ({mapped}) AS m JOIN (SELECT src, key FROM ({keys}) WHERE key IN (SELECT key FROM changed)) AS k
            ON k.src = m.src
        GROUP BY k.key
    """


def fields_table(changed: dict[str, int] | None, plan: Plan) -> str | None:
    """Return the changed fields as a table; None where no row changed."""
    count = plan.count(Change.CHANGED)
    if changed is None:
        return f"{count:,} rows changed; the snapshot that was delivered last is gone, so nobody knows in which fields."
    if not changed:
        return None
    lines = [f"| `{name}` | {rows_:,} |" for name, rows_ in changed.items()]
    of = f"\n\nOf the first {COMPARED:,} changed rows." if count > COMPARED else ""
    return "| field | rows |\n|---|---|\n" + "\n".join(lines) + of


def last_plans(plan: Plan, state: State) -> list[dict[str, Any]]:
    """Return what the newest plans of the last partitions say, *plan* first, then backwards by when they were made."""
    folder = state.root / "diffs" / filename(plan.sync)
    found = sorted(_newest(folder), key=lambda pair: -pair[0])
    read = []
    for _, path in found[: LAST + 1]:
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
            read.append({name: said[name] for name in ("id", "partition", "made_at", "audience", "told", "counts")})
        except (OSError, ValueError, KeyError, TypeError):
            continue  # Damaged, or deleted meanwhile: whoever needs it says so.
    others = [said for said in read if said["id"] != plan.id]
    mine = {name: getattr(plan, name) for name in ("id", "partition", "made_at", "audience", "told", "counts")}
    return [mine, *others[:LAST]]


def _newest(folder: Path) -> Iterator[tuple[float, Path]]:
    for name in folder.glob("*/newest"):
        try:
            yield name.stat().st_mtime, name.with_name(f"{filename(name.read_text(encoding='utf-8'))}.json")
        except OSError:
            continue


def plans_table(plans: list[dict[str, Any]]) -> str | None:
    """Return the plans as a table; None where there is nothing to compare with."""
    if len(plans) < 2:
        return None
    names = [*Change, *Verb]
    used = [name for name in names if any(said["counts"].get(name) for said in plans)]
    header = ["partition", "made", "audience", "told", *(name.value for name in used)]
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for said in plans:
        numbers = [said["audience"], said["told"], *(said["counts"].get(name, 0) for name in used)]
        made = f"{datetime.fromisoformat(said['made_at']):%Y-%m-%d %H:%M}"
        lines.append(f"| {said['partition']} | {made} | " + " | ".join(f"{number:,}" for number in numbers) + " |")
    return "\n".join(lines)
