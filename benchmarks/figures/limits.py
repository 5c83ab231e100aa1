"""Limits: a service that takes 200 requests in any second and answers 429 above, its limit known or not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import mkdtemp

from zeotap_pipelines import pipeline
from zeotap_pipelines.destinations.kognitiv import Kognitiv
from zeotap_pipelines.state import State
from zeotap_pipelines.trip import Trip

from ..figure import Contender, Figure, Goal, Measured
from ..people import GROUP, People, day, wanted
from ..service import Service

HERE = "benchmarks.figures.limits"
ALLOWED = 200


def known(folder: Path, size: int, per_second: float | None = ALLOWED) -> Callable[[], Mapping[str, float]]:
    """Deliver to a service whose limit is in the connection's settings."""
    service, state = Service(0.05, ALLOWED), State(Path(mkdtemp(dir=folder)))
    connection = Kognitiv(
        account="bench",
        base_url=service.address,
        client_id="bench",
        client_secret="benchmark-secret",  # type: ignore[arg-type]
        concurrency=20,
        requests_per_second=per_second,
    )
    wanted(GROUP, state, People(0, size))
    pipeline.plan(GROUP, day(2), state, run="1")

    def work() -> Mapping[str, float]:
        assert pipeline.carry_out(GROUP, day(2), Trip(state, connection, "1")).complete
        return service.counted(size)

    return work


def unknown(folder: Path, size: int) -> Callable[[], Mapping[str, float]]:
    """Deliver to one whose limit has to be found."""
    return known(folder, size, None)


def _used(found: Mapping[str, Measured], name: str) -> float:
    """Return the share of what was allowed from the first request to the last that was used."""
    return found[name]["requests"] / found[name]["span"] / ALLOWED


GOALS = {
    "known": Goal(
        "≥ 97 % of what is allowed, ≤ 1 % refused",
        lambda found: _used(found, "known") >= 0.97 and found["known"]["refused"] <= 0.01 * found["known"]["requests"],
    ),
    "unknown": Goal("≥ 90 % of what is allowed", lambda found: _used(found, "unknown") >= 0.9),
}

FIGURES = (
    Figure(
        "limits",
        (4_000,),
        (Contender("known", f"{HERE}:known"), Contender("unknown", f"{HERE}:unknown")),
        "known",
        GOALS,
        unit="requests",
    ),
)
