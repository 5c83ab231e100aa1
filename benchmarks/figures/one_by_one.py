"""One request per row, twenty at a time: 2,000 activity credits, ours with doubt before and outcomes after each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import mkdtemp

from zeotap_pipelines import pipeline
from zeotap_pipelines.destinations.crowdtwist import CrowdTwist
from zeotap_pipelines.destinations.crowdtwist_activities import ActivityCredit
from zeotap_pipelines.mapping import Field
from zeotap_pipelines.model import Mode
from zeotap_pipelines.state import State
from zeotap_pipelines.sync import Sync
from zeotap_pipelines.trip import Trip

from ..figure import Contender, Figure, Goal, Measured
from ..people import AUDIENCE, People, day, wanted
from ..service import Service

HERE = "benchmarks.figures.one_by_one"
OTHERS = "benchmarks.others"

CREDITS = Sync(
    "credits",
    AUDIENCE,
    ActivityCredit("bench"),
    "bench",
    Mode.INSERT,
    {
        "event_id": Field("id"),
        "user_id": Field("email"),
        "activity_id": Field(constant="1"),
        "num_points": Field("spend"),
    },
)

LIMIT = 20 / 0.05
"""Requests a second that 20 at a time can reach where each takes 50 ms."""


def delivery(folder: Path, size: int, delay: float = 0.05) -> Callable[[], Mapping[str, float]]:
    """Deliver a plan of credits: each in doubt on the disk before it is asked, each answer on the disk afterwards."""
    service, state = Service(delay), State(Path(mkdtemp(dir=folder)))
    key = {"api_key": "benchmark-key"}
    connection = CrowdTwist(account="bench", base_url=service.address, concurrency=20, **key)  # type: ignore[arg-type]
    wanted(CREDITS, state, People(0, size))
    pipeline.plan(CREDITS, day(2), state, run="1")

    def work() -> Mapping[str, float]:
        assert pipeline.carry_out(CREDITS, day(2), Trip(state, connection, "1")).complete
        return service.counted(size)

    return work


def at_once(folder: Path, size: int) -> Callable[[], Mapping[str, float]]:
    """Do the same where the service answers at once."""
    return delivery(folder, size, 0.0)


def _contenders(function: str) -> tuple[Contender, ...]:
    def other(name: str, module: str, *packages: str) -> Contender:
        return Contender(name, f"{OTHERS}.{module}:{function}", packages)

    return (
        Contender("delivery", f"{HERE}:{'delivery' if function == 'one_by_one' else function}"),
        other("script with aiohttp", "script_aiohttp", "aiohttp", "uvloop"),
        other("script with httpx", "script_httpx", "httpx"),
        other("script with httpx, sniffio", "script_httpx", "httpx", "sniffio"),
        other("drt, 20 syncs", "drt_delivery", "drt-core"),
        other("dlt, 20 files", "dlt_delivery", "dlt"),
        other("singer", "singer_delivery", "singer-sdk"),
    )


def _best(found: Mapping[str, Measured], kind: str) -> float:
    products = [found[name][kind] for name in ("drt, 20 syncs", "dlt, 20 files", "singer") if name in found]
    if not products:
        raise KeyError("no product could be measured")
    return min(products)


def _in_rows(found: Mapping[str, Measured]) -> float:
    """Return the CPU seconds of a row."""
    return found["delivery"]["cpu_seconds"] / found["delivery"]["requests"]


GOALS = {
    "delivery": Goal(
        "≥ 96 % of 400/s; ≤ 0.6 ms CPU a row; ≤ 1/3 of the best product's and ≤ 1.5 × aiohttp's CPU",
        lambda found: (
            found["delivery"]["requests"] / found["delivery"]["span"] >= 0.96 * LIMIT
            and _in_rows(found) <= 0.0006
            and found["delivery"]["cpu_seconds"] * 3 <= _best(found, "cpu_seconds")
            and found["delivery"]["cpu_seconds"] <= 1.5 * found["script with aiohttp"]["cpu_seconds"]
        ),
    )
}

FASTER = {
    "delivery": Goal(
        "≥ 3 × the rows a second of drt and dlt",
        lambda found: found["delivery"]["seconds"] * 3 <= _best(found, "seconds"),
    )
}

FIGURES = (
    Figure("one request per row", (2_000,), _contenders("one_by_one"), "script with aiohttp", GOALS, unit="requests"),
    Figure("no latency", (2_000,), _contenders("at_once"), "script with aiohttp", FASTER, unit="requests"),
)
