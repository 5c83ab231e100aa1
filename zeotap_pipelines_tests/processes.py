"""
Deliveries in processes of their own, without Dagster.

Run as a program it forks a worker for every task that a line on its standard
input describes, so that a worker costs no start of an interpreter.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zeotap_pipelines.audience import Audience
from zeotap_pipelines.destinations.kognitiv import PromotionalMemberGroup
from zeotap_pipelines.errors import ZeotapError
from zeotap_pipelines.ledger import Ledger
from zeotap_pipelines.mapping import Field
from zeotap_pipelines.model import Mode
from zeotap_pipelines.pipeline import carry_out
from zeotap_pipelines.state import State
from zeotap_pipelines.sync import Sync
from zeotap_pipelines.trip import Summary, Trip
from zeotap_pipelines_tests.world import ANYTHING_GOES, day, kognitiv

PEOPLE = Audience("people", "SELECT", ("customer",))


def sync(name: str = "sync", group: str = "ACTIVE-90D") -> Sync:
    target, mapping = PromotionalMemberGroup(group), {"member_internal_id": Field.of("customer")}
    return Sync(name, PEOPLE, target, "demo", Mode.MIRROR, mapping, ANYTHING_GOES)


def work(task: dict[str, Any]) -> dict[str, Any]:
    """Carry out one sync; with *full_after*, the disk is full after so many answers."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    state, mine = State(Path(task["state"])), sync(task.get("sync", "sync"))

    def progress(summary: Summary, total: int) -> None:
        if summary.asked == task.get("full_after"):
            size = Ledger(state, mine.target, mine.address).journal_file.stat().st_size
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + task["spare"], resource.RLIM_INFINITY))

    connection = kognitiv(base_url=f"{task['address']}/kognitiv", concurrency=task.get("concurrency", 1))
    trip = Trip(state, connection, f"run-{os.getpid()}", on_progress=progress)
    try:
        summary = carry_out(mine, day(task["day"]), trip, wait=task.get("wait", 60.0))
    except ZeotapError as error:
        return {"error": type(error).__name__, "said": str(error), "asked": 0}
    return {"asked": summary.asked, "complete": summary.complete, "said": str(summary.error)}


class Nursery:
    """Starts workers and waits for them."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def start(self, **task: Any) -> int:
        """Start a worker and return its process's number."""
        return int(self._said(json.dumps({"start": task})))

    def wait(self, worker: int) -> tuple[int, dict[str, Any] | None]:
        """Return how a worker ended (negative: by that signal) and its result, if it came to one."""
        ended: tuple[int, dict[str, Any] | None] = tuple(self._said(json.dumps({"wait": worker})))
        return ended

    def run(self, **task: Any) -> dict[str, Any]:
        code, result = self.wait(self.start(**task))
        assert code == 0, code
        assert result is not None
        return result

    def _said(self, line: str) -> Any:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


@contextlib.contextmanager
def nursery() -> Iterator[Nursery]:
    with subprocess.Popen(
        [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Nursery(process)
        assert process.stdin
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
                except SystemExit as end:
                    code = int(str(end.code))
                finally:
                    os._exit(code)
            os.close(writing)
            results[worker] = reading
            print(worker, flush=True)
        else:
            worker = command["wait"]
            with os.fdopen(results.pop(worker)) as result:
                _, status = os.waitpid(worker, 0)
                print(json.dumps([os.waitstatus_to_exitcode(status), json.loads(result.read() or "null")]), flush=True)


if __name__ == "__main__":
    main()
