"""Targets that were told something and that no sync declares any more: listed, and given up on request."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from . import fold
from .audience import Audience
from .destinations.agillic_groups import AgillicTargetGroup
from .destinations.agillic_recipients import AgillicRecipients
from .destinations.agillic_tables import AgillicTable
from .destinations.base import Target
from .destinations.crowdtwist import UserProfile
from .destinations.crowdtwist_activities import ActivityCredit
from .destinations.kognitiv import PromotionalMemberGroup
from .destinations.moengage import Cohort
from .engines.duckdb import opened, rows
from .errors import FixDeclaration, RepairState
from .ledger import Ledger
from .mapping import Field
from .model import Address, Fate, Mode, Verb
from .removal import removable, remove
from .state import State
from .sync import Sync
from .trip import Summary, Trip

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
    """Return the addresses of all targets that have a ledger."""
    return sorted((_address(file) for file in _ledgers(state)), key=str)


def known_syncs(state: State, declared: Iterable[Sync]) -> list[Sync]:
    """Return a sync for every target that was ever told something: the declared one, or a stand-in."""
    by_address = {sync.address: sync for sync in declared}
    begun = {a: s for a, s in by_address.items() if Ledger(state, s.target, a).journal_file.exists()}
    return list(begun.values()) + [
        by_address.get(address) or stand_in(state, address) for address in addresses(state) if address not in begun
    ]


def stand_in(state: State, address: Address) -> Sync:
    """Return a sync that can speak to the target at *address*, made from what the ledger remembers."""
    make = _TARGETS.get((address.service, address.kind))
    if make is None:
        raise RepairState(f"{address} is of a kind that this version of zeotap_pipelines doesn't know")
    with opened(state.target(address) / "ledger.duckdb", read_only=True) as connection:
        names = rows(connection, "SELECT name FROM told WHERE state <> 'forgotten' LIMIT 1")
    target = make(address.name, names[0][0] if names else "")
    fields = dict.fromkeys([*target.identity, *target.required])
    mode = Mode.REMOVE if Verb.REMOVE in target.verbs else next(iter(target.modes()))
    mapping = {name: Field(column=name) for name in fields}
    return Sync("decommissioned", Audience("nobody", "SELECT 1", ("nobody",)), target, address.account, mode, mapping)


def orphans(state: State, declared: Iterable[Sync]) -> list[Orphan]:
    """Return the targets that were told something and that none of the *declared* syncs writes to."""
    taken = {sync.address for sync in declared}
    found = []
    for address in addresses(state):
        if address in taken:
            continue
        sync = stand_in(state, address)
        with Ledger(state, sync.target, address).reading() as connection:
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


def _ledgers(state: State) -> Iterator[Path]:
    yield from (state.root / "ledger").glob("*/*/*/*/ledger.duckdb")


def _address(file: Path) -> Address:
    with opened(file, read_only=True) as connection:
        found = rows(connection, "SELECT value FROM meta WHERE key = 'address'")
    if not found:
        raise RepairState(f"the ledger {file} doesn't say whose it is")
    service, account, kind, name = found[0][0].split("/", 3)
    return Address(service, account, kind, name)


def _table(name: str) -> tuple[str, str, str]:
    table, _, stream = name.rpartition("/")
    return table, "RECORD", stream
