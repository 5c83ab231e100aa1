"""Commands that change what the ledgers say, or what is kept: decide, reassert, adopt, decommission, retention."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..delivery import pauses
from ..delivery.trip import Trip
from ..errors import FixDeclaration
from ..upkeep import by_hand
from ..upkeep.doubts import Decision
from ..upkeep.orphans import find_orphan
from ..upkeep.retention import sweep
from . import place


def add(parsers: Any) -> None:
    """Add the commands."""
    decide = place.command(parsers, "decide", "settle rows in doubt")
    decide.add_argument("sync", metavar="SYNC")
    rows = decide.add_mutually_exclusive_group(required=True)
    rows.add_argument("--all", action="store_true", help="all rows that doubts lists at this moment")
    rows.add_argument("--ids", nargs="+", metavar="ID", help="rows by the ids that doubts lists")
    becomes = decide.add_mutually_exclusive_group(required=True)
    for decision, says in (
        (Decision.RESEND, "they did not happen: ask again"),
        (Decision.WAS_SENT, "they happened"),
        (Decision.DROP, "nobody knows: never ask again"),
    ):
        flag = f"--{decision.value.replace('_', '-')}"
        becomes.add_argument(flag, dest="decision", action="store_const", const=decision, help=says)
    decide.add_argument("--by", required=True, help="who decides")
    decide.add_argument("--reason", required=True, help="why")
    decide.set_defaults(run=_decide)
    reassert = place.command(parsers, "reassert", "let a sync tell its target everything again")
    reassert.add_argument("sync", metavar="SYNC")
    reassert.set_defaults(run=_reassert)
    pause = place.command(parsers, "pause", "let a sync send nothing until it is resumed")
    pause.add_argument("sync", metavar="SYNC")
    pause.add_argument("--by", required=True, help="who pauses it")
    pause.add_argument("--reason", required=True, help="why")
    pause.set_defaults(run=_pause)
    resume = place.command(parsers, "resume", "let a paused sync send again")
    resume.add_argument("sync", metavar="SYNC")
    resume.set_defaults(run=_resume)
    adopt = place.command(parsers, "adopt", "let keys that the service already holds count as told")
    adopt.add_argument("sync", metavar="SYNC")
    adopt.add_argument("--keys", type=Path, required=True, metavar="FILE.csv", help="a column per identity field")
    adopt.set_defaults(run=_adopt)
    decommission = place.command(parsers, "decommission", "empty a target without a sync of what was put into it")
    decommission.add_argument("address", metavar="ADDRESS", help="as orphans lists it")
    decommission.set_defaults(run=_decommission)
    retention = place.command(parsers, "retention", "delete old files; never a ledger, and nothing that is needed")
    for kind in ("snapshots", "plans", "outcomes"):
        retention.add_argument(f"--{kind}", type=int, metavar="DAYS", help=f"delete {kind} that are older")
    retention.add_argument("--dry-run", action="store_true", help="delete nothing, say what would be")
    retention.set_defaults(run=_retention)


def _decide(chosen: argparse.Namespace) -> int:
    sync = place.declared(chosen).sync(chosen.sync)
    ids = None if chosen.all else chosen.ids
    said = by_hand.decide(
        sync,
        ids,
        chosen.decision,
        place.state(),
        by=chosen.by,
        reason=chosen.reason,
        run=place.run_name(),
        now=place.now(),
    )
    print(said)
    return 0


def _reassert(chosen: argparse.Namespace) -> int:
    sync = place.declared(chosen).sync(chosen.sync)
    print(by_hand.reassert(sync, place.state(), run=place.run_name(), now=place.now()))
    return 0


def _pause(chosen: argparse.Namespace) -> int:
    sync = place.declared(chosen).sync(chosen.sync)
    print(pauses.pause(sync, place.state(), by=chosen.by, reason=chosen.reason, now=place.now()))
    return 0


def _resume(chosen: argparse.Namespace) -> int:
    print(pauses.resume(place.declared(chosen).sync(chosen.sync), place.state()))
    return 0


def _adopt(chosen: argparse.Namespace) -> int:
    sync = place.declared(chosen).sync(chosen.sync)
    print(by_hand.adopt(sync, chosen.keys, place.state(), run=place.run_name(), now=place.now()))
    return 0


def _decommission(chosen: argparse.Namespace) -> int:
    declared, state = place.declared(chosen), place.state()
    sync = find_orphan(state, declared.syncs.values(), chosen.address)
    print(by_hand.decommission(sync, Trip(state, declared.to(sync.address), place.run_name())))
    return 0


def _retention(chosen: argparse.Namespace) -> int:
    days = {kind: getattr(chosen, kind) for kind in ("snapshots", "plans", "outcomes")}
    if not any(value is not None for value in days.values()):
        raise FixDeclaration("say what to delete: --snapshots, --plans or --outcomes with a number of days")
    syncs = place.declared(chosen).syncs.values()
    swept = sweep(place.state(), syncs, now=place.now(), run=place.run_name(), dry_run=chosen.dry_run, **days)
    files = ", ".join(f"{count:,} {kind}" for kind, count in swept.files.items())
    print(f"{files} ({swept.bytes:,} bytes) {'would be' if chosen.dry_run else 'were'} deleted")
    if swept.busy:
        print(f"left alone, since a sync speaks to them: {', '.join(swept.busy)}")
    return 0
