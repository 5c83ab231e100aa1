"""Real processes, killed, stopped, or started all at once, while the service fails. `make chaos` plays longer."""

import time
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.chaos.__main__ import perform
from benchmarks.chaos.scenes import SCENES, SPEAKERS, Credits, day
from benchmarks.chaos.worker import Hurried, nursery
from zeotap_pipelines import snapshot as snapshots
from zeotap_pipelines.clock import SYSTEM
from zeotap_pipelines.sandbox import CrowdTwistSettings, Fault, Sandbox, running
from zeotap_pipelines.state import State

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
        rows = len(list(credits.rows(SEED, 0)))  # On this day none is there twice.
        assert sorted(ended[worker]["asked"] for worker in same) == [0] * 7 + [rows]
        assert [ended[worker]["asked"] for worker in others] == [rows] * 7
        assert sandbox.crowdtwist.most_in_flight == SPEAKERS
        credited = Counter(str(credit.extra_data["event_id"]) for credit in sandbox.crowdtwist.credits())
        assert credited == dict.fromkeys(events, 8), "once for each of the eight syncs"
        assert not sandbox.violations
