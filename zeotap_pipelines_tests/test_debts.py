"""The note on what a sync owes: nothing of it is forgotten, and what waits for a person is nobody else's."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zeotap_pipelines.delivery.debts import PATIENCE, Debt, Due, Owing, caught_up, load, noting
from zeotap_pipelines.delivery.notes import OWED, place
from zeotap_pipelines.delivery.trip import Summary
from zeotap_pipelines.errors import ApprovePlan, AskForRestore, ContinueLater, FixConnection, TryAgainLater
from zeotap_pipelines.model import Fate
from zeotap_pipelines.sandbox import Fault
from zeotap_pipelines.upkeep import by_hand
from zeotap_pipelines.upkeep.doubts import Decision
from zeotap_pipelines_tests.specimens import EXAMPLES
from zeotap_pipelines_tests.world import Clock, World, day

NOW = datetime(2026, 11, 22, 8, tzinfo=UTC)
EVENTS = next(specimen for specimen in EXAMPLES if specimen.target.event)


class Books:
    """The note of a sync, and what it should say."""

    def __init__(self, root: Path, *, events: bool = False) -> None:
        self.world = World(root, EVENTS) if events else World(root)

    def debt(self, run: str = "run", **allowed: Any) -> Debt:
        return Debt(self.world.state, self.world.sync, run, allowed, clock=Clock(NOW))

    @property
    def note(self) -> Owing | None:
        return load(self.world.state, self.world.sync)

    @property
    def owing(self) -> Owing:
        assert self.note
        return self.note

    @property
    def owed(self) -> set[str]:
        return set(self.note.partitions) if self.note else set()


@settings(max_examples=60, deadline=None)
@given(st.booleans(), st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2), st.booleans()), min_size=1, max_size=8))
def test_no_partition_that_owes_something_is_forgotten(events: bool, runs: list[tuple[int, int, bool]]) -> None:
    with TemporaryDirectory() as folder:
        books = Books(Path(folder), events=events)
        owed: set[int] = set()
        for first, more, ends_well in runs:
            chosen = list(range(first, first + more + 1))
            debt = books.debt()
            debt.begins([day(number) for number in chosen])
            if events:
                owed |= set(chosen)
            elif not owed or chosen[-1] >= max(owed):
                owed = set(chosen)
            if ends_well:
                debt.delivered([day(number) for number in chosen])
                owed = {number for number in owed if number not in chosen and (events or number > chosen[-1])}
            else:
                debt.failed(TryAgainLater("down"))
            assert books.owed == {day(number).key for number in owed}


RUNS = st.tuples(
    st.integers(0, 5), st.integers(0, 2), st.booleans(), st.sampled_from(["well", "later", "person", "stopped", "died"])
)


@settings(max_examples=60, deadline=None)
@given(st.booleans(), st.lists(RUNS, min_size=2, max_size=8))
def test_a_run_says_nothing_of_partitions_that_it_does_not_deliver(
    events: bool, runs: list[tuple[int, int, bool, str]]
) -> None:
    with TemporaryDirectory() as folder:
        books = Books(Path(folder), events=events)
        for number, (first, more, restore, ends) in enumerate(runs):
            before = books.note.partitions if books.note else {}
            chosen = [day(one) for one in range(first, first + more + 1)]
            debt = books.debt(str(number), **({"restore": True} if restore else {}))
            debt.begins(chosen)
            if ends == "well":
                debt.delivered(chosen)
            elif ends == "stopped":
                debt.stopped()
            elif ends != "died":
                debt.failed(TryAgainLater("down") if ends == "later" else ApprovePlan("stopped"))
            after = books.note.partitions if books.note else {}
            others = after.keys() - {one.key for one in chosen}
            assert {key: after[key] for key in others} == {key: before[key] for key in others}


def test_a_restored_partition_is_what_is_owed(tmp_path: Path) -> None:
    books = Books(tmp_path)
    books.debt().begins([day(3)])
    books.debt(restore=True).begins([day(1)])
    assert books.owed == {day(1).key}


@pytest.mark.parametrize("superseded", [0, 1, 2, 3])
def test_what_is_restored_is_owed_until_a_partition_that_is_newer_than_all_that_were_told(
    tmp_path: Path, superseded: int
) -> None:
    books = Books(tmp_path)
    books.world.deliver(["1", "2"], day(0))
    books.world.deliver(["1"], day(3))
    restoring = books.debt("restoring", restore=True)
    restoring.begins([day(0)])
    restoring.failed(TryAgainLater("down"))
    before = books.owing
    assert before.partitions == {
        day(0).key: Due(day(0).end.isoformat(), None, {"restore": True}, day(3).end.isoformat())
    }
    other = books.debt("other")
    other.begins([day(superseded)])
    assert books.owing == before
    other.failed(TryAgainLater("down"))
    other.delivered([day(superseded)], superseded=True)
    assert books.owing == before
    newer = books.debt("newer")
    newer.begins([day(4)])
    assert books.owed == {day(4).key}


def test_what_is_restored_and_waits_for_a_person_is_not_forgotten_for_what_it_went_back_from(tmp_path: Path) -> None:
    books = Books(tmp_path)
    books.world.deliver(["1"], day(1))
    restoring = books.debt("restoring", restore=True)
    restoring.begins([day(0)])
    restoring.failed(ApprovePlan("too many"))
    other = books.debt("other")
    other.begins([day(1)])
    assert books.owing.going == [day(1).key] and books.owed == {day(0).key, day(1).key}
    other.delivered([day(1)])
    assert books.owed == {day(0).key}
    books.debt("newer").delivered([day(2)])
    assert books.owed == set()


def test_who_gets_nothing_accepted_waits_longer_each_time_and_starts_anew_when_he_does(tmp_path: Path) -> None:
    books = Books(tmp_path)
    waits = []
    for run, accepted in enumerate((False, False, False, True, False)):
        debt = books.debt(str(run))
        debt.begins([day(0)])
        summary = Summary("plan", day(0).key)
        summary.fates[Fate.DEFERRED] = 1
        summary.fates[Fate.ACCEPTED] = int(accepted)
        debt.ended(summary)
        assert books.owing.until
        waits.append((books.owing.until - NOW) / PATIENCE)
    assert waits == [1, 2, 4, 1, 2]


@pytest.mark.parametrize("error", [ApprovePlan("stopped"), FixConnection("refused"), ValueError("a defect")])
def test_what_only_a_person_can_mend_waits_for_one(tmp_path: Path, error: Exception) -> None:
    books = Books(tmp_path)
    debt = books.debt()
    debt.begins([day(0)])
    debt.failed(error)
    assert "waits for a person" in str(books.owing.reason_to_wait(NOW + timedelta(days=99)))


def test_what_the_service_names_is_waited_for(tmp_path: Path) -> None:
    books = Books(tmp_path)
    debt = books.debt()
    debt.begins([day(0)])
    debt.failed(ContinueLater("busy", NOW + timedelta(hours=2)))
    found = books.owing
    assert found.reason_to_wait(NOW + timedelta(hours=1)) == "goes on at 2026-11-22 10:00 UTC: busy"
    assert found.reason_to_wait(NOW + timedelta(hours=2)) is None


def test_a_run_that_dies_again_and_again_is_asked_for_less_and_less_often(tmp_path: Path) -> None:
    books = Books(tmp_path)
    waits = []
    for run in "abcde":
        books.debt(run).begins([day(0)])
        until = books.owing.until
        waits.append((until - NOW) / PATIENCE if until else 0)
    assert waits == [0, 1, 2, 4, 8]
    books.debt("e").begins([day(0)])  # A retry of the same run is no death.
    assert books.owing.attempts == 4


def test_earlier_partitions_of_events_follow_each_other_without_a_wait(tmp_path: Path) -> None:
    books = Books(tmp_path, events=True)
    books.debt("a").begins([day(0), day(1), day(2)])
    for run, number in (("b", 2), ("c", 1)):
        debt = books.debt(run)
        debt.begins([day(number)])
        debt.delivered([day(number)])
        assert books.owing.reason_to_wait(NOW) is None and books.owing.attempts == 0
    assert books.owed == {day(0).key}


@pytest.mark.parametrize("error", [RuntimeError("a defect"), FixConnection("unset"), OSError("no such folder")])
def test_whatever_ends_a_run_is_noted(tmp_path: Path, error: Exception) -> None:
    books = Books(tmp_path)
    debt = books.debt()
    with pytest.raises(type(error)), noting(debt):
        debt.begins([day(0)])
        raise error
    assert "waits for a person" in str(books.owing.reason_to_wait(NOW))


def test_another_state_has_another_name(tmp_path: Path) -> None:
    books = Books(tmp_path)
    names = set()
    for run in ("a", "b"):
        books.debt(run).begins([day(0)])
        names.add(books.owing.name)
    assert len(names) == 2


def test_what_waits_for_a_person_goes_on_waiting_when_an_older_partition_is_delivered(tmp_path: Path) -> None:
    books = Books(tmp_path)
    wrong = books.debt("wrong")
    wrong.begins([day(3)])
    wrong.stopped()
    older = books.debt("older")
    older.begins([day(2)])
    assert books.owing.going == [day(2).key], "what is older may be asked, since nothing newer goes on"
    older.delivered([day(2)])
    assert books.owed == {day(3).key}
    assert books.owing.reason_to_wait(NOW) == "waits for a person: the run was stopped"
    books.debt("again").begins([day(3)])
    assert books.owing.going == [day(3).key], "a person has materialized it"


def test_an_older_partition_that_fails_holds_up_nothing_newer_and_is_not_forgotten_for_what_waits(
    tmp_path: Path,
) -> None:
    books = Books(tmp_path)
    books.debt("newer").begins([day(3)])
    older = books.debt("older")
    older.begins([day(2)])
    older.failed(ApprovePlan("stopped"))
    assert books.owing.going == [day(3).key] and books.owed == {day(3).key}
    newer = books.debt("newer")
    newer.begins([day(3)])
    newer.failed(FixConnection("refused"))
    older = books.debt("older")
    older.begins([day(1), day(2)])
    older.failed(TryAgainLater("down"))
    assert books.owing.going == [day(1).key, day(2).key] and books.owed == {day(number).key for number in (1, 2, 3)}


def test_a_restore_that_was_put_off_is_a_restore_still_when_an_older_partition_is_superseded(tmp_path: Path) -> None:
    books = Books(tmp_path)
    restoring = books.debt("restoring", restore=True)
    restoring.begins([day(3)])
    restoring.put_off("outside its delivery window")
    before = books.owing
    older = books.debt("older")
    with pytest.raises(AskForRestore), noting(older):
        older.begins([day(1)])
        raise AskForRestore("superseded")
    older.delivered([day(1)])
    assert books.owing == before and before.partitions[day(3).key].settings == {"restore": True}


def test_an_approval_holds_for_the_partition_that_it_was_given_for(tmp_path: Path) -> None:
    books = Books(tmp_path, events=True)
    one, two = books.debt("one"), books.debt("two", approve="plan", approved_by="ada", reason="fine")
    one.begins([day(1)])
    one.failed(TryAgainLater("down"))
    two.begins([day(2)])
    assert books.owing.partitions[day(2).key].settings["approve"] == "plan"
    two.delivered([day(2)])
    assert books.owing.partitions == {day(1).key: Due(day(1).end.isoformat())}


def test_events_that_wait_for_a_person_hold_up_no_other_partition(tmp_path: Path) -> None:
    books = Books(tmp_path, events=True)
    stopped = books.debt("stopped")
    books.debt("one").begins([day(1)])
    stopped.begins([day(2)])
    stopped.failed(ApprovePlan("too many"))
    assert books.owing.reason_to_wait(NOW) is None and books.owing.going == [day(1).key]


def test_all_tries_of_one_run_count_once(tmp_path: Path) -> None:
    books = Books(tmp_path)
    waits = []
    for run in ("a", "a", "a", "b", "b", "b", "c"):
        debt = books.debt(run)
        debt.begins([day(0)])
        debt.failed(TryAgainLater("down"))
        assert books.owing.until
        waits.append((books.owing.until - NOW) / PATIENCE)
    assert waits == [1, 1, 1, 2, 2, 2, 4]


def test_a_run_of_which_one_try_got_something_accepted_is_none_that_got_nothing(tmp_path: Path) -> None:
    books = Books(tmp_path)
    for run, accepted in (("a", 0), ("b", 0), ("c", 1), ("c", 0)):
        debt = books.debt(run)
        debt.begins([day(0)])
        summary = Summary("plan", day(0).key)
        summary.fates[Fate.ACCEPTED] = accepted
        debt.ended(summary)
    assert books.owing.until == NOW + PATIENCE


def test_what_a_renamed_sync_owes_is_owed_still(tmp_path: Path) -> None:
    books = Books(tmp_path)
    books.debt().begins([day(0)])
    books.world.renamed(name="another_name")
    assert books.owed == {day(0).key}
    books.debt().delivered([day(0)])
    books.world.renamed(name="sync")
    assert books.owed == set()


@pytest.mark.parametrize("person", [False, True])
def test_a_note_of_an_earlier_version_is_read_and_kept_by_the_target(tmp_path: Path, person: bool) -> None:
    books = Books(tmp_path)
    before = books.world.state.root / "owed" / "sync.json"
    before.parent.mkdir(parents=True)
    end = day(0).end.isoformat()
    kept = {"partitions": {day(0).key: end}, "run": "a", "why": "down", "until": None, "person": person}
    before.write_text(json.dumps({**kept, "attempts": 2, "settings": {"restore": True}}))
    due = Due(end, "down" if person else None, {"restore": True})
    books.world.renamed(name="sync")
    assert books.owing == Owing({day(0).key: due}, "a", "down", None, 2)
    assert not before.exists() and place(books.world.state, OWED, books.world.sync).exists()
    books.debt("b").begins([day(0)])
    assert books.owed == {day(0).key}


def test_what_a_person_lets_be_told_again_is_owed(tmp_path: Path) -> None:
    books = Books(tmp_path)
    world = books.world
    world.deliver(["1"], day(0))
    world.deliver(["1"], day(1))
    assert books.note is None
    by_hand.reassert(world.sync, world.state, run="by hand", now=world.clock.now())
    assert books.owing.going == [day(1).key]
    wrong = books.debt()
    wrong.begins([day(1)])
    wrong.stopped()
    by_hand.reassert(world.sync, world.state, run="by hand", now=world.clock.now())
    assert books.owing.going == [], "it waits for a person still"


def test_what_was_restored_is_what_is_told_again(tmp_path: Path) -> None:
    books = Books(tmp_path)
    world = books.world
    world.deliver(["1"], day(0))
    world.deliver(["2"], day(1))
    world.carry_out(day(0), restore=True)
    by_hand.reassert(world.sync, world.state, run="by hand", now=world.clock.now())
    back_from = day(1).end.isoformat()
    assert books.owing.partitions == {day(0).key: Due(day(0).end.isoformat(), None, {"restore": True}, back_from)}
    assert world.carry_out(day(0), restore=True).asked == 1 and world.held == {"1"}


def test_what_a_person_lets_be_told_again_is_owed_at_the_partition_that_another_sync_moved_the_target_to(
    tmp_path: Path,
) -> None:
    books = Books(tmp_path)
    world = books.world
    world.deliver(["1"], day(0))
    by_hand.reassert(world.sync, world.state, run="by hand", now=world.clock.now())
    assert books.owing.going == [day(0).key]
    world.renamed(name="other")
    world.deliver(["1"], day(1))
    world.renamed(name="sync")
    assert books.owing.going == [day(0).key]
    assert caught_up(world.state, world.sync, books.owing).partitions == {day(1).key: Due(day(1).end.isoformat())}
    by_hand.reassert(world.sync, world.state, run="by hand", now=world.clock.now())
    assert books.owing.going == [day(1).key]
    assert caught_up(world.state, world.sync, books.owing) == books.owing


def test_what_waits_for_a_person_or_is_newer_is_not_moved_to_where_the_target_stands(tmp_path: Path) -> None:
    books = Books(tmp_path)
    world = books.world
    world.deliver(["1"], day(1))
    stopped = books.debt("stopped")
    stopped.begins([day(0)])
    stopped.stopped()
    assert caught_up(world.state, world.sync, books.owing) == books.owing
    books.debt("newer").begins([day(2)])
    assert caught_up(world.state, world.sync, books.owing) == books.owing
    place(world.state, OWED, world.sync).unlink()
    books.debt("restoring", restore=True).begins([day(0)])
    assert caught_up(world.state, world.sync, books.owing) == books.owing, "it is asked from on purpose"


def test_rows_that_a_person_releases_are_owed_and_those_that_he_does_not_are_not(tmp_path: Path) -> None:
    books = Books(tmp_path, events=True)
    world = books.world
    world.sandbox.faults.add(Fault(kind="reset_before", path=EVENTS.asks, times=1))
    world.deliver(["e1"], day(0))
    world.deliver(["e2"], day(1))
    for decision, owed in ((Decision.RESEND, {day(1).key}), (Decision.DROP, set())):
        place(world.state, OWED, world.sync).unlink(missing_ok=True)
        by_hand.decide(
            world.sync, None, decision, world.state, by="ada", reason="known", run="by hand", now=world.clock.now()
        )
        assert books.owed == owed
    assert world.carry_out(day(1)).fates == {Fate.ACCEPTED: 1}, "it takes over what was released of the other"
