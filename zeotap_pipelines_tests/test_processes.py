"""Real processes, a real socket, real signals."""

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from zeotap_pipelines import snapshot as snapshots
from zeotap_pipelines.clock import SYSTEM
from zeotap_pipelines.engines.duckdb import rows
from zeotap_pipelines.ledger.ledger import Ledger
from zeotap_pipelines.sandbox import Fault, Sandbox, running
from zeotap_pipelines.state import State
from zeotap_pipelines_tests.processes import PEOPLE, Nursery, nursery, sync
from zeotap_pipelines_tests.world import Rows, day


@pytest.fixture(scope="module")
def workers() -> Iterator[Nursery]:
    with nursery() as started:
        yield started


class Site:
    """A state and a served sandbox."""

    def __init__(self, root: Path, address: str, sandbox: Sandbox, workers: Nursery) -> None:
        self.state = State(root / "state")
        self.sandbox, self.address, self.workers = sandbox, address, workers

    def take(self, people: set[str], number: int) -> None:
        source = Rows({"customer": sorted(people)})
        snapshots.take(PEOPLE, day(number), source, self.state, run=f"take{number}", now=SYSTEM.now())

    def task(self, number: int, **more) -> dict:
        return {"state": str(self.state.root), "address": self.address, "day": number, **more}

    def start(self, number: int, **more) -> int:
        return self.workers.start(**self.task(number, **more))

    def run(self, number: int, **more) -> dict:
        return self.workers.run(**self.task(number, **more))

    @property
    def changes(self) -> list[str]:
        return [f"{e.method} {e.target.rsplit('/', 1)[1]}" for e in self.sandbox.log if "/members/" in e.target]

    def told(self) -> set[tuple]:
        ledger = Ledger(self.state, sync().target, sync().address)
        with ledger.reading() as connection:
            return set(rows(connection, "SELECT value, state, unsettled FROM told"))


@pytest.fixture
def site(tmp_path: Path, workers: Nursery) -> Iterator[Site]:
    with Sandbox() as sandbox, running(sandbox) as address:
        yield Site(tmp_path, address, sandbox, workers)


def until(true: Callable[[], object], seconds: float = 20.0) -> None:
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, "waited in vain"
        threading.Event().wait(0.01)


def people(chance: random.Random) -> set[str]:
    return {str(number) for number in range(120) if chance.random() < 0.5}


@pytest.mark.slow
def test_a_killed_process_loses_and_doubles_nothing(site: Site) -> None:
    """kill -9 at random moments, while the service loses answers, for some seconds; then one run to the end."""
    chance = random.Random(7)
    ends = time.monotonic() + 9
    kills = number = 0
    wanted: set[str] = set()
    while time.monotonic() < ends:
        wanted = people(chance)
        site.take(wanted, number)
        for _ in range(4):
            site.sandbox.faults.clear()
            site.sandbox.faults.add(Fault(kind=chance.choice(["reset_after", "reset_before", "cut"]), every=7))
            worker = site.start(number, concurrency=chance.choice([1, 4]))
            threading.Event().wait(chance.uniform(0.02, 0.6))
            os.kill(worker, signal.SIGKILL)
            code, _ = site.workers.wait(worker)
            kills += code == -signal.SIGKILL
        number += 1
    site.sandbox.faults.clear()
    assert site.run(number - 1)["complete"]
    assert site.sandbox.kognitiv.members() == wanted
    assert {who for who, state, _ in site.told() if state == "in"} == wanted
    assert not [who for who, _, unsettled in site.told() if unsettled]
    assert site.run(number - 1)["asked"] == 0
    assert kills >= 5
    assert not site.sandbox.violations


def test_a_stopped_run_writes_down_what_is_known_and_ends_within_seconds(site: Site) -> None:
    site.take({"1", "2", "3"}, 0)
    site.sandbox.faults.add(Fault(kind="delay", seconds=30, path="/members/2$"))
    worker = site.start(0)
    until(lambda: len(site.changes) == 2)
    stopped = time.monotonic()
    for _ in range(2):  # Impatience must not hurt.
        os.kill(worker, signal.SIGTERM)
        threading.Event().wait(0.3)
    assert site.workers.wait(worker)[0] == 143
    assert time.monotonic() - stopped < 6
    assert site.told() == {("1", "in", False), ("2", "unknown", True)}
    site.sandbox.faults.clear()
    assert site.run(0)["asked"] == 2
    assert site.sandbox.kognitiv.members() == {"1", "2", "3"}


def test_a_run_is_stopped_within_seconds_before_it_asked_anything(site: Site) -> None:
    site.take({"1"}, 0)
    site.sandbox.faults.add(Fault(kind="delay", seconds=30, method="GET"))
    worker = site.start(0)
    until(lambda: site.sandbox.requests(method="GET"))
    stopped = time.monotonic()
    os.kill(worker, signal.SIGTERM)
    assert site.workers.wait(worker)[0] == 143
    assert time.monotonic() - stopped < 3
    assert site.changes == []


def test_of_processes_at_once_one_delivers_and_the_others_find_nothing_owed(site: Site) -> None:
    wanted = {str(number) for number in range(40)}
    site.take(wanted, 0)
    together = [site.start(0, concurrency=2) for _ in range(4)]
    results = [site.workers.wait(worker)[1] for worker in together]
    assert sorted(result["asked"] for result in results) == [0, 0, 0, 40]
    assert all(result["complete"] for result in results)
    assert sorted(site.changes) == sorted(f"PUT {who}" for who in wanted)
    assert site.sandbox.kognitiv.most_in_flight <= 2


def test_who_will_not_wait_is_told_who_holds_the_account(site: Site) -> None:
    site.take({"1"}, 0)
    site.sandbox.faults.add(Fault(kind="delay", seconds=30, path="/members/"))
    holder = site.start(0)
    until(lambda: site.changes)
    refused = site.run(0, sync="another", wait=0.2)
    assert refused["error"] == "WaitForAccount"
    assert f"sync sync (run run-{holder}, process {holder}) speaks to this account" in refused["said"]
    os.kill(holder, signal.SIGKILL)
    site.workers.wait(holder)
    site.sandbox.faults.clear()
    assert site.run(0, sync="another", wait=0.2)["complete"], "the dead hold no lock"


@pytest.mark.parametrize(("before", "spare"), [(0, 0), (1, 90), (1, 250)])
def test_a_full_disk_loses_nothing(site: Site, before: int, spare: int) -> None:
    held = {"1", "2"}
    for number in range(before):
        site.take(held, number)
        site.run(number)
    wanted = {str(number) for number in range(100, 110)}
    site.take(wanted, before)
    code, result = site.workers.wait(site.start(before, full_after=3, spare=spare))
    assert code == 0, "a full disk ends in a sentence"
    assert not result["complete"]
    assert "journal.jsonl can't be written, nothing more is asked: " in result["said"]
    assert 3 <= len(site.sandbox.kognitiv.members() & wanted) < 10
    assert site.run(before)["complete"]
    assert site.sandbox.kognitiv.members() == wanted
    gone = {(who, "out", False) for who in held} if before else set()
    assert site.told() == {(who, "in", False) for who in wanted} | gone
