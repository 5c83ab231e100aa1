"""Real processes, killed, stopped, or started all at once, while the service fails. `make chaos` plays longer."""

import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.chaos.__main__ import perform
from benchmarks.chaos.scenes import SCENES, SPEAKERS, Credits, day
from benchmarks.chaos.weather import watch
from benchmarks.chaos.windows import left
from benchmarks.chaos.worker import Hurried, nursery
from zeotap_pipelines import snapshot as snapshots
from zeotap_pipelines.clock import SYSTEM
from zeotap_pipelines.engines.duckdb import rows
from zeotap_pipelines.ledger.ledger import Ledger
from zeotap_pipelines.model import Fate
from zeotap_pipelines.sandbox import CrowdTwistSettings, Fault, Sandbox, running
from zeotap_pipelines.state import State
from zeotap_pipelines_tests.specimens import credit
from zeotap_pipelines_tests.world import World

SEED = 20261122


@pytest.mark.slow
def test_whatever_happens_nothing_is_lost_and_nothing_is_doubled(tmp_path: Path) -> None:
    plays = perform(list(SCENES.values()), SEED, tmp_path, seconds=14)
    assert not [what for play in plays if play.defects for what in (*play.defects, *play.trace)]
    assert sum(play.kills for play in plays) >= 10
    assert all(tally.checks for play in plays for tally in play.tallies.values())


@pytest.mark.slow
def test_where_nobody_is_killed_the_rows_in_doubt_are_those_whose_answer_was_lost(tmp_path: Path) -> None:
    [play] = perform([SCENES["crowdtwist_credits"]], SEED, tmp_path, kills=0, seconds=4)
    assert not play.defects, play.trace
    assert play.kills == 0
    assert play.tallies["crowdtwist_credits"].checks


def test_of_answers_that_break_off_a_refusal_is_heard_and_a_success_is_lost(tmp_path: Path) -> None:
    """So the core has it, and so the harness counts."""
    world = World(tmp_path, credit())
    watched = watch(world.sandbox)
    world.sandbox.faults.add(Fault(kind="malformed", path="/v2/users/"))
    assert world.deliver(["e1", "bad"]).fates == {Fate.IN_DOUBT: 1, Fate.REJECTED: 1}
    assert {asked.event: asked.lost for asked in watched.asked} == {"e1": True, "bad": False}
    assert [one.extra_data["event_id"] for one in world.sandbox.crowdtwist.credits()] == ["e1"]


@pytest.mark.slow
def test_the_window_of_a_killed_run_is_known_though_the_next_run_folded_it_before_anybody_looked(
    tmp_path: Path,
) -> None:
    credits, clock = SCENES["crowdtwist_credits"], Hurried(time.time())
    with Sandbox(clock=clock.unix) as sandbox, running(sandbox) as address, nursery() as workers:
        credits.prepare(sandbox, SEED)
        state, journals = State(tmp_path / "state"), tmp_path / "journals"
        task = {"scene": credits.name, "seed": SEED, "day": 0, "epoch": clock.epoch, "state": str(state.root)}
        task |= {"address": address, "journals": str(journals)}
        killed = workers.start(**task, run="killed", die=["answered", 3])
        assert workers.wait(killed) == (-signal.SIGKILL, None)
        _, result = workers.wait(workers.start(**task, run="next"))
        assert result and result["complete"]
    sync = credits.sync()
    ledger = Ledger(state, sync.target, sync.address)
    windows = {window.run: window for window in left(journals, ledger.journal_file)}
    assert not windows["next"].open and not windows["next"].cut_off
    with ledger.reading() as connection:
        [(doubtful,)] = rows(connection, "SELECT count(*) FROM told WHERE state = 'doubt'")
    assert 1 <= len(windows["killed"].open) == doubtful <= 2 * SPEAKERS
    assert not list(left(journals, ledger.journal_file)), "whoever looked has taken the copies"


@pytest.mark.slow
def test_fifteen_processes_at_one_account_are_one_speaker_and_deliver_everything_once(tmp_path: Path) -> None:
    """Eight start the same sync and seven start others, all at the same moment."""
    credits = SCENES["crowdtwist_credits"]
    assert isinstance(credits, Credits)
    events = [row["event"] for row in credits.rows(SEED, 0) if credits.possible(row)]
    clock = Hurried(time.time())
    settings = CrowdTwistSettings(max_in_flight=SPEAKERS)
    with Sandbox(clock=clock.unix, crowdtwist=settings) as sandbox, running(sandbox) as address, nursery() as workers:
        credits.prepare(sandbox, SEED)
        sandbox.faults.add(Fault(kind="delay", seconds=0.03))  # So that requests meet.
        source, state = credits.audience(SEED, 0, 0), State(tmp_path / "state")
        snapshots.take(credits.sync().audience, day(0), source, state, run="take", now=SYSTEM.now())
        task = {"scene": credits.name, "seed": SEED, "day": 0, "take": False, "epoch": clock.epoch}
        task |= {"state": str(state.root), "address": address, "at": time.time() + 1}
        same = [workers.start(**task) for _ in range(8)]
        others = [workers.start(**task, stream=f"_{n}") for n in range(7)]
        ended = {worker: workers.wait(worker)[1] or {} for worker in (*same, *others)}
        assert all(result["complete"] for result in ended.values()), ended
        every = len(list(credits.rows(SEED, 0)))  # On this day none is there twice.
        assert sorted(ended[worker]["asked"] for worker in same) == [0] * 7 + [every]
        assert [ended[worker]["asked"] for worker in others] == [every] * 7
        assert sandbox.crowdtwist.most_in_flight == SPEAKERS
        credited = Counter(str(credit.extra_data["event_id"]) for credit in sandbox.crowdtwist.credits())
        assert credited == dict.fromkeys(events, 8), "once for each of the eight syncs"
        assert not sandbox.violations
