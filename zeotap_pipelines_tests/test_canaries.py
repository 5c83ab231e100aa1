"""Canaries in every secret and in the rows: whatever goes wrong, none of them is found where it does not belong."""

import dataclasses
import logging
import re
import traceback
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from zeotap_pipelines.destinations.auth import ClientCredentials
from zeotap_pipelines.errors import ZeotapError
from zeotap_pipelines.sandbox import Fault, SandboxTransport
from zeotap_pipelines.upkeep.connections import try_connection
from zeotap_pipelines_tests.searching import SECRET, TOKENS, kept
from zeotap_pipelines_tests.specimens import MAIN, Example, bare, credit, crowdtwist, profile, signed, version
from zeotap_pipelines_tests.world import World, day

EXAMPLES = [*MAIN, profile(MAIN[2].mode, connection=signed()), credit(connection=crowdtwist(api_key_in="header"))]
PERSON = "canary{0}!9021{0}"
"""Who a person is, and what is said of her, at one attempt."""

ECHOES = [Fault(kind="echo", status=status) for status in (200, 400, 401, 403, 404, 409, 429, 500)]
TROUBLE = [
    Fault(kind="echo", status=302, headers=(("location", "https://elsewhere.test/?canary=1"),)),
    Fault(kind="html", status=400),
    *(Fault(kind=kind) for kind in ("reset_before", "reset_after", "cut", "malformed", "token_expiry", "task_failure")),
    *(Fault(kind=kind, seconds=90) for kind in ("delay", "drip", "propagation_delay")),
    Fault(kind="huge", size=100_000),
]


def faults(asks: str, tokens: bool) -> Iterator[Fault]:
    """All trouble there is, for what changes something; what repeats what it was sent, for questions and tokens too."""
    for fault in (*ECHOES, *TROUBLE):
        yield dataclasses.replace(fault, path=asks)
    for fault in ECHOES:
        yield dataclasses.replace(fault, method="GET")
        if tokens:
            yield dataclasses.replace(fault, path=TOKENS)


class Ears:
    """What the service is told by way of credentials."""

    def __init__(self) -> None:
        self.heard: set[str] = set()

    def __call__(self, request: httpx.Request) -> None:
        for name, value in request.headers.items():
            if "authorization" in name:
                self.heard |= {part for part in re.split(r"[ :]", value)[1:] if len(part) >= 8}
        self.heard |= {value for name, value in request.url.params.items() if name == "api_key"}


def told(error: BaseException | None) -> str:
    return "".join(traceback.format_exception(error)) if error else ""


@pytest.mark.slow
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda one: f"{one.name}-{type(one.connection.auth()).__name__}")
def test_no_secret_is_written_down_or_said_and_nobody_is_named_outside_the_state(
    tmp_path: Path, example: Example, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    for library in ("httpx", "httpcore"):  # As if nobody had ever asked for anything.
        logging.getLogger(library).setLevel(logging.NOTSET)
    world, ears = World(tmp_path, example), Ears()
    said = [repr(world.connection), repr(world.sync)]
    people = set()
    tokens = isinstance(world.connection.auth(), ClientCredentials)
    for number, fault in enumerate(faults(example.asks, tokens)):
        world.sandbox.faults.clear()
        world.sandbox.faults.add(fault)
        name = PERSON.format(100 + number)
        people |= {bare(name), version(name)}
        transport = SandboxTransport(world.sandbox, before=ears, sleep=world.clock.sleep)
        trip = world.trip(transport=transport)
        try:
            world.take([name, "ann", "bad" if example.refused else "bob"], day(number))
            summary = world.carry_out(day(number), trip=trip)
            said += [repr(trip), repr(summary), told(summary.error)]
        except ZeotapError as error:
            said.append(told(error))
        asked = {"run": "test", "transport": transport, "clock": world.clock}
        found = try_connection("connection", world.connection, [world.sync], world.state, **asked)
        said += [repr(one) for one in found]
        world.clock.pass_(3600)
    out, err = capfd.readouterr()
    said += [caplog.text, out, err]
    assert ears.heard, "the service was told who asks"
    secret = ears.heard | {SECRET}
    state = list(kept(world.state.root))
    assert any("canary" in text for kind, text in state if kind == "rows"), "a search that finds nothing proves nothing"
    assert not {word for word in secret for _, text in state if word in text}
    assert not {word for word in secret for text in said if word in text}
    public = [*said, *(text for kind, text in state if kind == "words")]
    assert not {(who, text) for who in people for text in public if who in text}
