"""
Agillic: the connection, and what its targets share.

    POST /oauth2/token                                 a token for client credentials, valid for two hours
    GET  /discovery/persondata                         the fields of a recipient
    GET  /discovery/targetgroups                       the target groups
    GET  /discovery/onetomany[/{table}]                the one-to-many tables, and one table's fields
    POST /recipients                                   creates one recipient
    GET  /recipients/{FIELD}={value}                   reads one recipient
    PUT  /recipients/{FIELD}={value}                   updates one recipient, or creates it
    POST /recipients/v2/:upsert                        starts a task: up to 1,000 recipients
    POST /recipients/v2/oneToManyTables/:upsert        starts a task: records by recipient
    GET  /recipients/v2/task/{taskId}                  how a task stands
    POST /recipients/:addToStaticTargetGroup           adds up to 100 recipients
    POST /recipients/:removeFromStaticTargetGroup      removes up to 100 recipients

Every call may be repeated: the same upsert, update, membership or record again
changes nothing, and an insert that was applied before is told by its refusal.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import httpx
from pydantic import Field, SecretStr

from ..errors import FixConnection, FixDeclaration, FixTarget, TryAgainLater, ZeotapError
from ..mapping import trimmed
from ..model import Batch, Call, Conversation, Fate, Halt, Outcome, Question, Receipt, Task, Unanswered, Verb
from ..naming import segment
from .agillic_tasks import COMPLETED, FAILED, anonymous, attributed, standing, task_id, waits
from .answers import UNREADABLE
from .auth import ClientCredentials
from .base import TRANSIENT, Connection, Limits, Target, Visit

PERSON_DATA = "/discovery/persondata"
TASK = "/recipients/v2/task"

RECORDS = 1000
"""Recipients in one batch."""

MAX_BYTES = 19_000_000
"""Bytes of payload in one batch: Agillic takes 20 MB, and every record is wrapped in a few dozen bytes more."""

MAX_REQUEST = 20_000_000
"""Bytes in one request. Only a single row can exceed them, and is not sent."""

STAGING_CALLS = 5000
CALLS_PER_RECIPIENT = 5
"""Calls a day: on staging, and in production for each unique active recipient."""

MEDIA_TYPE = "application/json; charset=utf-8"

ROWS_AT_FAULT = frozenset({400, 409, 413, 422})
"""Assumption (rows-at-fault): these refusals are about rows of the request, any other 4xx about the request itself."""

REMEDY = "check that every required field is filled and well-formed"


class Agillic(Connection):
    """One Agillic instance: production and staging are two accounts, told apart by their key pairs."""

    service: ClassVar[str] = "agillic"
    credentials: ClassVar[tuple[str, ...]] = ("developer_key",)
    unverified: ClassVar[str] = "the permissions to write recipients, target groups and one-to-many tables"

    base_url: str = Field(description="The API endpoint, for example https://api-eu1.agillic.net")
    developer_key: str = Field(min_length=1, description="Integration > API Settings > Developer Key")
    developer_secret: SecretStr = Field(min_length=1, description="Integration > API Settings > Developer Secret")
    # Assumption (token-credentials): the token service takes the credentials as HTTP Basic.
    credentials_in: Literal["header", "body"] = Field(
        "header", description="How the token request carries the credentials"
    )
    staging: bool = Field(False, description="Whether the key pair is of the staging environment: 5,000 calls a day")
    unique_active_recipients: int | None = Field(
        None,
        gt=0,
        description="As the contract counts them: five calls a day for each; unset, the calls of a day aren't counted",
    )
    concurrency: int = Field(20, ge=1, le=20, description="Requests at once; Agillic allows 20")

    def auth(self) -> httpx.Auth:
        """Return the OAuth 2.0 client credentials flow."""
        return ClientCredentials(
            f"{self.base_url}/oauth2/token",
            self.developer_key,
            self.developer_secret,
            credentials_in=self.credentials_in,
            settings="developer_key and developer_secret; where they are revoked, "
            "create new ones (Agillic: Integration > API Settings)",
        )

    def limits(self) -> Limits:
        """
        Return the concurrency and the day's calls.

        Assumption (calls-counted): asking how a task stands counts, fetching a token doesn't.
        """
        if self.staging:
            return Limits(concurrency=self.concurrency, per_day=STAGING_CALLS)
        recipients = self.unique_active_recipients
        return Limits(concurrency=self.concurrency, per_day=recipients and CALLS_PER_RECIPIENT * recipients)

    def headers(self) -> dict[str, str]:
        """Return the media type that Agillic answers in."""
        return {"Accept": MEDIA_TYPE}

    def test(self) -> Question:
        """
        Ask for the fields of a recipient: credentials, host and the permission to read.

        The permission to write stays unverified.
        """
        response = yield Call("GET", PERSON_DATA)
        fields_of(response, PERSON_DATA)


@dataclass(frozen=True)
class AgillicTarget(Target):
    """
    What Agillic's targets share: how a recipient is identified, and how a task is waited for.

    *recipient_id_field* is the Person Data field that identifies a recipient;
    *date_format* is how the instance writes dates; *task_deadline* is how many
    seconds of waiting a task is given.
    """

    recipient_id_field: str = field(default="EMAIL", kw_only=True)
    date_format: str = field(default="dd.MM.yyyy", kw_only=True)
    task_deadline: float = field(default=900.0, kw_only=True)

    service = "agillic"
    required: ClassVar[tuple[str, ...]] = ("EMAIL",)
    default_fields: ClassVar[tuple[str, ...]] = ("EMAIL", "FIRSTNAME", "LASTNAME", "MOBILE", "CUSTOMER_ID")
    # Assumption (email-case): Agillic compares e-mail addresses without regard to case.
    # Assumption (text-values): it takes every value as text.
    # Assumption (empty-values): an included empty value may erase a field: nulls are left out unless asked for.
    email = frozenset({"EMAIL"})
    carries_attributes = True
    items = RECORDS
    max_bytes = MAX_BYTES

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\w+", self.recipient_id_field):
            raise FixDeclaration(f"recipient_id_field {self.recipient_id_field!r} is no name of a Person Data field")
        if self.task_deadline <= 0:
            raise FixDeclaration(f"task_deadline is a number of seconds above 0, not {self.task_deadline:g}")

    @property
    def identity(self) -> tuple[str, ...]:
        """The recipient id field."""
        return (self.recipient_id_field,)

    def calls(self, verb: Verb, operations: int) -> int:
        """Return the requests, and one question how the task stands for each upload."""
        batches = super().calls(verb, operations)
        return batches * (2 if self.batch_items(verb) == RECORDS else 1)

    def invalid(self) -> Iterable[tuple[str, str]]:
        """Set aside rows without an e-mail address, whatever the recipient id field."""
        yield "EMAIL is empty, and Agillic requires it", f"({{EMAIL}} IS NULL OR {trimmed('{EMAIL}')} = '')"

    def odd(self) -> Iterable[tuple[str, str]]:
        """Warn about e-mail addresses that aren't any."""
        yield "EMAIL is not an e-mail address: Agillic may refuse the recipient", "NOT contains({EMAIL}, '@')"

    @property
    def task_life(self) -> float:
        """
        The task's deadline.

        Assumption (task-life): an upload whose answer was lost has ended by then, any other within a day.
        """
        return self.task_deadline

    def preflight(self, visit: Visit) -> Question:
        """Ask whether the recipient id field and every mapped field exist."""
        response = yield Call("GET", PERSON_DATA)
        self.check_person_data(response, {self.recipient_id_field, *visit.fields})

    def check_person_data(self, response: httpx.Response, names: Iterable[str]) -> None:
        """Raise FixTarget where Person Data lacks one of *names*, or doesn't identify by the recipient id field."""
        known = fields_of(response, PERSON_DATA)
        check_fields(names, known, "Agillic's Person Data")
        check_identifier(self.recipient_id_field, known, "Agillic's Person Data", "recipient_id_field")

    def judge(self, response: httpx.Response) -> Outcome:
        """Return what *response* means; what Agillic says of a row is kept without addresses."""
        outcome = super().judge(response)
        if outcome.fate is not Fate.REJECTED:
            return outcome
        return replace(outcome, reason=f"{anonymous(outcome.reason)} ({REMEDY})")

    def upsert(self, call: Call, batch: Batch, not_found: ZeotapError | None = None) -> Conversation:
        """Send *call*, which starts a task for *batch*, and wait for the task; *not_found* is what a 404 means."""
        if len(call.content or b"") > MAX_REQUEST:
            return Receipt(Outcome(Fate.REJECTED, "larger than the 20 MB that Agillic takes", untouched=True))
        response = yield replace(call, starts=True)
        if not response.is_success:
            outcome = self.judge(response)
            if error := misfit(response, call, not_found or elsewhere(call.path)):
                raise Halt(Receipt(Outcome(Fate.DEFERRED, str(error), response.status_code, untouched=True)), error)
            return Receipt(outcome, split=outcome.fate is Fate.REJECTED and len(batch) > 1)
        task = task_id(response)
        if task is None:
            return Receipt(Outcome(Fate.DEFERRED, "Agillic took the batch and named no task", response.status_code))
        yield Task(task)
        return (yield from self.settle(task, batch))

    def settle(self, task: str, batch: Batch) -> Conversation:
        """Ask how *task* stands until it has ended, or its deadline has passed."""

        def open_end(why: str) -> Receipt:
            return Receipt(Outcome(Fate.DEFERRED, why, request=task))

        for wait in waits(self.task_deadline):
            try:
                response = yield Call("GET", f"{TASK}/{segment(task)}", after=wait)
            except Unanswered as lost:
                return open_end(f"how the task stands could not be asked: {lost.outcome.reason}")
            if response.status_code == httpx.codes.NOT_FOUND:
                return open_end("Agillic does not know the task any more")
            if not response.is_success:
                return open_end(f"how the task stands could not be asked: HTTP {response.status_code}")
            status, failed = standing(response)
            if status not in (COMPLETED, FAILED):
                continue
            if failed is None:
                return open_end("the task has ended, and what it says of failures can't be read")
            refused = attributed(failed, batch.operations, self.recipient_id_field)
            if refused is None:  # Asked again in halves, the row that is meant stands alone in the end.
                return replace(open_end("Agillic names a failure of nobody in the batch"), split=True)
            outcomes = {
                row: Outcome(Fate.REJECTED, f"{said} ({REMEDY})", request=task) for row, said in refused.items()
            }
            if status == FAILED:
                return replace(open_end("the task failed"), except_for=outcomes)
            return Receipt(Outcome(Fate.ACCEPTED, request=task), outcomes)
        return open_end(f"the task had not ended after {self.task_deadline:g} seconds (task_deadline)")

    def await_task(self, task: str) -> Question:
        """Wait until *task* has ended: an older upsert must not overtake a newer one."""
        for wait in waits(self.task_deadline):
            response = yield Call("GET", f"{TASK}/{segment(task)}", after=wait)
            if response.status_code == httpx.codes.NOT_FOUND:
                return
            if not response.is_success:
                raise TryAgainLater(f"an earlier task at Agillic can't be asked for: HTTP {response.status_code}")
            if standing(response)[0] in (COMPLETED, FAILED):
                return
        raise TryAgainLater(
            f"an earlier upload at Agillic has not ended after {self.task_deadline:g} more seconds (task_deadline): "
            "nothing newer is asked before, since it could be overtaken"
        )


def post(path: str, content: bytes) -> Call:
    """Return the call that sends *content*, a JSON text."""
    return Call("POST", path, content=content, headers={"Content-Type": MEDIA_TYPE})


def compact(value: Any) -> str:
    """Return *value* as JSON text without spaces."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def misfit(response: httpx.Response, call: Call, not_found: ZeotapError) -> ZeotapError | None:
    """Return what must be fixed where *response* refuses the request itself, and not its rows."""
    status = response.status_code
    if status in ROWS_AT_FAULT or status in TRANSIENT or not response.is_client_error:
        return None
    if status == httpx.codes.FORBIDDEN:
        return FixConnection(
            f"Agillic refuses {call.method} {_shown(call)} (HTTP 403): give the API credentials the permission for it "
            "(Agillic: Integration > API Settings)"
        )
    if status == httpx.codes.NOT_FOUND:
        return not_found
    return FixConnection(f"Agillic answers HTTP {status} to {call.method} {_shown(call)}: check base_url")


def elsewhere(path: str) -> FixConnection:
    """Return what a 404 means where nothing but the address can be wrong."""
    return FixConnection(f"Agillic answers HTTP 404 to {path}: check base_url")


def fields_of(response: httpx.Response, path: str) -> dict[str, Mapping[str, Any]]:
    """Return the fields that Agillic describes at *path*, by name; raise what must be fixed where it doesn't."""
    found = listing(response, path)
    fields = found.get("fields") if isinstance(found, dict) else None
    if not isinstance(fields, list):
        raise FixConnection(f"Agillic does not answer {path} with fields: check base_url")
    return {str(one["name"]): one for one in fields if isinstance(one, dict) and "name" in one}


def listing(response: httpx.Response, path: str) -> Any:
    """Return what Agillic lists at *path*; raise what must be fixed where it doesn't."""
    if response.status_code in TRANSIENT or response.is_server_error:
        raise TryAgainLater(f"Agillic answers HTTP {response.status_code} to {path}")
    if not response.is_success:
        raise misfit(response, Call("GET", path), elsewhere(path)) or FixConnection(
            f"Agillic answers HTTP {response.status_code} to {path}: check base_url"
        )
    try:
        return response.json()
    except UNREADABLE as error:
        raise FixConnection(f"Agillic does not answer {path} with JSON: check base_url") from error


def check_fields(names: Iterable[str], known: Iterable[str], where: str) -> None:
    """Raise FixTarget where *where*, which has the fields *known*, lacks one of *names*."""
    missing = sorted(set(names) - set(known))
    if missing:
        raise FixTarget(f"{where} has no field {'; no field '.join(spelled(name, known) for name in missing)}")


def check_identifier(name: str, known: Mapping[str, Mapping[str, Any]], where: str, setting: str) -> None:
    """
    Raise FixTarget where the field *name* of *where* identifies nothing, so that writing by it makes duplicates.

    Assumption (identifier): Agillic describes such a field with ``"identifier": false``.
    """
    if known[name].get("identifier") is False:
        proper = ", ".join(other for other, described in known.items() if described.get("identifier")) or "none"
        raise FixTarget(
            f"{setting} {name} is no identifier of {where}, so that what exists would be stored twice: "
            f"its identifiers are {proper}"
        )


def spelled(name: str, known: Iterable[str]) -> str:
    """Return *name*, and how it is spelled where only its letters' case is wrong."""
    close = [other for other in known if other.casefold() == name.casefold()]
    return f"{name} (names are case-sensitive: {close[0]} exists)" if close else name


def _shown(call: Call) -> str:
    """Return the call's path without anybody's identity."""
    return re.sub(r"=[^/]+$", "=…", call.path)
