"""The journal: what was written stays, what a crash cut off never was, and every line has its number."""

import json
import os
import resource
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zeotap_pipelines.errors import RepairState
from zeotap_pipelines.ledger.journal import Journal, follows, plans_asked_for, read_header, read_id, spans
from zeotap_pipelines.model import ACCEPTED, Batch, Fate, Operation, Outcome, Receipt, Verb

MOMENT = datetime(2026, 11, 21, 8, tzinfo=UTC).isoformat()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "target" / "journal.jsonl"


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def batch(*rows: int) -> Batch:
    return Batch(tuple(Operation(row, Verb.ADD, "{}") for row in rows), datetime(2026, 11, 21, tzinfo=UTC))


@given(st.sets(st.integers(0, 40)))
def test_ranges_say_the_rows_that_were_said_in_as_few_words_as_there_may_be(rows: set[int]) -> None:
    said = spans(iter(sorted(rows)))
    assert [row for first, last in said for row in range(first, last + 1)] == sorted(rows)
    assert all(first - last > 1 for (_, last), (first, _) in pairwise(said))


def test_a_new_journal_follows_none_and_holds_nothing(path: Path) -> None:
    assert (read_header(path), read_id(path), follows(path), plans_asked_for(path)) == (None, None, False, [])
    with Journal(path) as journal:
        assert (journal.lines, journal.empty) == (1, True)
        assert lines(path) == [{"n": 0, "kind": "journal", "id": journal.id}]
    assert len(bytes.fromhex(journal.id)) == 16, "no two have one name"
    assert (read_id(path), follows(path)) == (journal.id, False)


def test_lines_are_numbered_through_however_often_it_is_opened(path: Path) -> None:
    for run in range(1, 4):
        with Journal(path) as journal:
            journal.append("asked", plan=f"Plän {run}")
            assert (journal.lines, journal.empty) == (2 * run, False)
            journal.append("answered", plan="b")
    assert [line["n"] for line in lines(path)] == list(range(7))
    assert len({line.get("id") for line in lines(path)}) == 2, "and it keeps its name"
    assert "Plän 1" in path.read_text(), "a line is as a person reads it"


def test_a_journal_that_is_begun_anew_follows_the_one_that_was_folded(path: Path) -> None:
    with Journal(path) as journal:
        open_before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            before = journal.id
            journal.append("asked", plan="a")
            journal.restart()
            assert (journal.lines, journal.empty) == (1, True)
            assert journal.id != before
            assert lines(path) == [{"n": 0, "kind": "journal", "id": journal.id, "follows": before}]
            assert follows(path)
            assert read_header(path) == (journal.id, before)
        journal.append("asked", plan="b")
        assert [line["kind"] for line in lines(path)] == ["journal", "asked"], "and goes on in the new one"
        assert len(os.listdir("/proc/self/fd")) == open_before, "the old one is closed"


@pytest.mark.parametrize("length", [1, 40, 65_000, 65_530, 65_536, 65_600, 140_000])
def test_a_line_that_a_crash_cut_off_never_was(path: Path, length: int) -> None:
    with Journal(path) as journal:
        journal.append("asked", plan="a")
        journal.append("asked", plan="b" * length)
        journal.append("asked", plan="c" * length)
    whole = path.read_bytes()
    before_last = whole.rstrip(b"\n").rfind(b"\n") + 1
    for cut in {before_last + 1, before_last + 20, (before_last + len(whole)) // 2, len(whole) - 1}:
        path.write_bytes(whole[:cut])
        with Journal(path) as journal:
            assert path.read_bytes() == whole[:before_last]
            assert journal.lines == 3
            journal.append("asked", plan="d")
        assert [line["n"] for line in lines(path)] == [0, 1, 2, 3]
    path.write_bytes(whole)
    with Journal(path) as journal:
        assert (path.read_bytes(), journal.lines) == (whole, 4)


def test_of_a_journal_cut_off_in_its_second_line_the_first_is_left(path: Path) -> None:
    with Journal(path) as journal:
        name = journal.id
    first = path.read_bytes()
    path.write_bytes(first + b'{"n": 1, "kind": "beg')
    with Journal(path) as journal:
        assert (journal.id, journal.lines, path.read_bytes()) == (name, 1, first)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 70_000), max_size=4), st.data())
def test_whatever_is_cut_off_the_whole_lines_are_left(tmp_path_factory, lengths: list[int], data) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal.jsonl"
    with Journal(path) as journal:
        for length in lengths:
            journal.append("asked", plan="x" * length)
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    cut = data.draw(st.integers(first, len(whole)))
    path.write_bytes(whole[:cut])
    with Journal(path) as journal:
        left = whole[: whole[:cut].rfind(b"\n") + 1]
        assert path.read_bytes() == left
        assert journal.lines == left.count(b"\n")


@pytest.mark.parametrize("first", [b"", b"nothing\n", b"[]\n", b"3\n", b"{}\n", b'{"kind": "asked", "id": "x"}\n'])
def test_what_does_not_begin_as_one_is_no_journal(path: Path, first: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(first + b'{"n": 1, "kind": "asked", "plan": "a"}\n')
    for ask in (Journal, read_header, read_id, follows, plans_asked_for):
        with pytest.raises(RepairState, match="is not a journal: its first line names none"):
            ask(path)


@pytest.mark.parametrize("last", [b"nothing\n", b"[]\n", b"3\n", b"{}\n", b'{"n": null}\n', b'{"n": "x"}\n'])
def test_a_journal_whose_last_line_says_nothing_is_damaged(path: Path, last: bytes) -> None:
    with Journal(path):
        pass
    with path.open("ab") as file:
        file.write(last)
    with pytest.raises(RepairState, match="is damaged in its last line"):
        Journal(path)


@pytest.mark.parametrize("line", [b"nothing\n", b"[]\n", b"3\n", b"{}\n", b'{"kind": "asked"}\n'])
def test_a_damaged_journal_does_not_say_what_was_asked_for(path: Path, line: bytes) -> None:
    with Journal(path):
        pass
    with path.open("ab") as file:
        file.write(line)
    with pytest.raises(RepairState, match="is damaged"):
        plans_asked_for(path)


def test_the_plans_that_were_asked_for_are_told_once_each_in_their_order(path: Path) -> None:
    with Journal(path) as journal:
        journal.append("begin", plan="never asked")
        for plan in ("b", "a", "b"):
            journal.asked(plan, [1], MOMENT)
            journal.answered(plan, batch(1), Receipt(ACCEPTED), MOMENT)
    with path.open("ab") as file:
        file.write(b'{"n": 8, "kind": "asked", "plan": "c"')
    assert plans_asked_for(path) == ["b", "a"]


def test_an_answer_is_written_with_whatever_differs_from_it_and_nothing_that_says_nothing(path: Path) -> None:
    refused = Outcome(Fate.REJECTED, "unknown", 404, untouched=True, final=True, request="r-1")
    with Journal(path) as journal:
        journal.asked("p", [3, 4, 5, 9], MOMENT)
        journal.answered("p", batch(3, 4, 5, 9), Receipt(ACCEPTED), MOMENT)
        journal.answered("p", batch(3), Receipt(refused, {4: ACCEPTED, 5: Outcome(Fate.DEFERRED)}), MOMENT, unsure=True)
    said = {"plan": "p", "moment": MOMENT}
    assert lines(path)[1:] == [
        {"n": 1, "kind": "asked", "rows": [[3, 5], [9, 9]], **said},
        {"n": 2, "kind": "answered", "rows": [[3, 5], [9, 9]], "fate": "accepted", **said},
        {
            **{"n": 3, "kind": "answered", "rows": [[3, 3]], **said, "unsure": True},
            **{"fate": "rejected", "reason": "unknown", "status": 404},
            **{"untouched": True, "final": True, "request": "r-1"},
            "except": [{"row": 4, "fate": "accepted"}, {"row": 5, "fate": "deferred"}],
        },
    ]


def test_each_step_is_witnessed_when_it_is_done(path: Path) -> None:
    seen: list[tuple[str, int]] = []
    with Journal(path, lambda step: seen.append((step, len(lines(path))))) as journal:
        journal.append("begin", plan="p")
        journal.flush()
        journal.restart()
    assert seen == [("begin", 2), ("flushed", 2), ("restarted", 1)]


def test_a_journal_that_takes_no_more_says_so_and_counts_no_line(path: Path) -> None:
    journal = Journal(path)
    journal.close()
    for write in (journal.sync, journal.flush, lambda: journal.append("asked", plan="a")):
        with pytest.raises(RepairState, match=r"can't be written, nothing more is asked: Bad file descriptor"):
            write()
    assert journal.lines == 1


@pytest.mark.parametrize("room", [0, 1, 20])
def test_a_disk_that_takes_a_part_of_a_line_leaves_none_of_it(path: Path, room: int) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Journal(path) as journal:
        journal.append("asked", plan="a")
        whole = path.read_bytes()
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + room, before[1]))
        try:
            with pytest.raises(RepairState, match=r"can't be written, nothing more is asked"):
                journal.append("asked", plan="b")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert (path.read_bytes(), journal.lines) == (whole, 2)
        journal.append("asked", plan="c")
    assert [line.get("plan") for line in lines(path)] == [None, "a", "c"]


def test_a_folder_in_its_place_is_said_so(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(RepairState, match=r"can't be written, nothing more is asked: Is a directory"):
        Journal(path)
