"""A plan of more rows than a fold looks at once."""

import re
from pathlib import Path

import pytest

from zeotap_pipelines.engines.duckdb import memory, rows
from zeotap_pipelines.ledger import words
from zeotap_pipelines.ledger.journal import Journal
from zeotap_pipelines.ledger.words import SLICE
from zeotap_pipelines.model import ACCEPTED, Batch, Fate, Operation, Outcome, Receipt, Verb
from zeotap_pipelines.naming import literal
from zeotap_pipelines.state import State
from zeotap_pipelines_tests.world import World, day

PEOPLE = [f"m{number:07}" for number in range(SLICE + 10)]
MOMENT = "2026-11-21T08:00:00+00:00"
REFUSED = Outcome(Fate.REJECTED, "unknown")
UNHEARD = Outcome(Fate.DEFERRED, "no answer")


def batch(first: int, last: int, verb: Verb = Verb.ADD) -> Batch:
    return Batch(tuple(Operation(row, verb, "") for row in range(first, last + 1)), day(0).end)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Two days: everybody comes, then two of each slice go; of both plans the journal says a part twice."""
    world = World(tmp_path_factory.mktemp("world"))
    world.take(PEOPLE, day(0))
    plan = world.plan(day(0))
    with world.ledger.journal() as journal:
        journal.append(
            "begin", plan=plan.id, run="first", sync="sync", partition=plan.partition, end=plan.partition_end
        )
        journal.asked(plan.id, range(len(PEOPLE)), MOMENT)
        over = {SLICE - 1: REFUSED, SLICE: UNHEARD}
        journal.answered(plan.id, batch(5, len(PEOPLE) - 2), Receipt(ACCEPTED, over), MOMENT)
        journal.answered(plan.id, batch(SLICE, SLICE + 1), Receipt(ACCEPTED), MOMENT)
        world.ledger.fold(journal)
    return world


def told(world: World) -> dict[tuple[str, bool], list[str]]:
    found: dict[tuple[str, bool], list[str]] = {}
    for value, state, unsettled in world.told("value, state, unsettled"):
        found.setdefault((state, unsettled), []).append(value)
    return found


def test_the_last_word_on_a_row_counts_in_whatever_slice_it_is(world: World) -> None:
    unheard = [*PEOPLE[:5], PEOPLE[-1]]
    assert told(world) == {
        ("in", False): [who for who in PEOPLE if who not in {*unheard, PEOPLE[SLICE - 1]}],
        ("unknown", True): unheard,
        ("unknown", False): [PEOPLE[SLICE - 1]],
    }


def test_a_movement_counts_what_all_slices_say(world: World) -> None:
    with world.ledger.reading() as connection:
        counted = rows(connection, "SELECT generation, run, accepted, rejected, deferred, in_doubt FROM movements")
    assert counted == [(1, "first", len(PEOPLE) - 7, 1, 6, 0)]


def test_outcomes_name_every_row_once(world: World) -> None:
    files = sorted(world.state.outcomes("sync", day(0).key).glob("first.*.parquet"))
    assert len(files) == 2, "one file for each slice"
    with memory() as connection:
        said = [rows(connection, f'SELECT "row", fate FROM read_parquet({literal(str(path))})') for path in files]
    assert sorted(row for part in said for row, _ in part) == list(range(len(PEOPLE)))
    fates = [fate for part in said for _, fate in part]
    assert fates.count("accepted") == len(PEOPLE) - 7 and fates.count("deferred") == 6


def test_outcomes_of_each_slice_have_a_file_of_their_own(world: World) -> None:
    files = sorted(file.name for file in world.state.outcomes("sync", day(0).key).glob("first.*.parquet"))
    assert [re.sub(r"\.[0-9a-f]{8}", ".FOLD", name) for name in files] == ["first.FOLD.1.parquet", "first.FOLD.parquet"]


def test_who_was_told_before_is_replaced_in_every_slice(world: World) -> None:
    gone = {PEOPLE[7], PEOPLE[8], PEOPLE[SLICE + 2], PEOPLE[SLICE + 3]}
    world.take([who for who in PEOPLE if who not in gone], day(1))
    plan = world.plan(day(1))
    assert plan.counts["remove"] == 4
    additions = plan.operations - 4
    with world.ledger.journal() as journal:
        journal.append("begin", plan=plan.id, run="next", sync="sync", partition=plan.partition, end=plan.partition_end)
        journal.asked(plan.id, range(plan.operations), MOMENT)
        journal.answered(plan.id, batch(0, additions - 1), Receipt(ACCEPTED), MOMENT)
        journal.answered(plan.id, batch(additions, plan.operations - 1, Verb.REMOVE), Receipt(ACCEPTED), MOMENT)
        with world.ledger.reading() as connection:
            before = rows(connection, "SELECT count(*), count(DISTINCT value) FROM told")
        world.ledger.fold(journal)
    assert before == [(len(PEOPLE), len(PEOPLE))], "what is not folded yet counts as told, and nobody twice"
    assert told(world) == {
        ("in", False): [who for who in PEOPLE if who not in gone],
        ("out", False): sorted(gone),
    }


def test_a_line_of_forty_megabytes_is_read_as_any_other(tmp_path: Path) -> None:
    """Where nothing is said the engine takes lines of up to 32 MiB."""
    with Journal(tmp_path / "journal.jsonl") as journal:
        journal.append("answered", reason="x" * 40_000_000)
    with memory(tmp_path / "spill") as connection:
        assert words.read(connection, World(tmp_path).sync.target, State(tmp_path), journal.path) == []
        assert rows(connection, "SELECT n, coalesce(len(reason), 0) FROM lines ORDER BY n") == [(0, 0), (1, 40_000_000)]
