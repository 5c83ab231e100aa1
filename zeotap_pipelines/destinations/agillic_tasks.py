"""How Agillic's tasks are read: what was started, how it stands, and who failed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import httpx

from ..model import Operation
from .answers import UNREADABLE, names_an_error, without_addresses

COMPLETED, FAILED = "completed", "failed"
"""Assumption (task-end): these words end a task, as in the vendor's message API; any other means that it runs."""

COUNTS = ("failedCount", "failureCount", "errorCount", "numberOfFailed")
"""What an answer may call the number of those that failed."""

FIRST_POLL, LONGEST_POLL = 0.25, 30.0
"""Seconds before a task is first asked for, and at most between two questions; each wait is twice the one before."""


def task_id(response: httpx.Response) -> str | None:
    """Return the task that an upsert started. Assumption (task-id): the answer is ``{"taskId": …}``."""
    task = parsed(response).get("taskId")
    return str(task) if isinstance(task, str | int) and str(task) else None


def standing(response: httpx.Response) -> tuple[str, list[Mapping[str, Any]] | None]:
    """
    Return a task's status and its failures, or None for these where they can't be read.

    Assumption (task-body): ``{"status": …, "details": {"result": {"failed": […]}}}``.
    """
    found = parsed(response)
    status = str(found.get("status")).lower()
    if status == COMPLETED and names_an_error(found):
        return status, None
    return status, everybody(found)


def everybody(found: Any) -> list[Mapping[str, Any]] | None:
    """
    Return the failures in an answer wherever they stand: none may pass for a success.

    None where nobody can tell who they are, or where more are counted than are named.
    """
    named: list[Mapping[str, Any]] = []
    counted = 0
    for name in ("details", "result", ""):
        some = failures(found)
        if some is None:
            return None
        named += some
        counted = max(counted, *(_count(found.get(count)) for count in COUNTS))
        found = found.get(name) or {}
    return named if counted <= len(named) else None


def _count(value: Any) -> int:
    return int(value) if re.fullmatch("[0-9]{1,9}", str(value)) else 0


def failures(found: Any) -> list[Mapping[str, Any]] | None:
    """
    Return an answer's failures, or None where nobody can tell who they are.

    Assumption (failures): ``{"failed": [{"recipientId": …, "error": …}]}``.
    """
    if not isinstance(found, dict):
        return None
    failed = found.get("failed") or []
    return [one if isinstance(one, dict) else {} for one in failed] if isinstance(failed, list) else None


def attributed(
    failed: Sequence[Mapping[str, Any]], operations: Sequence[Operation], id_field: str
) -> dict[int, str] | None:
    """
    Return what Agillic says of each row that failed, or None where it speaks of somebody who wasn't asked for.

    A recipient's failure holds for all of its rows. Where one row was asked, it is the one.
    """
    if not failed:
        return {}
    rows: dict[str, list[int]] = {}
    for operation in operations:
        rows.setdefault(_same(operation.fields[id_field]), []).append(operation.row)
    refused: dict[int, str] = {}
    for one in failed:
        found = rows.get(_same(one.get("recipientId")))
        if found is None and len(operations) > 1:
            return None
        said = anonymous(str(one.get("error") or "Agillic gives no reason"), str(one.get("recipientId") or ""))
        refused |= {row: said for row in found or [operations[0].row]}
    return refused


def whom_it_names(response: httpx.Response) -> list[Mapping[str, Any]] | None:
    """Return the failures that a group's answer names, or None where it can't be read; no content names none."""
    try:
        return everybody(response.json() or {})
    except UNREADABLE:
        return None if response.content.strip() else []


def nobody(said: str) -> bool:
    """Whether an error means that there is no such recipient. Assumption (not-found): it says "not found"."""
    return "not found" in said.casefold()


def anonymous(text: str, identity: str = "") -> str:
    """Return the start of what Agillic says, on one line, without the identity and without e-mail addresses."""
    if identity:
        text = text.replace(identity, "…")
    return " ".join(without_addresses(text[:2_000]).split())[:300]


def waits(deadline: float) -> Iterator[float]:
    """Yield the seconds before each question after a task: growing, and *deadline* in all."""
    wait, left = FIRST_POLL, deadline
    while left > 0:
        yield min(wait, left)
        left -= wait
        wait = min(2 * wait, LONGEST_POLL)


def parsed(response: httpx.Response) -> dict[str, Any]:
    """Return the JSON object that *response* holds, or an empty one."""
    try:
        found = response.json()
    except UNREADABLE:
        return {}
    return found if isinstance(found, dict) else {}


def _same(identity: object) -> str:
    """Return the form in which Agillic's answers are matched with what was asked."""
    return str(identity).strip().casefold()
