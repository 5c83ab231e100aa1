"""What a service says of a row may repeat the row, or the credentials: neither is written down or shown."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cache, lru_cache
from html import escape
from typing import Any
from urllib.parse import quote, quote_plus

import httpx
from pydantic import SecretStr

from ..destinations.base import Connection
from ..model import Batch, Outcome, Receipt

SHORTEST = 4
"""Shorter values say nothing of anybody, and would hide half the sentence."""

ENCODINGS = ("content-encoding", "content-length", "transfer-encoding")
"""Headers that say how a body travelled, which is no longer so once it was read and changed."""


def quiet_libraries() -> None:
    """Make the libraries that speak HTTP say nothing below a warning: they log URLs and headers."""
    for library in ("httpx", "httpcore"):  # Which name people and hold credentials.
        logging.getLogger(library).setLevel(logging.WARNING)


def secrets(connection: Connection) -> frozenset[str]:
    """Return the secret values of *connection*'s settings."""
    values = (getattr(connection, name) for name in type(connection).model_fields)
    return frozenset(value.get_secret_value() for value in values if isinstance(value, SecretStr))


def without(response: httpx.Response, secret: Collection[str]) -> httpx.Response:
    """
    Return *response* with every one of *secret* hidden in its body, and whatever its request was signed with.

    Nobody who reads the answer of a service that repeats what it was sent can give a
    token or a signature away.
    """
    said = response.content
    if not said:
        return response
    hidden = [one for one in (*secret, *_signed_with(response.request)) if 0 < len(one) <= len(said)]
    found = {word for one in hidden for word in _spelt(one) if word in said}
    if not found:
        return response
    for word in sorted(found, key=len, reverse=True):
        said = said.replace(word, "…".encode())
    headers = [(name, value) for name, value in response.headers.multi_items() if name not in ENCODINGS]
    return httpx.Response(
        response.status_code,
        headers=headers,
        content=said,
        request=response.request,
        extensions=response.extensions,
    )


def discreet(receipt: Receipt, batch: Batch, secret: Collection[str]) -> Receipt:
    """Return *receipt* with every secret and every value of the batch's rows hidden in its reasons."""
    if not (receipt.everyone.reason or any(outcome.reason for outcome in receipt.except_for.values())):
        return receipt
    hide = _hiding(batch, secret)

    def hidden(outcome: Outcome) -> Outcome:
        reason = hide(outcome.reason)
        return replace(outcome, reason=reason) if reason != outcome.reason else outcome

    exceptions = {row: hidden(outcome) for row, outcome in receipt.except_for.items()}
    return replace(receipt, everyone=hidden(receipt.everyone), except_for=exceptions)


def hush(error: Exception, batch: Batch, secret: Collection[str]) -> None:
    """Hide in *error* what `discreet` hides in a receipt: what ends a run may quote the service too."""
    error.args = (_hiding(batch, secret)(str(error)), *error.args[1:])


def _hiding(batch: Batch, secret: Collection[str]) -> Callable[[str], str]:
    hidden = set(secret)
    for operation in batch:
        with suppress(ValueError, RecursionError):  # What can't be read is never sent.
            hidden.update(_texts(operation.fields))
    words = {word for one in hidden if len(one) >= SHORTEST for word in _spellings(one)}
    ordered = [(word, word.casefold()) for word in sorted(words, key=len, reverse=True)]

    @cache  # Rows are mostly refused in the same words.
    def hide(text: str) -> str:
        lowered = text.casefold()
        for word, folded in ordered:
            if folded in lowered:
                text = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", "…", text, flags=re.IGNORECASE)
        for word, _ in ordered:  # Whoever quotes an answer may have cut it off in the middle of a value.
            cut = (n for n in range(len(word) - 1, SHORTEST - 1, -1) if text.endswith(word[:n]))
            if length := next(cut, 0):
                return text[:-length] + "…"
        return text

    return hide


def _signed_with(request: httpx.Request) -> Iterator[str]:
    for name, value in request.headers.raw:
        if name.lower().endswith(b"authorization"):
            credentials = value.decode("latin-1").partition(" ")[2]
            yield credentials
            yield from (part for part in credentials.split(":") if len(part) >= SHORTEST)


@lru_cache(maxsize=64)  # They are the same all run long.
def _spelt(secret: str) -> tuple[bytes, ...]:
    return tuple(word.encode() for word in _spellings(secret))


def _spellings(text: str) -> set[str]:
    """Return how *text* is written in a URL, in a form, in JSON and on a page, and in one of these within another."""
    once = {text, quote(text, safe=""), quote(text), quote_plus(text), json.dumps(text)[1:-1], escape(text)}
    return once | {again for one in once for again in (quote(one, safe=""), json.dumps(one)[1:-1], escape(one))}


def _texts(value: Any) -> Iterator[str]:
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, str | int | float) and not isinstance(value, bool):
            yield str(value).strip()
