"""Targets that were asked something and that no sync declares any more: listed, and given up on request."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import duckdb

from ..audience import Audience
from ..delivery.trip import Summary, Trip
from ..destinations.agillic_groups import AgillicTargetGroup
from ..destinations.agillic_recipients import AgillicRecipients
from ..destinations.agillic_tables import AgillicTable
from ..destinations.base import Target
from ..destinations.crowdtwist import UserProfile
from ..destinations.crowdtwist_activities import ActivityCredit
from ..destinations.kognitiv import PromotionalMemberGroup
from ..destinations.moengage import Cohort
from ..diff.plan import load_file
from ..engines.duckdb import attached, first_line, memory, opened, rows
from ..errors import FixDeclaration, RepairState
from ..ledger import fold, words
from ..ledger.journal import plans_asked_for
from ..ledger.ledger import JOURNAL, LEDGER, Ledger, refuse_lost_ledger
from ..mapping import Field
from ..model import Address, Fate, Mode, Verb
from ..naming import literal
from ..state import State
from ..sync import Sync
from .removal import removable, remove

# What a ledger remembers of a target is its name and the field that its rows are identified by. Of a cohort's
# segment only the id is known: it may be shown by it from then on.
_TARGETS: Mapping[tuple[str, str], Callable[[str, str], Target]] = {
    ("kognitiv", PromotionalMemberGroup.kind): lambda name, by: PromotionalMemberGroup(name),
    ("moengage", Cohort.kind): lambda name, by: Cohort(name, name),
    ("crowdtwist", UserProfile.kind): lambda name, by: UserProfile(name),
    ("crowdtwist", ActivityCredit.kind): lambda name, by: ActivityCredit(name),
    ("agillic", AgillicTargetGroup.kind): lambda name, by: AgillicTargetGroup(name, recipient_id_field=by or "EMAIL"),
    ("agillic", AgillicRecipients.kind): lambda name, by: AgillicRecipients(name, recipient_id_field=by or "EMAIL"),
    ("agillic", AgillicTable.kind): lambda name, by: AgillicTable(*_table(name)),
}


@dataclass(frozen=True)
class Orphan:
    """A target without a sync: how many rows it was told to hold, when it was last told, and when it was given up."""

    address: str
    told: int
    last: str | None
    decommissioned: str | None


def addresses(state: State) -> list[Address]:
    """Return the addresses of all targets that were ever asked, or told, something."""
    homes = sorted((state.root / "ledger").glob("*/*/*/*/"))
    return sorted(filter(None, (_address(state, home) for home in homes)), key=str)


def known_syncs(state: State, declared: Iterable[Sync]) -> list[Sync]:
    """Return a sync for every target that was ever asked something: the declared one, or a stand-in."""
    by_address = {sync.address: sync for sync in declared}
    begun = {a: s for a, s in by_address.items() if Ledger(state, s.target, a).journal_file.exists()}
    return list(begun.values()) + [
        by_address.get(address) or stand_in(state, address) for address in addresses(state) if address not in begun
    ]


def stand_in(state: State, address: Address) -> Sync:
    """Return a sync that can speak to the target at *address*, made from what the ledger and its journal remember."""
    make = _TARGETS.get((address.service, address.kind))
    if make is None:
        raise RepairState(f"{address} is of a kind that this version of zeotap_pipelines doesn't know")
    target = make(address.name, _identified_by(state, state.target(address)))
    fields = dict.fromkeys([*target.identity, *target.required])
    mode = Mode.REMOVE if Verb.REMOVE in target.verbs else next(iter(target.modes()))
    mapping = {name: Field(column=name) for name in fields}
    return Sync("decommissioned", Audience("nobody", "SELECT 1", ("nobody",)), target, address.account, mode, mapping)


def orphans(state: State, declared: Iterable[Sync]) -> list[Orphan]:
    """
    Return the targets that were asked something and that none of the *declared* syncs writes to.

    Raises RepairState where the ledger or the journal of one is missing.
    """
    taken = {sync.address for sync in declared}
    found = []
    for address in addresses(state):
        if address in taken:
            continue
        sync = stand_in(state, address)
        ledger = Ledger(state, sync.target, address)
        ledger.check()
        with ledger.reading() as connection:
            [(told, last)] = rows(
                connection, "SELECT count(*) FILTER (state = 'in' OR unsettled), max(moment) FROM told"
            )
            gone = rows(connection, "SELECT value FROM meta WHERE key = 'decommissioned'")
        found.append(Orphan(str(address), told, last, gone[0][0] if gone else None))
    return found


def find_orphan(state: State, declared: Iterable[Sync], text: str) -> Sync:
    """Return a stand-in for the orphan at the address *text*. Raises FixDeclaration where it isn't one."""
    if used := [sync.name for sync in declared if str(sync.address) == text]:
        raise FixDeclaration(f"{text} is the target of sync {used[0]}: take the sync out of the project first")
    for address in addresses(state):
        if str(address) == text:
            return stand_in(state, address)
    raise FixDeclaration(f"no target {text} was ever told anything: list them with orphans")


def decommission(sync: Sync, trip: Trip) -> Summary | None:
    """
    Remove everybody whom the target was told to hold, and note that it is given up.

    None where the service can't be asked to remove: then it is only noted. What the
    target held before is left alone. The account's lock must be held.
    """
    summary = remove(sync, None, trip) if removable(sync) else None
    if summary is None or (summary.complete and summary.asked == summary.fates[Fate.ACCEPTED]):
        with Ledger(trip.state, sync.target, sync.address).writing() as connection:
            fold.set_meta(connection, decommissioned=trip.clock.now().isoformat())
    return summary


def _address(state: State, home: Path) -> Address | None:
    """Return whose folder *home* is; None where nothing was ever asked."""
    if (home / LEDGER).exists():
        with opened(home / LEDGER, read_only=True) as connection:
            found = rows(connection, "SELECT value FROM meta WHERE key = 'address'")
        if not found:
            raise RepairState(f"the ledger {home / LEDGER} doesn't say whose it is")
        return Address(*found[0][0].split("/", 3))
    refuse_lost_ledger(home / LEDGER, home / JOURNAL)
    # A first run that was killed: there is no ledger before the first fold.
    for path in _asked_for(state, home):
        plan = load_file(path.with_suffix(".json"))
        if plan is None:
            raise RepairState(f"what is known of the plan {path} is gone, and the journal in {home} refers to it")
        return Address(*plan.address.split("/", 3))
    return None


def _identified_by(state: State, home: Path) -> str:
    """Return the field that the rows of the target in *home* are identified by; nothing where there was never one."""
    sources = [f"read_parquet({literal(str(path))})" for path in _asked_for(state, home)]
    with memory() as connection, ExitStack() as stack:
        if (home / LEDGER).exists():
            told = f"{stack.enter_context(attached(connection, home / LEDGER))}.told"
            sources.insert(0, f"{told} WHERE state <> 'forgotten'")
        for source in sources:
            try:
                names = rows(connection, f"SELECT name FROM {source} LIMIT 1")
            except duckdb.Error as error:
                raise RepairState(f"what {home} refers to can't be read: {first_line(error)}") from error
            if names:
                return str(names[0][0])
    return ""


def _asked_for(state: State, home: Path) -> list[Path]:
    """Return the plans that something was asked for, and of which the ledger in *home* doesn't know yet."""
    return [words.plan_file(state, plan) for plan in plans_asked_for(home / JOURNAL)]


def _table(name: str) -> tuple[str, str, str]:
    table, _, stream = name.rpartition("/")
    return table, "RECORD", stream
