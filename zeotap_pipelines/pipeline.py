"""Snapshot, plan, deliver: the whole way for one audience and one sync, with or without Dagster."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from . import snapshot as snapshots
from .clock import SYSTEM
from .delivery.delivery import deliver, superseded
from .delivery.lost import refuse_lost
from .delivery.pauses import closed
from .delivery.trip import Approval, Summary, Trip
from .diff.diff import make_plan
from .diff.guards import judge
from .diff.opposed import opposing
from .diff.plan import Plan, load
from .errors import AskForRestore, ContinueLater, FilledOnce, HalfFilled, MakePlanAgain, RestoredSince, WaitForAccount
from .ledger.ledger import Ledger
from .ledger.lock import speaking
from .model import Partition
from .state import State
from .sync import Sync

RETAKEN = 3
"""A plan is made again so often where its snapshot is taken anew in the middle of it."""


def plan(sync: Sync, partition: Partition, state: State, *, run: str, trip: Trip | None = None) -> Plan:
    """
    Return the plan of *sync* for *partition*, from its snapshot and what the target was last told.

    What an interrupted run left in the journal is folded first, unless a sync is
    speaking right now: then ledger and journal are read together.
    """
    ledger = Ledger(state, sync.target, sync.address)
    refuse_lost(sync, ledger)
    try:
        with speaking(state.account(sync.address), run=run, sync=sync.name, wait=0), ledger.journal() as journal:
            ledger.fold(journal)
    except WaitForAccount:
        pass
    taken = snapshots.read(sync.audience, partition, state)
    return _made(sync, partition, taken, state, now=(trip.clock if trip else SYSTEM).now())


def carry_out(
    sync: Sync,
    partition: Partition,
    trip: Trip,
    *,
    approval: Approval | None = None,
    restore: bool = False,
    limit: int | None = None,
    only: Collection[str] | None = None,
    wait: float = 600.0,
) -> Summary:
    """
    Deliver the partition's plan, waiting for the account where another sync speaks to it.

    A plan that no longer fits is made again, and judged anew, while the account is
    held; one that was approved by hand is refused instead. Raises ContinueLater where
    the sync is paused, or outside its hours, by the time that it may speak.
    """
    state = trip.state
    with speaking(state.account(sync.address), run=trip.run, sync=sync.name, wait=wait):
        ledger = Ledger(state, sync.target, sync.address)
        refuse_lost(sync, ledger)
        with ledger.journal() as journal:
            ledger.fold(journal)
        with ledger.reading() as connection:
            standing = ledger.standing(connection)
        if sync.target.once and standing.filled:
            raise FilledOnce(
                f"{sync.name} fills its target once, and did from {standing.pinned}: nothing is sent until it is reset"
            )
        if sync.target.once and standing.pinned not in (None, partition.key):
            raise HalfFilled(
                f"{sync.name} fills its target once, and is not through with {standing.pinned}: nothing of {partition} "
                f"is sent. Materialize {standing.pinned} to complete it, or reset the sync",
                standing.pinned,
            )
        if (reason := superseded(partition, standing, restore)) and not sync.target.event:
            if partition.end == standing.mark:
                raise RestoredSince(
                    f"{sync.name} at {partition}: {standing.told_last or 'an older partition'} was restored since: "
                    "nothing is sent. To go forward again, set restore"
                )
            raise AskForRestore(
                f"{sync.name} at {partition} is {reason}: nothing is sent. To go back on purpose, set restore"
            )
        taken, theirs = snapshots.read(sync.audience, partition, state), opposing(sync, partition, state)
        found = load(state, sync.name, partition.key)
        fits = (
            found is not None
            and found.snapshot == taken.digest
            and found.opposing == (theirs.digest if theirs else "")
            and found.window == partition
            and found.address == str(sync.address)
            and found.declared == sync.declared
            and not standing.moved_since(found.generation) - {found.id}
        )
        if approval is not None and found is not None and not fits and approval.plan == found.id:
            raise MakePlanAgain(
                f"plan {found.id} was approved, but what it was made from has changed since: make it again"
            )
        if found is None or not fits:
            found = _made(sync, partition, taken, state, now=trip.clock.now())
        else:  # What a guard says of time may have changed since.
            judged = judge(found, sync, snapshot_taken_at=taken.taken_at, now=trip.clock.now())
            found = replace(found, verdicts=judged)
        if shut := closed(sync, state, trip.hours, trip.clock.now()):
            raise ContinueLater(shut.why, shut.until)
        return deliver(sync, found, trip, approval=approval, restore=restore, limit=limit, only=only)


def _made(sync: Sync, partition: Partition, taken: snapshots.Snapshot, state: State, *, now: datetime) -> Plan:
    """
    Return a plan made of one snapshot: of *taken*, or of what another run put in its place meanwhile.

    Raises MakePlanAgain where that happens again and again.
    """
    for _ in range(RETAKEN):
        with suppress(MakePlanAgain):
            return make_plan(sync, partition, taken, state, now=now)
        taken = snapshots.read(sync.audience, partition, state)
    return make_plan(sync, partition, taken, state, now=now)
