"""The weather: which faults are in force, and what became of every credit that was asked for."""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass
from typing import Any

from benchmarks.chaos.scenes import TIMEOUT
from zeotap_pipelines.sandbox import Fault, Sandbox
from zeotap_pipelines.sandbox.messages import Request
from zeotap_pipelines.sandbox.service import Answer, Service

CREDIT = re.compile(r"^/v2/users/[^/]+/activities$")


def faults(chance: random.Random, service: str) -> list[Fault]:
    """A few kinds of fault, mostly rare, now and then so frequent that nothing gets through."""

    def share(usual: float) -> float:
        if service in ("moengage", "agillic"):  # They are asked seldom, for many people at once.
            usual *= 3
        return 0.6 if chance.random() < 0.05 else min(0.6, usual * chance.uniform(0.2, 1.8))

    status = {
        500: Fault(kind="status", status=500, probability=share(0.06)),
        -500: Fault(kind="status", status=500, applied=True, probability=share(0.06)),
        502: Fault(kind="status", status=502, applied=True, body="<html>bad gateway</html>", probability=share(0.04)),
        503: Fault(kind="status", status=503, retry_after=chance.choice([None, 1, 4]), probability=share(0.06)),
        429: Fault(
            kind="status",
            status=429,
            retry_after=chance.choice([None, 1, 2, 3]),
            retry_after_as=chance.choice(["seconds", "date"]),
            probability=share(0.06),
        ),
        4290: Fault(kind="status", status=429, retry_after=chance.choice([70, 90]), probability=0.01),
    }
    known = [
        *status.values(),
        Fault(kind="html", probability=share(0.05)),
        Fault(kind="html", status=504, applied=True, probability=share(0.05)),
        Fault(kind="reset_before", probability=share(0.06)),
        Fault(kind="reset_after", probability=share(0.08)),
        Fault(kind="cut", probability=share(0.06)),
        Fault(kind="malformed", probability=share(0.04)),
        Fault(kind="delay", seconds=chance.uniform(0.02, 0.3), probability=share(0.15)),
        Fault(kind="delay", seconds=TIMEOUT + 1, probability=0.003),
        Fault(kind="drip", seconds=0.005, probability=share(0.03)),
    ]
    if service in ("kognitiv", "agillic"):
        known.append(Fault(kind="token_expiry", probability=share(0.08)))
    if service == "agillic":
        known.append(Fault(kind="task_failure", path=":upsert$", probability=share(0.2)))
    return chance.sample(known, chance.randint(0, 6))


@dataclass(frozen=True)
class Asked:
    """One request for a credit: of which event, and whether its answer can have been of use."""

    event: str
    status: int
    lost: bool


class Watched:
    """CrowdTwist's stand-in, and a note of every credit that it was asked for."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.asked: list[Asked] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._service, name)

    def exchange(self, request: Request) -> Answer:
        answer = self._service.exchange(request)
        if request.method == "POST" and CREDIT.match(request.path):
            event = json.loads(request.body)["extra_data"]["event_id"]
            late = answer.delay + answer.drip * len(answer.reply.body) >= TIMEOUT
            status = answer.reply.status
            # That it was refused is said by the status; that it was taken, by the body only.
            unclear = status >= 500 or (status < 400 and _broken(answer.reply.body))
            self.asked.append(Asked(event, status, answer.ending in ("reset", "cut") or late or unclear))
        return answer


def _broken(body: bytes) -> bool:
    """Return whether *body* is JSON that breaks off."""
    try:
        json.loads(body or b"null")
    except ValueError:
        return True
    return False


def watch(sandbox: Sandbox) -> Watched:
    """Let every credit that *sandbox* is asked for be noted."""
    watched: Any = Watched(sandbox.crowdtwist)
    sandbox.services["crowdtwist"] = watched
    noted: Watched = watched
    return noted
