"""Work that is attended by the thread that signals reach: it ends when that one is told to stop."""

import asyncio
import gc
import os
import selectors
import signal
import subprocess
import sys
import threading
from collections.abc import Coroutine
from typing import Any

import pytest

from zeotap_pipelines.stopping import Flag, attended, cancel_when, in_thread, unless


def test_what_is_told_to_stop_before_it_has_begun_stops_too() -> None:
    """Whoever asks once, too early, waits for ever: it is asked until it has ended."""
    told, times = threading.Event(), []

    def work() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        assert told.wait(20)

    def stop() -> None:
        times.append(1)
        if len(times) == 3:
            told.set()

    with pytest.raises(KeyboardInterrupt):
        attended(work, stop)
    assert len(times) >= 3


INTERRUPTED = """
import random, signal, sys, threading, time
from zeotap_pipelines.stopping import attended

class Stopped(Exception): pass

def stop(*_):
    if listening:
        raise Stopped

def work():
    end = time.perf_counter() + chance.random() * 0.0006
    while time.perf_counter() < end: pass

said, turn, chance = set(), 0, random.Random(1)
threading.excepthook = sys.unraisablehook = lambda failed: said.add(repr(failed.exc_value))
signal.signal(signal.SIGALRM, stop)
end = time.monotonic() + 2
while time.monotonic() < end:
    turn += 1
    signal.setitimer(signal.ITIMER_REAL, chance.random() * 0.0008 + 1e-6)
    try:
        listening = True
        attended(lambda now=turn: work() if now == turn else said.add("began though nobody waited"), lambda: None)
        listening = False
        said.add("ended")
    except BaseException as error:
        listening = False
        said.add(repr(error))
print(sorted(said))
"""


def test_a_signal_at_whatever_moment_stops_what_is_attended_and_what_had_not_begun_never_begins() -> None:
    """Else two would write to one journal, or a run would wait for ever for a lock that it holds itself."""
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], check=True, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("['Stopped()', 'ended']\n", "")


class Waits(selectors.DefaultSelector):
    """Lets time pass instead of waiting for it."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        self.now += max(0.0, timeout or 0.0)
        return super().select(0)


class Loop(asyncio.SelectorEventLoop):
    """An event loop whose time passes only by waiting."""

    def __init__(self) -> None:
        self.waits = Waits()
        super().__init__(self.waits)

    def time(self) -> float:
        return self.waits.now


def played(law: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(law)


def test_conversations_under_way_get_three_seconds_when_a_run_is_stopped() -> None:
    ended: dict[float, str] = {}

    async def converse(seconds: float) -> None:
        try:
            await asyncio.sleep(seconds)
            ended[seconds] = "by itself"
        except asyncio.CancelledError:
            ended[seconds] = f"cancelled at {asyncio.get_running_loop().time():.1f}"

    async def law() -> None:
        stop = Flag()
        tasks = [asyncio.create_task(converse(seconds)) for seconds in (1.0, 3.25, 3.35, 60.0)]
        watch = asyncio.create_task(cancel_when(stop, tasks))
        await asyncio.sleep(0.25)
        stop.set()
        await asyncio.gather(*tasks)
        await watch

    played(law())
    assert ended == {
        **{1.0: "by itself", 3.25: "by itself"},
        **{3.35: "cancelled at 3.3", 60.0: "cancelled at 3.3"},
    }


def test_what_changes_nothing_is_given_up_at_once_and_is_otherwise_done() -> None:
    done: list[str] = []

    async def work(seconds: float) -> None:
        await asyncio.sleep(seconds)
        done.append(f"{seconds}")

    async def law() -> None:
        loop, stop = asyncio.get_running_loop(), Flag()
        assert await unless(stop, work(2.0))
        loop.call_later(1.0, stop.set)
        assert not await unless(stop, work(60.0))
        assert loop.time() < 3.2
        assert not await unless(stop, work(60.0)), "what was stopped before is not begun again"
        assert len(asyncio.all_tasks()) == 1, "nobody is left watching"

    played(law())
    assert done == ["2.0"]


def test_what_somebody_else_cancels_is_not_taken_for_a_stop() -> None:
    async def law() -> None:
        asking = asyncio.create_task(unless(Flag(), asyncio.sleep(60.0)))
        await asyncio.sleep(1.0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    played(law())


def test_what_fails_is_raised_to_whoever_wanted_it() -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    async def law() -> None:
        with pytest.raises(ZeroDivisionError):
            await unless(Flag(), fail())

    played(law())
    with pytest.raises(ZeroDivisionError):
        in_thread(fail(), Flag())


@pytest.mark.parametrize("fails", [False, True])
def test_cycles_are_looked_for_rarely_while_it_works_and_as_before_afterwards(fails: bool) -> None:
    before, meanwhile = gc.get_threshold(), []

    async def work() -> str:
        meanwhile.append(gc.get_threshold())
        if fails:
            raise ZeroDivisionError
        return "done"

    if fails:
        with pytest.raises(ZeroDivisionError):
            in_thread(work(), Flag())
    else:
        assert in_thread(work(), Flag()) == "done"
    assert meanwhile == [(50_000, *before[1:])]
    assert gc.get_threshold() == before


def test_an_interruption_stops_the_work_and_is_raised_when_it_has_ended() -> None:
    ended: list[bool] = []

    async def work() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        while not stop.is_set():
            await asyncio.sleep(0.001)
        ended.append(True)

    stop = Flag()
    with pytest.raises(KeyboardInterrupt):
        in_thread(work(), stop)
    assert ended == [True]


def test_it_works_without_the_faster_loop() -> None:
    program = (
        "import sys; sys.modules['uvloop'] = None\n"
        "import asyncio\n"
        "from zeotap_pipelines.stopping import Flag, in_thread\n"
        "print(in_thread(asyncio.sleep(0, 'done'), Flag()))"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout == "done\n"
