"""
The demonstration: real audiences to all four services, checked against what these then hold.

A week of daily runs to Kognitiv and a month's backfill in one run; the first and the last day to
the other services that hold the active members; for profiles, credits and tables the
first week of 1997, each purchase credited once. Real Dagster runs in a real instance,
over real HTTP. An unfinished demonstration is completed; a sandbox that lost its state
is told everything again, but for credits.
"""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from ..engines.duckdb import rows
from ..ledger.ledger import Ledger
from ..ledger.lock import speaking
from ..state import State
from .place import Place, enter, here, holds, violations
from .stage import HEADING, Failed, Line, Stage
from .truth import Truth, differences, kognitiv_group

FIRST_WEEK = date(1997, 1, 1)
KOGNITIV = "active_members_to_kognitiv"
OTHERS = ("active_members_to_moengage", "active_members_to_agillic")
MEMBERS = ("members_to_crowdtwist", "members_to_agillic")
CREDITS, TABLE = "purchases_to_crowdtwist", "purchases_to_agillic"


@dataclass(frozen=True)
class Script:
    """How much is played: from a day on daily runs, then days in one backfill; and days of profiles and purchases."""

    start: date
    days: int = 7
    backfill: int = 30
    purchases: int = 7


def demo(script: Script) -> int:
    """Run the demonstration and return the exit status: 0 where every service holds what it should."""
    place = here("demo")
    note = place.note
    lost = bool(note) and not any(place.sandbox_state.glob("*"))
    keep = os.environ.get("KEEP") == "1"
    if note.get("finished") and not lost and not keep:
        place.clear()
        note = {}
    start = date.fromisoformat(note.get("start", script.start.isoformat()))
    if note.get("finished") and keep and not lost:
        start += timedelta(days=script.days + script.backfill)
    completing = bool(note) and not note.get("finished")
    if completing:
        print("an unfinished demonstration is completed")
    place.write_note(start=start.isoformat(), finished=False)
    place.prepare()
    logging.getLogger("dagster").setLevel(logging.ERROR)
    with place.sandbox() as sandbox:
        enter(place.environment(sandbox))
        print(f"the sandbox stands in for the services at {sandbox}\n")
        try:
            return _play(place, sandbox, start, script, completing=completing)
        except Failed as failed:
            print(failed)
            return 1


def _play(place: Place, sandbox: str, start: date, script: Script, *, completing: bool) -> int:
    began = time.monotonic()
    stage = Stage()
    state = State(place.root / "state")
    if told := _missing(stage, state, sandbox):
        print(
            f"the sandbox lost {told:,} members that it was told: every target is told again, no credit is given again"
        )
        place.write_note(lost_credits=sorted(_told(stage, state, CREDITS)))
        for name in (KOGNITIV, *OTHERS, *MEMBERS, TABLE):
            sync = stage.sync(name)
            with speaking(state.account(sync.address), run="demo", sync=name):
                Ledger(state, sync.target, sync.address).reassert(datetime.now(UTC))
    print(HEADING)
    daily = [start + timedelta(days=n) for n in range(script.days)]
    month = [daily[-1] + timedelta(days=n + 1) for n in range(script.backfill)]
    for day in daily:
        _show(stage.run([day], ["active_members"], [KOGNITIV]))
    backfill = _show(stage.run(month, ["active_members"], [KOGNITIV])) if month else []
    kognitiv = time.monotonic() - began
    # The snapshots are there: the others are told the first day, and then the net difference to the last.
    for day in (daily[0], (daily + month)[-1]):
        _show(stage.run([day], [], OTHERS))
    week = [FIRST_WEEK + timedelta(days=n) for n in range(script.purchases)]
    if week:  # Profiles and the table are told how things stand; every purchase is an event of its own day.
        _show(stage.run(week[-1:], ["members", "purchase_history"], [*MEMBERS, TABLE]))
        _show(stage.run(week, ["purchases"], [CREDITS]))
    print(f"\nDagster's part took {time.monotonic() - began:.1f} s, of which Kognitiv's {kognitiv:.1f} s.")
    truth = Truth(place.warehouse, frozenset(place.note.get("lost_credits", ())))
    if backfill and not (told or completing):  # Else it had more to tell than the difference, or less.
        each = truth.day_by_day([daily[-1], *month])
        asked = backfill[0].requests
        print(f"Kognitiv: the backfill took {asked:,} requests; day by day it is {each:,} ({each - asked:,} saved).")
    span = (week[0], week[-1]) if week else None
    return _judge(place, sandbox, list(differences(holds(sandbox), truth, (month or daily)[-1], span)))


def _judge(place: Place, sandbox: str, compared: list[tuple[str, int, int, int]]) -> int:
    print(f"\n{'target':<24} {'holds':>9} {'too many':>9} {'missing':>8}")
    wrong = 0
    for what, held, more, less in compared:
        print(f"{what:<24} {held:>9,} {more:>9,} {less:>8,}")
        wrong += more + less
    broken = violations(sandbox)
    place.write_note(finished=True)
    if wrong or broken:
        print(f"WRONG: {wrong:,} differences; {len(broken):,} requests that no contract allows")
        return 1
    print("Every service holds what the purchases say.")
    return 0


def _show(lines: list[Line]) -> list[Line]:
    for line in lines:
        print(line, flush=True)
    return lines


def _missing(stage: Stage, state: State, sandbox: str) -> int:
    """Return how many members Kognitiv's stand-in was told to hold and doesn't."""
    return len(_told(stage, state, KOGNITIV) - kognitiv_group(holds(sandbox)))


def _told(stage: Stage, state: State, name: str) -> set[str]:
    """Return what the target of the sync called *name* was told, and acknowledged."""
    sync = stage.sync(name)
    with Ledger(state, sync.target, sync.address).reading() as connection:
        return {value for (value,) in rows(connection, "SELECT value FROM told WHERE state = 'in' AND NOT unsettled")}
