"""Forgetting: a person who was planted everywhere is found in no file afterwards, and no event happens again."""

from __future__ import annotations

import shutil
from pathlib import Path

import duckdb
import pytest
from pyarrow import parquet

from zeotap_pipelines.engines.duckdb import opened, rows
from zeotap_pipelines.errors import RepairState
from zeotap_pipelines.ledger.tables import TABLES
from zeotap_pipelines.model import Fate, Mode
from zeotap_pipelines.sandbox import Fault
from zeotap_pipelines.snapshot import read
from zeotap_pipelines.upkeep import forget, removal
from zeotap_pipelines.upkeep.doubts import Decision, decide, doubts
from zeotap_pipelines.upkeep.orphans import known_syncs
from zeotap_pipelines.upkeep.who import Who
from zeotap_pipelines_tests import specimens
from zeotap_pipelines_tests.world import Rows, World, day

CANARY = "canary-4711"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def holding(world: World, text: str) -> list[str]:
    """The files of the state in which the person is, in whatever form a file keeps it."""
    found = []
    for path in (path for path in world.state.root.rglob("*") if path.is_file()):
        inside = [path.read_bytes()]
        if path.suffix == ".parquet":
            inside.append(str(parquet.read_table(path).to_pylist()).encode())
        if path.suffix == ".duckdb":
            with opened(path, read_only=True) as connection:
                inside += [str(rows(connection, f"FROM {table}")).encode() for table in TABLES]
        if any(text.encode() in some for some in inside):
            found.append(str(path.relative_to(world.state.root)))
    return found


def forgotten(world: World, key: str, field: str | None = None) -> forget.Found:
    syncs = known_syncs(world.state, [world.sync])
    with forget.everybody_silent(world.state, syncs, run="forget"):
        return forget.erase(world.state, syncs, Who(key, field), now=world.clock.now())


@pytest.mark.parametrize("specimen", specimens.MAIN, ids=lambda one: one.name)
def test_a_person_who_is_forgotten_is_in_no_file(tmp_path: Path, specimen: specimens.Example) -> None:
    world = World(tmp_path, specimen)
    world.deliver(["ann", "bob"])
    world.take(["ann!2", "cid"], day(1))
    world.plan(day(1))
    event = specimen.target.event
    person = specimen.person("ann")
    [first, *_] = [name for name in (["user_id"] if event else specimen.target.identity) if name in specimen.mapping]
    key = str(person[specimen.mapping[first]])
    assert holding(world, key), "planted"
    found = forgotten(world, key)
    assert found.snapshots and found.plans and found.outcomes and found.ledgers
    assert holding(world, key) == []
    assert not forgotten(world, key), "a second time finds nothing"


def test_the_others_stay_as_they_were(world: World) -> None:
    world.deliver([CANARY, "1", "2"])
    others = world.told("*")[:2]
    before = read(world.sync.audience, day(0), world.state)
    forgotten(world, CANARY)
    assert world.told("*") == others
    after = read(world.sync.audience, day(0), world.state)
    assert (after.rows, after.taken_at, after.columns) == (2, before.taken_at, before.columns)
    assert world.carry_out().asked == 0
    assert world.deliver(["2"], day(1)).asked == 1
    assert world.held == {CANARY, "2"}, "nobody removes a forgotten person"


def test_the_others_stay_as_they_were_in_a_ledger_of_an_earlier_version_too(world: World) -> None:
    """What a migration adds to a table stands at its end, and not where a new ledger has it."""
    world.deliver([CANARY, "1", "bad"])
    columns = [name for (name,) in described(world)]
    with duckdb.connect(str(world.ledger.file)) as old:
        old.execute("ALTER TABLE told DROP COLUMN stamp")
        old.execute("UPDATE meta SET value = '1' WHERE key = 'schema_version'")
    with world.ledger.writing():
        pass  # Here it is migrated.
    assert [name for (name,) in described(world)] != columns
    others = world.told(", ".join(columns))[:2]
    forgotten(world, CANARY)
    assert world.told(", ".join(columns)) == others


def described(world: World) -> list[tuple[str]]:
    with world.ledger.reading() as connection:
        return [(name,) for name, *_ in rows(connection, "DESCRIBE told")]


def test_what_a_killed_run_left_is_folded_and_forgotten(world: World) -> None:
    with world.dying(lambda step: step == "answered"):
        world.deliver([CANARY, "1"])
    (world.state.root / "snapshots" / "people" / ".half.parquet.999999999.0a0b0c0d.tmp").write_text(CANARY)
    assert forgotten(world, CANARY).ledgers
    assert holding(world, CANARY) == []


def test_a_person_is_removed_at_the_service_by_the_identity_that_was_delivered(world: World) -> None:
    world.deliver(Rows({"customer": ["007 ", "8"]}))
    with forget.everybody_silent(world.state, [world.sync], run="forget"):
        found = forget.find(world.state, [world.sync], Who("007"))
        assert found.held == {world.sync.address: 1}
        summary = removal.remove(world.sync, found.keys[world.sync.address], world.trip())
        assert summary.complete and summary.fates == {Fate.ACCEPTED: 1}
        forget.erase(world.state, [world.sync], Who("007"), now=world.clock.now())
    assert world.held == {"8"}
    assert holding(world, "007 ") == []
    assert world.standing.mark_partition == day(0).key and not world.standing.restored
    assert world.deliver(Rows({"customer": ["8"]})).asked == 0


def test_a_removal_leaves_out_what_somebody_who_stays_carries(tmp_path: Path) -> None:
    world = World(tmp_path, specimens.cohort(Mode.MIRROR, both=True))
    world.deliver(Rows({"uid": ["7", "8"], "device": ["shared", "shared"]}))
    with forget.everybody_silent(world.state, [world.sync], run="forget"):
        found = forget.find(world.state, [world.sync], Who("7", "uid"))
        assert found.keys[world.sync.address] == {"uid=7"}
        removal.remove(world.sync, found.keys[world.sync.address], world.trip())
    assert world.sandbox.moengage.members(specimens.COHORT) == {"8"}


def test_two_people_whose_ids_differ_by_case_are_two_people(tmp_path: Path) -> None:
    world = World(tmp_path, specimens.cohort(Mode.MIRROR))
    world.deliver(["Ab12", "aB12"])
    found = forget.find(world.state, [world.sync], Who("Ab12"))
    assert found.keys[world.sync.address] == {"uid=Ab12"}
    assert removal.remove(world.sync, {"uid=Ab12"}, world.trip()).fates == {Fate.ACCEPTED: 1}
    assert world.held == {"aB12"}
    assert not removal.held(world.sync, {"uid=Ab12"}, world.state)


def test_who_goes_by_nothing_else_than_somebody_who_stays_is_not_asked_about_and_still_held(tmp_path: Path) -> None:
    world = World(tmp_path, specimens.cohort(Mode.MIRROR, both=True))
    world.deliver(Rows({"uid": [None, "8"], "device": ["shared", " shared"]}))
    gone = {"anonymous_id=shared"}
    assert removal.remove(world.sync, gone, world.trip()).asked == 0
    assert removal.held(world.sync, gone, world.state) == 1
    assert removal.held(world.sync, {"uid=8", "uid=9"}, world.state) == 1


def credits(tmp_path: Path) -> World:
    world = World(tmp_path, specimens.credit())
    world.sandbox.crowdtwist.put_user(email_address="canary@example.com", first_name="C", last_name="D")
    return world


def purchases(*events: tuple[str, str]) -> Rows:
    columns: dict[str, list[str]] = {"event": [], "member": [], "points": []}
    for event, member in events:
        for name, value in zip(columns, (event, f"{member}@example.com", "11"), strict=True):
            columns[name].append(value)
    return Rows(columns)


def test_a_forgotten_persons_event_never_happens_again(tmp_path: Path) -> None:
    world = credits(tmp_path)
    events = purchases(("e-1", "canary"), ("e-2", "one"))
    world.deliver(events)
    found = forgotten(world, "Canary@example.com")
    assert found.keys[world.sync.address] == {"e-1"}
    assert holding(world, "canary@") == [] and not any('"e-1"' in str(row) for row in world.told("value"))
    assert world.deliver(events).asked == 0, "the source has the person still"
    assert world.deliver(purchases(("e-1", "canary"), ("e-3", "one")), day(1)).asked == 1
    assert not world.specimen.doubled(world.sandbox)  # type: ignore[attr-defined]
    assert (world.state.root / "forget.key").stat().st_mode & 0o777 == 0o600


def test_forgetting_that_was_cut_off_before_the_plans_makes_no_event_happen_again(tmp_path: Path) -> None:
    """The ledger has forgotten, and a plan of which something is still owed has the person's rows."""
    world = credits(tmp_path)
    world.deliver(purchases(("e-1", "canary"), ("e-2", "one"), ("e-3", "one")), limit=2)
    plans = world.state.root / "diffs"
    shutil.copytree(plans, world.root / "before")
    forgotten(world, "canary@example.com")
    shutil.rmtree(plans)
    (world.root / "before").rename(plans)
    assert world.deliver(purchases(("e-4", "one")), day(1)).fates == {Fate.ACCEPTED: 2}
    assert len(world.sandbox.crowdtwist.credits()) == 4
    assert not world.specimen.doubled(world.sandbox)  # type: ignore[attr-defined]
    with world.ledger.reading() as connection:
        assert rows(connection, "SELECT * FROM open_plans") == [], "nothing of it is owed any more"
    assert forgotten(world, "canary@example.com").plans
    assert holding(world, "canary@") == []


def test_an_event_may_be_held_as_long_as_nobody_knows_whether_it_happened(tmp_path: Path) -> None:
    world = credits(tmp_path)
    world.sandbox.faults.add(Fault(kind="reset_after", method="POST"))
    events = (("e-1", "canary"), ("e-2", "canary"), ("e-3", "canary"))
    world.deliver(purchases(*events))
    ids = [one.id for one in doubts(world.ledger)]
    address, now = world.sync.address, world.clock.now()
    for decision, held, doubtful in (
        (None, 3, 3),
        (Decision.DROP, 3, 3),
        (Decision.WAS_SENT, 3, 2),
        (Decision.RESEND, 2, 1),
    ):
        if decision:
            decide(world.ledger, [ids.pop()], decision, by="ada", reason="asked them", now=now)
        found = forget.find(world.state, [world.sync], Who("canary@example.com"))
        assert (found.held, found.doubtful) == ({address: held}, {address: doubtful}), decision


def test_a_forgotten_event_in_doubt_is_never_asked_again(tmp_path: Path) -> None:
    world = credits(tmp_path)
    world.sandbox.faults.add(Fault(kind="reset_after", method="POST"))
    events = purchases(("e-1", "canary"))
    assert world.deliver(events).fates == {Fate.IN_DOUBT: 1}
    world.sandbox.faults.clear()
    forgotten(world, "canary@example.com")
    assert not doubts(world.ledger)
    assert world.deliver(events).asked == 0


@pytest.mark.parametrize("text", [None, b"ab" * 32, b"\xff\xfe"])
def test_without_its_key_nobody_knows_what_was_forgotten_and_nothing_is_sent(
    tmp_path: Path, text: bytes | None
) -> None:
    world = credits(tmp_path)
    world.deliver(purchases(("e-1", "canary")))
    forgotten(world, "canary@example.com")
    (world.state.root / "forget.key").unlink()
    if text:
        (world.state.root / "forget.key").write_bytes(text)
    world.take(purchases(("e-1", "canary")))
    with pytest.raises(RepairState, match=r"forget\.key"):
        world.plan()


def test_a_number_that_is_somebody_elses_amount_or_event_is_not_the_person(tmp_path: Path) -> None:
    world = World(tmp_path, specimens.credit(id_type="third_party_id"))
    world.take(Rows({"event": ["7", "x"], "member": ["8", "7"], "points": ["7", "1"]}))
    world.plan()
    found = forget.find(world.state, [world.sync], Who("7"))
    assert found.keys[world.sync.address] == {"x"}
    found = forget.find(world.state, [world.sync], Who("7", "event_id"))
    assert found.keys[world.sync.address] == {"7"}


def test_a_person_is_found_at_every_target_that_a_row_of_a_snapshot_leads_to(tmp_path: Path) -> None:
    """The group knows a member by a number, the profiles by an address: the audience's row has both."""
    world = World(tmp_path, specimens.profile(Mode.UPSERT, id_type="third_party_id"))
    world.deliver(["ann", "bob"])
    mail = world.specimen.person("ann")["mail"]
    found = forgotten(world, mail)
    assert found.keys[world.sync.address] == {"ann"}
    assert holding(world, mail) == [] and world.told("value") == [("bob",)]


def test_a_target_without_a_sync_is_searched_too(world: World) -> None:
    world.deliver([CANARY, "1"])
    address = world.sync.address
    world.renamed(account="elsewhere")
    syncs = known_syncs(world.state, [world.sync])
    assert [sync.address for sync in syncs] == [address]
    with forget.everybody_silent(world.state, syncs, run="forget"):
        assert forget.erase(world.state, syncs, Who(CANARY), now=world.clock.now()).ledgers == {address: 1}
    assert holding(world, CANARY) == []
