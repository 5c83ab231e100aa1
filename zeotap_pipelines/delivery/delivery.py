"""
Deliver what is still owed of a plan, keeping the journal true at every step.

    hold the account's lock → fold what a crash left → is the plan still right? → preflight
    → asked (durable) → conversation → answered → … → fold

Interrupting it anywhere and running it again ends where an undisturbed run ends.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from typing import Any

import duckdb

from ..destinations.base import Target
from ..diff.plan import Plan
from ..engines.duckdb import first_line, rows
from ..errors import ApprovePlan, AskForRestore, MakePlanAgain, RepairState, ZeotapError
from ..ledger.ledger import Ledger, Standing
from ..model import UNPARTITIONED, Partition
from ..naming import literal
from ..rendering import key
from ..state import State
from ..stopping import Flag, in_thread
from ..sync import Sync
from .conversing import Conversations, about
from .owed import SoFar, Trial
from .trip import Approval, Summary, Trip


def deliver(
    sync: Sync,
    plan: Plan,
    trip: Trip,
    *,
    approval: Approval | None = None,
    restore: bool = False,
    limit: int | None = None,
    only: Collection[str] | None = None,
) -> Summary:
    """
    Deliver what is still owed of *plan*. The account's lock must be held by the caller.

    A trial sends at most *limit* operations, or *only* the rows of these ids.
    Raises, before anything is sent, ApprovePlan when a guard stopped the plan,
    FixSettings when an id is none of the plan's,
    MakePlanAgain when the ledger moved since by another plan, AskForRestore when
    the partition is older than the mark, FixConnection or FixTarget when the
    preflight says so. Afterwards nothing is raised: the summary tells.
    """
    if approval is not None and approval.plan != plan.id:
        raise ApprovePlan(
            f"the approval names plan {approval.plan}, but the plan is {plan.id}: look at it and approve it"
        )
    if not plan.intact(trip.state):
        raise RepairState(f"the operations of plan {plan.id} are gone or no longer what they were: make it again")
    trial = Trial(limit, None if only is None else plan.rows(only))
    ledger = Ledger(trip.state, sync.target, sync.address)
    with ledger.journal() as journal:
        ledger.fold(journal)
        with ledger.reading() as connection:
            standing = ledger.standing(connection)
            _fits(sync, plan, standing, restore)
            so_far = _so_far(connection, sync.target, plan, trip.state, standing)
        owed = plan.operations - len(so_far.done)
        if owed and plan.stopped and approval is None:
            reasons = "; ".join(verdict.message for verdict in plan.stopped)
            raise ApprovePlan(
                f"plan {plan.id} of {plan.sync} is stopped: {reasons}. To send it all the same, approve {plan.id}"
            )
        started = trip.clock.monotonic()
        summary = Summary(plan.id, plan.partition)
        stop = Flag()
        delivery = Conversations(sync, plan, trip, journal, standing, so_far, approval is not None, trial, summary)
        try:
            if owed:
                in_thread(delivery.run(stop), stop)
            else:
                journal.append("in_step", **about(sync, plan, trip.run, standing))
            if sync.target.once and plan.audience and summary.complete and not trial.part:
                journal.append("filled", plan=plan.id, partition=plan.partition)
        except BaseException as error:
            with suppress(ZeotapError):  # What ended the run is what is said; the next one folds.
                ledger.fold(journal)
            if not isinstance(error, Exception):  # Somebody stopped it.
                error.add_note(f"{summary.asked:,} of {owed:,} operations were asked, the others are owed")
            raise
        try:
            ledger.fold(journal)
        except ZeotapError:
            if summary.error is None:
                raise
        summary.seconds = trip.clock.monotonic() - started
    return summary


def superseded(plan_window: Partition, standing: Standing, restore: bool) -> str | None:
    """Return why a partition may not be asked from, or None where it may."""
    if standing.mark is None or restore or plan_window.key == UNPARTITIONED:
        return None  # Of an audience that doesn't cut time there is one snapshot: no other is newer.
    if plan_window.end < standing.mark:
        return f"superseded by {standing.mark_partition}"
    if standing.restored and plan_window.end == standing.mark:
        return "superseded by an older partition, which was restored since"
    return None


def _fits(sync: Sync, plan: Plan, standing: Standing, restore: bool) -> None:
    if plan.address != str(sync.address):
        raise MakePlanAgain(f"plan {plan.id} is for {plan.address}, the sync's target is {sync.address}: make it again")
    if (reason := superseded(plan.window, standing, restore)) and not sync.target.event:
        raise AskForRestore(
            f"{sync.name} at {plan.partition} is {reason}: nothing is sent. To go back on purpose, set restore"
        )
    if others := standing.moved_since(plan.generation) - {plan.id}:
        raise MakePlanAgain(f"plan {plan.id} no longer fits: plan {min(others)} was delivered since. Make it again")


def still_owed(target: Target, plan: Plan, state: State, standing: Standing) -> str:
    """Return the SQL of the keys in *plan* that a delivery would ask for."""
    everything = f"SELECT key FROM read_parquet({literal(str(plan.file(state)))})"
    if _untouched(target, plan, standing):
        return everything
    done = f'SELECT "row" FROM ({_met(target, plan, state)}) WHERE settled OR not_in'
    return f'{everything} WHERE "row" NOT IN ({done})'


def _untouched(target: Target, plan: Plan, standing: Standing) -> bool:
    return not standing.moved_since(plan.generation) and not target.event


def _met(target: Target, plan: Plan, state: State) -> str:
    """Return the SQL of the rows in *plan* that something was asked for: settled, not accepted, unsure."""
    settled = f"""t.plan = {literal(plan.id)} AND NOT t.unsettled AND t.digest IS NOT DISTINCT FROM p.digest
        AND t.state = CASE p.verb WHEN 'remove' THEN 'out' ELSE 'in' END"""
    if target.event:  # Whatever the plan says, and whoever told it: an event that is told is not asked for.
        settled = "t.state = 'in'"
    told_key = key(target, target.identity, "name", "value")
    return f"""
        SELECT * FROM (
            SELECT p."row",
                coalesce({settled}, false) AS settled,
                coalesce(t.state IN ('doubt', 'dropped') OR (t.refused_verb = p.verb
                    AND t.refused_digest IS NOT DISTINCT FROM p.digest
                    AND t.refused_partition = {literal(plan.window.occasion)}), false) AS not_in,
                coalesce(t.unsettled, false) AS unsure
            FROM read_parquet({literal(str(plan.file(state)))}) AS p
            JOIN (SELECT *, {told_key} AS told_key FROM told) AS t ON t.told_key = p.key
        ) WHERE settled OR not_in OR unsure
    """


def _so_far(connection: Any, target: Target, plan: Plan, state: State, standing: Standing) -> SoFar:
    if _untouched(target, plan, standing):
        return SoFar()
    try:
        met = rows(connection, _met(target, plan, state))
    except duckdb.Error as error:
        raise RepairState(f"plan {plan.id} can't be read, make it again: {first_line(error)}") from error
    return SoFar(
        frozenset(row for row, settled, not_in, _ in met if settled or not_in),
        frozenset(row for row, settled, not_in, _ in met if not_in and not settled),
        frozenset(row for row, _, _, unsure in met if unsure),
    )
