"""
The demonstration: a week of daily runs, then a month's backfill in one run, checked against the sandbox.

Real Dagster runs in a real instance, over real HTTP. An unfinished demonstration is
completed; a sandbox that lost its state is told everything again.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import dagster as dg

from .. import definitions
from ..components import Audience, KognitivConnection, KognitivGroupSync
from ..engines.duckdb import opened, rows
from ..ledger import Ledger
from ..lock import speaking
from ..model import Change
from ..naming import literal
from ..project import load
from ..state import State
from ..sync import Sync
from .place import Place, enter, here, holds, violations

FIRST_DAY = date(1997, 9, 1)
WEEK, MONTH = 7, 30
AUDIENCE, SYNC = "active_members", "active_members_to_kognitiv"
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True)
class Line:
    """One run in the table."""

    partitions: str
    audience: int
    entered: int
    changed: int
    left: int
    requests: int
    seconds: float


def demo() -> int:
    """Run the demonstration and return the exit status: 0 where the group equals the audience."""
    place = here("demo")
    note = place.note
    lost = bool(note) and not any(place.sandbox_state.glob("*"))
    keep = os.environ.get("KEEP") == "1"
    if note.get("finished") and not lost and not keep:
        place.clear()
        note = {}
    start = date.fromisoformat(note.get("start", FIRST_DAY.isoformat()))
    if note.get("finished") and keep and not lost:
        start += timedelta(days=WEEK + MONTH)
    if note and not note.get("finished"):
        print("an unfinished demonstration is completed")
    place.write_note(start=start.isoformat(), finished=False)
    place.prepare()
    logging.getLogger("dagster").setLevel(logging.ERROR)
    with place.sandbox() as sandbox:
        enter(place.environment(sandbox))
        print(f"the sandbox stands in for the services at {sandbox}")
        return _checked(place, sandbox, start)


def _checked(place: Place, sandbox: str, start: date) -> int:
    began = time.monotonic()
    stage = _Stage()
    if told := _missing(stage, sandbox):
        print(f"the sandbox lost {told:,} members that it was told: they are told again")
        sync, state = stage.sync, State(place.root / "state")
        with speaking(state.account(sync.address), run="demo", sync=sync.name):
            Ledger(state, sync.target, sync.address).reassert(datetime.now(UTC))
    week = [start + timedelta(days=n) for n in range(WEEK)]
    month = [week[-1] + timedelta(days=n + 1) for n in range(MONTH)]
    lines = []
    for days in [*([day] for day in week), month]:
        line = stage.run(days)
        if line is None:
            return 1
        lines.append(line)
        print(_row(line), flush=True)
    seconds = time.monotonic() - began
    wanted = _audience(place, month[-1])
    group = _group(sandbox)
    daily = _day_by_day(place, [week[-1], *month])
    saved = daily - lines[-1].requests
    print(f"\nDagster's part took {seconds:.1f} s.")
    print(
        f"The backfill asked {lines[-1].requests:,} times; day by day it would have been {daily:,} ({saved:,} saved)."
    )
    wrong = len(group ^ wanted)
    broken = violations(sandbox)
    if wrong or broken:
        print(f"WRONG: {len(group - wanted):,} members too many, {len(wanted - group):,} missing")
        print(f"{len(broken):,} requests broke the contract")
        return 1
    print(f"The group at the sandbox equals the audience of {month[-1]}: {len(group):,} members.")
    place.write_note(finished=True)
    return 0


class _Stage:
    """The shipped definitions and an instance to run them in."""

    def __init__(self) -> None:

        print("\npartition                 audience  entered  changed   left  requests  seconds")
        self._defs = load(Path(definitions.__file__).parent)
        self._job = self._defs.resolve_implicit_global_asset_job_def()
        self._instance = dg.DagsterInstance.get()
        self.sync = self._declared()

    def run(self, days: list[date]) -> Line | None:
        """Materialize the chain over *days* in one run; None where it failed, after saying why."""
        began = time.monotonic()
        chain = [
            dg.AssetKey([kind, name]) for kind, name in (("snapshots", AUDIENCE), ("diffs", SYNC), ("syncs", SYNC))
        ]
        partition: dict[str, Any] = {"partition_key": days[0].isoformat()}
        if len(days) > 1:
            first, last = days[0].isoformat(), days[-1].isoformat()
            span = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
            partition = {"tags": span}
        result = self._job.get_subset(asset_selection=set(chain)).execute_in_process(
            instance=self._instance, run_config=QUIET, raise_on_error=False, **partition
        )
        if not result.success:
            for event in result.filter_events(lambda event: event.is_step_failure):
                failure = event.step_failure_data
                said = (
                    failure.user_failure_data.description if failure.user_failure_data else failure.error_display_string
                )
                print(f"{days[-1]}: {said}")
            return None
        found = {
            event.asset_key: event.materialization.metadata for event in _materialized(result, days[-1].isoformat())
        }

        def value(key: dg.AssetKey, name: str) -> int:
            return int(found[key][name].value) if name in found.get(key, {}) else 0

        return Line(
            days[0].isoformat() if len(days) == 1 else f"{days[0]} … {days[-1]}",
            audience=value(chain[1], "audience"),
            entered=value(chain[1], Change.ENTERED),
            changed=value(chain[1], Change.CHANGED),
            left=value(chain[1], Change.LEFT),
            requests=value(chain[2], "requests"),
            seconds=time.monotonic() - began,
        )

    def _declared(self) -> Sync:
        tree = self._defs.component_tree
        assert tree is not None
        [sync] = [one for one in tree.get_all_components(of_type=KognitivGroupSync) if one.name == SYNC]
        [audience] = [one for one in tree.get_all_components(of_type=Audience) if one.name == sync.audience]
        [connection] = [
            one for one in tree.get_all_components(of_type=KognitivConnection) if one.name == sync.connection
        ]
        return sync.definition(audience, connection)


def _materialized(result: Any, partition: str) -> Iterator[Any]:
    for event in result.get_asset_materialization_events():
        if event.partition == partition:
            yield event


def _missing(stage: _Stage, sandbox: str) -> int:
    """Return how many members the sandbox was told to hold and doesn't."""
    sync = stage.sync
    ledger = Ledger(State(here("demo").root / "state"), sync.target, sync.address)
    with ledger.reading() as connection:
        told = {value for (value,) in rows(connection, "SELECT value FROM told WHERE state = 'in' AND NOT unsettled")}
    return len(told - _group(sandbox))


def _group(sandbox: str) -> set[str]:
    [members] = [g["members"] for g in holds(sandbox)["kognitiv"]["groups"] if g["ref"] == "ACTIVE-90D"]
    return set(members)


def _audience(place: Place, day: date) -> set[str]:
    """Return the audience of *day* straight from the purchases, by a query of its own."""
    query = f"""
        SELECT DISTINCT CAST(customer_id AS VARCHAR) FROM purchases
        WHERE purchased_on BETWEEN DATE {literal(day.isoformat())} - 89 AND DATE {literal(day.isoformat())}
    """
    with opened(place.warehouse, read_only=True) as connection:
        return {member for (member,) in rows(connection, query)}


def _day_by_day(place: Place, days: list[date]) -> int:
    """Return how many requests delivering each of *days* after the first would have taken."""
    audiences = [_audience(place, day) for day in days]
    return sum(len(before ^ after) for before, after in pairwise(audiences))


def _row(line: Line) -> str:
    return (
        f"{line.partitions:<24} {line.audience:>9,} {line.entered:>8,} {line.changed:>8,} {line.left:>6,} "
        f"{line.requests:>9,} {line.seconds:>8.1f}"
    )
