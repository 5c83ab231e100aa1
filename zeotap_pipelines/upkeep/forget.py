"""
Forget a person: found in snapshots, plans, outcomes, journals and ledgers, and erased there.

Every file is rewritten whole, so that nothing stays in a free block of it. Plans and
snapshots, which say whose a key is, go last: whoever is interrupted finds the rest again.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
from pyarrow import parquet

from .. import rendering
from ..engines.duckdb import first_line, memory, opened, rows
from ..errors import RepairState, ZeotapError
from ..ledger import events, fold, forgotten
from ..ledger.ledger import Ledger
from ..ledger.lock import speaking
from ..ledger.rest import fold_rest
from ..ledger.tables import SCHEMA, TABLES
from ..model import Address
from ..naming import filename, literal
from ..state import State, replacing
from ..sync import Sync
from .who import Who

CHOSEN = "SELECT key FROM chosen"


@dataclass
class Found:
    """
    Where a person is: rows per file, and per target the keys and how many of them the service still holds.

    *held* counts the rows that the target was told to hold, or may hold; *doubtful* those of them that are events
    of which nobody knows whether they happened: in doubt, or dropped.
    """

    snapshots: dict[Path, int] = field(default_factory=dict)
    plans: dict[Path, int] = field(default_factory=dict)
    outcomes: dict[Path, int] = field(default_factory=dict)
    ledgers: dict[Address, int] = field(default_factory=dict)
    keys: dict[Address, set[str]] = field(default_factory=dict)
    held: dict[Address, int] = field(default_factory=dict)
    doubtful: dict[Address, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.snapshots or self.plans or self.outcomes or self.ledgers)

    def rows(self) -> dict[str, int]:
        """Return the number of rows by the kind of file that holds them."""
        return {name: sum(getattr(self, name).values()) for name in ("snapshots", "plans", "outcomes", "ledgers")}

    def __str__(self) -> str:
        parts = [f"{rows:,} rows of {len(getattr(self, name)):,} {name}" for name, rows in self.rows().items() if rows]
        return ", ".join(parts) or "nothing"


@contextmanager
def everybody_silent(state: State, syncs: Iterable[Sync], *, run: str, wait: float = 60.0) -> Iterator[None]:
    """Hold every account of *syncs*, with what their journals say folded."""
    with ExitStack() as stack:
        syncs = list(syncs)
        for account in sorted({state.account(sync.address) for sync in syncs}):
            stack.enter_context(speaking(account, run=run, sync="forget", wait=wait))
        for sync in syncs:
            fold_rest(Ledger(state, sync.target, sync.address))
        yield


def find(state: State, syncs: Sequence[Sync], who: Who) -> Found:
    """
    Return where the person *who* is.

    *syncs* are those of all targets. Whom a snapshot's row makes a target's row of is
    found at that target too, whatever the key is there. The accounts must be held.
    """
    found = Found(keys={sync.address: set() for sync in syncs})
    with memory() as connection:
        _search_snapshots(connection, state, syncs, who, found)
        plans = _search_plans(connection, state, syncs, who, found)
        for sync in syncs:
            _search_ledger(state, sync, who, found, plans)
        # A plan or an outcome may hold a key that another file gave away.
        _search_keys(connection, state, plans, found)
    return found


def erase(state: State, syncs: Sequence[Sync], who: Who, *, now: datetime) -> Found:
    """Erase the person *who* everywhere, and return what was removed. The accounts must be held."""
    found = find(state, syncs, who)
    by_address = {sync.address: sync for sync in syncs}
    plans = _plan_addresses(state)
    for path in found.outcomes:
        with memory() as connection:
            _choose(connection, set().union(*found.keys.values()))
            _rewrite(connection, path, f"key IN ({CHOSEN})")
    for address in found.ledgers:
        _erase_from_ledger(state, by_address[address], found.keys[address], now)
    for path in found.plans:
        with memory() as connection:
            owner = by_address.get(plans.get(path.stem) or Address("", "", "", ""))
            _choose(connection, found.keys[owner.address] if owner else set().union(*found.keys.values()))
            says = f" OR {who.planned(owner.target)}" if owner else ""
            _rewrite(connection, path, f"key IN ({CHOSEN}){says}")
    for path in found.snapshots:
        with memory() as connection:
            _rewrite(connection, path, _in_snapshot(connection, state, path, syncs, who))
    sweep_drafts(state)
    return found


def sweep_drafts(state: State) -> int:
    """Delete the drafts that killed runs left, and return how many."""
    swept = 0
    for path in state.root.rglob(".*.tmp"):
        number = re.fullmatch(r".*\.(\d+)\.[0-9a-f]{8}\.tmp", path.name)
        if number and not _alive(int(number[1])):
            path.unlink(missing_ok=True)
            swept += 1
    return swept


def _search_snapshots(
    connection: duckdb.DuckDBPyConnection, state: State, syncs: Sequence[Sync], who: Who, found: Found
) -> None:
    for path in sorted((state.root / "snapshots").glob("*/*.parquet")):
        condition = _in_snapshot(connection, state, path, syncs, who)
        [(count,)] = _asked(connection, path, f"SELECT count(*) FROM {_scan(path)} WHERE {condition}")
        if not count:
            continue
        found.snapshots[path] = count
        types = _types(connection, path)
        picked = f"(SELECT * FROM read_parquet({literal(str(path))}, file_row_number = true) WHERE {condition})"
        for sync in _users(state, path, syncs):
            name, value = rendering.primary(sync)
            try:
                mapped = rendering.mapped(sync, picked, types)
            except ZeotapError:
                continue  # A snapshot from before a mapped column was there.
            key = rendering.key(sync.target, sync.identity, "name", "value")
            query = f"SELECT DISTINCT {key} FROM (SELECT {name} AS name, {value} AS value FROM ({mapped}))"
            found.keys[sync.address] |= {one for (one,) in _asked(connection, path, query) if one is not None}


def _in_snapshot(
    connection: duckdb.DuckDBPyConnection, state: State, path: Path, syncs: Sequence[Sync], who: Who
) -> str:
    types = _types(connection, path)
    users = _users(state, path, syncs)
    return who.snapshot(users, users[0].audience.key if users else types, types)


def _users(state: State, path: Path, syncs: Sequence[Sync]) -> list[Sync]:
    return [sync for sync in syncs if path.parent.name == filename(sync.audience.name)]


def _search_plans(
    connection: duckdb.DuckDBPyConnection, state: State, syncs: Sequence[Sync], who: Who, found: Found
) -> dict[str, Address]:
    """Find the person's rows in the plans by what they say, and return the address of every plan."""
    addresses = _plan_addresses(state)
    by_address = {sync.address: sync for sync in syncs}
    for path in _plan_files(state):
        sync = by_address.get(addresses.get(path.stem) or Address("", "", "", ""))
        if sync is None:
            continue
        query = f"SELECT DISTINCT key FROM {_scan(path)} WHERE {who.planned(sync.target)}"
        found.keys[sync.address] |= {key for (key,) in _asked(connection, path, query)}
    return addresses


def _search_ledger(state: State, sync: Sync, who: Who, found: Found, plans: dict[str, Address]) -> None:
    ledger = Ledger(state, sync.target, sync.address)
    with ledger.reading() as connection:
        key = rendering.key(sync.target, sync.target.identity, "name", "value")
        rows(connection, f"CREATE TEMP VIEW held AS SELECT *, {key} AS key FROM told WHERE state <> 'forgotten'")
        said = rows(connection, f"SELECT DISTINCT key FROM held WHERE {who.told(sync.target)}")
        found.keys[sync.address] |= {one for (one,) in said}
        _choose(connection, found.keys[sync.address])
        query = f"""
            SELECT count(*), count(*) FILTER (state IN {events.CLOSED} OR unsettled),
                count(*) FILTER (state IN {events.CLOSED} AND state <> 'in')
            FROM held WHERE key IN ({CHOSEN})
        """
        [(count, held, doubtful)] = rows(connection, query)
        for (plan,) in rows(connection, "SELECT DISTINCT plan FROM movements"):
            plans.setdefault(plan, sync.address)
    if count:
        found.ledgers[sync.address] = count
    if held:
        found.held[sync.address] = held
    if doubtful:
        found.doubtful[sync.address] = doubtful


def _search_keys(
    connection: duckdb.DuckDBPyConnection, state: State, plans: Mapping[str, Address], found: Found
) -> None:
    everything = set().union(*found.keys.values())
    for path in _plan_files(state):
        address = plans.get(path.stem)
        _choose(connection, everything if address is None else found.keys.get(address, set()))
        [(count,)] = _asked(connection, path, f"SELECT count(*) FROM {_scan(path)} WHERE key IN ({CHOSEN})")
        if count:
            found.plans[path] = count
    _choose(connection, everything)
    for path in sorted((state.root / "outcomes").glob("*/*/*.parquet")):
        [(count,)] = _asked(connection, path, f"SELECT count(*) FROM {_scan(path)} WHERE key IN ({CHOSEN})")
        if count:
            found.outcomes[path] = count


def _erase_from_ledger(state: State, sync: Sync, keys: set[str], now: datetime) -> None:
    """Write the ledger anew without *keys*; of an event a keyed hash stays."""
    ledger = Ledger(state, sync.target, sync.address)
    with ledger.writing() as connection:
        rows(connection, "CHECKPOINT")  # What a crash left beside the file belongs into it.
    ledger.stamps_file.unlink(missing_ok=True)
    key = rendering.key(sync.target, sync.target.identity, "name", "value")
    theirs = f"state <> 'forgotten' AND {key} IN ({CHOSEN})"
    with replacing(ledger.file) as draft, opened(draft, read_only=False) as connection:
        rows(connection, SCHEMA)
        rows(connection, f"ATTACH {literal(str(ledger.file))} AS old (READ_ONLY)")
        _choose(connection, keys)
        for table in TABLES:
            kept = f" WHERE NOT ({theirs})" if table == "told" else ""
            rows(connection, f"INSERT INTO {table} BY NAME SELECT * FROM old.{table}{kept}")
        if sync.target.event:
            erased = [one for (one,) in rows(connection, f"SELECT {key} FROM old.told WHERE {theirs}")]
            name, marks = forgotten.marks(state, erased)
            for mark in marks:
                line = [name, mark, now.isoformat()]
                rows(connection, "INSERT INTO told (name, value, state, moment) VALUES (?, ?, 'forgotten', ?)", line)
        fold.move(connection, "forget", now)
        rows(connection, "DETACH old")


def _choose(connection: duckdb.DuckDBPyConnection, keys: set[str]) -> None:
    rows(connection, "CREATE OR REPLACE TEMP TABLE chosen AS SELECT unnest(?::VARCHAR[]) AS key", [sorted(keys)])


def _rewrite(connection: duckdb.DuckDBPyConnection, path: Path, condition: str) -> None:
    """Write the Parquet file at *path* anew without the rows of *condition*, and with the same footer."""
    kept = parquet.read_metadata(path).metadata or {}
    footer = ", ".join(
        f"{name.decode()}: {literal(value.decode())}" for name, value in kept.items() if b":" not in name
    )
    query = f"SELECT * FROM {_scan(path)} WHERE NOT coalesce({condition}, false)"
    with replacing(path) as draft:
        _asked(connection, path, f"COPY ({query}) TO {literal(str(draft))} (FORMAT parquet, KV_METADATA {{{footer}}})")


def _asked(connection: duckdb.DuckDBPyConnection, path: Path, query: str) -> list[tuple[Any, ...]]:
    try:
        return rows(connection, query)
    except duckdb.Error as error:
        raise RepairState(f"{path} can't be searched, delete it: {first_line(error)}") from error


def _types(connection: duckdb.DuckDBPyConnection, path: Path) -> dict[str, str]:
    return {
        str(name): str(kind) for name, kind, *_ in _asked(connection, path, f"DESCRIBE SELECT * FROM {_scan(path)}")
    }


def _scan(path: Path) -> str:
    return f"read_parquet({literal(str(path))})"


def _plan_files(state: State) -> list[Path]:
    return sorted((state.root / "diffs").glob("*/*/*.parquet"))


def _plan_addresses(state: State) -> dict[str, Address]:
    """Return the address of every plan on file, by the name of its file."""
    found = {}
    for path in (state.root / "diffs").glob("*/*/*.json"):
        try:
            service, account, kind, name = json.loads(path.read_text(encoding="utf-8"))["address"].split("/", 3)
        except (ValueError, KeyError, TypeError) as error:
            raise RepairState(f"{path} can't be read, delete it") from error
        found[path.stem] = Address(service, account, kind, name)
    return found


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
