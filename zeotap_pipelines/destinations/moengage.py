"""
MoEngage: cohorts (custom segments).

    POST /v1/integrations/cohortsync    adds members to a cohort, or removes them; makes the segment on the way

Many members per request, counted in bytes. MoEngage answers that a request was
accepted: it matches known users later, creates none, and never says whom it found.
Requests of one cohort are processed in the order of their timestamps.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Collection, Generator, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, ClassVar, Literal

import httpx
from pydantic import Field, SecretStr, field_validator, model_validator

from ..errors import FixConnection, FixDeclaration, FixTarget, TryAgainLater
from ..model import MODES, Batch, Call, Change, Conversation, Fate, Mode, Outcome, Question, Receipt, Verb
from .base import Connection, Limits, Target, Visit, judge
from .moengage_answers import confirmed, halted, not_the_rows, reason, told, unconfirmed

COHORT_SYNC = "/v1/integrations/cohortsync"

DATA_CENTERS = {
    "01": "https://api-01.moengage.com",
    "02": "https://api-02.moengage.com",
    "03": "https://api-03.moengage.com",
    "04": "https://api-04.moengage.com",
    "05": "https://api-05.moengage.com",
    "06": "https://api-06.moengage.com",
    "101": "https://api-101.moengage.com",
}
"""MoEngage's hosts by data centre."""

MAX_BODY = 120_000
"""Bytes of one request's body: MoEngage allows 128 KB."""

REFUSED = frozenset('|*?\\:<>=$"')
"""The characters that a cohort's name must not hold."""

ACTIONS = {Verb.ADD: "add_members", Verb.REMOVE: "remove_members"}

IN_MEMBERS = ("member", "uid", "anonymous_id")
"""Assumption (row-at-fault): a 400 whose ``attribute`` names one of these, or that names none, may be a row's fault."""

ANONYMOUS = re.compile(r'"anonymous_id":("(?:[^"\\]|\\.)*")')
"""The anonymous_ids in the members' JSON, which is quicker to search than to parse."""

HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""What HTTP allows as a header's name."""

OURS = frozenset({"authorization", "moe-appkey", "content-type", "content-length", "transfer-encoding", "host"})
"""The headers that a request has without being told."""

JSON = {"Content-Type": "application/json"}


class MoEngage(Connection):
    """One MoEngage workspace (app)."""

    service: ClassVar[str] = "moengage"
    credentials: ClassVar[tuple[str, ...]] = ("app_id",)
    unverified: ClassVar[str] = "whether the account may sync cohorts"

    data_center: Literal["01", "02", "03", "04", "05", "06", "101"] | None = Field(
        None, description="The data centre of the account: 01 to 06 or 101 (the number in the dashboard's address)"
    )
    base_url: str = Field("", description="Instead of data_center: the address of the API")
    app_id: str = Field(min_length=1, description="Settings > App > General > APP ID")
    secret_key: SecretStr = Field(description="Settings > App > API > Data API Key")
    extra_headers: Mapping[str, str] = Field(
        default_factory=dict, description="More headers for every request, for example MOE-DESTINATION-PARTNER"
    )
    requests_per_minute: float = Field(300, gt=0, description="MoEngage allows 300")

    @model_validator(mode="before")
    @classmethod
    def _host(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.get("base_url"):
            return values
        given = values.get("data_center")
        # YAML reads 01 as the number 1.
        name = str(given if given is not None else "").upper().removeprefix("DC-").lstrip("0")
        found = {known.lstrip("0"): known for known in DATA_CENTERS}.get(name)
        if found is None:
            raise ValueError(f"data_center is one of {', '.join(DATA_CENTERS)}")
        return values | {"data_center": found, "base_url": DATA_CENTERS[found]}

    @field_validator("app_id")
    @classmethod
    def _app_id_is_a_user_name(cls, value: str) -> str:
        if ":" in value or not value.isascii() or not value.isprintable() or " " in value:
            raise ValueError("app_id holds letters, digits and signs, and neither spaces nor a colon")
        return value

    @field_validator("extra_headers")
    @classmethod
    def _headers_are_ours(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        if taken := {name.lower() for name in value} & OURS:
            raise ValueError(f"extra_headers: {min(taken)} is set by this connection itself")
        for name, text in value.items():
            if not HEADER.fullmatch(name) or not text.isascii() or not text.isprintable():
                raise ValueError(f"extra_headers: {name!r} and its value must be plain ASCII on one line")
        return value

    def auth(self) -> httpx.Auth:
        """Return HTTP Basic authentication by app id and secret key."""
        return AppSecret(self.app_id, self.secret_key)

    def limits(self) -> Limits:
        """Return one request at a time, 300 a minute."""
        return Limits(concurrency=1, per_minute=self.requests_per_minute)

    def headers(self) -> dict[str, str]:
        """Return the app key, which must equal the Basic user name, and the extra headers."""
        return {"MOE-APPKEY": self.app_id, **self.extra_headers}

    def test(self) -> Question:
        """Ask for nothing at all, which changes nothing: the refusal tells whether host and credentials are right."""
        # Assumption (test-request): credentials are judged before the body, and an empty object is answered 400.
        response = yield Call("POST", COHORT_SYNC, content=b"{}", headers=JSON)
        status = response.status_code
        if (status == httpx.codes.BAD_REQUEST and told(response)) or confirmed(response):
            return
        if status == 429 or response.is_server_error:
            raise TryAgainLater(f"MoEngage answers HTTP {status}: it is in trouble, not the settings")
        raise not_the_rows(response)


class AppSecret(httpx.Auth):
    """HTTP Basic with the app id and the secret key; a refusal names the settings."""

    def __init__(self, app_id: str, secret_key: SecretStr) -> None:
        self._app_id, self._secret_key = app_id, secret_key

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Sign *request*. Raises FixConnection when the credentials are refused."""
        pair = f"{self._app_id}:{self._secret_key.get_secret_value()}"
        request.headers["Authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
        response = yield request
        if response.status_code == httpx.codes.UNAUTHORIZED:
            raise FixConnection(
                "MoEngage refuses the credentials (HTTP 401): check app_id (Settings > App > General > APP ID), "
                "secret_key (Settings > App > API > Data API Key) and data_center"
            )


@dataclass(frozen=True)
class Cohort(Target):
    """
    The members of one cohort, which MoEngage shows as a custom segment.

    *cohort_id* is what it is known by for ever; *cohort_name* is the segment's name.
    A *one_time* sync fills the segment once, a *periodic* one keeps it in step.
    """

    cohort_id: str
    cohort_name: str
    cohort_description: str | None = None
    partner: str = "zeotap"
    sync_type: str = "periodic"

    service = "moengage"
    kind = "cohort"
    verbs = frozenset({Verb.ADD, Verb.REMOVE})
    identity = ("uid", "anonymous_id")
    default_fields = ("uid", "anonymous_id")
    ordered = True
    items = 10_000
    notes = (
        "MoEngage accepts members and matches them later: users that it doesn't know are left out without a word",
        "campaigns use the latest members on their next scheduled run",
    )

    def __post_init__(self) -> None:
        named = f"cohort {self.cohort_id!r}"
        for setting in ("cohort_id", "cohort_name", "partner"):
            if not getattr(self, setting).strip():
                raise FixDeclaration(f"{named}: {setting} is empty")
        if found := sorted(REFUSED & set(self.cohort_name)):
            raise FixDeclaration(f"{named}: cohort_name {self.cohort_name!r} must not hold {' '.join(found)}")
        if self.cohort_name.startswith("."):
            raise FixDeclaration(f"{named}: cohort_name {self.cohort_name!r} must not begin with .")
        if self.sync_type not in ("one_time", "periodic"):
            raise FixDeclaration(f"{named}: sync_type is one_time or periodic, not {self.sync_type!r}")
        if self.max_bytes < MAX_BODY // 2:
            raise FixDeclaration(f"{named}: cohort_description leaves no room for members: shorten it")

    @property
    def once(self) -> bool:
        """Whether the segment is filled from one partition and then left alone."""
        return self.sync_type == "one_time"

    @property
    def name(self) -> str:
        """The cohort's id."""
        return self.cohort_id

    @cached_property
    def max_bytes(self) -> int:  # type: ignore[override]  # What the envelope leaves of a request.
        """How many bytes of members fit into one request."""
        head, tail = self._envelope(Verb.REMOVE, datetime.now(UTC))
        return MAX_BODY - len(head) - len(tail)

    @classmethod
    def modes(cls) -> Mapping[Mode, Mapping[Change, Verb]]:
        """Return add, remove and mirror. Whose other identifier changed is added again: both must be remembered."""
        return {mode: verbs for mode, verbs in MODES.items() if set(verbs.values()) <= cls.verbs}

    def check(self, mode: Mode, fields: Collection[str]) -> None:
        """Refuse a one-time sync that would take members out again: the segment is filled once and then stays."""
        if self.sync_type == "one_time" and mode is not Mode.ADD:
            raise FixDeclaration(f"cohort {self.cohort_id!r}: a one_time sync has the mode add, not {mode.value}")

    def converse(self, batch: Batch, visit: Visit) -> Conversation:
        """Add or remove the members of one request."""
        nobody = Outcome(Fate.REJECTED, "neither uid nor anonymous_id is left to ask with", untouched=True)
        nameless = {operation.row: nobody for operation in batch if operation.body == "{}"}
        members = distinct(operation.body for operation in batch if operation.body != "{}")
        if not members:
            return Receipt(nobody)
        head, tail = self._envelope(batch.verb, batch.at)
        content = b"".join((head, ",".join(members).encode(), tail))
        if len(content) > MAX_BODY and len(members) == 1:
            return Receipt(Outcome(Fate.REJECTED, "too large: one member fills more than a request", untouched=True))
        # Assumption (repeatable): a request may be applied twice with the same timestamp, so the wire may repeat it.
        response = yield Call("POST", COHORT_SYNC, content=content, headers=JSON)
        outcome = self._judged(response)
        if response.status_code in (400, 413) and len(batch) > 1:
            return Receipt(Outcome(Fate.DEFERRED, outcome.reason, outcome.status, untouched=True), split=True)
        return Receipt(outcome, nameless)

    def _envelope(self, verb: Verb, at: datetime) -> tuple[bytes, bytes]:
        """Return what stands before and after the members."""
        parameters: dict[str, Any] = {"cohort_name": self.cohort_name, "cohort_id": self.cohort_id}
        if self.cohort_description:
            parameters["cohort_description"] = self.cohort_description
        body = {"action": ACTIONS[verb], "partner": self.partner, "timestamp": timestamp(at)}
        text = json.dumps(body | {"parameters": parameters | {"members": []}}, ensure_ascii=False)
        return text[:-3].encode(), text[-3:].encode()

    def _judged(self, response: httpx.Response) -> Outcome:
        """Return what an answer means. Raises Halt where it speaks of the cohort or the account."""
        status, error = response.status_code, told(response)
        if response.is_success:
            return judge(response) if confirmed(response) else Outcome(Fate.DEFERRED, unconfirmed(response), status)
        said, request = reason(response, error), error.get("request_id")
        if status == httpx.codes.REQUEST_ENTITY_TOO_LARGE:
            return Outcome(Fate.REJECTED, f"too large: {said}", status, untouched=True, request=request)
        if status == httpx.codes.BAD_REQUEST:
            attribute = error.get("attribute", "")
            if attribute and not any(name in attribute for name in IN_MEMBERS):
                raise halted(
                    FixTarget(f"MoEngage refuses cohort {self.cohort_id!r}: {said}; check {attribute}"), response
                )
            return Outcome(Fate.REJECTED, said, status, untouched=True, request=request)
        outcome = judge(response)
        if outcome.fate is Fate.REJECTED:
            raise halted(not_the_rows(response), response)
        return Outcome(outcome.fate, said, status, outcome.untouched, request=request)


def distinct(bodies: Iterable[str]) -> list[str]:
    """
    Return the members of one request: *bodies* without repetition.

    Two removals may have nothing left but the same anonymous_id, and people may
    share a device. A shared anonymous_id stays with whoever has no uid, or else
    with the first: for the others it is only what is tried when the uid is unknown.
    """
    members = list(dict.fromkeys(bodies))
    found = ANONYMOUS.findall(",".join(members))
    if len(found) == len(set(found)):
        return members
    # Assumption (named-once): MoEngage refuses a request that names an identifier twice.
    parsed = [json.loads(member) for member in members]
    taken = {member["anonymous_id"] for member in parsed if "uid" not in member}
    for member in parsed:
        if "uid" in member and (shared := member.get("anonymous_id")) is not None:
            if shared in taken:
                del member["anonymous_id"]
            taken.add(shared)
    return [json.dumps(member, ensure_ascii=False, separators=(",", ":")) for member in parsed]


def timestamp(moment: datetime) -> str:
    """Return *moment* as MoEngage orders requests by it."""
    # Assumption (timestamp): ISO-8601 in UTC with milliseconds and Z.
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
