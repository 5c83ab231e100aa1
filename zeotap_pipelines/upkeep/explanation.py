"""Explain one key: whether it is wanted, what was told when, by which plan and run, and what became of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import duckdb

from .. import rendering
from ..delivery.lost import refuse_lost
from ..diff import comparison, opposed, plan
from ..engines.duckdb import first_line, lines, rows
from ..errors import MakePlanAgain, RepairState
from ..ledger.asking import in_doubt
from ..ledger.ledger import Ledger
from ..model import Partition
from ..naming import literal
from ..state import State
from ..sync import Sync
from .who import Who

Line = Mapping[str, Any]


@dataclass
class Explanation:
    """
    What is known of one key at one target.

    *told* are the ledger's rows, *planned* the newest plan's, *outcomes* what became
    of it on file, oldest first; *audience* are its rows in the newest plan's snapshot,
    each with what sets it aside, if anything does.
    """

    sync: str
    address: str
    partition: str | None = None
    plan: str | None = None
    told: list[Line] = field(default_factory=list)
    audience: list[Line] | None = None
    planned: list[Line] = field(default_factory=list)
    outcomes: list[Line] = field(default_factory=list)

    def sentences(self) -> Iterator[str]:
        """Yield what a person wants to read."""
        if self.audience is None:
            yield "no snapshot is on file, so nobody knows whether the audience has it"
        elif not self.audience:
            yield f"not in the audience at {self.partition}"
        for row in self.audience or ():
            aside = row["set_aside"]
            yield f"in the audience at {self.partition}" + (f", but set aside: {aside}" if aside else "")
        if not self.told:
            yield "the target was never told of it"
        for row in self.told:
            yield _told(row)
        for row in self.planned:
            yield f"newest plan {self.plan}: {row['verb']} ({row['change']}: {row['why']}), row {row['id']}"
        if self.plan and not self.planned:
            yield f"newest plan {self.plan}: nothing is asked for it"
        for row in self.outcomes:
            said = f" ({row['reason']})" if row["reason"] else ""
            request = f", request {row['request']}" if row["request"] else ""
            yield f"{row['moment']}: {row['verb']} was {row['fate']}{said}{request}; plan {row['plan']}, {row['file']}"


def explain(sync: Sync, key: str, state: State) -> Explanation:
    """
    Return what is known of *key*, an identity's value, at the target of *sync*.

    Raises RepairState where its state is lost or damaged.
    """
    found = Explanation(sync.name, str(sync.address))
    ledger = Ledger(state, sync.target, sync.address)
    refuse_lost(sync, ledger)
    told_key = rendering.key(sync.target, sync.target.identity, "name", "value")
    theirs = f"(key = {literal(key)} OR {Who(key, _only(sync)).told(sync.target)})"
    keys: set[str] = set()
    try:
        with ledger.reading() as connection:
            now = f"CASE WHEN state = 'doubt' AND NOT {in_doubt(sync.target)} THEN 'asked' ELSE state END AS state"
            told = f"(SELECT * REPLACE ({now}), {told_key} AS key FROM told WHERE state <> 'forgotten')"
            found.told = lines(connection, f"SELECT * FROM {told} WHERE {theirs} ORDER BY moment")
            keys |= {row["key"] for row in found.told}
            plans = [one for (one,) in rows(connection, "SELECT DISTINCT plan FROM movements WHERE plan IS NOT NULL")]
            plans_made = plan.newest(state, sync.name, str(sync.address))
            newest = max(plans_made, key=lambda one: (one.partition_end, one.made_at), default=None)
            if newest is not None:
                found.plan, found.partition = newest.id, newest.partition
                found.audience = _audience(connection, sync, newest.window, state, theirs)
                keys |= {row["key"] for row in found.audience or ()}
                if newest.file(state).exists():
                    scan = f"read_parquet({literal(str(newest.file(state)))})"
                    query = f"""SELECT "row", key, verb, change, why, digest FROM {scan} WHERE {theirs}"""
                    planned = lines(connection, query)
                    found.planned = [{**line, "id": newest.row_id(line["row"])} for line in planned]
                    keys |= {row["key"] for row in found.planned}
            found.outcomes = _outcomes(connection, state, plans, keys)
    except duckdb.Error as error:
        raise RepairState(f"the state of {sync.name} can't be read: {first_line(error)}") from error
    return found


def _only(sync: Sync) -> str | None:
    """Return the field that the key of an event is in, which names the event and nobody."""
    return sync.target.identity[0] if sync.target.event else None


def _told(row: Line) -> str:
    held = {
        "in": "the target was told to hold it",
        "out": "the target was told to drop it",
        "asked": "a run is asking for it at the moment",
        "doubt": "in doubt: it may have happened, and a person decides",
        "released": "to be asked again, as a person decided",
        "dropped": "not to be asked again, as a person decided",
        "unknown": "the target never said conclusively that it holds it",
    }[row["state"]]
    unsure = ", but something was asked since and no answer is known" if row["unsettled"] else ""
    refused = f"; refused to {row['refused_verb']} at {row['refused_partition']}" if row["refused_verb"] else ""
    at = f" at {row['partition']}" if row["partition"] else ""
    return f"{held}{unsure}: {row['moment']}, plan {row['plan']}{at}, run {row['run']}{refused}"


def _audience(
    connection: duckdb.DuckDBPyConnection, sync: Sync, partition: Partition, state: State, theirs: str
) -> list[Line] | None:
    path = state.snapshot(sync.audience.name, partition.key)
    if not path.exists():
        return None
    scan = f"read_parquet({literal(str(path))}, file_row_number = true)"
    types = {
        name: kind for name, kind, *_ in rows(connection, f"DESCRIBE SELECT * FROM read_parquet({literal(str(path))})")
    }
    mapped = comparison.mapped_rows(sync, scan, types)
    conflict, in_both = literal(comparison.CONFLICT), "NULL"
    if sync.opposite:
        with suppress(MakePlanAgain):  # It was deleted since the plan was made.
            other = opposed.opposing(sync, partition, state)
            assert other is not None
            both = opposed.in_both(sync, mapped, opposed.rows_of(sync.opposite, other))
            in_both = f"CASE WHEN key IN ({both}) THEN {literal(opposed.reason(sync.opposite))} END"
    query = f"""
        SELECT key, coalesce({in_both}, min(unfit), CASE WHEN min(digest) <> max(digest) OR min(others) <> max(others)
            THEN {conflict} END) AS set_aside
        FROM ({mapped}) WHERE key IN (SELECT key FROM ({mapped}) WHERE {theirs}) GROUP BY key
    """
    return lines(connection, query)


def _outcomes(connection: duckdb.DuckDBPyConnection, state: State, plans: list[str], keys: set[str]) -> list[Line]:
    files = [str(path) for path in sorted((state.root / "outcomes").glob("*/*/*.parquet"))]
    if not files or not keys:
        return []
    query = f"""
        SELECT moment, plan, verb, fate, reason, status, request,
            'run ' || split_part(parse_filename(filename), '.', 1) AS file
        FROM read_parquet([{", ".join(map(literal, files))}], filename = true)
        WHERE list_contains($keys, key) AND list_contains($plans, plan) ORDER BY moment
    """
    return lines(connection, query, {"keys": sorted(keys), "plans": plans})
