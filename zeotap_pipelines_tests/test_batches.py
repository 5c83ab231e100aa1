"""What is owed is cut into batches, and each is handed out once, written down before: no HTTP, no disk."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet as parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zeotap_pipelines.delivery.feed import Feed
from zeotap_pipelines.delivery.owed import PIECE, SoFar, Trial, cut, owed
from zeotap_pipelines.destinations.kognitiv import PromotionalMemberGroup
from zeotap_pipelines.model import Batch, Operation, Verb

bodies = st.text("aü", max_size=12)
runs = st.lists(st.tuples(st.sampled_from([Verb.ADD, Verb.UPSERT]), st.lists(bodies, min_size=1, max_size=9)))


def numbered(given: list[tuple[Verb, list[str]]]) -> list[list[Operation]]:
    number = count()
    return [[Operation(next(number), verb, body) for body in some] for verb, some in given]


def narrow(items: int, most: int | None) -> PromotionalMemberGroup:
    kind: Any = type("Narrow", (PromotionalMemberGroup,), {"items": items, "max_bytes": most})
    target: PromotionalMemberGroup = kind("ACTIVE-90D")
    return target


def size(operations: Sequence[Operation]) -> int:
    """The bytes of the bodies, with a comma after each."""
    return sum(len(operation.body.encode()) + 1 for operation in operations)


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(runs, st.integers(1, 5), st.none() | st.integers(1, 30))
def test_batches_are_of_one_verb_within_the_limits_in_order_and_as_large_as_they_can_be(
    given: list[tuple[Verb, list[str]]], items: int, most: int | None
) -> None:
    asked = numbered(given)
    batches = list(cut(iter(asked), narrow(items, most)))
    assert [one for batch in batches for one in batch] == [one for run in asked for one in run]
    for batch in batches:
        assert len({operation.verb for operation in batch}) == 1
        assert len(batch) <= items
        assert most is None or len(batch) == 1 or size(batch) <= most, "what is too large alone travels alone"
    for one, after in pairwise(batches):
        full = len(one) == items or (most is not None and size(one) + size(after[:1]) > most)
        assert full or one[0].verb is not after[0].verb


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(runs, st.none() | st.integers(0, 12), st.none() | st.frozensets(st.integers(0, 30)))
def test_a_trial_sends_the_first_of_the_rows_that_it_names_and_no_more_than_its_limit(
    given: list[tuple[Verb, list[str]]], limit: int | None, only: frozenset[int] | None
) -> None:
    asked = numbered(given)
    sent = [one.row for run in Trial(limit, only).of(iter(asked)) for one in run]
    assert all(Trial(limit, only).of(iter(asked))), "no run is empty"
    named = [one.row for run in asked for one in run if only is None or one.row in only]
    assert sent == named[:limit]


@pytest.mark.parametrize("together", [None, PIECE])
@pytest.mark.parametrize("done", [(), (7,)])
@pytest.mark.parametrize("removing", [False, True])
def test_a_plan_is_read_to_its_end_in_however_many_pieces(
    tmp_path: Path, removing: bool, done: tuple[int, ...], together: int | None
) -> None:
    many = PIECE + PIECE // 2
    verbs = [Verb.ADD] * many + [Verb.REMOVE] * many
    columns = {"row": list(range(2 * many)), "verb": [verb.value for verb in verbs], "key": ["key"] * 2 * many}
    columns |= {"digest": [1] * 2 * many, "body": ["{}"] * 2 * many, "repeated": [False] * 2 * many}
    parquet.write_table(pyarrow.table(columns), tmp_path / "plan.parquet", row_group_size=together)
    mine = range(many, 2 * many) if removing else range(many)
    so_far = SoFar(done=frozenset(row + n for row in done for n in (0, many)), unsure=frozenset({9, many + 9}))
    runs = list(owed(tmp_path / "plan.parquet", so_far, removing=removing))
    found = [operation for run in runs for operation in run]
    assert [one.row for one in found] == [row for row in mine if row not in so_far.done]
    assert {one.verb for one in found} == {Verb.REMOVE if removing else Verb.ADD}
    assert [one.row for one in found if one.repeated] == [row for row in mine if row in so_far.unsure]
    assert max(len(run) for run in runs) <= PIECE, "so much is in memory at once"


class Written:
    """What was written down, and when the disk lets it be."""

    def __init__(self) -> None:
        self.rows: list[list[int]] = []
        self.error: Exception | None = None
        self.disk = asyncio.Event()
        self.disk.set()

    async def __call__(self, batches: Sequence[Batch]) -> None:
        await self.disk.wait()
        if self.error:
            raise self.error
        self.rows.append([row for batch in batches for row in batch.rows])

    def has(self, batch: Batch) -> bool:
        return any(set(batch.rows) <= set(rows) for rows in self.rows)


def feeding(law: Callable[[Feed, Written, list[int]], Awaitable[None]], batches: int, window: int, ahead: bool) -> None:
    """Put a feed of so many batches of two operations to *law*, with what it wrote, and which rows were cut."""

    async def play() -> None:
        cut_by_now: list[int] = []

        def pairs() -> Iterator[tuple[Operation, ...]]:
            for number in range(batches):
                cut_by_now.append(2 * number)
                yield tuple(Operation(2 * number + n, Verb.ADD, "{}") for n in (0, 1))

        moments = (datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=n) for n in count())
        written = Written()
        feed = Feed(pairs(), lambda: next(moments), written, window, ahead=ahead)
        await law(feed, written, cut_by_now)

    asyncio.run(play())


async def rest() -> None:
    """Let everybody go on as far as he can."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.mark.parametrize("ahead", [True, False])
@pytest.mark.parametrize("speakers", [1, 3])
@pytest.mark.parametrize(("batches", "window"), [(0, 2), (1, 1), (7, 1), (7, 2), (8, 4), (3, 10)])
def test_every_batch_is_handed_out_once_in_order_after_it_was_written_down(
    batches: int, window: int, speakers: int, ahead: bool
) -> None:
    taken: list[Batch] = []

    async def law(feed: Feed, written: Written, _: list[int]) -> None:
        async def speak() -> None:
            while batch := await feed.take():
                assert written.has(batch)
                feed.begun(batch)
                taken.append(batch)
                ahead_of_us = [row for rows in written.rows for row in rows if row > batch.rows[-1]]
                assert len(ahead_of_us) <= 2 * window
                await rest()

        await asyncio.gather(*(speak() for _ in range(speakers)))
        assert await feed.take() is None
        assert await feed.close() == []
        assert all(len(rows) <= 2 * window for rows in written.rows)

    feeding(law, batches, window, ahead)
    assert [row for batch in taken for row in batch.rows] == list(range(2 * batches))
    assert all(one.at < after.at for one, after in pairwise(taken))


def test_with_ahead_the_next_window_is_being_written_while_there_is_something_to_ask() -> None:
    async def law(feed: Feed, written: Written, _: list[int]) -> None:
        feed.begun(await feed.take())  # type: ignore[arg-type]
        await rest()
        written.disk.clear()
        handed = 1
        wanting = asyncio.create_task(feed.take())
        await rest()
        while wanting.done():  # Whoever asks gets what is there while the disk is busy.
            batch = await wanting
            assert batch is not None and written.has(batch)
            handed += 1
            wanting = asyncio.create_task(feed.take())
            await rest()
        assert handed >= 4
        written.disk.set()
        batch = await wanting
        assert batch is not None and written.has(batch)

    feeding(law, 20, 4, ahead=True)


def test_the_next_window_is_begun_when_half_of_one_is_left() -> None:
    async def law(feed: Feed, written: Written, _: list[int]) -> None:
        windows = []
        for _ in range(6):
            assert await feed.take()
            await rest()
            windows.append(len(written.rows))
        assert windows == [1, 1, 2, 2, 2, 3]

    feeding(law, 40, 6, ahead=True)


def test_without_ahead_the_next_window_is_cut_before_it_is_wanted_and_written_only_then() -> None:
    async def law(feed: Feed, written: Written, cut_by_now: list[int]) -> None:
        for _ in range(2):
            feed.begun(await feed.take())  # type: ignore[arg-type]
            await rest()
        assert written.rows == [[0, 1, 2, 3]] and cut_by_now == [0, 2, 4, 6]
        assert await feed.take()
        assert written.rows == [[0, 1, 2, 3], [4, 5, 6, 7]]

    feeding(law, 20, 2, ahead=False)


def test_whatever_was_written_down_and_nobody_began_is_returned_at_the_end_even_if_it_is_being_written() -> None:
    async def law(feed: Feed, written: Written, _: list[int]) -> None:
        first, second = await feed.take(), await feed.take()
        assert first and second
        feed.begun(first)
        written.disk.clear()
        third = await feed.take()
        assert third
        await rest()
        closing = asyncio.create_task(feed.close())
        await rest()
        assert not closing.done(), "it waits for the disk"
        written.disk.set()
        left = [row for batch in await closing for row in batch.rows]
        assert left == sorted({row for rows in written.rows for row in rows} - set(first.rows))
        assert len(left) > 2 * 3, "of two windows"

    feeding(law, 20, 4, ahead=True)


@pytest.mark.parametrize("ahead", [True, False])
def test_what_writing_raised_is_raised_to_whoever_wants_a_batch(ahead: bool) -> None:
    async def law(feed: Feed, written: Written, _: list[int]) -> None:
        written.error = OSError("the disk is full")
        wanting = await asyncio.gather(feed.take(), feed.take(), return_exceptions=True)
        assert [str(error) for error in wanting] == ["the disk is full"] * 2

    feeding(law, 3, 2, ahead)


def test_whoever_stops_waiting_takes_nothing_away_from_the_others() -> None:
    async def law(feed: Feed, written: Written, _: list[int]) -> None:
        written.disk.clear()
        impatient, patient = asyncio.create_task(feed.take()), asyncio.create_task(feed.take())
        await rest()
        impatient.cancel()
        await rest()
        written.disk.set()
        batch = await patient
        assert batch and batch.rows == (0, 1)

    feeding(law, 3, 1, ahead=True)


def test_runs_of_one_verb_share_batches() -> None:
    asked = numbered([(Verb.ADD, ["a"]), (Verb.ADD, ["b"]), (Verb.UPSERT, ["c"])])
    found = [[one.body for one in batch] for batch in cut(iter(asked), narrow(5, None))]
    assert found == [list(some) for some in (["a", "b"], ["c"])]


def test_the_bytes_are_counted_anew_when_the_verb_changes() -> None:
    asked = numbered([(Verb.ADD, ["a"]), (Verb.UPSERT, ["b", "cc"])])
    found = [[one.body for one in batch] for batch in cut(iter(asked), narrow(5, 4))]
    assert found == [["a"], ["b"], ["cc"]], "five bytes are one too many"


def test_a_run_of_many_is_cut_to_its_end() -> None:
    asked = numbered([(Verb.ADD, ["a"] * 1_000)])
    assert [len(batch) for batch in cut(iter(asked), narrow(300, None))] == [300, 300, 300, 100]


def test_a_trial_reads_no_further_than_its_limit() -> None:
    asked = iter(numbered([(Verb.ADD, ["a", "b"]), (Verb.ADD, ["c"]), (Verb.ADD, ["d"]), (Verb.ADD, ["e"])]))
    assert [len(run) for run in Trial(limit=3).of(asked)] == [2, 1]
    assert [run[0].body for run in asked] == ["e"], "one more was looked at"


def test_the_bytes_are_counted_anew_in_each_batch() -> None:
    asked = numbered([(Verb.ADD, ["a", "a", "a", "aaa"])])
    found = [[one.body for one in batch] for batch in cut(iter(asked), narrow(9, 5))]
    assert found == [["a", "a"], ["a"], ["aaa"]], "six bytes are one too many"
