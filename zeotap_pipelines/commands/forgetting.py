"""``zeotap forget``: a person is taken out of the services where that can be asked for, and erased here."""

from __future__ import annotations

import argparse
import json
from typing import Any

from ..delivery.trip import Trip
from ..errors import FixDeclaration
from ..model import Address
from ..sync import Sync
from ..upkeep import forget as forgetting
from ..upkeep.by_hand import unfinished
from ..upkeep.orphans import known_syncs
from ..upkeep.removal import held, removable, remove
from ..upkeep.who import Who
from . import place


def add(parsers: Any) -> None:
    """Add the command."""
    forget = place.command(parsers, "forget", "erase a person from everything that is kept here", listing=True)
    forget.add_argument("key", metavar="KEY", help="an identity's value")
    forget.add_argument("--identity", metavar="FIELD", help="only as a value of this destination field or column")
    forget.add_argument(
        "--remove-at-service", action="store_true", help="first ask groups and cohorts to remove the person"
    )
    forget.add_argument("--yes", action="store_true", help="erase although a service still holds the person")
    forget.set_defaults(run=_forget)


def _forget(chosen: argparse.Namespace) -> int:
    declared, state, run = place.declared(chosen), place.state(), place.run_name()
    syncs = known_syncs(state, declared.syncs.values())
    # Targets that were never told anything have plans and snapshots all the same.
    syncs += [sync for sync in declared.syncs.values() if sync.address not in {one.address for one in syncs}]
    others = [sync for sync in declared.syncs.values() if sync not in syncs]
    who = Who(chosen.key, chosen.identity)
    with forgetting.everybody_silent(state, syncs, run=run):
        found = forgetting.find(state, [*syncs, *others], who)
        if not found:
            _say(chosen, f"nothing that is kept here is about {chosen.key}", [], [], found)
            return 0
        left, removed_at = dict(found.held), []
        kept: set[Address] = set()
        if chosen.remove_at_service:
            for sync in syncs:
                if sync.address in left and removable(sync):
                    trip = Trip(state, declared.to(sync.address), run)
                    unfinished(remove(sync, found.keys[sync.address], trip), str(sync.address))
                    if rest := held(sync, found.keys[sync.address], state):
                        left[sync.address] = rest
                        kept.add(sync.address)
                        continue
                    removed_at.append(sync.address)
                    if not chosen.json:
                        print(f"removed at {sync.address}")
                    del left[sync.address]
        if left and not chosen.yes:
            raise FixDeclaration(_still_held(left, kept, syncs, found))
        erased = forgetting.erase(state, [*syncs, *others], who, now=place.now())
    _say(chosen, f"erased {erased}", removed_at, list(left), erased)
    return 0


def _say(
    chosen: argparse.Namespace, said: str, removed: list[Address], left: list[Address], found: forgetting.Found
) -> None:
    """Print where the person is *left*, and what was *found* and erased here; as JSON also where it was *removed*."""
    if chosen.json:
        print(json.dumps({"removed": list(map(str, removed)), "held": list(map(str, left)), "erased": found.rows()}))
        return
    for address in left:
        print(f"still held: {address}{_in_doubt(found, address)}; nobody will remove it from there any more")
    print(said)


def _in_doubt(found: forgetting.Found, address: Address) -> str:
    """Return what is to be said of how much is held at *address* that only may be."""
    doubtful = found.doubtful.get(address, 0)
    return f", {doubtful:,} of {found.held[address]:,} rows in doubt or dropped" if doubtful else ""


def _still_held(left: dict[Address, int], kept: set[Address], syncs: list[Sync], found: forgetting.Found) -> str:
    """Return who is still *left* where; from the addresses *kept* nobody could be removed without somebody else."""
    can = {sync.address for sync in syncs if removable(sync)}
    lines = []
    for address in left:
        remedy = "--remove-at-service asks to remove it" if address in can else "ask the service to erase it"
        if address in kept:
            remedy = "somebody who stays there has the same identifiers: ask the service to erase it"
        lines.append(f"{address}{_in_doubt(found, address)} ({remedy})")
    return f"nothing was erased of {found}: still held by {'; '.join(lines)}. To erase it here all the same, say --yes"
