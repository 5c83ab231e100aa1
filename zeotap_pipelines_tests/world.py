"""
A world to deliver in: state in a folder, a sandbox, and a clock that only waiting winds.

A crash is exact: at the chosen moment the state's folder is copied, as a killed
process would leave it, and nothing reaches the sandbox any more; what the dying
process still writes is thrown away.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pyarrow
import pyarrow.parquet

from zeotap_pipelines import pipeline
from zeotap_pipelines import snapshot as snapshots
from zeotap_pipelines.audience import Audience
from zeotap_pipelines.delivery.trip import Summary, Trip
from zeotap_pipelines.destinations.base import Connection, Target
from zeotap_pipelines.destinations.kognitiv import Kognitiv, PromotionalMemberGroup
from zeotap_pipelines.diff.plan import Plan
from zeotap_pipelines.engines.duckdb import rows
from zeotap_pipelines.ledger.ledger import Ledger, Standing
from zeotap_pipelines.mapping import Field
from zeotap_pipelines.model import Mode, Partition
from zeotap_pipelines.sandbox import BASE_URL, CLIENT_ID, CLIENT_SECRET, Sandbox, SandboxTransport
from zeotap_pipelines.state import State
from zeotap_pipelines.sync import Guards, Sync

MEMBERS = "/members/"
ANYTHING_GOES = Guards(max_removed_percent=100, max_set_aside_percent=100, allow_empty=True)
"""Guards that stop nothing: most laws are about something else."""


class Crash(BaseException):
    """The process dies here."""


class Clock:
    """A clock that stands still until somebody waits; who waits less goes first."""

    def __init__(self, now: datetime = datetime(2026, 11, 21, 8, tzinfo=UTC)) -> None:
        self._start = now
        self._ticks = 0.0
        self._waiting: list[tuple[float, int]] = []
        self._number = itertools.count()
        self.slept: list[float] = []

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._ticks)

    def monotonic(self) -> float:
        return self._ticks

    def unix(self) -> float:
        return self.now().timestamp()

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        mine = (self._ticks + max(seconds, 0.0), next(self._number))
        heapq.heappush(self._waiting, mine)
        try:
            await asyncio.sleep(0)
            while self._waiting[0] != mine:
                await asyncio.sleep(0)
            self.pass_(max(0.0, mine[0] - self._ticks))
        finally:
            self._waiting.remove(mine)
            heapq.heapify(self._waiting)

    def pass_(self, seconds: float) -> None:
        """Let time pass."""
        self._ticks += seconds

    def jump(self, delta: timedelta) -> None:
        """Set the wall clock, as somebody does by hand."""
        self._start += delta


async def at_once(work: Callable[[], None]) -> None:
    """Wait for the disk on the spot: steps have one order."""
    work()


@dataclass(frozen=True)
class Rows:
    """A source that gives the rows it was made with, whatever the query."""

    columns: Mapping[str, Sequence[Any]]
    types: Mapping[str, pyarrow.DataType] = field(default_factory=dict)

    def write(
        self, query: str, parameters: Mapping[str, object], path: Path, metadata: Mapping[str, str], zone: str
    ) -> None:
        arrays = {
            name: pyarrow.array(values, self.types.get(name, pyarrow.string()) if not _typed(values) else None)
            for name, values in self.columns.items()
        }
        table = pyarrow.table(arrays).replace_schema_metadata(dict(metadata))
        pyarrow.parquet.write_table(table, path)


def _typed(values: Sequence[Any]) -> bool:
    return any(value is not None and not isinstance(value, str) for value in values)


@dataclass(frozen=True)
class Specimen:
    """One worked example of a target. `person` gives the audience's row of somebody; `held` what the service holds."""

    target: Target
    connection: Connection
    mode: Mode
    mapping: Mapping[str, str]
    person: Callable[[str], Mapping[str, Any]]
    held: Callable[[Sandbox], Any]
    sandbox: Callable[[Clock], Sandbox] = lambda clock: Sandbox(clock=clock.unix)
    asks: str = MEMBERS
    """What the path of a request that changes something holds."""

    @property
    def name(self) -> str:
        return type(self.target).__name__


def kognitiv(**settings: Any) -> Kognitiv:
    given = {"account": "demo", "base_url": f"{BASE_URL}/kognitiv", "client_id": CLIENT_ID}
    return Kognitiv(**{**given, "client_secret": CLIENT_SECRET, **settings})


KOGNITIV = Specimen(
    target=PromotionalMemberGroup("ACTIVE-90D"),
    connection=kognitiv(),
    mode=Mode.MIRROR,
    mapping={"member_internal_id": "customer"},
    person=lambda who: {"customer": who},
    held=lambda sandbox: sandbox.kognitiv.members(),
)


def day(number: int) -> Partition:
    """The partition of the day so many days after the first."""
    start = datetime(2026, 11, 1, tzinfo=UTC) + timedelta(days=number)
    return Partition(start + timedelta(days=1), start, date.fromordinal(start.toordinal()).isoformat())


class World:
    """A specimen, its sandbox, a state and a clock."""

    def __init__(self, root: Path, specimen: Specimen = KOGNITIV, **sync: Any) -> None:
        self.root = root
        self.specimen = specimen
        self.clock = Clock()
        self.sandbox = specimen.sandbox(self.clock)
        self.connection = specimen.connection
        self.steps: list[str] = []
        self._deadly: Callable[[str], bool] | None = None
        self._dead = False
        self._runs = itertools.count(1)
        self.state = State(root / "state", self._witness)
        self.sync = Sync(
            **{
                "name": "sync",
                "audience": Audience("people", "SELECT", tuple(specimen.person("nobody"))[:1]),
                "target": specimen.target,
                "account": specimen.connection.account,
                "mode": specimen.mode,
                "mapping": {name: Field.of(value) for name, value in specimen.mapping.items()},
                "guards": ANYTHING_GOES,
                **sync,
            }
        )

    @property
    def held(self) -> Any:
        """What the service holds."""
        return self.specimen.held(self.sandbox)

    @property
    def asked(self) -> list[str]:
        """The requests that were to change something, as method and last segment."""
        return [
            f"{entry.method} {entry.target.rsplit('/', 1)[-1]}"
            for entry in self.sandbox.log
            if self.specimen.asks in entry.target
        ]

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.state, self.sync.target, self.sync.address)

    @property
    def standing(self) -> Standing:
        with self.ledger.reading() as connection:
            return self.ledger.standing(connection)

    def told(self, columns: str = "value, state") -> list[tuple[Any, ...]]:
        """What the ledger says, journal included."""
        with self.ledger.reading() as connection:
            return rows(connection, f"SELECT {columns} FROM told ORDER BY value")

    def trip(self, **changed: Any) -> Trip:
        given: dict[str, Any] = {
            "state": self.state,
            "connection": self.connection,
            "run": f"run{next(self._runs)}",
            "clock": self.clock,
            "aside": at_once,
            "transport": SandboxTransport(self.sandbox, before=self._before, after=self._after, sleep=self.clock.sleep),
        }
        return Trip(**{**given, **changed})

    def take(
        self, people: Sequence[str] | Rows, partition: Partition | None = None, run: str | None = None
    ) -> snapshots.Snapshot:
        """Freeze an audience: people by name, or rows."""
        if not isinstance(people, Rows):
            given = [self.specimen.person(who) for who in people]
            people = Rows({name: [row[name] for row in given] for name in self.specimen.person("nobody")})
        run, now = run or f"run{next(self._runs)}", self.clock.now()
        return snapshots.take(self.sync.audience, partition or day(0), people, self.state, run=run, now=now)

    def plan(self, partition: Partition | None = None) -> Plan:
        return pipeline.plan(self.sync, partition or day(0), self.state, run=f"run{next(self._runs)}", trip=self.trip())

    def carry_out(self, partition: Partition | None = None, *, trip: Trip | None = None, **how: Any) -> Summary:
        return pipeline.carry_out(self.sync, partition or day(0), trip or self.trip(), **how)

    def deliver(
        self, people: Sequence[str] | Rows, partition: Partition | None = None, *, trip: Trip | None = None, **how: Any
    ) -> Summary:
        """The whole way: snapshot, plan, delivery."""
        self.take(people, partition or day(0))
        return self.carry_out(partition, trip=trip, **how)

    def renamed(self, **changed: Any) -> Sync:
        """Change the declaration of the sync, and return it."""
        self.sync = replace(self.sync, **changed)
        return self.sync

    @contextmanager
    def dying(self, deadly: Callable[[str], bool]) -> Iterator[list[str]]:
        """
        Die at the first step for which *deadly* is true, leaving what a killed process leaves.

        Steps are "before METHOD" and "after METHOD" of a request, and what the state's
        witness is told. Yields the steps that were seen.
        """
        self.steps, self._deadly, self._dead = [], deadly, False
        try:
            yield self.steps
        except Crash:
            pass
        finally:
            self._deadly = None
            if self._dead:
                shutil.rmtree(self.state.root)
                (self.root / "wreck").rename(self.state.root)
            self._dead = False

    def _before(self, request: httpx.Request) -> None:
        self._step(f"before {request.method}")

    def _after(self, request: httpx.Request, _: httpx.Response) -> None:
        self._step(f"after {request.method}")

    def _witness(self, step: str) -> None:
        if not self._dead:
            self._step(step)

    def _step(self, step: str) -> None:
        if self._dead:
            raise Crash  # Nothing leaves a dead process.
        self.steps.append(step)
        if self._deadly and self._deadly(step):
            self._dead = True
            shutil.copytree(self.state.root, self.root / "wreck")
            raise Crash


def nth(number: int, kind: str = "") -> Callable[[str], bool]:
    """Whether this is the step of that number, counted from 1, among those whose name starts with *kind*."""
    count = itertools.count(1)
    return lambda step: step.startswith(kind) and next(count) == number
