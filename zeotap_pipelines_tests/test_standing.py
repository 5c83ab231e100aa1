"""Where a target stands after whatever can happen to it, said whole; and what of it is one movement of the ledger."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from zeotap_pipelines.delivery.delivery import deliver
from zeotap_pipelines.delivery.trip import Approval
from zeotap_pipelines.diff.plan import load, save
from zeotap_pipelines.engines.duckdb import rows
from zeotap_pipelines.errors import AskForRestore, FilledOnce, HalfFilled, RepairState
from zeotap_pipelines.ledger.ledger import Standing
from zeotap_pipelines.ledger.lock import speaking
from zeotap_pipelines.mapping import Field
from zeotap_pipelines.model import ACCEPTED, UNPARTITIONED, Fate, Mode, Outcome, Partition, Receipt
from zeotap_pipelines.upkeep import removal
from zeotap_pipelines_tests.desk import Desk, at, people
from zeotap_pipelines_tests.world import World, day

NEVER = Standing(0, (), None, None, False, None, None, None, None, None, False)
IDENTITY = "member_internal_id ← customer"
REFUSED = Outcome(Fate.REJECTED, "refused", 400, untouched=True)


@pytest.fixture
def desk() -> Desk:
    return Desk(lambda rows: Receipt(ACCEPTED))


@pytest.fixture
def here(tmp_path: Path, desk: Desk) -> World:
    return World(tmp_path, target=at(desk, items=10))


def stands(world: World) -> Standing:
    """The standing, without the names of plans; by the journal and by the ledger alone it is one."""
    found = world.standing
    return replace(found, plans=tuple((generation, "") for generation, _ in found.plans))


def moved(*generations: int) -> tuple[tuple[int, str], ...]:
    return tuple((generation, "") for generation in generations)


def movements(world: World, columns: str = "generation, partition, sync, accepted, rejected, deferred, in_doubt"):
    with world.ledger.reading() as connection:
        return rows(connection, f"SELECT {columns} FROM movements ORDER BY generation")


def test_a_target_that_was_never_told_anything_stands_nowhere(here: World) -> None:
    assert here.standing == NEVER
    here.take(people(1))
    assert here.plan().generation == 0


def test_what_was_delivered_moves_the_ledger_and_what_was_found_in_step_the_mark_alone(here: World, desk: Desk) -> None:
    first, second = day(1), day(2)
    here.deliver(people(3), first)
    after = replace(NEVER, generation=1, plans=moved(1), mark=first.end, mark_partition=first.key)
    after = replace(after, told_last=first.key, identity=IDENTITY, last_at=desk.moments[-1], pinned=first.key)
    assert stands(here) == after
    here.deliver(people(3), second)
    after = replace(after, mark=second.end, mark_partition=second.key)
    assert stands(here) == after, "nothing was told"
    here.deliver(people(4), day(4))
    after = replace(after, generation=2, plans=moved(1, 2), mark=day(4).end, mark_partition=day(4).key)
    assert stands(here) == replace(after, told_last=day(4).key, last_at=desk.moments[-1])
    assert movements(here) == [(1, first.key, "sync", 3, 0, 0, 0), (2, day(4).key, "sync", 1, 0, 0, 0)]
    assert [run for (run,) in movements(here, "run")] == ["run2", "run6"]
    assert [datetime.fromisoformat(at) for (at,) in movements(here, "moment")] == [
        here.clock.now(),
        here.clock.now() + timedelta(milliseconds=1),
    ]


def test_an_older_partition_is_asked_from_on_purpose_only_and_the_present_is_then_the_past(here: World) -> None:
    here.deliver(people(3), day(3))
    here.take(people(2), day(2))
    with pytest.raises(AskForRestore, match="is superseded by 2026-11-04"):
        here.carry_out(day(2))
    before = stands(here)
    here.carry_out(day(2), restore=True)
    restored = stands(here)
    assert restored == replace(
        before, restored=True, told_last=day(2).key, generation=2, plans=moved(1, 2), last_at=restored.last_at
    ), "the mark is that of the newest"
    with pytest.raises(AskForRestore) as refused:
        here.carry_out(day(3))
    assert str(refused.value) == (
        "sync at 2026-11-04: 2026-11-03 was restored since: nothing is sent. To go forward again, set restore"
    )
    here.deliver(people(5), day(4))
    newer = stands(here)
    assert (newer.restored, newer.mark, newer.told_last) == (False, day(4).end, day(4).key), "a newer one goes on"
    assert here.carry_out(day(4)).asked == 0


@pytest.mark.parametrize("key", ["!", "zz"])
def test_an_older_partition_is_older_whatever_its_name(here: World, key: str) -> None:
    here.deliver(people(3), day(3))
    here.deliver(people(2), replace(day(2), key=key), restore=True)
    after = stands(here)
    assert (after.mark, after.mark_partition, after.restored, after.told_last) == (day(3).end, day(3).key, True, key)


def test_a_plan_of_an_older_partition_is_not_delivered_by_whoever_has_it_either(here: World, desk: Desk) -> None:
    here.take(people(3), day(1))
    older = here.plan(day(1))
    here.deliver(people(4), day(2))
    asked = len(desk.asked)
    with (
        speaking(here.state.account(here.sync.address), run="r", sync="s"),
        pytest.raises(AskForRestore, match=r"sync at 2026-11-02 is superseded by 2026-11-03: nothing is sent"),
    ):
        deliver(here.sync, older, here.trip())
    assert len(desk.asked) == asked


def test_a_line_of_the_journal_may_be_as_long_as_an_answer_is(tmp_path: Path, desk: Desk) -> None:
    here = World(tmp_path, target=at(desk, items=2_000))
    desk.answer = lambda rows: Receipt(ACCEPTED, {row: REFUSED for row in rows if row % 2})
    summary = here.deliver(people(2_000), day(1))
    assert summary.fates == {Fate.ACCEPTED: 1_000, Fate.REJECTED: 1_000}
    assert movements(here)[0][3:] == (1_000, 1_000, 0, 0)


def test_a_restored_present_is_gone_on_with_by_another_restoration(here: World) -> None:
    here.deliver(people(3), day(3))
    here.deliver(people(2), day(2), restore=True)
    here.carry_out(day(3), restore=True)
    assert stands(here).restored, "the newest may not be asked from by itself before a newer one was"
    here.deliver(people(3), day(5))
    assert not stands(here).restored


def test_what_is_asserted_again_or_asked_again_moves_the_ledger_by_itself(here: World, desk: Desk) -> None:
    desk.answer = lambda rows: Receipt(ACCEPTED, {2: REFUSED})
    here.deliver(people(3), day(1))
    before = stands(here)
    assert movements(here)[0][3:] == (2, 1, 0, 0)
    assert here.ledger.ask_again(here.clock.now()) == 1
    after = replace(before, generation=2, plans=moved(1, 2))
    assert stands(here) == after
    with here.ledger.reading() as connection:
        assert rows(connection, "SELECT count(*) FROM open_plans") == [(0,)], "only events are taken over"
    assert here.ledger.ask_again(here.clock.now()) == 0
    assert stands(here) == after, "there was nothing to ask again"
    here.clock.pass_(60)
    now = here.clock.now()
    here.ledger.reassert(now)
    again = replace(after, generation=3, plans=moved(1, 2, 3), reassert_before=now.isoformat(), last_at=now)
    assert stands(here) == replace(again, pinned=None)
    here.clock.jump(-timedelta(hours=1))
    here.ledger.reassert(here.clock.now())
    assert stands(here) == replace(again, pinned=None, generation=4, plans=moved(1, 2, 3, 4)), "time doesn't go back"
    assert movements(here, "generation, plan, partition")[1:] == [
        (2, "asked again", None),
        (3, "reassert", None),
        (4, "reassert", None),
    ]


def test_a_plan_fits_until_another_one_moved_the_ledger(here: World) -> None:
    here.deliver(people(3), day(1))
    here.take(people(4), day(2))
    plan = here.plan(day(2))
    assert here.standing.moved_since(plan.generation) == set()
    here.deliver(people(2), day(1), restore=True)
    assert here.standing.moved_since(plan.generation) != set()
    assert here.standing.moved_since(99) == set()
    assert {plan for _, plan in here.standing.plans} == here.standing.moved_since(0)


def test_a_removal_on_request_is_of_no_partition(here: World) -> None:
    here.deliver(people(3), day(1))
    before = stands(here)
    removal.remove(here.sync, ["1000"], here.trip())
    after = stands(here)
    assert after == replace(before, generation=2, plans=moved(1, 2), last_at=after.last_at)


def test_where_time_is_not_cut_the_newest_snapshot_is_the_newest_whatever_its_moment(here: World) -> None:
    def whole(hours: int) -> Partition:
        start = day(0).start
        return Partition(start + timedelta(hours=hours), start, UNPARTITIONED)

    here.deliver(people(3), whole(10))
    here.take(people(4), whole(5))
    here.plan(whole(5))
    assert here.carry_out(whole(5)).complete, "as a plan that was written down says"
    after = stands(here)
    assert (after.mark, after.mark_partition, after.restored) == (whole(5).end, UNPARTITIONED, False)
    assert (after.generation, after.told_last) == (2, UNPARTITIONED)


def once(tmp_path: Path, desk: Desk) -> World:
    return World(tmp_path, target=at(desk, items=2, once=True))


def test_a_target_that_is_filled_once_is_pinned_to_its_first_day_until_it_is_full(tmp_path: Path, desk: Desk) -> None:
    here = once(tmp_path, desk)
    desk.answer = lambda rows: Receipt(ACCEPTED if 0 in rows else Outcome(Fate.DEFERRED, "busy", untouched=True))
    here.deliver(people(4), day(1))
    assert (here.standing.pinned, here.standing.filled) == (day(1).key, False)
    here.take(people(5), day(2))
    with pytest.raises(HalfFilled) as half:
        here.carry_out(day(2))
    assert half.value.args[0].startswith(f"sync fills its target once, and is not through with {day(1).key}")
    desk.answer = lambda rows: Receipt(ACCEPTED)
    assert here.carry_out(day(1)).complete
    assert (here.standing.pinned, here.standing.filled) == (day(1).key, True)
    for again in (1, 2):
        with pytest.raises(FilledOnce, match=f"once, and did from {day(1).key}"):
            here.carry_out(day(again))
    here.ledger.reassert(here.clock.now())
    assert (here.standing.pinned, here.standing.filled) == (None, False)
    assert here.carry_out(day(2)).complete
    assert (here.standing.pinned, here.standing.filled) == (day(2).key, True)


def test_nobody_is_no_audience_to_fill_a_target_with(tmp_path: Path, desk: Desk) -> None:
    here = once(tmp_path, desk)
    here.deliver([], day(1))
    assert (here.standing.pinned, here.standing.filled) == (None, False)


def test_a_trial_pins_nothing_and_fills_nothing(tmp_path: Path, desk: Desk) -> None:
    here = once(tmp_path, desk)
    here.take(people(4), day(1))
    here.carry_out(day(1), limit=2)
    assert (here.standing.pinned, here.standing.filled) == (None, False)
    here.carry_out(day(1), limit=2)
    assert (here.standing.pinned, here.standing.filled) == (None, False), "all of it was a trial"
    here.carry_out(day(1))
    assert (here.standing.pinned, here.standing.filled) == (day(1).key, True)


def test_an_identity_that_is_mapped_anew_is_the_targets_once_the_new_ones_are_in(here: World, desk: Desk) -> None:
    here.deliver(people(2), day(1))
    assert here.standing.identity == IDENTITY
    here.renamed(mapping={"member_internal_id": Field(template="9{customer}")})
    desk.answer = lambda rows: Receipt(REFUSED)
    here.take(people(2), day(2))
    plan = here.plan(day(2))
    assert plan.replacement
    summary = here.carry_out(day(2), approval=Approval(plan.id, "me", "a new id"))
    assert str(summary.error) == "2 of the new members were not accepted: the old ones stay until they are"
    assert (summary.withheld, summary.left) == (2, 0)
    assert here.standing.identity == IDENTITY, "nobody was accepted under the new one"
    again = here.carry_out(day(2), approval=Approval(plan.id, "me", "a new id"))
    assert (again.asked, str(again.error)) == (0, str(summary.error)), "and who was refused once stays so"
    desk.answer = lambda rows: Receipt(ACCEPTED)
    here.take(people(2), day(3))
    plan = here.plan(day(3))
    assert here.carry_out(day(3), approval=Approval(plan.id, "me", "a new id")).complete
    assert here.standing.identity == "member_internal_id ← '9{customer}'"
    assert {value for value, state in here.told() if state == "in"} == {"91000", "91001"}
    here.take(people(3), day(4))
    assert not here.plan(day(4)).replacement


def test_where_nothing_is_owed_nobody_is_asked_anything(here: World, desk: Desk) -> None:
    here.deliver(people(3), day(1))
    asked = len(desk.learnt)
    assert here.carry_out(day(1)).complete
    assert here.deliver(people(3), day(2)).complete
    assert len(desk.learnt) == asked, "not even whether the target is there"


def test_each_step_of_a_delivery_is_durable_before_the_next_one(here: World, desk: Desk) -> None:
    here.take(people(12), day(1))
    with here.dying(lambda step: False) as steps:
        here.carry_out(day(1))
    assert [step for step in steps if not step.startswith(("before", "after"))] == [
        *("operations", "plan", "begin", "asked", "flushed", "answered", "answered"),
        *("flushed", "outcomes", "folding", "folded", "restarted"),
    ]
    with here.dying(lambda step: False) as steps:
        here.standing  # noqa: B018 - it is read
    assert steps == [], "who reads does nothing"


@pytest.mark.parametrize("lines", [1, 2])
def test_a_folded_journal_that_lacks_lines_is_of_another_moment(here: World, lines: int) -> None:
    here.take(people(3), day(1))
    with here.dying(lambda step: step == "folded"):
        here.carry_out(day(1))
    journal = here.ledger.journal_file
    whole = journal.read_bytes().splitlines(keepends=True)
    assert here.standing.generation == 1
    journal.write_bytes(b"".join(whole[:-lines]))
    with pytest.raises(RepairState, match="are of different moments"):
        here.standing  # noqa: B018 - it is read
    journal.write_bytes(b"".join(whole))
    assert here.carry_out(day(1)).asked == 0


def test_a_trial_of_removals_takes_out_nobody_while_a_new_identity_is_not_in(here: World, desk: Desk) -> None:
    here.deliver(people(3), day(1))
    here.renamed(mapping={"member_internal_id": Field(template="9{customer}")})
    here.take(people(3), day(2))
    plan = here.plan(day(2))
    approval = Approval(plan.id, "me", "a new id")
    before = len(desk.asked)
    for only in ([5], [0, 1, 5]):
        here.carry_out(day(2), approval=approval, only=[plan.row_id(row) for row in only])
    assert desk.asked[before:] == [[0, 1]]
    here.carry_out(day(2), approval=approval, only=[plan.row_id(row) for row in (2, 5)])
    assert desk.asked[before:] == [[0, 1], [2], [5]], "all that is new was asked for"


def test_a_state_target_whose_memory_is_lost_is_told_everything_again(here: World, desk: Desk) -> None:
    here.deliver(people(3), day(1))
    shutil.rmtree(here.ledger.file.parent)
    assert here.deliver(people(3), day(2)).asked == 3


def test_who_only_adds_has_an_identity_too_and_keeps_it_when_it_is_mapped_anew(tmp_path: Path, desk: Desk) -> None:
    here = World(tmp_path, target=at(desk, items=10), mode=Mode.ADD)
    here.deliver(people(2), day(1))
    assert here.standing.identity == IDENTITY
    here.renamed(mapping={"member_internal_id": Field(template="9{customer}")})
    here.deliver(people(2), day(2))
    assert here.standing.identity == IDENTITY, "whoever was told by the old one is still in"


def test_an_identity_that_is_mapped_anew_is_the_targets_at_once_where_nobody_is_in(here: World) -> None:
    here.deliver(people(2), day(1))
    here.deliver([], day(2))
    here.renamed(mapping={"member_internal_id": Field(template="9{customer}")})
    here.deliver(people(2), day(3))
    assert here.standing.identity == "member_internal_id ← '9{customer}'"


def test_a_plan_of_an_earlier_version_that_can_not_be_read_is_to_be_made_again(here: World, desk: Desk) -> None:
    """Of a later one it is known what it was made of, so that it isn't read at all."""
    desk.answer = lambda rows: Receipt(ACCEPTED, {1: Outcome(Fate.DEFERRED, "busy")})
    here.deliver(people(3), day(1))
    plan = load(here.state, "sync", day(1).key)
    assert plan is not None
    save(replace(plan, content=""), here.state)
    plan.file(here.state).write_bytes(b"nothing")
    with pytest.raises(RepairState, match=rf"plan {plan.id} can't be read, make it again: .+"):
        here.carry_out(day(1))
    assert len(desk.asked) == 1


def test_a_replacement_goes_on_once_the_new_ones_whose_answers_were_lost_are_in(here: World, desk: Desk) -> None:
    here.deliver(people(2), day(1))
    here.renamed(mapping={"member_internal_id": Field(template="9{customer}")})
    here.take(people(2), day(2))
    approval = Approval(here.plan(day(2)).id, "me", "a new id")
    desk.answer = lambda rows: Receipt(Outcome(Fate.DEFERRED, "no answer", 500))
    assert not here.carry_out(day(2), approval=approval).complete
    desk.answer = lambda rows: Receipt(ACCEPTED)
    assert here.carry_out(day(2), approval=approval).complete
    assert [value for value, state in here.told() if state == "in"] == ["91000", "91001"]


def test_who_reads_what_a_crash_left_writes_nothing(here: World) -> None:
    here.take(people(12), day(1))
    with here.dying(lambda step: step == "answered"):
        here.carry_out(day(1))
    before = {path: path.stat().st_mtime_ns for path in here.state.root.rglob("*") if path.is_file()}
    with here.dying(lambda step: False) as steps:
        assert len(here.told()) == 12
    assert {path: path.stat().st_mtime_ns for path in here.state.root.rglob("*") if path.is_file()} == before
    assert [step for step in steps if step != "folding"] == []
