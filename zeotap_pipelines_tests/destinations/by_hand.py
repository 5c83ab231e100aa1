"""Conversations held by hand: a script of answers instead of a service."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import httpx

from zeotap_pipelines.destinations.base import Target, Visit
from zeotap_pipelines.model import Batch, Call, Halt, Operation, Question, Receipt, Verb

AT = datetime(2024, 5, 1, 12, 0, 0, 7_000, tzinfo=UTC)


def answer(status: int, body: Any = None, *, text: str | None = None, repeated: bool = False) -> httpx.Response:
    """An answer as the wire passes it on."""
    content = text.encode() if text is not None else json.dumps(body).encode() if body is not None else b""
    return httpx.Response(status, content=content, extensions={"repeated": repeated})


def operation(verb: Verb, row: int = 0, *, repeated: bool = False, **fields: Any) -> Operation:
    """One row's verb, with *fields* as its body."""
    body = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
    return Operation(row, verb, body, repeated)


def hold(
    target: Target, operations: Sequence[Operation], answers: Sequence[httpx.Response], visit: Visit | None = None
) -> tuple[list[Call], Receipt, Exception | None]:
    """Hold one batch's conversation with just these answers; return its calls, its receipt, and what ended the run."""
    conversation = target.converse(Batch(tuple(operations), AT), visit or Visit())
    calls: list[Call] = []
    script = iter(answers)
    try:
        step = next(conversation)
        while True:
            assert isinstance(step, Call)
            calls.append(step)
            step = conversation.send(next(script))
    except StopIteration as end:
        assert next(script, None) is None
        return calls, end.value, None
    except Halt as halt:
        assert next(script, None) is None
        return calls, halt.receipt, halt.error


def ask(question: Question, *answers: httpx.Response) -> list[Call]:
    """Ask *question*; what must be fixed is raised."""
    calls: list[Call] = []
    script = iter(answers)
    try:
        call = next(question)
        while True:
            calls.append(call)
            call = question.send(next(script))
    except StopIteration:
        assert next(script, None) is None
        return calls
