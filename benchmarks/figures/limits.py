"""Limits: a service that takes 200 requests in any second, or 300 in any minute, and answers 429 above."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import mkdtemp

from zeotap_pipelines import pipeline
from zeotap_pipelines.delivery.trip import Trip
from zeotap_pipelines.destinations.base import Limits
from zeotap_pipelines.destinations.kognitiv import Kognitiv
from zeotap_pipelines.state import State

from ..figure import Contender, Figure
from ..goal import Goal, Quantity
from ..people import GROUP, People, day, wanted
from ..service import Service

HERE = "benchmarks.figures.limits"
Work = Callable[[], Mapping[str, float]]


class ByTheMinute(Kognitiv):
    """An account that allows so much in a minute."""

    requests_per_minute: float

    def limits(self) -> Limits:
        """Return what the account allows."""
        return Limits(concurrency=self.concurrency, per_minute=self.requests_per_minute)


SETTINGS = {"account": "bench", "client_id": "bench", "client_secret": "benchmark-secret", "concurrency": 20}


def _delivery(folder: Path, size: int, service: Service, connection: Kognitiv) -> Work:
    state = State(Path(mkdtemp(dir=folder)))
    wanted(GROUP, state, People(0, size))
    pipeline.plan(GROUP, day(2), state, run="1")

    def work() -> Mapping[str, float]:
        assert pipeline.carry_out(GROUP, day(2), Trip(state, connection, "1")).complete
        return service.counted(size)

    return work


def known(folder: Path, size: int, per_second: float | None = 200) -> Work:
    """Deliver to a service that takes 200 a second, which stands in the connection's settings."""
    service = Service(0.05, allowed=200)
    connection = Kognitiv(base_url=service.address, requests_per_second=per_second, **SETTINGS)  # type: ignore[arg-type]
    return _delivery(folder, size, service, connection)


def unknown(folder: Path, size: int) -> Work:
    """Deliver to one whose limit has to be found."""
    return known(folder, size, None)


def by_the_minute(folder: Path, size: int) -> Work:
    """Deliver to a service that takes 300 a minute, which stands in the connection's settings."""
    service = Service(0.05, allowed=300, seconds=60)
    connection = ByTheMinute(base_url=service.address, requests_per_minute=300, **SETTINGS)  # type: ignore[arg-type]
    return _delivery(folder, size, service, connection)


def used(per_second: float) -> Quantity:
    """Return the share of what was allowed, from the first request to the last, that was used."""
    return Quantity("% of what is allowed", lambda one: 100 * one["requests"] / one["span"] / per_second, more=True)


REFUSED = Quantity("% refused", lambda one: 100 * one["refused"] / one["requests"])
KNOWN, UNKNOWN = "known, 200 a second", "unknown, 200 a second"
MINUTE = "known, 300 a minute"

FIGURES = (
    Figure(
        "limits",
        {4_000: 2},
        (Contender(KNOWN, f"{HERE}:known"), Contender(UNKNOWN, f"{HERE}:unknown")),
        KNOWN,
        (
            Goal("known: ≥ 97 % of what is allowed", KNOWN, used(200), least=97),
            Goal("known: ≤ 1 % refused", KNOWN, REFUSED, most=1),
            Goal("unknown: ≥ 90 % of what is allowed", UNKNOWN, used(200), least=90),
        ),
        unit="requests",
        smoke=50,
    ),
    Figure(
        "limits, 300 a minute",
        {600: 1},
        (Contender(MINUTE, f"{HERE}:by_the_minute"),),
        MINUTE,
        (
            Goal("≥ 97 % of what is allowed", MINUTE, used(5), least=97),
            Goal("≤ 1 % refused", MINUTE, REFUSED, most=1),
        ),
        unit="requests",
        smoke=10,
    ),
)
