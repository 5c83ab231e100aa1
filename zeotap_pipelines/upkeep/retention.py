"""
Delete what is old: snapshots, plans, outcomes. Never a ledger, and nothing that is still needed.

Needed is the snapshot and the newest plan of the partition that a target stands at,
the newest snapshot of an audience, a plan that the journal speaks of, and a plan of
events that are owed or in doubt.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
from pyarrow import parquet

from ..engines.duckdb import memory, opened, rows
from ..errors import FixDeclaration, WaitForAccount
from ..ledger.lock import speaking
from ..naming import filename, literal
from ..state import State
from ..sync import Sync


@dataclass
class Swept:
    """What was deleted (or would be), by kind, in files and bytes; *busy* accounts were left alone."""

    files: dict[str, int] = field(default_factory=lambda: {"snapshots": 0, "plans": 0, "outcomes": 0})
    bytes: int = 0
    busy: list[str] = field(default_factory=list)


def sweep(
    state: State,
    syncs: Iterable[Sync],
    *,
    now: datetime,
    snapshots: int | None = None,
    plans: int | None = None,
    outcomes: int | None = None,
    run: str,
    dry_run: bool = False,
) -> Swept:
    """
    Delete snapshots, plans and outcomes that are older than so many days; None keeps them all.

    *syncs* are the declared ones. An account that somebody speaks to keeps its plans.
    """
    if any(days is not None and days < 1 for days in (snapshots, plans, outcomes)):
        raise FixDeclaration("say for how many days to keep: 1 or more")
    swept = Swept()
    if snapshots is not None:
        _delete("snapshots", _old_snapshots(state, list(syncs), now - timedelta(days=snapshots)), swept, dry_run)
    if plans is not None:
        limit = now - timedelta(days=plans)
        for account in sorted({file.parent for file in (state.root / "ledger").glob("*/*/*")}):
            try:
                with speaking(account, run=run, sync="retention", wait=0.0):
                    _delete("plans", _old_plans(state, account, limit), swept, dry_run)
            except WaitForAccount:
                swept.busy.append("/".join(account.parts[-2:]))
        _delete("plans", _unaddressed_plans(state, limit), swept, dry_run)
    if outcomes is not None:
        _delete("outcomes", _old_outcomes(state, now - timedelta(days=outcomes)), swept, dry_run)
    return swept


def _old_snapshots(state: State, syncs: list[Sync], limit: datetime) -> Iterator[Path]:
    needed = set()
    for sync in syncs:
        meta = _meta(state.target(sync.address) / "ledger.duckdb")
        if "mark_partition" in meta:
            needed.add(state.snapshot(sync.audience.name, meta["mark_partition"]))
    for folder in sorted((state.root / "snapshots").glob("*")):
        taken = {path: _taken_at(path) for path in sorted(folder.glob("*.parquet"))}
        newest = max(taken, key=lambda path: (taken[path], path.name), default=None)
        for path, moment in taken.items():
            if moment < limit and path != newest and path not in needed:
                yield path


def _old_plans(state: State, account: Path, limit: datetime) -> Iterator[Path]:
    """Yield the old plans for the targets of *account*, whose lock is held."""
    ledgers = [path for path in account.glob("*/*") if path.is_dir()]
    needed = set().union(*map(_needed_plans, ledgers))
    marks = {path: _meta(path / "ledger.duckdb").get("mark_partition") for path in ledgers}
    for path, said in _plans(state):
        home = _home(state, said)
        newest = (path.parent / "newest").exists() and (path.parent / "newest").read_text(encoding="utf-8")
        stands = home is not None and said["partition"] == marks.get(home) and newest == said["id"]
        old = datetime.fromisoformat(said["made_at"]) < limit
        if home is not None and home.parent.parent == account and old and said["id"] not in needed and not stands:
            yield path


def _unaddressed_plans(state: State, limit: datetime) -> Iterator[Path]:
    """Yield the old plans for targets that were never told anything."""
    for path, said in _plans(state):
        home = _home(state, said)
        if (home is None or not home.parent.parent.exists()) and datetime.fromisoformat(said["made_at"]) < limit:
            yield path


def _old_outcomes(state: State, limit: datetime) -> Iterator[Path]:
    with memory() as connection:
        for path in sorted((state.root / "outcomes").glob("*/*/*.parquet")):
            try:
                [(moment,)] = rows(connection, f"SELECT max(moment) FROM read_parquet({literal(str(path))})")
            except duckdb.Error:
                moment = None  # Damaged: nobody can read it, and its file says when it was written.
            written = datetime.fromisoformat(moment) if moment else _written(path, limit)
            if written < limit:
                yield path


def _plans(state: State) -> Iterator[tuple[Path, dict[str, str]]]:
    for path in sorted((state.root / "diffs").glob("*/*/*.json")):
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
            yield path, {name: said[name] for name in ("id", "address", "partition", "made_at")}
        except (ValueError, KeyError, TypeError):
            continue  # Damaged: whoever needs it says so.


def _home(state: State, said: dict[str, str]) -> Path | None:
    parts = said["address"].split("/", 3)
    return state.root.joinpath("ledger", *map(filename, parts)) if len(parts) == 4 else None


def _needed_plans(target: Path) -> set[str]:
    """Return the plans that a target's journal or ledger still refers to."""
    needed = set()
    journal = target / "journal.jsonl"
    if journal.exists():
        for line in journal.read_text(encoding="utf-8").split("\n")[:-1]:
            needed |= {json.loads(line).get("plan")}
    if (target / "ledger.duckdb").exists():
        with opened(target / "ledger.duckdb", read_only=True) as connection:
            needed |= {plan for (plan,) in rows(connection, "SELECT plan FROM open_plans")}
            waiting = "SELECT DISTINCT plan FROM told WHERE state IN ('doubt', 'released')"
            needed |= {plan for (plan,) in rows(connection, waiting)}
    return needed


def _meta(ledger: Path) -> dict[str, str]:
    if not ledger.exists():
        return {}
    with opened(ledger, read_only=True) as connection:
        return dict(rows(connection, "SELECT key, value FROM meta"))


def _taken_at(path: Path) -> datetime:
    try:
        footer = parquet.read_metadata(path).metadata or {}
        return datetime.fromisoformat(footer[b"taken_at"].decode())
    except (ValueError, KeyError, OSError):
        return _written(path, None)


def _written(path: Path, like: datetime | None) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, like.tzinfo if like else datetime.now().astimezone().tzinfo)


def _delete(kind: str, paths: Iterable[Path], swept: Swept, dry_run: bool) -> None:
    for path in list(paths):
        swept.files[kind] += 1
        beside = [path.with_suffix(".parquet"), path.with_suffix(".json")] if kind == "plans" else [path]
        swept.bytes += sum(one.stat().st_size for one in beside if one.exists())
        if dry_run:
            continue
        newest = path.parent / "newest"
        if kind == "plans" and newest.exists() and newest.read_text(encoding="utf-8") == path.stem:
            newest.unlink()
        for one in beside:  # The operations first: a plan exists as long as its description does.
            one.unlink(missing_ok=True)
        with suppress(OSError):  # Not empty.
            path.parent.rmdir()
