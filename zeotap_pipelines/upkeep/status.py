"""How every sync stands: what its target was told, what is owed and open, and what its account has left."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import duckdb

from .. import snapshot as snapshots
from ..delivery import debts
from ..delivery.delivery import still_owed, superseded
from ..delivery.lost import refuse_lost
from ..diff import plan
from ..diff.opposed import opposing
from ..engines.duckdb import first_line, rows
from ..errors import RepairState, ZeotapError
from ..ledger import events, forgotten
from ..ledger.asking import in_doubt
from ..ledger.ledger import Ledger, Standing
from ..rendering import key
from ..state import State
from ..sync import Sync
from ..wire.tasks import OpenTasks


@dataclass(frozen=True)
class Status:
    """
    How a sync stands.

    *told* rows the target holds as far as it was told; *mark* is the newest partition
    that was asked from; *owed* rows of the newest plan are still to be asked, and of events
    those of earlier plans; it is None where only a new plan can tell. *rejected* rows the service
    refused last; *unsettled* rows and those *in_doubt* were asked, and nobody
    knows what became of them. *open_tasks*, *paused_until* and *calls_today* are the account's.
    The partitions that it *owes* have not come to their end, and *waits* says why they wait.
    """

    sync: str
    address: str
    told: int
    mark: str | None
    owed: int | None
    rejected: int
    unsettled: int
    in_doubt: int
    open_tasks: int
    paused_until: str | None
    calls_today: int
    owes: str | None
    waits: str | None


def status(sync: Sync, state: State, now: datetime) -> Status:
    """
    Return how *sync* stands; a delivery that is under way is not disturbed.

    Raises RepairState where its state is lost or damaged: then the sync refuses to run, and nobody knows.
    """
    ledger = Ledger(state, sync.target, sync.address)
    refuse_lost(sync, ledger)
    with ledger.reading() as connection:
        standing = ledger.standing(connection)
        [(told, rejected, unsettled, doubts)] = rows(
            connection,
            f"""
            SELECT count(*) FILTER (state = 'in'), count(*) FILTER (refused_verb IS NOT NULL),
                count(*) FILTER (unsettled), count(*) FILTER ({in_doubt(sync.target)})
            FROM told
            """,
        )
        owed = still_to_ask(connection, sync, state, standing)
    account = state.account(sync.address)
    paused, calls = _limits(state, sync, now)
    note = debts.load(state, sync)
    return Status(
        sync=sync.name,
        address=str(sync.address),
        told=told,
        mark=standing.mark_partition,
        owed=owed,
        rejected=rejected,
        unsettled=unsettled,
        in_doubt=doubts,
        open_tasks=len(OpenTasks(account / "tasks.jsonl").open()),
        paused_until=paused,
        calls_today=calls,
        owes=_partitions(note) if note else None,
        waits=note.reason_to_wait(now) if note else None,
    )


def still_to_ask(
    connection: duckdb.DuckDBPyConnection, sync: Sync, state: State, standing: Standing, *, unsettled: bool = False
) -> int | None:
    """Return how many rows, or *unsettled* rows, are still to be asked; None where only a new plan can tell."""
    if sync.target.once and standing.filled:
        return 0
    made = plan.newest(state, sync.name, str(sync.address))
    if not sync.target.event:
        made = [one for one in made if _counts(one, sync, standing)]
    newest = max(made, key=lambda one: (one.partition_end, one.made_at), default=None)
    queries = [still_owed(sync.target, newest, state, standing)] if newest else []
    if newest and not (_of_its_snapshot(newest, sync, state) and newest.intact(state)):
        return None
    if sync.target.event and (newest or standing.plans):
        queries += events.left_over(connection, sync.target, state)
    if not queries:
        return None
    happened, hashes = forgotten.happened(connection, state)
    query = f"SELECT count(DISTINCT key) FROM ({' UNION ALL '.join(queries)}) WHERE NOT {happened}"
    if unsettled:
        told_key = key(sync.target, sync.target.identity, "name", "value")
        query += f" AND key IN (SELECT {told_key} FROM told WHERE unsettled)"
    try:
        [(count,)] = rows(connection, query, hashes)
    except duckdb.Error as error:
        raise RepairState(f"the plans of {sync.name} can't be read: {first_line(error)}") from error
    return int(count)


def _counts(made: plan.Plan, sync: Sync, standing: Standing) -> bool:
    """Return whether a plan is one that would be delivered as it is."""
    asked = {name for _, name in standing.plans}
    return (
        made.declared == sync.declared
        and not standing.moved_since(made.generation) - {made.id}
        # What an older partition asked for was restored on purpose.
        and superseded(made.window, standing, restore=made.id in asked) is None
        and not (sync.target.once and standing.pinned not in (None, made.partition))
    )


def _of_its_snapshot(made: plan.Plan, sync: Sync, state: State) -> bool:
    """Return whether *made* was made from the snapshots that are there; one that is gone was not taken anew."""
    with suppress(ZeotapError):
        theirs = opposing(sync, made.window, state)
        if made.opposing != (theirs.digest if theirs else ""):
            return False
    with suppress(ZeotapError):
        return snapshots.read(sync.audience, made.window, state).digest == made.snapshot
    return True


def _partitions(note: debts.Owing) -> str:
    first, *others = sorted(note.partitions, key=lambda key: (note.partitions[key].end, key))
    return f"{first} and {len(others):,} later" if others else first


def _limits(state: State, sync: Sync, now: datetime) -> tuple[str | None, int]:
    """Return until when the account is paused, and how many of the day's calls are used; 0 where nobody counts."""
    path = state.account(sync.address) / "limits.json"
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        until = kept["paused_until"]
        paused = until if until and datetime.fromisoformat(until) > now else None
        return paused, int(kept["days"].get(now.astimezone(UTC).date().isoformat(), 0))
    except FileNotFoundError:
        return None, 0
    except (ValueError, KeyError, TypeError) as error:
        raise RepairState(f"{path} is damaged: delete it to start anew") from error
