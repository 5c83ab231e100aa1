"""What was told, whatever happens to the files and the clock."""

import json
import shutil
import stat
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest

from zeotap_pipelines.destinations.crowdtwist_activities import ActivityCredit
from zeotap_pipelines.errors import RepairState
from zeotap_pipelines.ledger.journal import Journal
from zeotap_pipelines.ledger.ledger import Ledger
from zeotap_pipelines.model import Fate
from zeotap_pipelines.naming import filename
from zeotap_pipelines.sandbox import Fault
from zeotap_pipelines.state import State
from zeotap_pipelines.upkeep.status import status
from zeotap_pipelines_tests.specimens import credit
from zeotap_pipelines_tests.world import Rows, World, day, nth


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_the_ledger_can_be_read_while_a_sync_is_running(world: World) -> None:
    seen = []
    trip = world.trip(on_progress=lambda summary, total: seen.append(world.told()))
    world.deliver(["1", "2"], trip=trip)
    assert seen[0] == [("1", "in"), ("2", "unknown")], "the second was asked, and no answer is known"
    assert seen[1] == [("1", "in"), ("2", "in")]


def test_a_plan_can_be_made_while_a_sync_is_running(world: World) -> None:
    world.deliver(["1"])
    plans = []
    world.take(["1", "3"], day(2))
    trip = world.trip(on_progress=lambda summary, total: plans.append(world.plan(day(2))))
    world.deliver(["1", "2"], day(1), trip=trip)
    assert dict(plans[0].why) == {"left": 1, "never told": 1}


def test_a_plan_that_was_made_in_the_middle_of_a_delivery_asks_for_nothing_again(world: World) -> None:
    people, plans = [f"m{number:02}" for number in range(70)], []
    trip = world.trip(on_progress=lambda summary, total: plans.append(world.plan()) if summary.asked == 2 else None)
    assert world.deliver(people, trip=trip).complete
    assert 0 < plans[0].operations < len(people)
    assert world.carry_out().asked == 0
    assert world.asked == [f"PUT {who}" for who in people]


def test_folding_twice_is_folding_once(world: World) -> None:
    world.deliver(["1"])
    with world.dying(nth(1, "folded")):
        world.deliver(["1", "2"], day(1))
    with world.ledger.reading() as connection:
        before = world.ledger.standing(connection)
    with world.ledger.journal() as journal:
        assert not journal.empty
        world.ledger.fold(journal)
        assert journal.empty
    assert world.standing == before
    assert world.told() == [("1", "in"), ("2", "in")]


@pytest.mark.parametrize("rest", [b"", b"{", b'{"n":99,"kind":"begin"}', b"\xff\x00"])
def test_a_half_written_last_line_never_was(world: World, rest: bytes) -> None:
    with world.dying(nth(2, "answered")):
        world.deliver(["1", "2"])
    with world.ledger.journal_file.open("ab") as file:
        file.write(rest)
    assert world.told("value, state, unsettled") == [("1", "in", False), ("2", "in", False)]
    assert world.carry_out().complete
    assert world.held == {"1", "2"}


def test_a_very_long_line_is_a_line(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal.jsonl") as journal:
        journal.asked("p", range(0, 200_000, 2), "2026-11-21T00:00:00+00:00")
    with Journal(tmp_path / "journal.jsonl") as journal:
        journal.append("x")
    numbers = [json.loads(line)["n"] for line in (tmp_path / "journal.jsonl").read_text().splitlines()]
    assert numbers == [0, 1, 2]


def damage(path: Path, how: str) -> None:
    data = path.read_bytes()
    match how:
        case "truncated":
            path.write_bytes(data[: len(data) // 2])
        case "empty":
            path.write_bytes(b"")
        case "overwritten":
            path.write_bytes(b"\x00garbage\n" * (len(data) // 9 + 1))


HOW = ["truncated", "empty", "overwritten"]


@pytest.mark.parametrize("how", HOW)
def test_a_damaged_ledger_is_said_so(world: World, how: str) -> None:
    world.deliver([str(number) for number in range(30)])
    damage(world.ledger.file, how)
    with pytest.raises(RepairState, match=r"ledger\.duckdb"):
        world.deliver(["1"], day(1))
    assert len(world.asked) == 30


@pytest.mark.parametrize("how", HOW)
def test_a_damaged_journal_is_said_so(world: World, how: str) -> None:
    with world.dying(nth(2, "answered")):
        world.deliver(["1", "2"])
    if how == "truncated":  # In the midst: the end of a line may be missing, the start of one may not.
        lines = world.ledger.journal_file.read_bytes().split(b"\n")
        world.ledger.journal_file.write_bytes(b"\n".join([*lines[:2], lines[2][9:], *lines[3:]]))
    else:
        damage(world.ledger.journal_file, how)
    with pytest.raises(RepairState, match=r"journal\.jsonl"):
        world.carry_out()
    assert world.held == {"1", "2"}


@pytest.mark.parametrize("how", HOW)
def test_a_damaged_plan_is_said_so(world: World, how: str) -> None:
    world.take(["1", "2"])
    plan = world.plan()
    damage(plan.file(world.state), how)
    with pytest.raises(RepairState, match=plan.id):
        world.carry_out()
    assert world.held == set()


def test_a_ledger_and_a_plan_of_an_earlier_version_are_taken_over_as_they_are(world: World) -> None:
    with world.dying(nth(3, "answered")):
        world.deliver(["1", "2", "3", "4"])
    [plan] = world.state.root.glob("diffs/**/*.parquet")
    with world.ledger.writing():
        pass  # The ledger is made by the first fold: here it is made before.
    with duckdb.connect(str(world.ledger.file)) as old:
        old.execute("ALTER TABLE told DROP COLUMN stamp")
        old.execute("UPDATE meta SET value = '1' WHERE key = 'schema_version'")
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE p AS SELECT * EXCLUDE (stamp) FROM '{plan}'")
        connection.execute(f"COPY p TO '{plan}' (FORMAT parquet)")
    assert [state for _, state in world.told()] == ["in", "in", "in", "unknown"]
    world.deliver(["1", "2", "3", "4"], day(2))
    assert world.told() == [("1", "in"), ("2", "in"), ("3", "in"), ("4", "in")]
    world.deliver(["1", "2", "3", "4"], day(3))
    assert len([one for one in world.asked if one.startswith("PUT")]) == 4, "who was told is not told again"


def test_a_journal_that_cannot_begin_anew_says_why_and_closes(tmp_path: Path) -> None:
    home = tmp_path / "target"
    with pytest.raises(RepairState, match="can't be made"), Journal(home / "journal.jsonl") as journal:
        home.rename(tmp_path / "aside")
        home.write_text("no folder any more")
        journal.restart()


def test_without_its_journal_nobody_knows_what_was_asked_and_nothing_is(world: World) -> None:
    world.deliver(["1"])
    with world.dying(nth(1, "answered")):
        world.deliver(["1", "2"], day(1))
    aside = world.ledger.journal_file.rename(world.ledger.journal_file.with_suffix(".aside"))
    for _ in range(2):  # Nor does refusing make a new one.
        with pytest.raises(RepairState, match=r"journal\.jsonl is missing"):
            world.deliver(["1", "2", "3"], day(2))
    aside.rename(world.ledger.journal_file)
    world.deliver(["1", "2", "3"], day(2))
    assert world.told() == [("1", "in"), ("2", "in"), ("3", "in")]


def test_without_its_ledger_nobody_knows_what_was_told_and_nothing_is_asked(world: World) -> None:
    """The journal that follows another says that there was a ledger: a first run has none, however it ended."""
    world.deliver(["1", "2"])
    file = world.ledger.file
    kept = file.read_bytes()
    file.unlink()
    asked = len(world.asked)
    for ask in (world.plan, world.carry_out):
        with pytest.raises(RepairState, match=r"ledger\.duckdb is missing.*move journal\.jsonl away too.*zeotap adopt"):
            ask()
    assert len(world.asked) == asked
    file.write_bytes(kept)
    assert world.carry_out().asked == 0


@pytest.mark.parametrize("cut_off", [False, True])
@pytest.mark.parametrize("old", ["the ledger", "the journal"])
def test_a_ledger_and_a_journal_of_different_moments_are_refused_and_nothing_is_asked(
    tmp_path: Path, old: str, cut_off: bool
) -> None:
    """Half of a backup put back: what was told since would be told again, and of credits happen again."""
    world = World(tmp_path, credit())
    world.deliver(["a", "b"])
    file = world.ledger.file if old == "the ledger" else world.ledger.journal_file
    backup = file.read_bytes()
    world.deliver(["c"], day(1))
    with world.dying(nth(1, "answered") if cut_off else lambda step: False):
        world.deliver(["d", "e"], day(2))
    asked, last = len(world.asked), file.read_bytes()
    file.write_bytes(backup)
    for ask in (world.plan, world.carry_out, lambda: status(world.sync, world.state, world.clock.now())):
        with pytest.raises(RepairState, match="are of different moments: put back both as they were last"):
            ask()
    assert len(world.asked) == asked
    file.write_bytes(last)
    world.deliver(["a", "b"])
    world.deliver(["d", "e"], day(2))
    assert len(world.asked) <= 5 and not world.sandbox.crowdtwist.doubles("event_id")


def test_a_first_run_that_was_cut_off_before_it_had_a_ledger_goes_on(world: World) -> None:
    world.take(["1", "2"])
    with world.dying(lambda step: step == "after PUT"):
        world.carry_out()
    assert world.ledger.journal_file.exists() and not world.ledger.exists()
    assert world.carry_out().complete
    assert world.held == {"1", "2"}


@pytest.mark.parametrize("lost", ["ledger.duckdb", "folder"])
def test_events_whose_ledger_is_lost_are_not_asked_again_before_a_person_says_what_happened(
    tmp_path: Path, lost: str
) -> None:
    world = World(tmp_path, credit())
    world.deliver(["a", "b"])
    folder = world.ledger.file.parent
    if lost == "folder":
        shutil.rmtree(folder)
    else:
        world.ledger.file.unlink()
    asked = len(world.asked)
    for ask in (world.plan, world.carry_out):
        with pytest.raises(RepairState, match=r"ledger\.duckdb is missing.*zeotap adopt"):
            ask()
    assert len(world.asked) == asked
    world.renamed(target=ActivityCredit("another"))
    assert world.plan().operations == 2


def test_a_damaged_plan_that_the_journal_needs_is_said_so(world: World) -> None:
    with world.dying(nth(2, "answered")):
        world.deliver(["1", "2"])
    [file] = world.state.root.glob("diffs/*/*/*.parquet")
    damage(file, "truncated")
    with pytest.raises(RepairState, match="plan"):
        world.carry_out()
    file.unlink()
    with pytest.raises(RepairState, match="is gone, and the journal still refers to it"):
        world.carry_out()


@pytest.mark.parametrize("how", HOW)
def test_a_damaged_description_of_a_plan_is_said_so(world: World, how: str) -> None:
    world.take(["1"])
    damage(world.plan().file(world.state).with_suffix(".json"), how)
    with pytest.raises(RepairState, match="make it again"):
        world.carry_out()


@pytest.mark.parametrize("how", HOW)
def test_a_damaged_snapshot_is_said_so_and_can_be_taken_again(world: World, how: str) -> None:
    snapshot = world.take(["1"])
    damage(snapshot.path, how)
    with pytest.raises(RepairState, match="take it again"):
        world.carry_out()
    assert world.deliver(["1"]).complete


def test_the_ledger_of_a_newer_version_or_of_another_target_is_refused(world: World) -> None:
    world.deliver(["1"])
    with world.ledger.writing() as connection:
        connection.execute("UPDATE meta SET value = '99' WHERE key = 'schema_version'")
    with pytest.raises(RepairState, match="newer version"):
        world.deliver(["1"], day(1))
    with Ledger(world.state, world.sync.target, world.sync.target.address("other")).writing():
        pass
    other = world.state.account(world.sync.target.address("other"))
    mine = world.state.account(world.sync.address)
    (mine / "promotional_member_group").rename(mine / "old")
    (other / "promotional_member_group").rename(mine / "promotional_member_group")
    with pytest.raises(RepairState, match="belongs to kognitiv/other"):
        world.deliver(["1"], day(1))


def test_state_is_readable_by_its_owner_only(world: World) -> None:
    world.state = State(world.root / "new" / "deep" / "state")
    world.deliver(["1"])
    with world.dying(nth(1, "after DELETE")):
        world.deliver(["2"], day(1))
    world.plan(day(1))
    paths = [world.state.root, *world.state.root.rglob("*")]
    assert len(paths) > 15
    for path in paths:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


HOSTILE = [
    "../../etc",
    "a/b",
    "a'b\"c",
    "$(id)",
    "x; DROP TABLE told; --",
    "'); DROP TABLE told; --",
    "😀 ü",
    "a\nb",
    "..",
]


@pytest.mark.parametrize("key", ["../../etc/'$(id)\"", "'); DROP TABLE told; --\n😀", ".."])
def test_a_hostile_partition_key_is_a_key_like_any_other(world: World, key: str) -> None:
    window = day(0)
    partition = type(window)(window.end, window.start, key)
    assert world.deliver(["1", "2"], partition).complete
    assert world.carry_out(partition).asked == 0
    inside = {path.name for path in world.root.iterdir()}
    assert inside == {"state"}
    assert [path.name for path in (world.state.root / "snapshots").iterdir()] == ["people"]
    assert world.standing.mark_partition == key


def test_hostile_members_are_members_like_any_other(world: World) -> None:
    people = [*HOSTILE, "a" * 5000, "1", "%2F", "{}", "\\", "\x7f", "$1", "NULL", "null"]
    people.remove("..")  # RFC 3986 takes a segment of dots for a direction, encoded or not.
    assert world.deliver(people).complete
    assert world.held == set(people)
    assert world.deliver(people, day(1)).asked == 0
    assert world.deliver([], day(2)).complete
    assert world.held == set()
    assert not world.sandbox.violations


@pytest.mark.parametrize("one", HOSTILE)
def test_file_names_are_safe_and_never_the_same_for_two_texts(one: str) -> None:
    named = filename(one)
    assert "/" not in named and named not in (".", "..") and named.isprintable()
    assert len({filename(text) for text in (*HOSTILE, "A", "a", "ä", "a" * 300, "a" * 301, "")}) == len(HOSTILE) + 6


def test_a_clock_that_goes_back_keeps_moments_increasing(world: World) -> None:
    world.deliver(["1"])
    first = world.standing.last_at
    world.clock.jump(-timedelta(days=3))
    world.deliver(["1", "2", "3"], day(1))
    second = world.standing.last_at
    assert first < second
    moments = dict(world.told("value, moment"))
    assert moments["1"] < moments["2"] <= moments["3"]


def test_reassertion_ends_even_if_the_clock_goes_back(world: World) -> None:
    world.deliver(["1"])
    world.ledger.reassert(world.clock.now())
    world.clock.jump(-timedelta(hours=5))
    assert world.deliver(["1"], day(1)).asked == 1
    assert world.deliver(["1"], day(2)).asked == 0


def test_contradicting_rows_are_nobodys_word_and_equal_ones_are_one(world: World) -> None:
    world.deliver(["1", "2"])
    summary = world.deliver(Rows({"customer": ["1", " 1", "1 ", "2", "2"]}), day(1))
    assert summary.asked == 0
    assert world.held == {"1", "2"}


def test_outcomes_say_what_became_of_everyone(world: World) -> None:
    world.sandbox.faults.add(Fault(kind="status", status=500, path="/3$"))
    summary = world.deliver(["1", "stranger", "3"])
    assert summary.fates == {Fate.ACCEPTED: 1, Fate.REJECTED: 1, Fate.DEFERRED: 1}
    with world.ledger.reading() as connection:
        [file] = world.state.root.glob("outcomes/sync/*/*.parquet")
        found = connection.sql(f"SELECT key, fate, status FROM '{file}' ORDER BY key").fetchall()
    assert found == [("1", "accepted", 204), ("3", "deferred", 500), ("stranger", "rejected", 404)]
