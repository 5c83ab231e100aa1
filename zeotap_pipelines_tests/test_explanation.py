"""Explaining one key, listing what has no sync, and how a sync stands."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from zeotap_pipelines.delivery.debts import Debt
from zeotap_pipelines.errors import FixConnection, FixDeclaration, RepairState, TryAgainLater
from zeotap_pipelines.model import Fate, Mode
from zeotap_pipelines.sandbox import Fault
from zeotap_pipelines.sync import Guards
from zeotap_pipelines.upkeep import by_hand
from zeotap_pipelines.upkeep.doubts import Decision, decide, doubts
from zeotap_pipelines.upkeep.explanation import explain
from zeotap_pipelines.upkeep.orphans import find_orphan, known_syncs, orphans
from zeotap_pipelines.upkeep.status import status
from zeotap_pipelines_tests import specimens
from zeotap_pipelines_tests.world import Rows, World, day, nth

LOST: list[Callable[[World], None]] = [
    lambda world: world.ledger.file.unlink(),
    lambda world: world.ledger.journal_file.unlink(),
    lambda world: world.ledger.journal_file.write_text(""),
]
"""What may be lost beside what is left."""


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def sentences(world: World, key: str) -> str:
    return "\n".join(explain(world.sync, key, world.state).sentences())


def test_a_key_is_explained_from_the_audience_to_the_service(world: World) -> None:
    trip = world.trip()
    world.deliver(["1", "2"], trip=trip)
    said = sentences(world, " 1")
    assert f"in the audience at {day(0).key}" in said
    assert "the target was told to hold it: 2026-11-21T08:00:00" in said
    assert f"at {day(0).key}, run {trip.run}" in said
    assert f"add was accepted; plan {world.standing.plans[0][1]}, run {trip.run}" in said
    world.deliver(["2"], day(1))
    said = sentences(world, "1")
    assert f"not in the audience at {day(1).key}" in said and "was told to drop it" in said
    assert "remove (left: left)" in said
    assert said.index("add was accepted") < said.index("remove was accepted"), "the oldest first"


def test_a_key_that_nobody_knows_is_said_to_be_unknown(world: World) -> None:
    assert sentences(world, "9") == (
        "no snapshot is on file, so nobody knows whether the audience has it\nthe target was never told of it"
    )


def test_a_row_that_is_set_aside_says_why(world: World) -> None:
    world.renamed(guards=Guards(max_set_aside_percent=100))
    world.deliver(Rows({"customer": ["1", "..", "2"]}))
    assert "but set aside: member_internal_id consists of dots" in sentences(world, "..")


def test_a_refusal_and_an_open_question_are_told(world: World) -> None:
    world.sandbox.faults.add(Fault(kind="reset_after", method="PUT", path="/2$"))
    world.deliver(["stranger", "2"])
    assert f"refused to add at {day(0).key}" in sentences(world, "stranger")
    assert "no answer is known" in sentences(world, "2")


def test_an_event_is_explained_by_its_id_and_a_renamed_sync_keeps_its_history(tmp_path: Path) -> None:
    world = World(tmp_path, specimens.credit())
    world.deliver(["ann"])
    world.renamed(name="another")
    assert "insert was accepted" in sentences(world, "ann")


def test_a_target_whose_sync_is_gone_is_listed_and_emptied_only_of_what_was_put_into_it(world: World) -> None:
    world.sandbox.kognitiv.put_members("ACTIVE-90D", "old")
    world.deliver(["1", "2"])
    assert orphans(world.state, [world.sync]) == []
    [orphan] = orphans(world.state, [])
    assert (orphan.address, orphan.told, orphan.decommissioned) == (str(world.sync.address), 2, None)
    with pytest.raises(FixDeclaration, match="is the target of sync sync"):
        find_orphan(world.state, [world.sync], orphan.address)
    with pytest.raises(FixDeclaration, match="was ever told anything"):
        find_orphan(world.state, [], "kognitiv/demo/promotional_member_group/other")
    gone = find_orphan(world.state, [], orphan.address)
    assert "2 members were removed" in by_hand.decommission(gone, world.trip())
    assert world.held == {"old"}
    [orphan] = orphans(world.state, [])
    assert orphan.told == 0 and orphan.decommissioned
    assert "0 members were removed" in by_hand.decommission(gone, world.trip())


@pytest.mark.parametrize("specimen", specimens.MAIN, ids=lambda one: one.name)
def test_any_target_can_be_given_up(tmp_path: Path, specimen: specimens.Example) -> None:
    world = World(tmp_path, specimen)
    world.deliver(["ann", "bob"])
    before = world.held
    [orphan] = orphans(world.state, [])
    said = by_hand.decommission(find_orphan(world.state, [], orphan.address), world.trip())
    if specimen.mode is Mode.MIRROR:
        assert "2 members were removed" in said and not world.held
    else:
        assert "can't be asked to remove" in said and world.held == before
    assert orphans(world.state, [])[0].decommissioned
    assert not world.sandbox.violations


@pytest.mark.parametrize("specimen", specimens.MAIN, ids=lambda one: one.name)
def test_a_target_whose_first_run_was_killed_is_listed_and_emptied(tmp_path: Path, specimen: specimens.Example) -> None:
    """There is no ledger before the first fold: what was asked for is in the journal, and whose it is in the plan."""
    world = World(tmp_path, specimen)
    world.take(["ann", "bob"])
    world.plan()
    assert orphans(world.state, []) == [], "a plan alone asks nothing"
    with world.dying(nth(1, "answered")):
        world.carry_out()
    assert world.ledger.journal_file.exists() and not world.ledger.exists()
    [orphan] = orphans(world.state, [])
    assert (orphan.address, orphan.decommissioned) == (str(world.sync.address), None)
    assert orphans(world.state, [world.sync]) == []
    assert [sync.address for sync in known_syncs(world.state, [])] == [world.sync.address]
    by_hand.decommission(find_orphan(world.state, [], orphan.address), world.trip())
    if specimen.mode is Mode.MIRROR:
        assert not world.held
    assert orphans(world.state, [])[0].decommissioned
    assert not world.sandbox.violations


def test_a_row_is_identified_at_an_orphan_as_it_was_when_its_first_run_was_killed(tmp_path: Path) -> None:
    """An Agillic group's rows go by any field: the target is told again by the same."""
    world = World(tmp_path, specimens.target_group(Mode.MIRROR))
    with world.dying(nth(1, "asked")):
        world.deliver(["ann"])
    [plan] = (world.state.root / "diffs").rglob("*.parquet")
    table = parquet.read_table(plan)
    names = pyarrow.array(["PERSON_ID"] * len(table))
    parquet.write_table(table.set_column(table.column_names.index("name"), "name", names), plan)
    target = find_orphan(world.state, [], str(world.sync.address)).target
    assert target.identity[0] == "PERSON_ID"


@pytest.mark.parametrize("lost", LOST)
def test_an_orphan_whose_ledger_or_journal_is_lost_is_not_called_sound(
    world: World, lost: Callable[[World], None]
) -> None:
    world.deliver(["1"])
    lost(world)
    with pytest.raises(RepairState):
        orphans(world.state, [])


def test_a_target_that_could_not_be_emptied_is_not_given_up(world: World) -> None:
    world.deliver(["1", "2"])
    world.sandbox.faults.add(Fault(kind="status", status=400, method="DELETE", path="/2$"))
    with pytest.raises(TryAgainLater, match=r"1 members .* were not removed"):
        by_hand.decommission(find_orphan(world.state, [], str(world.sync.address)), world.trip())
    assert orphans(world.state, [])[0].decommissioned is None
    world.sandbox.faults.clear()
    by_hand.decommission(find_orphan(world.state, [], str(world.sync.address)), world.trip())
    assert world.held == set()


def test_how_a_sync_stands_counts_what_is_told_open_and_used(tmp_path: Path) -> None:
    world = World(tmp_path, specimens.target_group(Mode.MIRROR))
    found = status(world.sync, world.state, world.clock.now())
    assert (found.told, found.mark, found.calls_today) == (0, None, 0)
    world.connection = specimens.agillic(unique_active_recipients=1000)
    world.deliver(["ann", "bob"])
    found = status(world.sync, world.state, world.clock.now())
    assert (found.told, found.mark, found.unsettled, found.in_doubt, found.open_tasks) == (2, day(0).key, 0, 0, 0)
    assert found.calls_today == len([one for one in world.sandbox.log if "token" not in one.target])
    assert found.paused_until is None


@pytest.mark.parametrize("lost", [*LOST, lambda world: shutil.rmtree(world.state.root / "ledger")])
def test_a_sync_that_would_refuse_to_run_says_so_wherever_it_is_looked_at(
    tmp_path: Path, lost: Callable[[World], None]
) -> None:
    """Nobody is told that all is well, and then that it is not."""
    world = World(tmp_path, specimens.credit())
    world.sandbox.faults.add(Fault(kind="reset_after", method="POST", nth=1))
    world.deliver(["a", "b"])
    lost(world)
    with pytest.raises(RepairState) as refused:
        world.carry_out()
    looks: list[Callable[[], object]] = [
        lambda: status(world.sync, world.state, world.clock.now()),
        lambda: explain(world.sync, "a", world.state),
    ]
    for look in looks:
        with pytest.raises(RepairState) as said:
            look()
        assert str(said.value) == str(refused.value)


def owed(world: World) -> int | None:
    return status(world.sync, world.state, world.clock.now()).owed


@pytest.mark.parametrize("specimen", specimens.MAIN, ids=lambda one: one.name)
def test_how_a_sync_stands_counts_what_is_owed_from_the_plan_to_the_last_row(
    tmp_path: Path, specimen: specimens.Example
) -> None:
    world = World(tmp_path, specimen)
    assert owed(world) is None, "before there is a plan, nobody knows"
    world.take(["ann", "bob", "cid", "dot"])
    world.plan()
    assert owed(world) == 4
    world.carry_out(limit=1)
    assert owed(world) == 3, "a trial leaves the others owed"
    with world.dying(nth(1, "asked")):
        world.carry_out()
    left = owed(world)
    if specimen.target.event:
        assert left is not None and left < 3, "what may have happened is in doubt instead"
        assert left + status(world.sync, world.state, world.clock.now()).in_doubt == 3
    else:
        assert left == 3
    world.carry_out()
    assert owed(world) == 0


def test_rows_that_a_person_released_are_owed_whatever_the_source_has_by_then(tmp_path: Path) -> None:
    world = World(tmp_path, specimens.credit())
    world.sandbox.faults.add(Fault(kind="status", status=503, method="POST", path="/activities"))
    world.deliver(["a", "b"])
    world.sandbox.faults.clear()
    assert owed(world) == 0, "rows in doubt are not asked"
    ids = [one.id for one in doubts(world.ledger)]
    decide(world.ledger, ids, Decision.RESEND, by="ann", reason="looked it up", now=world.clock.now())
    assert owed(world) == 2
    world.take(["c"], day(1))
    world.plan(day(1))
    assert owed(world) == 3
    world.carry_out(day(1))
    assert owed(world) == 0


def test_what_an_earlier_partition_left_is_owed_beside_the_newest_plan(tmp_path: Path) -> None:
    """A run that ended early: what it never asked for is in no later snapshot."""
    world = World(tmp_path, specimens.credit())
    world.sandbox.faults.add(Fault(kind="status", status=401, method="POST", path="/activities", nth=2, times=1))
    summary = world.deliver(["a", "b", "c"])
    assert summary.error and owed(world) == summary.left + summary.fates[Fate.DEFERRED] > 0
    before = owed(world)
    world.take(["d"], day(1))
    assert owed(world) == before
    world.plan(day(1))
    assert owed(world) == before + 1, "the newest plan takes them over: they are counted once"


def test_what_the_ledger_can_not_tell_without_a_new_plan_is_not_called_nothing(world: World) -> None:
    world.deliver(["1", "2"])
    assert owed(world) == 0
    world.take(["1"])
    assert owed(world) is None, "the snapshot is another one"
    world.deliver(["1", "2"])
    assert owed(world) == 0
    by_hand.reassert(world.sync, world.state, run="r", now=world.clock.now())
    found = status(world.sync, world.state, world.clock.now())
    assert (found.owed, found.owes) == (None, day(0).key)


def test_of_two_partitions_what_the_one_owes_that_the_target_stands_at_counts(world: World) -> None:
    world.deliver(["1", "2"])
    world.deliver(["1", "2", "3"], day(1))
    world.take(["1", "2"])
    world.plan()
    assert owed(world) == 0, "the older one is superseded"
    world.sandbox.faults.add(Fault(kind="status", status=429, method="DELETE", retry_after=3600))
    assert world.carry_out(restore=True).error
    assert owed(world) == 1, "it is being restored"


def test_a_segment_that_was_filled_owes_nothing(tmp_path: Path) -> None:
    world = World(tmp_path, specimens.cohort(Mode.ADD, sync_type="one_time"))
    world.deliver(["ann", "bob"], limit=1)
    assert owed(world) == 1
    assert world.carry_out().complete
    world.take(["cid"], day(1))
    world.plan(day(1))
    assert owed(world) == 0


def test_how_a_sync_stands_counts_rejected_rows_and_says_which_partitions_wait_for_whom(tmp_path: Path) -> None:
    world = World(tmp_path, specimens.credit())
    world.sandbox.faults.add(Fault(kind="status", status=400, method="POST", path="/activities", times=1))
    world.deliver(["a", "b"])
    found = status(world.sync, world.state, world.clock.now())
    assert (found.rejected, found.owed, found.owes, found.waits) == (1, 0, None, None)
    debt = Debt(world.state, world.sync, "run", {}, clock=world.clock)
    debt.begins([day(0), day(1), day(2)])
    debt.failed(FixConnection("the key is wrong"))
    found = status(world.sync, world.state, world.clock.now())
    assert found.owes == f"{day(0).key} and 2 later"
    assert found.waits == "waits for a person: FixConnection: the key is wrong"


def test_how_a_sync_stands_names_doubts_and_pauses(tmp_path: Path) -> None:
    world = World(tmp_path, specimens.credit())
    world.sandbox.faults.add(Fault(kind="reset_after", method="POST", nth=1))
    world.sandbox.faults.add(Fault(kind="status", status=429, method="POST", nth=2, retry_after=3600))
    assert world.deliver(["a", "b"]).fates[Fate.IN_DOUBT] == 1
    found = status(world.sync, world.state, world.clock.now())
    assert found.in_doubt == 1 and found.paused_until
    world.clock.pass_(7200)
    assert status(world.sync, world.state, world.clock.now()).paused_until is None
