"""
Oracle CrowdTwist: activity credits.

    GET  /v2/activities                     the activities
    POST /v2/users/{user_id}/activities     credits one activity to one user

One credit per request, queued by the service: "awarded" means that it will be
processed. It is not repeatable, so each credit is asked at most once unless it
certainly did not happen.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from ..errors import FixDeclaration, FixTarget
from ..mapping import Kind, json_object
from ..model import Batch, Call, Conversation, Fate, Mode, Operation, Outcome, Question, Receipt, Verb
from ..naming import segment
from .base import Target, Visit
from .crowdtwist import JSON, USERS, named, unfit_ids
from .crowdtwist_answers import NOT_OURS, judged, reason, says
from .crowdtwist_preflight import list_of_activities

ALREADY_PROCESSED = "event already processed"

SENT = ("activity_id", "num_points", "activity_date", "extra_data")
"""
What a credit's body holds.

Assumption (event-id): the service takes no id of the event, so event_id stays here; whoever wants it at the service
maps it once more, to ``extra_data.event_id``.
"""

EXTRA = "extra_data."
"""A mapped field with this prefix is a member of the object extra_data."""

CAPPED = "not awarded: frequency caps of the activity may be reached; check the activity in CrowdTwist Control Center"
UNREADABLE = "extra_data is no JSON that can be sent: mend it in the source, then make the plan again"
CHECK_ID = "check that the activity_id is correct: the service answers a generic error where it does not exist"


@dataclass(frozen=True)
class ActivityCredit(Target):
    """
    Activities credited to a program's members, each event at most once.

    *stream* names the events, *id_type* is the connection's. *safe_statuses* are
    those of 500, 502, 503 and 504 that certainly did nothing at this instance, so
    that a credit answered so is asked again.
    """

    stream: str
    id_type: str = "email"
    safe_statuses: frozenset[int] = frozenset()

    service = "crowdtwist"
    kind = "activity_credit"
    verbs = frozenset({Verb.INSERT})
    identity = ("event_id",)
    exact = frozenset({"event_id"})
    required = ("user_id", "activity_id")
    default_fields = ("event_id", "user_id", "activity_id", "num_points", "activity_date")
    kinds = {"num_points": Kind.INTEGER, "activity_date": Kind.UNIX, "extra_data": Kind.JSON}
    carries_attributes = True
    event = True
    notes = ("an accepted credit is queued: points may still be withheld by frequency caps configured in CrowdTwist",)

    def __post_init__(self) -> None:
        named(self.stream, self.id_type)
        if wrong := sorted(self.safe_statuses - {500, 502, 503, 504}):
            raise FixDeclaration(f"stream {self.stream!r}: safe_statuses are of 500, 502, 503, 504, not {wrong[0]}")

    @property
    def name(self) -> str:
        """The stream."""
        return self.stream

    def check(self, mode: Mode, fields: Collection[str]) -> None:
        """Refuse fields that a credit doesn't have."""
        taken = {*self.identity, "user_id", *SENT}
        if unknown := sorted(name for name in fields if name not in taken and not name.startswith(EXTRA)):
            raise FixDeclaration(
                f"a credit has no field {unknown[0]!r}; it has {', '.join(sorted(taken))} and {EXTRA}<name>"
            )

    def apart(self, operation: Operation) -> str | None:
        """Keep credits of one user and activity apart: the second one's refusal would look like the first one's."""
        try:
            fields = operation.fields
        except (ValueError, RecursionError):
            return None  # It is never asked: see `converse`.
        return f"{str(fields.get('user_id')).strip().casefold()}\n{fields.get('activity_id')}"

    def invalid(self) -> Iterable[tuple[str, str]]:
        """Refuse rows that can't be a credit."""
        yield from unfit_ids(self.id_type)
        yield "activity_id is missing", "trim(coalesce({activity_id}, '')) = ''"
        yield (
            "extra_data is not a JSON object",
            f"{{extra_data}} IS NOT NULL AND NOT ({json_object('{extra_data}')})",
        )

    def preflight(self, visit: Visit) -> Question:
        """Learn which activities there are; refuse a constant activity_id that isn't among them."""
        known = yield from list_of_activities(visit)
        if known is None:
            return
        visit.known["activities"] = known
        constant = visit.constants.get("activity_id")
        if constant is not None and constant.strip() not in known:
            raise FixTarget(f"CrowdTwist has no activity {constant!r}: check the activity_id in Control Center")

    def converse(self, batch: Batch, visit: Visit) -> Conversation:
        """Ask for one credit."""
        [operation] = batch
        try:
            fields = operation.fields
            user_id, activity_id = str(fields["user_id"]).strip(), str(fields["activity_id"]).strip()
            content = _credit(fields | {"activity_id": activity_id})
        except (ValueError, RecursionError):  # Whatever it holds, the rows after it are not held up.
            return Receipt(Outcome(Fate.REJECTED, UNREADABLE, untouched=True))
        known = visit.known.get("activities")
        if known is not None and activity_id not in known:
            why = f"CrowdTwist has no activity {activity_id!r}: check the activity_id in Control Center"
            return Receipt(Outcome(Fate.REJECTED, why, untouched=True))
        response = yield Call(
            "POST",
            f"{USERS}/{segment(user_id)}/activities",
            content=content,
            params={"id_type": self.id_type},
            headers=JSON,
        )
        return Receipt(self._outcome(response, operation, visit))

    def _outcome(self, response: httpx.Response, operation: Operation, visit: Visit) -> Outcome:
        status = response.status_code
        if says(response, ALREADY_PROCESSED):
            if operation.repeated or response.extensions.get("repeated"):
                return Outcome(Fate.ACCEPTED, "already processed: an earlier attempt had been accepted", status)
            # Also the answer to a second, legitimate credit that follows another too closely.
            return Outcome(Fate.IN_DOUBT, f"{reason(response)}, on the first attempt", status)
        if (awarded := _awarded(response)) is not None:
            return Outcome(Fate.ACCEPTED, "" if awarded else CAPPED, status)
        if status in self.safe_statuses:
            return Outcome(Fate.DEFERRED, reason(response), status, untouched=True)
        outcome = judged(response, visit, event=True)
        if outcome.fate is Fate.ACCEPTED:  # A success, and no word of the credit.
            return Outcome(Fate.IN_DOUBT, f"{reason(response)}, {NOT_OURS}", status)
        unnamed = outcome.fate is Fate.REJECTED and outcome.reason == reason(response)
        if unnamed or (status == httpx.codes.NOT_FOUND and outcome.fate is Fate.DEFERRED):
            return Outcome(Fate.REJECTED, f"{reason(response)}. {CHECK_ID}", status, untouched=True)
        return outcome


def _credit(fields: Mapping[str, Any]) -> bytes:
    """Return the body of a credit. Raises ValueError or RecursionError where JSON can't say it."""
    body = {name: fields[name] for name in SENT if name in fields}
    extra = {name.removeprefix(EXTRA): value for name, value in fields.items() if name.startswith(EXTRA)}
    if extra:
        body["extra_data"] = {**(body.get("extra_data") or {}), **extra}
    return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _awarded(response: httpx.Response) -> bool | None:
    """Return whether a success says that the credit will be processed; None where it doesn't speak of credits."""
    try:
        awarded = response.json()["awarded"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return awarded not in (False, None, "false") if response.is_success else None
