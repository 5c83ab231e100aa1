"""Work that is attended by the thread that signals reach: it ends when that one is told to stop."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from zeotap_pipelines.stopping import attended


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
