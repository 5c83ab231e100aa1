"""
The workers: one delivery each, in a process of its own, without Dagster.

Run as a program it forks a worker for every task that a line on its standard
input describes, so that a worker costs no start of an interpreter.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.chaos import windows
from benchmarks.chaos.scenes import SCENES, day
from zeotap_pipelines import pipeline
from zeotap_pipelines import snapshot as snapshots
from zeotap_pipelines.delivery.trip import Trip
from zeotap_pipelines.errors import ZeotapError
from zeotap_pipelines.ledger.ledger import Ledger
from zeotap_pipelines.state import State

SPEED = 20
"""Time runs so many times faster for workers and service, so that nobody waits long."""


@dataclass(frozen=True)
class Hurried:
    """A clock that all processes share; `epoch` is where it started, in Unix seconds."""

    epoch: float

    def unix(self) -> float:
        return self.epoch + (time.time() - self.epoch) * SPEED

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.unix(), UTC)

    def monotonic(self) -> float:
        return time.monotonic() * SPEED

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / SPEED)


def work(task: dict[str, Any]) -> dict[str, Any]:
    """
    Snapshot, plan and deliver one partition of one scene.

    With *die* the worker kills itself right after the step of that kind and number. What it
    folds is kept in the folder *journals*. At the answer of the number *answers* it makes the
    file *mark*; with *meets* it makes its plan when that file is there, in the middle of another's delivery.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    scene, clock = SCENES[task["scene"]], Hurried(task["epoch"])
    steps: Counter[str] = Counter()
    kind, number = task.get("die") or ("", 0)
    sync = scene.sync(task.get("stream", ""))

    def witness(step: str) -> None:
        if step == "folding" and "journals" in task:
            windows.keep(Ledger(state, sync.target, sync.address).journal_file, Path(task["journals"]))
        steps[step] += 1
        if step == "answered" and steps[step] == task.get("answers"):
            Path(task["mark"]).touch()
        if number and (steps[step] if kind else steps.total()) == number and kind in ("", step):
            os.kill(os.getpid(), signal.SIGKILL)

    state, partition = State(Path(task["state"]), witness), day(task["day"])
    run = task.get("run", f"run-{os.getpid()}")
    time.sleep(max(0.0, task.get("at", 0.0) - time.time()))
    trip = Trip(state, scene.connection(task["address"]), run, clock)
    try:
        if task.get("take", True):
            source = scene.audience(task["seed"], task["day"], task.get("today", task["day"]))
            snapshots.take(sync.audience, partition, source, state, run=run, now=clock.now())
        if "meets" in task:
            _wait_for(Path(task["meets"]))
        pipeline.plan(sync, partition, state, run=run, trip=trip)
        summary = pipeline.carry_out(sync, partition, trip, wait=120.0)
    except ZeotapError as error:
        return {"asked": 0, "complete": False, "error": type(error).__name__, "said": str(error), "steps": steps}
    except KeyboardInterrupt:
        sys.exit(143)
    except Exception:
        return {"asked": 0, "complete": False, "error": "crash", "said": traceback.format_exc(), "steps": steps}
    ended = type(summary.error).__name__ if summary.error else None
    result = {"asked": summary.asked, "complete": summary.complete, "error": ended, "said": str(summary.error or "")}
    return {**result, "fates": summary.fates, "left": summary.left, "steps": steps}


def _wait_for(mark: Path) -> None:
    """Wait until *mark* is there, or for two seconds: whoever would make it may have been killed."""
    ends = time.monotonic() + 2.0
    while not mark.exists() and time.monotonic() < ends:
        time.sleep(0.001)


class Nursery:
    """Starts workers and waits for them. One thread at a time may speak to it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def start(self, **task: Any) -> int:
        """Start a worker and return its process's number."""
        return int(self._said({"start": task}))

    def wait(self, worker: int) -> tuple[int, dict[str, Any] | None]:
        """Return how a worker ended (negative: by that signal) and its result, if it came to one."""
        code, result = self._said({"wait": worker})
        return code, result

    def _said(self, command: dict[str, Any]) -> Any:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


@contextlib.contextmanager
def nursery() -> Iterator[Nursery]:
    """Start a process that starts workers."""
    with subprocess.Popen(
        [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        try:
            yield Nursery(process)
        finally:
            process.stdin.close()


def main() -> None:
    results: dict[int, int] = {}
    for line in sys.stdin:
        command = json.loads(line)
        if "start" in command:
            reading, writing = os.pipe()
            worker = os.fork()
            if worker == 0:
                code = 1
                try:
                    os.write(writing, json.dumps(work(command["start"])).encode())
                    code = 0
                except SystemExit as stopped:
                    code = 143 if stopped.code == 143 else 1
                finally:
                    os._exit(code)
            os.close(writing)
            results[worker] = reading
            print(worker, flush=True)
        else:
            worker = command["wait"]
            with os.fdopen(results.pop(worker)) as result:
                said = result.read()
            _, status = os.waitpid(worker, 0)
            print(json.dumps([os.waitstatus_to_exitcode(status), json.loads(said or "null")]), flush=True)


if __name__ == "__main__":
    main()
