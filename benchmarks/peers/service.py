"""
The service that every contender speaks to: the sandbox behind a load balancer that sets a cookie.

The sandbox refuses cookies; the balancer counts and takes away those that come back, so
that nobody fails by them. Where a client has one address for all of its rows, it writes
`-` in place of the person, whom the balancer moves from the body to the path.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import httpx

from zeotap_pipelines.sandbox import CLIENT_ID, CLIENT_SECRET, Fault, Sandbox, running
from zeotap_pipelines.sandbox.messages import Request
from zeotap_pipelines.sandbox.service import Answer, Service

from . import rows

LOST, FAILED = 0.02, 0.02
"""The share of the credits whose first answer is lost after it was applied, and of those first answered with a 500."""


class Balancer:
    """Stands before a *service*; `asked` counts the requests that were to change something."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.asked = 0
        self.cookies = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._service, name)

    def exchange(self, request: Request) -> Answer:
        self.cookies += request.header("cookie") is not None
        headers = tuple(pair for pair in request.headers if pair[0] != "cookie")
        answer = self._service.exchange(_addressed(replace(request, headers=headers)))
        self.asked += request.method in ("PUT", "DELETE") or request.path.endswith("/activities")
        cookie = ("set-cookie", "balancer=a1; Path=/; HttpOnly")
        return replace(answer, reply=replace(answer.reply, headers=(*answer.reply.headers, cookie)))


def _addressed(request: Request) -> Request:
    """Return *request* with the person in its path where the client could only write them into the body."""
    if "-" not in request.path.split("/"):
        return request
    body = json.loads(request.body)
    person = body.pop("user_id", None) or body.pop("member")
    path = "/".join(quote(person, safe="") if part == "-" else part for part in request.path.split("/"))
    # A member of a group is asked for without a body.
    kept = tuple(pair for pair in request.headers if body or pair[0] not in ("content-type", "content-length"))
    sent = json.dumps(body).encode() if body else b""
    return replace(request, target=request.target.replace(request.path, path), path=path, headers=kept, body=sent)


class Stage:
    """One sandbox with its balancers, at `address`."""

    def __init__(self, sandbox: Sandbox, address: str) -> None:
        self.address = address
        self._sandbox = sandbox
        self.balancers = {name: Balancer(sandbox.services[name]) for name in ("crowdtwist", "kognitiv")}
        held: Any = self.balancers
        sandbox.services.update(held)

    def people(self, number: int) -> list[rows.Row]:
        """Make so many users, and return a credit for each."""
        credits = [
            {
                "number": n,
                "event_id": f"E{n}",
                "email": f"c{n}@example.org",
                "activity_id": "1001",
                "num_points": n % 7 + 1,
            }
            for n in range(number)
        ]
        for row in credits:
            self._sandbox.crowdtwist.put_user(email_address=row["email"], first_name="C", last_name=str(row["number"]))
        return credits

    def weather(self, credits: list[rows.Row], seed: int) -> Counter[str]:
        """Lose and fail the first answers of some *credits*, the same ones for the same *seed*; return how many."""
        drawn: Counter[str] = Counter()
        chance = random.Random(seed)
        for row in credits:
            luck = chance.random()
            path = f"^/v2/users/{row['email'].replace('@', '(@|%40)')}/activities$"
            if luck < LOST:
                self._sandbox.faults.add(Fault(kind="reset_after", service="crowdtwist", path=path, times=1))
                drawn["lost"] += 1
            elif luck < LOST + FAILED:
                self._sandbox.faults.add(Fault(kind="status", status=500, service="crowdtwist", path=path, times=1))
                drawn["failed"] += 1
        return drawn

    def outage(self) -> None:
        """Answer every credit with a 500 from now on."""
        failing = Fault(kind="status", status=500, service="crowdtwist", path="/activities$", method="POST")
        self._sandbox.faults.add(failing)

    def token(self) -> str:
        """Return a token for Kognitiv."""
        form = {"grant_type": "client_credentials", "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
        answer = httpx.post(f"{self.address}/kognitiv/Auth/connect/token", data=form, trust_env=False)
        return str(answer.raise_for_status().json()["access_token"])

    def given(self) -> Counter[str]:
        """Return how often each event was credited."""
        return Counter(credit.extra_data["event_id"] for credit in self._sandbox.crowdtwist.credits())

    def members(self) -> set[str]:
        """Return who is in the group."""
        return self._sandbox.kognitiv.members(rows.GROUP)

    @property
    def violations(self) -> list[str]:
        """What was asked that no contract documents."""
        return sorted({str(entry.violation) for entry in self._sandbox.violations})


@contextmanager
def stage() -> Iterator[Stage]:
    """Serve a sandbox of its own while the block runs."""
    with Sandbox() as sandbox, running(sandbox) as address:
        yield Stage(sandbox, address)
