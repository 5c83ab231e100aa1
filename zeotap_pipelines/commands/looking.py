"""Commands that change nothing: test, status, doubts, explain, orphans."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from ..delivery.lost import refuse_lost
from ..errors import RepairState
from ..ledger.ledger import Ledger
from ..upkeep import doubts as doubting
from ..upkeep.explanation import explain as explaining
from ..upkeep.orphans import orphans as orphaned
from ..upkeep.status import status as standing
from . import place


def add(parsers: Any) -> None:
    """Add the commands."""
    test = place.command(parsers, "test", "test connections and what their syncs need, changing nothing", listing=True)
    test.add_argument("connection", nargs="*", metavar="CONNECTION", help="a connection's name; none: all")
    test.set_defaults(run=_test)
    status = place.command(parsers, "status", "how every sync stands", listing=True)
    status.add_argument("sync", nargs="*", metavar="SYNC", help="a sync's name; none: all")
    status.set_defaults(run=_status)
    doubts = place.command(parsers, "doubts", "the rows in doubt of a sync of events", listing=True)
    doubts.add_argument("sync", metavar="SYNC")
    doubts.set_defaults(run=_doubts)
    explain = place.command(parsers, "explain", "why one key is in or out, and what was told when", listing=True)
    explain.add_argument("sync", metavar="SYNC")
    explain.add_argument("key", metavar="KEY", help="the identity's value; of events, the event's id")
    explain.set_defaults(run=_explain)
    orphans = place.command(parsers, "orphans", "targets that were asked something and have no sync", listing=True)
    orphans.set_defaults(run=_orphans)


def _test(chosen: argparse.Namespace) -> int:
    from ..jobs import line, test_all

    found = test_all(place.declared(chosen), chosen.connection, run=place.run_name())
    if chosen.json:
        place.show(found, True, "")
    else:
        print("\n".join(map(line, found)) or "no connection is declared")
    return int(not all(one.passed for one in found))


def _status(chosen: argparse.Namespace) -> int:
    declared = place.declared(chosen)
    names = chosen.sync or sorted(declared.syncs)
    found, broken = [], []
    for name in names:
        try:
            found.append(standing(declared.sync(name), place.state(), place.now()))
        except RepairState as error:  # The others are shown all the same.
            broken.append(f"{name}: {type(error).__name__}: {error}")
    if found or chosen.json or not broken:
        place.show(found, chosen.json, "no sync is declared", unknown=("owed",))
    for line in broken:
        print(line, file=sys.stderr)
    return int(bool(broken))


def _doubts(chosen: argparse.Namespace) -> int:
    sync = place.declared(chosen).sync(chosen.sync)
    ledger = Ledger(place.state(), sync.target, sync.address)
    refuse_lost(sync, ledger)
    found = doubting.doubts(ledger)
    place.show(found, chosen.json, f"no row of {sync.name} is in doubt")
    return 0


def _explain(chosen: argparse.Namespace) -> int:
    found = explaining(place.declared(chosen).sync(chosen.sync), chosen.key, place.state())
    if chosen.json:
        place.show([found], True, "")
        return 0
    print(f"{chosen.key} at {found.address}:")
    print("\n".join(f"- {sentence}" for sentence in found.sentences()))
    return 0


def _orphans(chosen: argparse.Namespace) -> int:
    found = orphaned(place.state(), place.declared(chosen).syncs.values())
    place.show(found, chosen.json, "every target that was told something has a sync")
    return 0
