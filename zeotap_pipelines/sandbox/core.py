"""The sandbox: the services over one state, one log and one list of faults."""

import time
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any

from zeotap_pipelines.sandbox.agillic import Agillic
from zeotap_pipelines.sandbox.agillic_settings import AgillicSettings
from zeotap_pipelines.sandbox.crowdtwist import CrowdTwist, CrowdTwistSettings
from zeotap_pipelines.sandbox.faults import Faults
from zeotap_pipelines.sandbox.kognitiv import Kognitiv, KognitivSettings
from zeotap_pipelines.sandbox.messages import Request, split_target
from zeotap_pipelines.sandbox.moengage import MoEngage, MoEngageSettings
from zeotap_pipelines.sandbox.service import Answer, Clock, Service
from zeotap_pipelines.sandbox.store import Entry, Store


class Sandbox:
    """The stand-ins of all services.

    `path` is a file that keeps the state over restarts, in memory where it is None; `clock` yields Unix seconds.
    """

    def __init__(
        self,
        path: Path | None = None,
        *,
        clock: Clock = time.time,
        seed: int = 0,
        kognitiv: KognitivSettings | None = None,
        moengage: MoEngageSettings | None = None,
        crowdtwist: CrowdTwistSettings | None = None,
        agillic: AgillicSettings | None = None,
    ) -> None:
        self.clock = clock
        self.faults = Faults(seed)
        self._store = Store(path)
        self.kognitiv = Kognitiv(self._store, self.faults, clock, kognitiv or KognitivSettings())
        self.moengage = MoEngage(self._store, self.faults, clock, moengage or MoEngageSettings())
        self.crowdtwist = CrowdTwist(self._store, self.faults, clock, crowdtwist or CrowdTwistSettings())
        self.agillic = Agillic(self._store, self.faults, clock, agillic or AgillicSettings())
        self.services: dict[str, Service] = {
            service.name: service for service in (self.kognitiv, self.moengage, self.crowdtwist, self.agillic)
        }

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the state."""
        self._store.close()

    @property
    def log(self) -> list[Entry]:
        """Every request, oldest first."""
        return self._store.entries()

    @property
    def violations(self) -> list[Entry]:
        """The requests whose shape no contract documents: bugs of the client."""
        return self._store.entries("violation IS NOT NULL")

    def latest(self, number: int) -> list[Entry]:
        """The latest requests, oldest first."""
        return self._store.entries(newest=number)

    def requests(
        self, service: str | None = None, *, method: str | None = None, route: str | None = None
    ) -> list[Entry]:
        """The requests of one service, method and documented path, where given."""
        return self._store.entries(
            "(?1 IS NULL OR service = ?1) AND (?2 IS NULL OR method = ?2) AND (?3 IS NULL OR route = ?3)",
            service,
            method,
            route,
        )

    def reset(self) -> None:
        """Lose everything: what the services hold, their tokens, the log. Faults stay in force."""
        for service in self.services.values():
            service.expire_tokens()
            service.wipe()
            service.most_in_flight = service.in_flight
        self._store.execute("DELETE FROM log")

    def state(self) -> dict[str, object]:
        """What each service holds, as JSON."""
        return {name: service.state() for name, service in self.services.items()}

    def stats(self) -> dict[str, dict[str, Any]]:
        """Requests per service, per method and route, per status, and the most that were in flight at once."""
        counted = self._store.execute(
            "SELECT service, method, route, status, count(*) FROM log GROUP BY service, method, route, status"
        )
        stats: dict[str, dict[str, Any]] = {}
        for name, service in self.services.items():
            routes: Counter[str] = Counter()
            statuses: Counter[str] = Counter()
            for of, method, route, status, number in counted:
                if of == name:
                    routes[f"{method} {route or '(undocumented)'}"] += int(str(number))
                    statuses[str(status or "none")] += int(str(number))
            stats[name] = {
                "requests": routes.total(),
                "routes": dict(sorted(routes.items())),
                "statuses": dict(sorted(statuses.items())),
                "most_in_flight": service.most_in_flight,
            }
        return stats

    def service_of(self, target: str) -> Service | None:
        """The service whose prefix a request target has."""
        name, path, _ = split_target(target)
        return self.services.get(name) if path else None

    def stray(self, method: str, target: str) -> None:
        """Log a request that has no service's prefix, which is always a violation."""
        target = target.partition("?")[0]
        self._store.record(self.clock(), "", method, target, "", 404, "", "no service at this path")


def exchange(service: Service, method: str, target: str, headers: tuple[tuple[str, str], ...], body: bytes) -> Answer:
    """Let a service answer a request as it was sent; header names are in lower case."""
    _, path, query = split_target(target)
    return service.exchange(Request(method, target, path, query, headers, body))
