"""What is asked, in which pieces and until when, by a service that answers as a law wants it to: no HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from zeotap_pipelines.delivery.trip import Summary
from zeotap_pipelines.destinations.base import Target
from zeotap_pipelines.errors import ApprovePlan, ContinueLater, FixTarget, RepairState, TryAgainLater
from zeotap_pipelines.hours import Hours
from zeotap_pipelines.model import ACCEPTED, Fate, Halt, Mode, Outcome, Receipt, Verb
from zeotap_pipelines.sandbox import Fault, SandboxTransport
from zeotap_pipelines.sync import Guards
from zeotap_pipelines.wire.tasks import OpenTask, OpenTasks
from zeotap_pipelines_tests.desk import Desk, at, people, world
from zeotap_pipelines_tests.world import Crash, Rows, World, day

REFUSED = Outcome(Fate.REJECTED, "refused", 400, untouched=True)
SILENT = Outcome(Fate.DEFERRED, "no answer", 500)
SPLIT = Receipt(REFUSED, split=True)


def journal(world: World) -> list[dict[str, Any]]:
    """The lines of all journals that were folded, and of the one that wasn't."""
    return [json.loads(line) for line in (world.root / "seen.jsonl").read_text().splitlines()]


def watched(world: World) -> World:
    """Keep what is in the journal when it is folded."""
    world.state = type(world.state)(world.state.root, lambda step: step == "folding" and _keep(world))
    return world


def _keep(world: World) -> None:
    with (world.root / "seen.jsonl").open("a") as file:
        file.write(world.ledger.journal_file.read_text())


def bad(*rows: int) -> Callable[[tuple[int, ...]], Receipt]:
    """Refuse a batch that holds any of *rows*, without saying which."""
    return lambda asked: Receipt(REFUSED, split=len(asked) > 1) if set(asked) & set(rows) else Receipt(ACCEPTED)


def test_a_batch_that_is_refused_is_asked_in_halves_until_who_is_to_blame_stands_alone(tmp_path: Path) -> None:
    desk = Desk(bad(2))
    here = watched(world(tmp_path, at(desk, items=8)))
    summary = here.deliver(people(7))
    assert desk.asked == [[0, 1, 2, 3, 4, 5, 6], [0, 1, 2], [0], [1, 2], [1], [2], [3, 4, 5, 6]]
    assert summary.fates == {Fate.ACCEPTED: 6, Fate.REJECTED: 1}
    assert (summary.asked, summary.left, summary.error) == (7, 0, None)
    assert [said["rows"] for said in journal(here) if said["kind"] == "asked"] == [
        *([[0, 6]], [[0, 2]], [[0, 0]], [[1, 2]], [[1, 1]], [[2, 2]], [[3, 6]])
    ], "each piece is written down before it is asked"
    assert all(one < after for one, after in pairwise(desk.moments))


def test_after_a_row_was_refused_alone_the_largest_piece_tells_most(tmp_path: Path) -> None:
    desk = Desk(bad(0, 1))
    world(tmp_path, at(desk, items=8)).deliver(people(8))
    assert desk.asked == [[0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 2, 3], [0, 1], [0], [4, 5, 6, 7], [1], [2, 3]]


def test_a_single_row_and_a_batch_that_ends_the_run_are_not_asked_in_halves(tmp_path: Path) -> None:
    alone = Desk(lambda rows: SPLIT)
    summary = world(tmp_path / "alone", at(alone, items=4)).deliver(people(1))
    assert (alone.asked, summary.fates) == ([[0]], {Fate.REJECTED: 1})

    def ends(rows: tuple[int, ...]) -> Receipt:
        raise Halt(Receipt(SILENT, split=True), FixTarget("nothing there"))

    ending = Desk(ends)
    summary = world(tmp_path / "ends", at(ending, items=4)).deliver(people(8))
    assert ending.asked == [[0, 1, 2, 3]]
    assert isinstance(summary.error, FixTarget)
    assert (summary.asked, summary.left) == (4, 4)


def test_what_is_left_of_a_batch_when_the_run_ends_is_owed_and_not_counted_as_asked(tmp_path: Path) -> None:
    def answer(rows: tuple[int, ...]) -> Receipt:
        if len(rows) == 1:
            raise Halt(Receipt(SILENT), TryAgainLater("enough"))
        return SPLIT

    desk = Desk(answer)
    here = world(tmp_path, at(desk, items=8))
    summary = here.deliver(people(8))
    assert desk.asked == [[0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 2, 3], [0, 1], [0]]
    assert (summary.asked, summary.fates, summary.left) == (1, {Fate.DEFERRED: 1}, 7)
    assert {state for _, state, _ in here.told("value, state, unsettled")} == {"unknown"}
    desk.answer = lambda rows: Receipt(ACCEPTED)
    assert here.carry_out().complete
    assert desk.asked[4:] == [[0, 1, 2, 3, 4, 5, 6, 7]], "and all of it is asked again"


@pytest.mark.parametrize(("alone", "ends"), [(19, False), (20, True)])
def test_a_request_that_nobody_is_accepted_by_is_at_fault_itself(tmp_path: Path, alone: int, ends: bool) -> None:
    desk = Desk(lambda rows: SPLIT)
    here = world(tmp_path, at(desk, items=alone))
    summary = here.deliver(people(alone))
    assert isinstance(summary.error, FixTarget) is ends
    if ends:
        assert str(summary.error) == "kognitiv refuses whatever sync asks, row by row: refused"
        assert summary.fates == {Fate.DEFERRED: 20}
        assert here.told() == [], "nobody looked at them: they are owed as before"
        desk.answer = lambda rows: Receipt(ACCEPTED)
        assert here.carry_out().fates == {Fate.ACCEPTED: 20}
    else:
        assert summary.fates == {Fate.REJECTED: 19}
        assert here.carry_out().asked == 0, "they were refused, each by itself"


def test_rows_are_to_blame_where_anybody_was_accepted(tmp_path: Path) -> None:
    desk = Desk(bad(*range(1, 40)))
    summary = world(tmp_path, at(desk, items=40)).deliver(people(40))
    assert (summary.error, summary.fates) == (None, {Fate.ACCEPTED: 1, Fate.REJECTED: 39})


def test_a_service_that_answers_now_and_then_is_not_given_up(tmp_path: Path) -> None:
    every_twentieth = Desk(lambda rows: Receipt(ACCEPTED if rows[0] % 20 == 19 else SILENT))
    summary = world(tmp_path / "some", at(every_twentieth)).deliver(people(60))
    assert (summary.asked, summary.error, summary.fates[Fate.ACCEPTED]) == (60, None, 3)
    rarely = Desk(lambda rows: Receipt(ACCEPTED if rows[0] == 3 else SILENT))
    summary = world(tmp_path / "rarely", at(rarely)).deliver(people(60))
    assert isinstance(summary.error, TryAgainLater)
    assert str(summary.error) == "kognitiv gives no usable answer (no answer): the rest waits"
    assert summary.asked == 24


@pytest.mark.parametrize(
    ("is_", "connection", "windows"),
    [
        ({}, {}, [64, 36]),
        ({"items": 10}, {}, [60, 40]),
        ({"items": 100}, {}, [100]),
        ({"items": 20}, {"concurrency": 5}, [100]),
        ({"items": 33}, {}, [33, 33, 33, 1]),
        ({"ordered": True}, {}, [1] * 100),
        ({"event": True}, {}, [2] * 50),
        ({"event": True}, {"concurrency": 5}, [5] * 20),
        ({"ordered": True, "items": 30}, {"concurrency": 5}, [30, 30, 30, 10]),
    ],
)
def test_as_much_is_written_down_at_once_as_a_crash_may_leave_unsure(
    tmp_path: Path, is_: dict[str, Any], connection: dict[str, Any], windows: list[int]
) -> None:
    here = watched(world(tmp_path, at(Desk(lambda rows: Receipt(ACCEPTED)), **is_), **connection))
    here.renamed(mode=Mode.ADD)
    assert here.deliver(people(100)).complete
    written = [sum(b - a + 1 for a, b in line["rows"]) for line in journal(here) if line["kind"] == "asked"]
    assert written == windows


def test_how_much_that_is_depends_on_the_verb(tmp_path: Path) -> None:
    def items(self: Target, verb: Verb) -> int:
        return 1 if verb is Verb.REMOVE else 50

    here = watched(world(tmp_path, at(Desk(lambda rows: Receipt(ACCEPTED)), batch_items=items)))
    here.deliver(people(100), day(0))
    here.deliver([], day(1))
    written = [sum(b - a + 1 for a, b in line["rows"]) for line in journal(here) if line["kind"] == "asked"]
    assert (written[0], written[2]) == (50, 64)


def test_how_much_of_additions_that_is_depends_on_theirs(tmp_path: Path) -> None:
    def items(self: Target, verb: Verb) -> int:
        return 50 if verb is Verb.REMOVE else 1

    verbs = frozenset({Verb.UPSERT, Verb.REMOVE})
    target = at(Desk(lambda rows: Receipt(ACCEPTED)), batch_items=items, verbs=verbs)
    here = watched(World(tmp_path, target=target, mode=Mode.UPSERT))
    here.deliver(people(100))
    written = [sum(b - a + 1 for a, b in line["rows"]) for line in journal(here) if line["kind"] == "asked"]
    assert written == [64, 36]


def test_what_is_withheld_is_not_what_is_left(tmp_path: Path) -> None:
    here = World(
        tmp_path,
        target=at(Desk(lambda rows: Receipt(ACCEPTED))),
        guards=Guards(max_removed_percent=100, max_set_aside_percent=100),
    )
    here.deliver(people(1))
    here.take(Rows({"customer": ["1", "2", "3", "4", None]}), day(1))
    summary = here.carry_out(day(1), limit=1)
    assert (summary.asked, summary.left, summary.withheld) == (1, 3, 1)
    assert isinstance(summary.error, ApprovePlan)


def test_moments_are_given_in_milliseconds_and_none_twice(tmp_path: Path) -> None:
    desk = Desk(lambda rows: Receipt(ACCEPTED))
    here = world(tmp_path, at(desk))
    here.clock.jump(timedelta(microseconds=123_987))
    here.deliver(people(3))
    first = datetime(2026, 11, 21, 8, 0, 0, 123_000, tzinfo=UTC)
    assert desk.moments == [first + timedelta(milliseconds=n) for n in range(3)]
    here.clock.jump(-timedelta(hours=1))
    here.deliver(people(4), day(1))
    assert desk.moments[3] == first + timedelta(milliseconds=3), "even if the clock goes back"


def test_nothing_is_asked_once_the_delivery_window_is_over(tmp_path: Path) -> None:
    here: World

    def answer(rows: tuple[int, ...]) -> Receipt:
        here.clock.pass_(600)
        return Receipt(ACCEPTED)

    desk = Desk(answer)
    here = world(tmp_path, at(desk))
    hours = Hours.of("08:00-08:25", [], "UTC")
    here.take(people(9))
    here.clock.jump(-timedelta(minutes=1))
    here.clock.pass_(60)
    summary = here.carry_out(trip=here.trip(hours=hours))
    assert summary.seconds == 1_800
    assert len(desk.asked) == 3, "what began before its end goes on"
    assert isinstance(summary.error, ContinueLater)
    assert str(summary.error) == "the delivery window is over until 2026-11-22 08:00 UTC"
    assert summary.error.until == datetime(2026, 11, 22, 8, tzinfo=UTC)
    assert summary.left == 6
    with pytest.raises(ContinueLater, match="outside its delivery window"):
        here.carry_out(trip=here.trip(hours=hours))
    assert len(desk.learnt) == 1, "not even whether the target is there"
    assert here.carry_out(trip=here.trip(hours=Hours.of("08:00-20:00", [], "UTC"))).complete


def test_a_run_that_is_through_when_its_window_is_over_is_complete(tmp_path: Path) -> None:
    here: World

    def answer(rows: tuple[int, ...]) -> Receipt:
        here.clock.pass_(600)
        return Receipt(ACCEPTED)

    here = world(tmp_path, at(Desk(answer)))
    here.take(people(3))
    summary = here.carry_out(trip=here.trip(hours=Hours.of("08:00-08:25", [], "UTC")))
    assert (summary.error, summary.complete, summary.asked) == (None, True, 3)


def test_progress_is_told_with_each_answer(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    desk = Desk(lambda rows: Receipt(ACCEPTED if rows[0] else SILENT))
    here = world(tmp_path, at(desk, items=2))

    def note(summary: Summary, of: int) -> None:
        told.append((summary.asked, of))

    here.take(people(5))
    here.carry_out(trip=here.trip(on_progress=note))
    here.carry_out(trip=here.trip(on_progress=note))
    assert told == [(2, 5), (4, 5), (5, 5), (2, 2)]


def test_a_conversation_learns_what_the_sync_maps(tmp_path: Path) -> None:
    desk = Desk(lambda rows: Receipt(ACCEPTED))
    world(tmp_path, at(desk)).deliver(people(1))
    assert [(visit.fields, visit.constants) for visit in desk.learnt] == [(("member_internal_id",), {})]


def test_a_defect_ends_the_run_and_is_raised(tmp_path: Path) -> None:
    def answer(rows: tuple[int, ...]) -> Receipt:
        if rows == (2,):
            raise ZeroDivisionError("a defect")
        return Receipt(ACCEPTED)

    desk = Desk(answer)
    here = world(tmp_path, at(desk))
    with pytest.raises(ZeroDivisionError, match="a defect") as raised:
        here.deliver(people(9))
    assert not hasattr(raised.value, "__notes__")
    assert desk.asked == [[0], [1], [2]]
    assert [value for value, state in here.told() if state == "in"] == people(9)[:2]
    desk.answer = lambda rows: Receipt(ACCEPTED)
    assert here.carry_out().fates == {Fate.ACCEPTED: 7}


def test_a_run_that_somebody_stops_says_how_far_it_came(tmp_path: Path) -> None:
    def answer(rows: tuple[int, ...]) -> Receipt:
        if rows == (2,):
            raise Crash
        return Receipt(ACCEPTED)

    with pytest.raises(Crash) as stopped:
        world(tmp_path, at(Desk(answer))).deliver(people(9))
    assert stopped.value.__notes__ == ["2 of 9 operations were asked, the others are owed"]


@pytest.mark.parametrize("halts", [False, True])
def test_what_can_not_be_kept_is_said_unless_something_worse_ended_the_run(tmp_path: Path, halts: bool) -> None:
    here: World

    def answer(rows: tuple[int, ...]) -> Receipt:
        (here.state.root / "outcomes").write_text("in the way of a folder")
        if halts:
            raise Halt(Receipt(SILENT), TryAgainLater("the service is down"))
        return Receipt(ACCEPTED)

    desk = Desk(answer)
    here = world(tmp_path, at(desk, items=9))
    if halts:
        assert str(here.deliver(people(3)).error) == "the service is down"
    else:
        with pytest.raises(RepairState, match=r"outcomes.* can't be made: "):
            here.deliver(people(3))
    (here.state.root / "outcomes").unlink()
    desk.answer = lambda rows: Receipt(ACCEPTED)
    assert here.carry_out().asked == (3 if halts else 0), "the journal had kept them"


def test_what_is_under_way_when_another_one_fails_is_heard_to_its_end(tmp_path: Path) -> None:
    def answer(rows: tuple[int, ...]) -> Receipt:
        if rows == (1,):
            raise ZeroDivisionError("a defect")
        return Receipt(ACCEPTED)

    desk = Desk(answer)
    here = world(tmp_path, at(desk, asks=True), concurrency=2)
    here.sandbox.faults.add(Fault(kind="delay", seconds=5.0, path="/promotionalMember$", nth=1))

    async def long(seconds: float) -> None:
        for _ in range(500):  # Whoever does not wait for the first one has gone by then.
            await asyncio.sleep(0)

    here.take(people(9))
    with pytest.raises(ZeroDivisionError, match="a defect"):
        here.carry_out(trip=here.trip(transport=SandboxTransport(here.sandbox, sleep=long)))
    assert [row for (row,) in desk.asked] == [1, 0], "the first one was answered later"
    assert [value for value, state in here.told() if state == "in"] == people(1)


def test_what_must_not_overlap_goes_one_after_the_other_and_the_rest_beside_it(tmp_path: Path) -> None:
    """See also the law on credits, which are kept apart by member and activity."""
    names: list[int] = []

    def apart(self: Target, operation: Any) -> str | None:
        names.append(operation.row)
        return None

    desk = Desk(lambda rows: Receipt(ACCEPTED))
    world(tmp_path, at(desk, items=3, apart=apart)).deliver(people(5))
    assert names == [0, 3], "a batch is known by its first operation"


def test_what_another_plan_s_task_still_does_is_waited_for_and_one_s_own_is_not(tmp_path: Path) -> None:
    desk = Desk(lambda rows: Receipt(ACCEPTED))
    here = world(tmp_path, at(desk))
    here.take(people(2))
    plan, now = here.plan(), here.clock.now()
    tasks = OpenTasks(here.state.account(here.sync.address) / "tasks.jsonl")
    tasks.begun(OpenTask("ours", False, plan.id, now, 600.0))
    tasks.begun(OpenTask("over", False, plan.id, now - timedelta(seconds=600), 600.0))
    tasks.begun(OpenTask("another's", False, "another", now, 40.0))
    tasks.begun(OpenTask("heard", True, "another", now, 600.0))
    assert here.carry_out().complete
    assert here.clock.monotonic() == 40.0
    assert [task.name for task in tasks.open()] == ["ours"], "it does the same again"
    assert desk.waited_for == ["heard"], "the service says when"


def test_the_rest_of_a_batch_is_not_reached_when_the_run_ends(tmp_path: Path) -> None:
    def answer(rows: tuple[int, ...]) -> Receipt:
        if len(rows) == 1:
            raise Halt(Receipt(SILENT), TryAgainLater("enough"))
        return SPLIT

    here = world(tmp_path, at(Desk(answer), items=4))
    here.deliver(people(4))
    [outcomes] = here.state.outcomes("sync", day(0).key).glob("*.parquet")
    said = parquet.read_table(outcomes, columns=["row", "reason"]).to_pylist()
    assert {row["row"]: row["reason"] for row in said} == {
        **{0: "no answer"},
        **dict.fromkeys((1, 2, 3), "not reached"),
    }


def test_where_order_matters_whatever_is_asked_later_is_of_a_later_moment(tmp_path: Path) -> None:
    desk = Desk(bad(1, 6))
    assert world(tmp_path, at(desk, items=4, ordered=True, asks=True)).deliver(people(12)).fates[Fate.ACCEPTED] == 10
    assert len(desk.asked) > 9, "some were asked in halves"
    assert all(one < after for one, after in pairwise(desk.moments))
