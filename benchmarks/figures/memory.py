"""Memory of a sync: a plan to a target that takes everything and asks nothing, so that only our own part is left."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import ClassVar

import httpx

from zeotap_pipelines import pipeline
from zeotap_pipelines.delivery.trip import Trip
from zeotap_pipelines.destinations.base import Connection, Limits, Target, Visit
from zeotap_pipelines.mapping import Field
from zeotap_pipelines.model import ACCEPTED, Batch, Conversation, Mode, Question, Receipt, Verb
from zeotap_pipelines.state import State
from zeotap_pipelines.sync import Sync

from ..figure import Contender, Figure
from ..goal import MEMORY, Goal
from ..people import AUDIENCE, People, day, wanted

HERE = "benchmarks.figures.memory"
TEN = (10_000_000,)


class Nowhere(Connection):
    """A service that is not there."""

    service: ClassVar[str] = "nowhere"
    unverified: ClassVar[str] = "everything"

    def auth(self) -> httpx.Auth:
        return httpx.Auth()

    def limits(self) -> Limits:
        return Limits(concurrency=4)

    def test(self) -> Question:
        yield from ()


@dataclass(frozen=True)
class Null(Target):
    """A target that takes everything."""

    service = "nowhere"
    kind = "null"
    verbs = frozenset({Verb.UPSERT})
    carries_attributes = True
    items = 1_000
    identity = ("email",)
    name = "null"

    def converse(self, batch: Batch, visit: Visit) -> Conversation:
        yield from ()
        return Receipt(ACCEPTED)


SYNC = Sync("null", AUDIENCE, Null(), "bench", Mode.UPSERT, {"email": Field("email"), "first": Field("first_name")})


def stage(folder: Path, size: int) -> None:
    """Make the plan, in a process of its own."""
    state = State(folder / "state")
    wanted(SYNC, state, People(0, size))
    pipeline.plan(SYNC, day(2), state, run="1")


def delivery(folder: Path, size: int) -> Callable[[], None]:
    """Carry out the plan, ledger and all."""
    root = Path(mkdtemp(dir=folder)) / "state"
    shutil.copytree(folder / "state", root, copy_function=_copy)
    trip = Trip(State(root), Nowhere(account="bench", base_url="http://localhost"), "1")

    def work() -> None:
        assert pipeline.carry_out(SYNC, day(2), trip).complete
        shutil.rmtree(root)

    return work


def _copy(source: str, target: str) -> None:
    """Copy what may change; what never does needs no room of its own."""
    (os.link if source.endswith(".parquet") else shutil.copyfile)(source, target)


FIGURES = (
    Figure(
        "memory of a sync",
        {1_000_000: 1, 10_000_000: 1},
        (Contender("delivery", f"{HERE}:delivery"),),
        "delivery",
        (
            Goal("≤ 400 MB resident", "delivery", MEMORY, most=400),
            Goal("flat in N: ≤ 1.2 × a tenth of the operations", "delivery", MEMORY, most=1.2, tenth=True, at=TEN),
        ),
        stage=f"{HERE}:stage",
        unit="operations",
    ),
)
