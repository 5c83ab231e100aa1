"""
One message for each change of state of a sync, to a webhook.

A sensor reads how runs ended, in the order of Dagster's event log. Its cursor holds
the place in the log, which syncs fail, and the messages that no webhook has taken
yet: a restart repeats nothing, and a webhook that is down misses nothing.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Self

import dagster as dg

from .ended import ended_since, failing_since
from .notices import Ended, Failing, post, turned, wrong_webhook

if TYPE_CHECKING:
    from ..components.notifier import Notifier

RUNS = 50
"""Runs looked at in one tick; what is beyond is looked at in the next."""

BUDGET = 20.0
"""Seconds after which a tick sends no more. Dagster gives up a tick, and its cursor, after 60."""

FIRST_LOOK = 24 * 3600.0
"""How far back, in seconds, a notifier looks that was just turned on."""

FAILURES = 200
"""Runs that failed in that time and are looked at, newest first."""


@dataclass
class Cursor:
    """How far the log is read, which syncs fail, and what is still to be sent."""

    after: int
    failing: dict[str, Failing] = field(default_factory=dict)
    unsent: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, text: str | None) -> Self | None:
        """Return the cursor that was kept; None where there is none, or somebody wrote something else by hand."""
        try:
            kept = json.loads(text or "")
            # Earlier versions kept one partition.
            failing = {
                sync: Failing(one["since"], tuple(one.get("partitions") or [one["partition"]]))
                for sync, one in kept["failing"].items()
            }
            return cls(int(kept["after"]), failing, list(kept["unsent"]))
        except (ValueError, TypeError, LookupError, AttributeError):
            return None

    def text(self) -> str:
        """Return the cursor to be kept."""
        return json.dumps(asdict(self))


def notifier_sensor(declared: Notifier, syncs: Mapping[str, bool]) -> dg.SensorDefinition:
    """
    Return the sensor that tells the webhook of *declared* when one of *syncs* begins to fail or has recovered.

    Of each of the *syncs* it is said whether it sends events.
    """

    @dg.sensor(
        name=f"{declared.name}_notifier",
        minimum_interval_seconds=declared.every,
        default_status=dg.DefaultSensorStatus.RUNNING if declared.enabled else dg.DefaultSensorStatus.STOPPED,
        description=f"Tells `{declared.webhook}` when a sync begins to fail, and when it has recovered.",
    )
    def notify(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        if cursor := Cursor.read(context.cursor):
            _read(context.instance, cursor, syncs, declared.ui)
        else:
            cursor = _first(context.instance, syncs, declared.ui)
        sent, trouble = _send(cursor, os.environ.get(declared.webhook), declared.webhook)
        says = f"{sent} messages sent" if sent else "nothing changed"
        if trouble:
            says = f"{trouble}; {len(cursor.unsent)} messages wait"
            context.log.warning(says)
        return dg.SensorResult(skip_reason=dg.SkipReason(says), cursor=cursor.text())

    return notify


def _first(instance: dg.DagsterInstance, syncs: Mapping[str, bool], ui: str | None) -> Cursor:
    """Return the cursor of a notifier that was just turned on: it tells which syncs fail now, and no history."""
    events = {sync for sync, event in syncs.items() if event}
    last, failures = failing_since(instance, time.time() - FIRST_LOOK, limit=FAILURES, events=events)
    cursor = Cursor(last)
    for ended in failures:
        if ended.sync in syncs and (message := _turn(cursor, ended, ui, event=syncs[ended.sync])):
            cursor.unsent.append(message)
    return cursor


def _read(instance: dg.DagsterInstance, cursor: Cursor, syncs: Mapping[str, bool], ui: str | None) -> None:
    """Read on in the log, and add to what is to be sent."""
    cursor.failing = {sync: failing for sync, failing in cursor.failing.items() if sync in syncs}
    for place, ends in ended_since(instance, cursor.after, limit=RUNS):
        for ended in ends:
            if ended.sync in syncs and (message := _turn(cursor, ended, ui, event=syncs[ended.sync])):
                cursor.unsent.append(message)
        cursor.after = place


def _turn(cursor: Cursor, ended: Ended, ui: str | None, *, event: bool) -> str | None:
    failing, message = turned(cursor.failing.get(ended.sync), ended, ui, event=event)
    if failing is None:
        cursor.failing.pop(ended.sync, None)
    else:
        cursor.failing[ended.sync] = failing
    return message


def _send(cursor: Cursor, url: str | None, variable: str) -> tuple[int, str | None]:
    """Send what is unsent, oldest first; return how many were taken, and what stood in the way of the others."""
    sent, started = 0, time.monotonic()
    while cursor.unsent:
        if not url:
            return sent, f"the environment variable {variable}, which holds the webhook, is not set"
        if wrong := wrong_webhook(url):
            return sent, f"what {variable} holds {wrong}"
        if time.monotonic() - started > BUDGET:
            return sent, "the webhook is slow"
        if refused := post(url, cursor.unsent[0]):
            return sent, f"the webhook {refused}"
        cursor.unsent.pop(0)
        sent += 1
    return sent, None
