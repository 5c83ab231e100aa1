"""What a service says of a row may repeat the row, or the credentials: neither is written down or shown."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any

from pydantic import SecretStr

from .destinations.base import Connection
from .model import Batch, Outcome, Receipt

SHORTEST = 4
"""Shorter values say nothing of anybody, and would hide half the sentence."""


def secrets(connection: Connection) -> frozenset[str]:
    """Return the secret values of *connection*'s settings."""
    values = (getattr(connection, name) for name in type(connection).model_fields)
    return frozenset(value.get_secret_value() for value in values if isinstance(value, SecretStr))


def discreet(receipt: Receipt, batch: Batch, secret: Collection[str]) -> Receipt:
    """Return *receipt* with every secret and every value of the batch's rows hidden in its reasons."""
    if not (receipt.everyone.reason or any(outcome.reason for outcome in receipt.except_for.values())):
        return receipt
    hidden = set(secret)
    for operation in batch:
        hidden |= {operation.key, *_texts(operation.fields)}
    words = sorted((word for word in hidden if len(word) >= SHORTEST), key=len, reverse=True)

    def hide(outcome: Outcome) -> Outcome:
        reason = outcome.reason
        for word in words:
            if word in reason:
                reason = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", "…", reason)
        return replace(outcome, reason=reason) if reason != outcome.reason else outcome

    exceptions = {row: hide(outcome) for row, outcome in receipt.except_for.items()}
    return replace(receipt, everyone=hide(receipt.everyone), except_for=exceptions)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        yield str(value)
