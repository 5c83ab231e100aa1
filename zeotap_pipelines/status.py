"""How every sync stands: what its target was told, what is open, and what its account has left."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime

from .asking import in_doubt
from .engines.duckdb import rows
from .errors import RepairState
from .ledger import Ledger
from .lost import refuse_lost
from .state import State
from .sync import Sync
from .tasks import OpenTasks


@dataclass(frozen=True)
class Status:
    """
    How a sync stands.

    *told* rows the target holds as far as it was told; *mark* is the newest partition
    that was asked from; *unsettled* rows and those *in_doubt* were asked, and nobody
    knows what became of them. *open_tasks*, *paused_until* and *calls_today* are the account's.
    """

    sync: str
    address: str
    told: int
    mark: str | None
    unsettled: int
    in_doubt: int
    open_tasks: int
    paused_until: str | None
    calls_today: int


def status(sync: Sync, state: State, now: datetime) -> Status:
    """
    Return how *sync* stands; a delivery that is under way is not disturbed.

    Raises RepairState where its state is lost or damaged: then the sync refuses to run, and nobody knows.
    """
    ledger = Ledger(state, sync.target, sync.address)
    refuse_lost(sync, ledger)
    with ledger.reading() as connection:
        standing = ledger.standing(connection)
        [(told, unsettled, doubts)] = rows(
            connection,
            f"""
            SELECT count(*) FILTER (state = 'in'), count(*) FILTER (unsettled),
                count(*) FILTER ({in_doubt(sync.target)})
            FROM told
            """,
        )
    account = state.account(sync.address)
    paused, calls = _limits(state, sync, now)
    return Status(
        sync=sync.name,
        address=str(sync.address),
        told=told,
        mark=standing.mark_partition,
        unsettled=unsettled,
        in_doubt=doubts,
        open_tasks=len(OpenTasks(account / "tasks.jsonl").open()),
        paused_until=paused,
        calls_today=calls,
    )


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
