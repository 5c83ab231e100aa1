"""The base of a stand-in: documented routes and nothing else, a log, limits, faults."""

import math
import re
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from zeotap_pipelines.sandbox.faults import Fault, Faults, Kind
from zeotap_pipelines.sandbox.messages import Redaction, Reply, Request, Undocumented, decode_segments
from zeotap_pipelines.sandbox.store import Store

Clock = Callable[[], float]
Endpoint = Callable[[Request, Mapping[str, str]], Reply]
Ending = Literal["whole", "reset", "cut", "drip"]


class Route:
    """One documented method and path. `template` holds identifiers in braces, each part of one encoded segment.

    `body` lists the accepted content types (none: a body is refused), `query` the accepted parameters; an `open` route
    is asked without credentials.
    """

    def __init__(
        self,
        method: str,
        template: str,
        endpoint: Endpoint,
        *,
        body: tuple[str, ...] = (),
        query: frozenset[str] = frozenset(),
        open: bool = False,
    ) -> None:
        self.method = method
        self.template = template
        self.endpoint = endpoint
        self.body = body
        self.query = query
        self.open = open
        parts = re.split(r"\{(\w+)\}", template)
        self._pattern = re.compile(
            "".join(f"(?P<{part}>[^/]*?)" if at % 2 else re.escape(part) for at, part in enumerate(parts))
        )

    def match(self, path: str) -> dict[str, str] | None:
        """The raw identifiers in `path`, or None where it is another path."""
        found = self._pattern.fullmatch(path)
        return None if found is None else found.groupdict()


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `requests` in any `seconds`; what goes beyond is answered 429 and doesn't count."""

    requests: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply and how it travels: after `delay` seconds, and ending whole, reset, cut, or dripping."""

    reply: Reply
    ending: Ending = "whole"
    delay: float = 0.0
    drip: float = 0.0


@dataclass(frozen=True, slots=True)
class Holding:
    """Something that a service holds, for people: a name, how many, and the first few keys."""

    name: str
    count: int
    first: tuple[str, ...]


class Service:
    """One stand-in. A subclass names its tables and routes, judges credentials, and answers.

    Endpoints run inside the transaction that also writes the log: they look before they write.
    """

    name: ClassVar[str]
    schema: ClassVar[str] = ""
    tables: ClassVar[tuple[str, ...]] = ()
    common_query: ClassVar[frozenset[str]] = frozenset()

    def __init__(
        self,
        store: Store,
        faults: Faults,
        clock: Clock,
        *,
        rates: tuple[Rate, ...] = (),
        max_in_flight: int | None = None,
        secrets: frozenset[str] = frozenset(),
    ) -> None:
        self.store = store
        self.faults = faults
        self.clock = clock
        self.redact = Redaction(secrets)
        self.in_flight = 0
        self.most_in_flight = 0
        self._max_in_flight = max_in_flight
        self._lock = threading.Lock()
        self._routes = self.routes()
        store.define(self.schema)
        with store.transaction():
            if store.execute("INSERT OR IGNORE INTO seeded VALUES (?) RETURNING service", self.name):
                self.seed()
        self._recent = [(rate, deque(self._answered(rate), maxlen=rate.requests)) for rate in rates]

    def routes(self) -> tuple[Route, ...]:
        """What the contract documents."""
        raise NotImplementedError

    def authenticate(self, request: Request) -> Reply | None:
        """The refusal of a request whose credentials are not good; None where they are."""
        raise NotImplementedError

    def refusal(self, status: int, message: str) -> Reply:
        """An error in the shape that this service gives its errors."""
        return Reply.json(status, {"message": message})

    def seed(self) -> None:
        """What is there from the start."""

    def expire_tokens(self) -> None:
        """Make every token invalid, where the service has tokens."""

    def state(self) -> dict[str, object]:
        """Everything that the service holds, as JSON."""
        raise NotImplementedError

    def holdings(self) -> list[Holding]:
        """What the service holds, in short."""
        raise NotImplementedError

    def wipe(self) -> None:
        """Lose everything but what is there from the start."""
        with self.store.transaction():
            for table in self.tables:
                self.store.execute(f"DELETE FROM {table}")
            self.seed()
            for _, times in self._recent:
                times.clear()

    def fault(self, kind: Kind, request: Request) -> Fault | None:
        """The fault of this name that hits the request, for kinds that services look up themselves."""
        return self.faults.named(kind, self.name, request.method, request.path)

    def enter(self) -> None:
        """Count a request in; every `enter` is followed by a `leave`."""
        with self._lock:
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)

    def leave(self) -> None:
        """Count a request out, once its answer was sent."""
        with self._lock:
            self.in_flight -= 1

    def exchange(self, request: Request) -> Answer:
        """Answer one request; its effect and its log entry are committed when this returns."""
        fault = self.faults.draw(self.name, request.method, request.path)
        route, identifiers = self._find(request)
        now = self.clock()
        with self.store.transaction():
            if fault is not None and fault.kind == "echo":
                reply = self.refusal(fault.status or 400, f"refused: {request.whole}")
            elif fault is not None and not fault.lets_through:
                reply = Reply(0)
            else:
                if fault is not None and fault.kind == "token_expiry":
                    self.expire_tokens()
                try:
                    reply = self._refuse_excess(now) or self._answer(request, route, identifiers)
                except Undocumented as refused:
                    self.store.undo()
                    shown = self.refusal(refused.status, refused.what)
                    reply = Reply(shown.status, shown.body, (*shown.headers, *refused.headers), "", refused.what)
            if fault is not None:
                reply = fault.answer(reply, now)
            self._record(request, route, reply, fault, now)
        return _travelling(reply, fault)

    def _find(self, request: Request) -> tuple[Route | None, dict[str, str]]:
        for route in self._routes:
            if route.method == request.method and (identifiers := route.match(request.path)) is not None:
                return route, identifiers
        return None, {}

    def _answer(self, request: Request, route: Route | None, identifiers: Mapping[str, str]) -> Reply:
        if route is None:
            allowed = sorted({other.method for other in self._routes if other.match(request.path) is not None})
            if allowed:
                raise Undocumented(405, f"{request.method} is not allowed here", (("allow", ", ".join(allowed)),))
            raise Undocumented(404, "no such path")
        if request.header("cookie") is not None:
            raise Undocumented(400, "a cookie was sent")
        decoded = decode_segments(identifiers)
        if not route.open and (refusal := self.authenticate(request)) is not None:
            return refusal
        unknown = set(request.parameters()) - route.query - self.common_query
        if unknown:
            raise Undocumented(400, f"unknown query parameters: {', '.join(sorted(unknown))}")
        if not route.body and request.body:
            raise Undocumented(400, "a body where none is documented")
        if route.body and request.header("content-type") not in route.body:
            raise Undocumented(415, f"the content type is not {' or '.join(route.body)}")
        return route.endpoint(request, decoded)

    def _refuse_excess(self, now: float) -> Reply | None:
        if self._max_in_flight is not None and self.in_flight > self._max_in_flight:
            reply = self.refusal(429, "Too many concurrent requests")
            return Reply(reply.status, reply.body, reply.headers, f"{self.in_flight} in flight")
        for rate, times in self._recent:
            if len(times) == rate.requests and times[0] > now - rate.seconds:
                wait = math.ceil(times[0] + rate.seconds - now)
                reply = self.refusal(429, "Rate limit exceeded")
                return Reply(reply.status, reply.body, (*reply.headers, ("retry-after", str(wait))), "rate limit")
        for _, times in self._recent:
            times.append(now)
        return None

    def _answered(self, rate: Rate) -> list[float]:
        # A restart doesn't forgive a client the requests it has made.
        recent = self.store.execute(
            "SELECT at FROM log WHERE service = ? AND status IS NOT 429 ORDER BY seq DESC LIMIT ?",
            self.name,
            rate.requests,
        )
        return [float(str(row[0])) for row in reversed(recent)]

    def _record(self, request: Request, route: Route | None, reply: Reply, fault: Fault | None, now: float) -> None:
        notes = [reply.note] if reply.note else []
        if fault is not None:
            notes.append(f"fault: {fault.kind}")
        self.store.record(
            now,
            self.name,
            request.method,
            self.redact(request.target),
            "" if route is None else route.template,
            reply.status or None,
            self.redact(", ".join(notes)),
            None if reply.violation is None else self.redact(reply.violation),
        )


def _travelling(reply: Reply, fault: Fault | None) -> Answer:
    match fault:
        case None:
            return Answer(reply)
        case Fault(kind="reset_before" | "reset_after"):
            return Answer(reply, "reset", fault.seconds)
        case Fault(kind="cut"):
            return Answer(reply, "cut", fault.seconds)
        case Fault(kind="drip"):
            return Answer(reply, "drip", 0.0, fault.seconds)
        case _:
            return Answer(reply, "whole", fault.seconds)
