"""Faults to inject, by rule (which request, how often) or by probability; frozen values, JSON in and out."""

import json
import random
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from email.utils import formatdate
from typing import Any, Literal, get_args

from zeotap_pipelines.sandbox.messages import Reply

Kind = Literal[
    "status",  # answers `status` instead of the service; nothing is applied unless `applied`
    "html",  # as status (503 by default) with a page of HTML, as a proxy in maintenance does
    "echo",  # answers `status` (400 by default) with all that was sent, credentials too; nothing is applied
    "delay",  # applied, answered `seconds` later
    "reset_before",  # the connection is reset, nothing was applied
    "reset_after",  # applied, the connection is reset instead of an answer
    "cut",  # applied, the answer breaks off in the middle
    "malformed",  # applied, the body of the answer is JSON that breaks off
    "huge",  # applied, the body of the answer has `size` bytes
    "drip",  # applied, the body of the answer comes byte by byte, `seconds` apart
    "token_expiry",  # every token of the service becomes invalid before this request is judged
    "task_failure",  # looked up by services with tasks: the task ends in failure
    "propagation_delay",  # looked up by services with tasks: what was accepted shows `seconds` later
]
NAMED: frozenset[str] = frozenset({"task_failure", "propagation_delay"})
_UNAPPLIED: frozenset[str] = frozenset({"status", "html", "echo", "reset_before"})
_HTML = "<!DOCTYPE html><html><head><title>Maintenance</title></head><body><h1>We'll be back soon</h1></body></html>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault.

    It counts the requests that match service, method and path (a regular expression, searched in the raw path within
    the service); of those it hits the `nth`, `every` nth, or each with `probability`, at most `times` times.
    """

    kind: Kind
    service: str | None = None
    method: str | None = None
    path: str | None = None
    nth: int | None = None
    every: int | None = None
    probability: float | None = None
    times: int | None = None
    status: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    body: str | None = None
    retry_after: float | None = None
    retry_after_as: Literal["seconds", "date"] = "seconds"
    seconds: float = 0.0
    size: int = 8 * 1024 * 1024
    applied: bool | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"unknown kind of fault {self.kind!r}; known: {', '.join(get_args(Kind))}")
        if self.kind == "status" and self.status is None:
            raise ValueError("a fault of kind 'status' needs a status")
        if self.status is not None and not 200 <= self.status <= 599:
            raise ValueError(f"status {self.status} is not between 200 and 599")
        if self.probability is not None and not 0 <= self.probability <= 1:
            raise ValueError(f"probability {self.probability} is not between 0 and 1")
        if any(number is not None and number < 1 for number in (self.nth, self.every, self.times)):
            raise ValueError("nth, every and times count from 1")
        if self.seconds < 0 or self.size < 0:
            raise ValueError("seconds and size are not negative")
        if self.applied is not None and self.kind not in ("status", "html"):
            raise ValueError(f"whether it is applied belongs to the kind {self.kind!r} and can't be chosen")
        if self.path is not None:
            re.compile(self.path)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Fault":
        """A fault from its JSON object; `body` may be any JSON value, `headers` is an object."""
        unknown = set(value) - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(f"unknown fields of a fault: {', '.join(sorted(unknown))}")
        given = dict(value)
        if "headers" in given:
            given["headers"] = tuple((str(name), str(text)) for name, text in dict(given["headers"]).items())
        if not isinstance(given.get("body"), str | None):
            given["body"] = json.dumps(given["body"])
        try:
            return cls(**given)
        except (TypeError, re.error) as error:
            raise ValueError(str(error)) from error

    def to_json(self) -> dict[str, Any]:
        """The fields that differ from their defaults, as `from_json` reads them."""
        said = {field.name: getattr(self, field.name) for field in fields(self)}
        defaults = {field.name: field.default for field in fields(self)}
        value = {name: given for name, given in said.items() if given != defaults[name]}
        if self.headers:
            value["headers"] = dict(self.headers)
        return value

    @property
    def lets_through(self) -> bool:
        """Whether the service gets to apply the request."""
        return self.kind not in _UNAPPLIED if self.applied is None else self.applied

    def matches(self, service: str, method: str, path: str) -> bool:
        """Whether the request is one that this fault counts."""
        return (
            self.service in (None, service)
            and self.method in (None, method)
            and (self.path is None or re.search(self.path, path) is not None)
        )

    def answer(self, reply: Reply, now: float) -> Reply:
        """What is sent in place of the service's own reply; `now` is in Unix seconds."""
        headers = list(reply.headers)
        body, status = reply.body, reply.status
        match self.kind:
            case "status" | "html":
                status = self.status or 503
                html = self.kind == "html"
                body = (self.body if self.body is not None else _HTML if html else "").encode()
                kind = "text/html; charset=utf-8" if html else _content_type(body)
                headers = [("content-type", kind)] if body else []
            case "malformed":
                status = 200 if status == 204 else status
                body, headers = (self.body or '{"data": [{"id": 1,').encode(), [("content-type", "application/json")]
            case "huge":
                status = 200 if status == 204 else status
                body, headers = (
                    b'{"padding":"' + b"x" * self.size + b'"}',
                    [("content-type", "application/json")],
                )
            case "cut" | "drip":
                # Both need a body to break off or to stretch.
                status = 200 if status == 204 else status
                body = body or b'{"status":"ok"}'
            case _:
                return reply
        headers.extend((name.lower(), text) for name, text in self.headers)
        if self.retry_after is not None:
            date = self.retry_after_as == "date"
            text = formatdate(now + self.retry_after, usegmt=True) if date else f"{self.retry_after:g}"
            headers.append(("retry-after", text))
        return Reply(status, body, tuple(headers), reply.note, reply.violation)


def _content_type(body: bytes) -> str:
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return "text/plain; charset=utf-8"
    return "application/json"


class Faults:
    """The faults in force and how often each has counted and hit; the counts are not kept over a restart."""

    def __init__(self, seed: int = 0) -> None:
        self._lock = threading.Lock()
        self._random = random.Random(seed)
        self._rules: list[Fault] = []
        self._counted: list[int] = []
        self._hit: list[int] = []

    def __iter__(self) -> Iterator[Fault]:
        return iter(tuple(self._rules))

    def __len__(self) -> int:
        return len(self._rules)

    def add(self, *faults: Fault) -> None:
        """Put faults in force, after those that are."""
        with self._lock:
            self._rules.extend(faults)
            self._counted.extend(0 for _ in faults)
            self._hit.extend(0 for _ in faults)

    def clear(self) -> None:
        """Lift every fault."""
        with self._lock:
            self._rules, self._counted, self._hit = [], [], []

    def reseed(self, seed: int) -> None:
        """Start the random numbers anew."""
        with self._lock:
            self._random.seed(seed)

    def load(self, value: object) -> None:
        """Put faults in force from JSON: one fault, a list of them, or `{"seed": …, "faults": […]}`."""
        if isinstance(value, Mapping) and "faults" in value:
            unknown = set(value) - {"faults", "seed"}
            if unknown:
                raise ValueError(f"unknown fields: {', '.join(sorted(map(str, unknown)))}")
            listed = value["faults"]
        else:
            listed = [value] if isinstance(value, Mapping) else value
        if not isinstance(listed, list) or not all(isinstance(one, Mapping) for one in listed):
            raise ValueError("faults are JSON objects in a list")
        faults = [Fault.from_json(one) for one in listed]
        if isinstance(value, Mapping) and "seed" in value:
            self.reseed(int(value["seed"]))
        self.add(*faults)

    def draw(self, service: str, method: str, path: str) -> Fault | None:
        """The fault that hits this request of the wire, if any: of several the one put in force first."""
        return self._draw(lambda fault: fault.kind not in NAMED, service, method, path)

    def named(self, kind: Kind, service: str, method: str, path: str) -> Fault | None:
        """The fault of one kind that a service asks for by name, if it hits this request."""
        return self._draw(lambda fault: fault.kind == kind, service, method, path)

    def _draw(self, concerns: Callable[[Fault], bool], service: str, method: str, path: str) -> Fault | None:
        if not self._rules:
            return None
        hit: Fault | None = None
        with self._lock:
            for at, fault in enumerate(self._rules):
                if not concerns(fault) or not fault.matches(service, method, path):
                    continue
                self._counted[at] += 1
                if hit is None and self._hits(at, fault):
                    self._hit[at] += 1
                    hit = fault
        return hit

    def _hits(self, at: int, fault: Fault) -> bool:
        if fault.times is not None and self._hit[at] >= fault.times:
            return False
        if fault.nth is not None and self._counted[at] != fault.nth:
            return False
        if fault.every is not None and self._counted[at] % fault.every:
            return False
        return fault.probability is None or self._random.random() < fault.probability
