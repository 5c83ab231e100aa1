"""What a person does to a sync beside its runs: each holds the account, folds what is open, and says what it did."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path

from ..delivery import debts, notes
from ..delivery.trip import Summary, Trip
from ..diff.plan import load_file
from ..errors import FixDeclaration, TryAgainLater
from ..ledger.ledger import Ledger
from ..ledger.rest import at_rest
from ..model import Fate, Partition
from ..state import State
from ..sync import Sync
from . import adopt as adopting
from . import doubts, orphans
from .doubts import Decision


def decide(
    sync: Sync,
    ids: Iterable[str] | None,
    decision: Decision,
    state: State,
    *,
    by: str,
    reason: str,
    run: str,
    now: datetime,
    seen: datetime | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """
    Settle rows in doubt, by their opaque *ids* or (None) all of them.

    All are those that are in doubt when this is called, and were at the moment *seen* already:
    what comes into doubt while it waits for the account, nobody has looked up.
    """
    becomes = {
        Decision.RESEND: "are asked again by the next run",
        Decision.WAS_SENT: "count as sent",
        Decision.DROP: "are never asked again",
    }[decision]
    looked_up = set(ids) if ids is not None else _in_doubt(Ledger(state, sync.target, sync.address), seen)
    with at_rest(state, sync.target, sync.address, run=run, what="decide", sleep=sleep) as ledger:
        there = _in_doubt(ledger)
        chosen = looked_up if ids is not None else looked_up & there
        count = doubts.decide(ledger, chosen, decision, by=by, reason=reason, now=now)
        if decision is Decision.RESEND:
            _wake(sync, ledger, run, "a person decided that rows are asked again")
    others = len(there - chosen) if ids is None else 0
    left = f"; {others:,} others have come into doubt since, and are left" if others else ""
    return f"{count:,} rows of {sync.name} {becomes}{left}"


def reassert(sync: Sync, state: State, *, run: str, now: datetime) -> str:
    """Let the next plan tell everything again that was told or rejected before; of events, what was rejected."""
    with at_rest(state, sync.target, sync.address, run=run, what="reassert") as ledger:
        if not ledger.exists():
            raise FixDeclaration(f"nothing was ever told to {sync.address}")
        rejected = ledger.ask_again(now)
        if not sync.target.event:
            ledger.reassert(now)
        elif not rejected:
            raise FixDeclaration(
                f"nothing of {sync.name} was rejected, and telling its events again would make them happen twice"
            )
        _wake(sync, ledger, run, "a person lets it be told again")
    if sync.target.event:
        return f"{rejected:,} rejected rows of {sync.name} are asked again by the next run; nothing happens twice"
    return f"{sync.name} tells its target everything again at its next run; nobody is removed first"


def adopt(sync: Sync, file: Path, state: State, *, run: str, now: datetime) -> str:
    """Let the keys in *file* count as told, without asking anything."""
    with at_rest(state, sync.target, sync.address, run=run, what="adopt") as ledger:
        found = adopting.adopt(ledger, sync, file, run=run, now=now)
    nameless = f"; {found.nameless:,} lines named nobody" if found.nameless else ""
    return f"{found.adopted:,} keys count as told to {sync.address}, {found.known:,} were known already{nameless}"


def decommission(sync: Sync, trip: Trip) -> str:
    """Empty an orphan of what was put into it, and note that it is given up."""
    with at_rest(trip.state, sync.target, sync.address, run=trip.run, what="decommission"):
        summary = orphans.decommission(sync, trip)
    if summary is not None:
        unfinished(summary, str(sync.address))
    notes.forget(trip.state, sync.address)
    if summary is None:
        return f"{sync.address} is given up; {sync.target.service} can't be asked to remove what it holds there"
    return f"{sync.address} is given up: {summary.fates[Fate.ACCEPTED]:,} members were removed"


def _in_doubt(ledger: Ledger, by: datetime | None = None) -> set[str]:
    """Return the ids of the rows that are in doubt, and were *by* that moment."""
    found = doubts.doubts(ledger)
    return {one.id for one in found if by is None or datetime.fromisoformat(one.since) <= by}


def _wake(sync: Sync, ledger: Ledger, run: str, why: str) -> None:
    """Note that the partition which the target stands at is owed: what is open of others is delivered with it."""
    with ledger.reading() as connection:
        standing = ledger.standing(connection)
    if standing.mark is None or standing.mark_partition is None:  # Nothing was ever asked from any.
        return
    if sync.target.event or not standing.restored:
        stands_at = Partition(standing.mark, standing.mark, standing.mark_partition)
        debts.wake(ledger.state, sync, stands_at, run=run, why=why)
        return
    for _, plan in reversed(standing.plans):
        path = ledger.state.find_plan(plan)
        if path and (made := load_file(path.with_suffix(".json"))):
            debts.wake(ledger.state, sync, made.window, run=run, why=why, back_from=standing.mark)
            return


def unfinished(summary: Summary, address: str) -> None:
    """Raise what is wrong where a removal did not come to its end."""
    if summary.error is not None:
        raise summary.error
    refused = summary.asked - summary.fates[Fate.ACCEPTED]
    if refused or not summary.complete:
        reasons = "; ".join(sorted({reason for fate, reason in summary.reasons if fate is not Fate.ACCEPTED}))
        raise TryAgainLater(f"{refused:,} members of {address} were not removed: {reasons or 'ask again'}")
