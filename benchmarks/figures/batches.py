"""Batches: a MoEngage cohort in bodies of at most 120,000 bytes, one request at a time, 20 ms each or none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import mkdtemp

from zeotap_pipelines import pipeline
from zeotap_pipelines.delivery.trip import Trip
from zeotap_pipelines.destinations.moengage import Cohort, MoEngage
from zeotap_pipelines.mapping import Field
from zeotap_pipelines.model import Mode
from zeotap_pipelines.state import State
from zeotap_pipelines.sync import Sync

from ..figure import Bars, Contender, Figure
from ..goal import REQUESTS, Goal, Quantity
from ..people import AUDIENCE, People, day, wanted
from ..service import Service

HERE = "benchmarks.figures.batches"
OTHERS = "benchmarks.others"

MEMBERS = Sync("members", AUDIENCE, Cohort("bench", "bench"), "bench", Mode.MIRROR, {"uid": Field("email")})


def delivery(folder: Path, size: int, delay: float = 0.02) -> Callable[[], Mapping[str, float]]:
    """Deliver a plan of members: each batch acknowledged on the disk before the next is asked, the ledger folded."""
    service, state = Service(delay), State(Path(mkdtemp(dir=folder)))
    key = {"secret_key": "benchmark-key"}
    connection = MoEngage(
        account="bench",
        base_url=service.address,
        app_id="bench",
        requests_per_minute=1e9,
        **key,  # type: ignore[arg-type]
    )
    wanted(MEMBERS, state, People(0, size))
    pipeline.plan(MEMBERS, day(2), state, run="1")

    def work() -> Mapping[str, float]:
        assert pipeline.carry_out(MEMBERS, day(2), Trip(state, connection, "1")).complete
        return service.counted()

    return work


def batches_at_once(folder: Path, size: int) -> Callable[[], Mapping[str, float]]:
    """Do the same where the service answers at once."""
    return delivery(folder, size, 0.0)


def _contenders(function: str) -> tuple[Contender, ...]:
    def other(name: str, module: str, *packages: str, runs: int | None = None) -> Contender:
        return Contender(name, f"{OTHERS}.{module}:{function}", packages, runs=runs)

    return (
        Contender("delivery", f"{HERE}:{'delivery' if function == 'batches' else function}"),
        other("script with httpx that counts bytes", "script_httpx", "httpx"),
        other("drt", "drt_delivery", "drt-core"),
        other("dlt", "dlt_delivery", "dlt"),
        other("singer", "singer_delivery", "singer-sdk", runs=1),
    )


SCRIPT = "script with httpx that counts bytes"


RATE = Quantity("rows/s", lambda one: one["n"] / one["seconds"], more=True)
A_ROW = Quantity("µs CPU a row", lambda one: 1e6 * one["cpu_seconds"] / one["n"])


def _goals(rows_per_second: float) -> tuple[Goal, ...]:
    return (
        Goal(f"≥ {rows_per_second:,.0f} rows/s", "delivery", RATE, least=rows_per_second),
        Goal("≤ 3 µs CPU a row", "delivery", A_ROW, most=3),
        Goal("no more requests than the bytes demand", "delivery", REQUESTS, (SCRIPT,), most=1),
    )


FIGURES = (
    Figure(
        "batches",
        {200_000: 3, 1_000_000: 1},
        _contenders("batches"),
        SCRIPT,
        _goals(63_000),
        bars=Bars("Batches, 20 ms: CPU microseconds a row", "cpu_seconds", 200_000, per="n", scale=1e6),
    ),
    Figure("batches, no latency", {200_000: 3}, _contenders("batches_at_once"), SCRIPT, _goals(100_000)),
)
