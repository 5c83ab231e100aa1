"""One request per row, twenty at a time: 2,000 activity credits, ours with doubt before and outcomes after each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import mkdtemp

from zeotap_pipelines import pipeline
from zeotap_pipelines.delivery.trip import Trip
from zeotap_pipelines.destinations.crowdtwist import CrowdTwist
from zeotap_pipelines.destinations.crowdtwist_activities import ActivityCredit
from zeotap_pipelines.mapping import Field
from zeotap_pipelines.model import Mode
from zeotap_pipelines.state import State
from zeotap_pipelines.sync import Sync

from ..figure import Bars, Contender, Figure
from ..goal import CPU, Goal, Quantity
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
    def other(name: str, module: str, *packages: str, runs: int | None = None) -> Contender:
        return Contender(name, f"{OTHERS}.{module}:{function}", packages, runs=runs)

    return (
        Contender("delivery", f"{HERE}:{'delivery' if function == 'one_by_one' else function}"),
        other("script with aiohttp", "script_aiohttp", "aiohttp", "uvloop"),
        other("script with httpx", "script_httpx", "httpx", runs=1),
        other("script with httpx, sniffio", "script_httpx", "httpx", "sniffio"),
        other("drt, 20 syncs", "drt_delivery", "drt-core"),
        other("dlt, 20 files", "dlt_delivery", "dlt"),
        other("singer", "singer_delivery", "singer-sdk", runs=1),
    )


PRODUCTS = ("drt, 20 syncs", "dlt, 20 files", "singer")
SHARE = Quantity("% of 400/s", lambda one: 100 * one["requests"] / one["seconds"] / LIMIT, more=True)
A_ROW = Quantity("ms CPU a row", lambda one: 1000 * one["cpu_seconds"] / one["requests"])
RATE = Quantity("rows/s", lambda one: one["requests"] / one["seconds"], more=True)

FIGURES = (
    Figure(
        "one request per row",
        {2_000: 3},
        _contenders("one_by_one"),
        "script with aiohttp",
        (
            Goal("≥ 96 % of what the service allows", "delivery", SHARE, least=96),
            Goal("≤ 0.6 ms CPU a row", "delivery", A_ROW, most=0.6),
            Goal("≥ 3 × less CPU than the best product", "delivery", CPU, PRODUCTS, most=1 / 3),
            Goal("≤ 1.5 × the script that remembers nothing", "delivery", CPU, ("script with aiohttp",), most=1.5),
        ),
        unit="requests",
        smoke=50,
        bars=Bars("One request per row: CPU milliseconds a row", "cpu_seconds", 2_000, per="requests", scale=1000),
    ),
    Figure(
        "no latency",
        {2_000: 3},
        _contenders("at_once"),
        "script with aiohttp",
        (Goal("≥ 3 × the rows a second of drt and dlt", "delivery", RATE, PRODUCTS[:2], least=3),),
        unit="requests",
        smoke=50,
    ),
)
