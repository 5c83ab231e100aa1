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

from . import errors
from .destinations.base import loopback
from .discretion import quiet_libraries

SECONDS = 5.0
"""How long a webhook may take to answer."""


@dataclass(frozen=True)
class Ended:
    """
    What the end of a run meant for a sync.

    *delivered* is the newest partition that became green; where the sync *failed*,
    *partition* is what was asked for and *why* the reason. Without partitions both
    are "".
    """

    sync: str
    run: str
    at: datetime
    failed: bool
    partition: str = ""
    delivered: str | None = None
    why: str = ""


@dataclass(frozen=True)
class Failing:
    """A sync that fails: since when, and up to which partition."""

    since: str
    partition: str


def turned(failing: Failing | None, ended: Ended, ui: str | None = None) -> tuple[Failing | None, str | None]:
    """
    Return how the sync stands after a run, and the message if that is news.

    It has recovered when the partition that failed is green, or a newer one: keys of
    partitions sort by time.
    """
    if ended.failed:
        if failing is not None:
            return Failing(failing.since, max(failing.partition, ended.partition)), None
        return Failing(_minute(ended.at), ended.partition), (
            f"Sync {ended.sync} is failing{_at(ended.partition)}: {ended.why}. {_run(ended.run, ui)}"
        )
    if failing is None or ended.delivered is None or ended.delivered < failing.partition:
        return failing, None
    return None, (
        f"Sync {ended.sync} has recovered{_at(ended.delivered)}. It was failing since {failing.since}. "
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
