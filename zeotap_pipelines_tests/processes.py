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
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from zeotap_pipelines.audience import Audience
from zeotap_pipelines.clock import SystemClock
from zeotap_pipelines.delivery.trip import Summary, Trip
from zeotap_pipelines.destinations.base import Limits
from zeotap_pipelines.destinations.kognitiv import Kognitiv, PromotionalMemberGroup
from zeotap_pipelines.engines.duckdb import copy_query, memory
from zeotap_pipelines.errors import ZeotapError
from zeotap_pipelines.ledger.ledger import Ledger
from zeotap_pipelines.mapping import Field
from zeotap_pipelines.model import Mode
from zeotap_pipelines.pipeline import carry_out
from zeotap_pipelines.snapshot import take
from zeotap_pipelines.state import State
from zeotap_pipelines.sync import Sync
from zeotap_pipelines_tests.world import ANYTHING_GOES, day, kognitiv

PEOPLE = Audience("people", "SELECT", ("customer",))


def sync(name: str = "sync", group: str = "ACTIVE-90D") -> Sync:
    target, mapping = PromotionalMemberGroup(group), {"member_internal_id": Field.of("customer")}
    return Sync(name, PEOPLE, target, "demo", Mode.MIRROR, mapping, ANYTHING_GOES)


class Budgeted(Kognitiv):
    """An account with a budget of calls a day."""

    per_day: int | None = None

    def limits(self) -> Limits:
        return replace(super().limits(), per_day=self.per_day)


@dataclass(frozen=True)
class Listed:
    """A source that gives these people, whatever the query, in the way that databases give them."""

    people: tuple[str, ...]

    def write(
        self, query: str, parameters: Mapping[str, object], path: Path, metadata: Mapping[str, str], zone: str
    ) -> None:
        with memory() as connection:
            values = ", ".join(f"('{who}')" for who in self.people)
            copy_query(connection, f"SELECT customer FROM (VALUES {values}) AS p (customer)", {}, path, metadata, zone)


class Later(SystemClock):
    """The machine's clock, some days later."""

    def __init__(self, days: float) -> None:
        self._ahead = timedelta(days=days)

    def now(self) -> datetime:
        return super().now() + self._ahead


def work(task: dict[str, Any]) -> dict[str, Any]:
    """
    Carry out one sync.

    With *full_after* the disk is full after so many answers, with *largest* no file gets larger than so many bytes
    from the start; *take* are the people of a snapshot to take before; *nobody*: as a user without any rights.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    state, mine = State(Path(task["state"])), sync(task.get("sync", "sync"))
    clock = Later(task.get("days", 0))
    if task.get("nobody") and os.getuid() == 0:
        os.setuid(65534)
    if "largest" in task:
        resource.setrlimit(resource.RLIMIT_FSIZE, (task["largest"], resource.RLIM_INFINITY))

    def progress(summary: Summary, total: int) -> None:
        if summary.asked == task.get("full_after"):
            size = Ledger(state, mine.target, mine.address).journal_file.stat().st_size
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + task["spare"], resource.RLIM_INFINITY))

    given = kognitiv(base_url=f"{task['address']}/kognitiv", concurrency=task.get("concurrency", 1))
    connection = Budgeted(**{**dict(given), "per_day": task.get("per_day")})
    trip = Trip(state, connection, f"run-{os.getpid()}", clock, on_progress=progress)
    try:
        if task.get("take"):
            take(PEOPLE, day(task["day"]), Listed(tuple(task["take"])), state, run=trip.run, now=clock.now())
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
                except BaseException:
                    traceback.print_exc()
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
