"""
When a sync begins to fail and when it has recovered, as one message each, and the webhook that takes them.

A message holds names, a partition, a run and a sentence of ours: what a service, a
query or a row said may name a person, and stays in Dagster.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

import httpx

from .. import errors
from ..destinations.base import loopback
from ..wire.discretion import quiet_libraries

SECONDS = 5.0
"""How long a webhook may take to answer."""


@dataclass(frozen=True)
class Ended:
    """
    What the end of a run meant for a sync.

    The partitions that were *asked* for, and those that became *green*; where the sync
    *failed*, *why*. Without partitions the only one is "".
    """

    sync: str
    run: str
    at: datetime
    failed: bool
    asked: frozenset[str]
    green: frozenset[str] = frozenset()
    why: str = ""


@dataclass(frozen=True)
class Failing:
    """
    A sync that fails: since when, and which *partitions* are to be green until it has recovered.

    Of a state target it is the newest of those that failed.
    """

    since: str
    partitions: tuple[str, ...]


def turned(
    failing: Failing | None, ended: Ended, ui: str | None = None, *, event: bool = False
) -> tuple[Failing | None, str | None]:
    """
    Return how the sync stands after a run, and the message if that is news.

    It has recovered when the partition that failed is green, or a newer one: keys of
    partitions sort by time. Of an *event* target a newer one says nothing of what
    an older one owes: each that failed must be green.
    """
    left = {*(failing.partitions if failing else ()), *(ended.asked if ended.failed else ())}
    if event:
        left -= ended.green
        if ended.green:
            left.discard("")  # A run that named no partition.
    elif left:
        made_up_for = not ended.failed and ended.green and max(ended.green) >= max(left)
        left = set() if made_up_for else {max(left)}
    if left:
        now = Failing(failing.since if failing else _minute(ended.at), tuple(sorted(left)))
        says = f"Sync {ended.sync} is failing{_at(max(left))}: {ended.why}. {_run(ended.run, ui)}"
        return now, None if failing else says
    if failing is None:
        return None, None
    return None, (
        f"Sync {ended.sync} has recovered{_at(max(ended.green))}. It was failing since {failing.since}. "
        f"{_run(ended.run, ui)}"
    )


def reason(said: str) -> str:
    """Return why something failed in a sentence of ours: *said* itself is searched for the kind of error only."""
    for name in re.findall(r"\b(\w+): ", said):
        kind = getattr(errors, name, None)
        if inspect.isclass(kind) and issubclass(kind, errors.ZeotapError) and kind.__doc__:
            first: str = inspect.cleandoc(kind.__doc__).splitlines()[0].removesuffix(".")
            return f"{first[0].lower()}{first[1:]} ({name})"
    return "the run says why"


def wrong_webhook(url: str) -> str | None:
    """Return what is wrong with the address of a webhook, without repeating it; None where nothing is."""
    try:
        parts = urlsplit(url.strip())
    except ValueError:
        return "is not an address"
    if parts.scheme not in ("https", "http") or not parts.hostname:
        return "is not an address such as https://hooks.example.com/…"
    if parts.scheme == "http" and not loopback(parts.hostname):
        return "must begin with https: the address itself is the secret"
    return None


def post(url: str, message: str) -> str | None:
    """Send *message* to a webhook as Slack takes it; return why it was not taken, or None."""
    quiet_libraries()  # The address is the secret.
    try:
        response = httpx.post(url.strip(), json={"text": message}, timeout=SECONDS)
    except (httpx.HTTPError, httpx.InvalidURL) as error:  # Its text may repeat the address.
        return f"does not answer ({type(error).__name__})"
    return None if response.is_success else f"answers {response.status_code}"


def _minute(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"


def _at(partition: str) -> str:
    return f" at {partition}" if partition else ""


def _run(run: str, ui: str | None) -> str:
    return f"{ui.rstrip('/')}/runs/{run}" if ui else f"Run {run[:8]}."
