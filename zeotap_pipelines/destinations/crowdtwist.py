"""
Oracle CrowdTwist: user profiles. Activity credits: see `crowdtwist_activities`.

    GET  /v2/activities          the activities: an array, in one piece
    POST /v2/users               creates a user
    PUT  /v2/users/{user_id}     updates a user; what isn't sent stays

One user per request. Updating is repeatable; a create that is repeated is answered
"already taken", which tells whether the lost answer was a yes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Literal

import httpx
from pydantic import Field, SecretStr, field_validator, model_validator

from ..errors import FixConnection, FixDeclaration, TryAgainLater
from ..mapping import Kind
from ..model import Batch, Call, Conversation, Fate, Mode, Operation, Outcome, Question, Receipt, Verb
from ..naming import segment
from .base import Connection, Limits, Target, Visit
from .crowdtwist_answers import ALREADY_TAKEN, activity_ids, judged, no_such_user, reason, says
from .crowdtwist_auth import ApiKey, Signature
from .crowdtwist_preflight import ACTIVITIES, list_of_activities

USERS = "/v2/users"
JSON = {"Content-Type": "application/json"}

ID_TYPES: Mapping[str, str | None] = {
    "email": "email_address",
    "id": None,
    "third_party_id": "third_party_id",
    "username": "username",
    "mobile_phone_number": "mobile_phone_number",
}
"""
What user_id is, and the field of the profile that holds it. A CrowdTwist id can't be chosen.

Assumption (created-id): a create finds the user again by user_id only if that field holds it: it is written there.
"""

DEFAULT_FIELDS = (
    "user_id",
    "email_address",
    "first_name",
    "last_name",
    "postal_code",
    "date_of_birth",
    "gender_id",
    "mobile_phone_number",
    "third_party_id",
    "lang_pref",
    "country_code",
    "city_name",
    "receive_email_updates",
)

KNOWN = frozenset({*DEFAULT_FIELDS, "city_id", "username"})
"""Assumption (known-fields): these stand at the top of a profile; any other field is a custom attribute, as text."""

US_POSTAL_CODE = "[0-9]{5,5}(-?[0-9]{4,4})?"
CANADIAN_POSTAL_CODE = "[A-Za-z][0-9][A-Za-z] [0-9][A-Za-z][0-9]"

CANADIAN = "a Canadian postal_code has the form L#L #L#"
NOT_CANADIAN = "a Canadian postal_code needs country_code CA"
AMERICAN = "a US postal_code has 5 or 9 digits; other countries need country_code with city_id or city_name"

EMAIL = r"[^@\s]+@[^@\s]+\.[^@\s]+"


class CrowdTwist(Connection):
    """One Oracle CrowdTwist instance."""

    service: ClassVar[str] = "crowdtwist"
    credentials: ClassVar[tuple[str, ...]] = ("api_key", "public_key")
    unverified: ClassVar[str] = "the permissions to create and update users and to credit activities"

    base_url: str = Field(description="API Base URL, for example https://api123.crowdtwist.com")
    id_type: Literal["email", "id", "third_party_id", "username", "mobile_phone_number"] = Field(
        "email", description="User Identifier Type: what user_id is"
    )
    authentication: Literal["api_key", "hmac"] = Field("api_key", description="API Key or HMAC Authentication")
    api_key: SecretStr | None = Field(None, description="Settings > API > API Key")
    api_key_in: Literal["query", "header"] = Field("query", description="How requests carry the API key")
    public_key: str | None = Field(None, description="Settings > API > Public Key (Key Identifier)")
    private_key: SecretStr | None = Field(None, description="Settings > API > Private Key (Key Secret)")
    signature_encoding: Literal["hex_base64", "raw_base64"] = Field(
        "hex_base64", description="Whether the signature's hex text or its bytes are written in base64"
    )
    timestamp_unit: Literal["ms", "s"] = Field("ms", description="The unit of the signed timestamp")
    concurrency: int = Field(
        10, ge=1, le=100, description="Requests at once; the limit is the instance's, set by Oracle"
    )
    requests_per_second: float | None = Field(None, gt=0, description="What Oracle agreed with you, if it did")

    @field_validator("api_key", "private_key")
    @classmethod
    def _secret_is_one_word(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.fullmatch(r"[!-~]+", value.get_secret_value()):
            raise ValueError("copy it again: it is empty, or holds spaces or other signs that a key never has")
        return value

    @field_validator("public_key")
    @classmethod
    def _public_key_is_one_word(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[!-9;-~]+", value):
            raise ValueError("public_key: copy it again: it is empty, or holds a space or a colon")
        return value

    @model_validator(mode="after")
    def _credentials_are_there(self) -> CrowdTwist:
        needed = ("api_key",) if self.authentication == "api_key" else ("public_key", "private_key")
        if missing := [name for name in needed if getattr(self, name) is None]:
            raise ValueError(f"authentication {self.authentication} needs {missing[0]}")
        return self

    def auth(self) -> httpx.Auth:
        """Return the API key flow, or the signing one."""
        if self.authentication == "api_key":
            assert self.api_key is not None
            return ApiKey(self.api_key, key_in=self.api_key_in)
        assert self.public_key is not None and self.private_key is not None
        return Signature(self.public_key, self.private_key, encoding=self.signature_encoding, unit=self.timestamp_unit)

    def limits(self) -> Limits:
        """Return the concurrency and, where agreed, the rate."""
        return Limits(concurrency=self.concurrency, per_second=self.requests_per_second)

    def test(self) -> Question:
        """Ask for the list of activities: credentials, host and the permission to read."""
        response = yield Call("GET", ACTIVITIES)
        status = response.status_code
        if status == httpx.codes.FORBIDDEN:
            raise FixConnection(
                f"CrowdTwist refuses to list the activities: give the key the permission GET {ACTIVITIES}"
            )
        if status == 429 or response.is_server_error:
            raise TryAgainLater(f"CrowdTwist answers {reason(response)}: it is in trouble, not the settings")
        if not response.is_success or activity_ids(response) is None:
            raise FixConnection(
                f"CrowdTwist answers HTTP {status} without a list at {ACTIVITIES}: check base_url ({self.base_url})"
            )


@dataclass(frozen=True)
class UserProfile(Target):
    """
    The profiles of a program's members.

    *stream* names what one team writes, so that two may write different fields;
    *id_type* is the connection's: what user_id is.
    """

    stream: str
    id_type: str = "email"

    service = "crowdtwist"
    kind = "user_profile"
    verbs = frozenset({Verb.UPSERT, Verb.INSERT, Verb.UPDATE})
    identity = ("user_id",)
    default_fields = DEFAULT_FIELDS
    carries_attributes = True
    # Assumption (text-fields): gender_id and lang_pref are text, as they are mapped.
    kinds = {"date_of_birth": Kind.UNIX, "receive_email_updates": Kind.FLAG, "city_id": Kind.INTEGER}

    def __post_init__(self) -> None:
        named(self.stream, self.id_type)

    @property
    def name(self) -> str:
        """The stream."""
        return self.stream

    @property
    def namespace(self) -> str:
        """The id_type: "7" is one user by third_party_id, and another by CrowdTwist id."""
        return self.id_type

    @cached_property
    def email(self) -> frozenset[str]:  # type: ignore[override]  # It depends on the connection's id_type.
        """The identity fields that are compared without regard to case."""
        return frozenset({"user_id"}) if self.id_type == "email" else frozenset()

    @cached_property
    def numbers(self) -> frozenset[str]:  # type: ignore[override]
        """A CrowdTwist id is a number."""
        return frozenset({"user_id"}) if self.id_type == "id" else frozenset()

    @cached_property
    def aliases(self) -> frozenset[str]:  # type: ignore[override]
        """The field of the profile that holds what user_id is."""
        return frozenset(filter(None, [ID_TYPES[self.id_type]]))

    def check(self, mode: Mode, fields: Collection[str]) -> None:
        """Refuse to create users by CrowdTwist ids, which only CrowdTwist chooses."""
        if self.id_type == "id" and mode is Mode.INSERT:
            raise FixDeclaration("a CrowdTwist id can't be created: use the mode update, or another id_type")

    def invalid(self) -> Iterable[tuple[str, str]]:
        """Refuse ids that can't be right, and postal codes that contradict their country."""
        yield from unfit_ids(self.id_type)
        country = "coalesce(nullif(upper(trim({country_code})), ''), 'US')"
        american = f"regexp_full_match({{postal_code}}, '{US_POSTAL_CODE}')"
        canadian = f"regexp_full_match({{postal_code}}, '{CANADIAN_POSTAL_CODE}')"
        yield CANADIAN, f"{country} = 'CA' AND NOT {canadian}"
        yield NOT_CANADIAN, f"{country} = 'US' AND {canadian}"
        yield AMERICAN, f"{country} = 'US' AND NOT {american}"

    def odd(self) -> Iterable[tuple[str, str]]:
        """Warn where the mapped address would change the one that the user is known by."""
        if self.id_type == "email":
            yield (
                "email_address differs from user_id: an update changes the address, a create keeps user_id",
                "lower(trim({user_id})) <> lower(trim({email_address}))",
            )

    def preflight(self, visit: Visit) -> Question:
        """Ask something that changes nothing, so that a wrong key or host is found before the first member is asked."""
        yield from list_of_activities(visit)

    def converse(self, batch: Batch, visit: Visit) -> Conversation:
        """Update or create one user; an upsert updates first and creates where there is none."""
        [operation] = batch
        fields = operation.fields
        user_id = fields.pop("user_id")
        if fault := location_fault(fields):
            return Receipt(Outcome(Fate.REJECTED, fault, untouched=True))
        profile = _profile(fields)
        if batch.verb is not Verb.INSERT:
            response = yield self._update(user_id, profile)
            if batch.verb is Verb.UPDATE or not no_such_user(response, visit):
                return Receipt(judged(response, visit))
        own = ID_TYPES[self.id_type]
        if own is None:
            why = "no user has this CrowdTwist id, and a CrowdTwist id can't be created"
            return Receipt(Outcome(Fate.REJECTED, why, untouched=True))
        response = yield Call("POST", USERS, content=_encoded(profile | {own: user_id}), headers=JSON)
        if not _taken(response):
            return Receipt(judged(response, visit))
        return (yield from self._settled(operation, response, self._update(user_id, profile), visit))

    def _update(self, user_id: str, profile: Mapping[str, Any]) -> Call:
        path = f"{USERS}/{segment(user_id)}"
        return Call("PUT", path, content=_encoded(profile), params={"id_type": self.id_type}, headers=JSON)

    def _settled(self, operation: Operation, response: httpx.Response, update: Call, visit: Visit) -> Conversation:
        """Tell what "already taken" means: our own create whose answer was lost, or somebody else's user."""
        again_now = response.extensions.get("repeated", False)
        if operation.verb is Verb.INSERT:
            if operation.repeated or again_now:
                return Receipt(Outcome(Fate.ACCEPTED, "created by an earlier attempt", response.status_code))
            return Receipt(replace(judged(response, visit), final=True))
        # The update found nobody a moment ago: another one tells.
        again = yield update
        if not no_such_user(again, visit):
            return Receipt(judged(again, visit))
        if again_now:
            return Receipt(Outcome(Fate.DEFERRED, "created, it seems, and not found yet", response.status_code))
        why = f"{reason(response)}: another user has it, and none has this user_id; check id_type and the mapping"
        return Receipt(Outcome(Fate.REJECTED, why, response.status_code, untouched=True))


def named(stream: str, id_type: str) -> None:
    """Refuse a target without a stream or with an unknown id_type. Raises FixDeclaration."""
    if not stream.strip():
        raise FixDeclaration("stream is empty: name what is written here, for example the team's name")
    if id_type not in ID_TYPES:
        raise FixDeclaration(f"stream {stream!r}: id_type is one of {', '.join(ID_TYPES)}, not {id_type!r}")


def unfit_ids(id_type: str) -> Iterator[tuple[str, str]]:
    """Yield the rules for user_id, which every object type needs."""
    yield "user_id is missing", "trim(coalesce({user_id}, '')) = ''"
    yield "user_id can't stand in an address", "trim({user_id}) IN ('.', '..')"
    if id_type == "email":
        yield "user_id is not an e-mail address", f"NOT regexp_full_match(trim({{user_id}}), '{EMAIL}')"


def location_fault(fields: Mapping[str, Any]) -> str | None:
    """Return what is wrong with a location, as far as one is given: a US postal code, or a country with its city."""
    postal_code, country = fields.get("postal_code"), _country(fields)
    city = fields.get("city_name") or fields.get("city_id")
    american = bool(postal_code and re.fullmatch(US_POSTAL_CODE, postal_code))
    canadian = bool(postal_code and re.fullmatch(CANADIAN_POSTAL_CODE, postal_code))
    if country == "CA":
        return None if canadian or not postal_code else CANADIAN
    if country in ("", "US"):
        if canadian:
            return NOT_CANADIAN
        if postal_code and not american:
            return AMERICAN
        if city and not country and not american:
            return "a city needs country_code"
        return None
    return None if city else "outside the US and Canada country_code needs city_id or city_name"


def _country(fields: Mapping[str, Any]) -> str:
    return str(fields.get("country_code") or "").strip().upper()


def _profile(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the user object: known fields at the top, all others as custom attributes."""
    profile = {name: value for name, value in fields.items() if name in KNOWN}
    if _country(profile) in ("", "US") and profile.get("postal_code"):
        # The service refuses a US postal code together with city or country.
        for name in ("country_code", "city_name", "city_id"):
            profile.pop(name, None)
    custom = {name: value for name, value in fields.items() if name not in KNOWN}
    return profile | {"custom_data": custom} if custom else profile


def _encoded(body: Mapping[str, Any]) -> bytes:
    """Return *body* as the bytes that are signed and sent."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def _taken(response: httpx.Response) -> bool:
    return not response.is_success and says(response, ALREADY_TAKEN)
