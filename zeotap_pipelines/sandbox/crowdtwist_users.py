"""CrowdTwist's users: what a profile may hold, and the profiles themselves."""

import json
import re
import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

from zeotap_pipelines.sandbox.messages import Undocumented
from zeotap_pipelines.sandbox.store import Store

USER_SCHEMA = """
CREATE TABLE IF NOT EXISTS crowdtwist_user (
    id INTEGER PRIMARY KEY, email_address TEXT UNIQUE COLLATE NOCASE, third_party_id TEXT UNIQUE, username TEXT UNIQUE,
    mobile_phone_number TEXT UNIQUE, fields TEXT NOT NULL);
"""
# id_type → the field that it names.
FIELD_OF = {
    "email": "email_address",
    "id": "id",
    "third_party_id": "third_party_id",
    "username": "username",
    "mobile_phone_number": "mobile_phone_number",
}
NO_LOCATION = "US zip code or country/city combo is required"

_UNIQUE = ("email_address", "third_party_id", "username", "mobile_phone_number")
_NEEDED = ("first_name", "last_name", "email_address")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]+")
_US_POSTAL_CODE = re.compile(r"[0-9]{5}(?:-?[0-9]{4})?")
_CANADIAN_POSTAL_CODE = re.compile(r"[A-Za-z][0-9][A-Za-z] [0-9][A-Za-z][0-9]")
# Milliseconds would be beyond.
_LAST_SECOND = 100_000_000_000


class Refused(Exception):
    """The service's documented no to a request of the right shape: the row is at fault."""


def whole(value: object) -> bool:
    """Whether a JSON value is an integer; true and false aren't."""
    return isinstance(value, int) and not isinstance(value, bool)


def unix_seconds(value: object) -> bool:
    """Whether a JSON value is a time in whole Unix seconds; milliseconds aren't."""
    return isinstance(value, int) and whole(value) and abs(value) < _LAST_SECOND


def looks_like_email(text: str) -> bool:
    """Whether a text has the form of an e-mail address."""
    return _EMAIL.fullmatch(text) is not None


def _text(value: object) -> bool:
    return isinstance(value, str)


def _number_or_text(value: object) -> bool:
    return whole(value) or (isinstance(value, str) and value != "")


def _zero_or_one(value: object) -> bool:
    return whole(value) and value in (0, 1)


def _texts(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(one, str) for one in value.values())


_FIELDS: dict[str, tuple[Callable[[object], bool], str]] = {
    "email_address": (_text, "a text"),
    "third_party_id": (_text, "a text"),
    "username": (_text, "a text"),
    "mobile_phone_number": (_text, "a text"),
    "first_name": (_text, "a text"),
    "last_name": (_text, "a text"),
    "lang_pref": (_text, "a text"),
    "postal_code": (_text, "a text"),
    "country_code": (_text, "a text"),
    "city_name": (_text, "a text"),
    "city_id": (_number_or_text, "a number or a text"),
    "gender_id": (_number_or_text, "a number or a text"),
    "receive_email_updates": (_zero_or_one, "0 or 1"),
    "date_of_birth": (unix_seconds, "a number of Unix seconds"),
    "custom_data": (_texts, "an object of texts"),
}


class Users:
    """The profiles of one account, whose custom attributes are known by name."""

    def __init__(self, store: Store, custom_attributes: frozenset[str]) -> None:
        self._store = store
        self._custom_attributes = custom_attributes

    def find(self, id_type: str, value: str) -> dict[str, Any] | None:
        """The user that an identifier names, without the fields that were never given."""
        if id_type == "id" and not re.fullmatch(r"[0-9]{1,18}", value):
            return None
        found = self._store.execute(f"SELECT id, fields FROM crowdtwist_user WHERE {FIELD_OF[id_type]} = ?", value)
        return _user(*found[0]) if found else None

    def all(self) -> list[dict[str, Any]]:
        """Every user, oldest first."""
        return [_user(*row) for row in self._store.execute("SELECT id, fields FROM crowdtwist_user ORDER BY id")]

    def create(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The new user."""
        self._check(given)
        for name in _NEEDED:
            if not given.get(name):
                raise Refused(f"{name} is required")
        if not _has_location(given):
            raise Refused(NO_LOCATION)
        return self.write(None, given)

    def update(self, user: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        """The user with the given fields changed."""
        self._check(given)
        kept = {name: value for name, value in user.items() if name != "id"}
        custom = {**kept.get("custom_data", {}), **given.get("custom_data", {})}
        return self.write(user["id"], {**kept, **given, **({"custom_data": custom} if custom else {})})

    def write(self, identity: int | None, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Store a user as it is, under a new id where `identity` is None."""
        try:
            row = self._store.execute(
                "INSERT INTO crowdtwist_user VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
                f" {', '.join(f'{name} = excluded.{name}' for name in (*_UNIQUE, 'fields'))} RETURNING id, fields",
                identity,
                *(fields.get(name) or None for name in _UNIQUE),
                json.dumps(fields),
            )
        except sqlite3.IntegrityError as error:
            raise Refused(f"{str(error).rpartition('.')[2]} already taken") from None
        return _user(*row[0])

    def _check(self, given: Mapping[str, Any]) -> None:
        if "email_address" in given and not looks_like_email(given["email_address"]):
            raise Refused("email_address is not valid")
        custom = set(given.get("custom_data", ()))
        if custom and not self._custom_attributes:
            raise Refused("No custom attributes setup for client")
        unknown = sorted(custom - self._custom_attributes)
        if unknown:
            raise Refused(f"Unrecognized attribute name: {unknown[0][:60]}")


def read_user(body: object) -> Mapping[str, Any]:
    """The fields in the body of a create or an update; a body of another shape is undocumented (400)."""
    if not isinstance(body, dict):
        raise Undocumented(400, "the body is not an object")
    unknown = sorted(set(body) - set(_FIELDS))
    if unknown:
        raise Undocumented(400, f"unknown fields: {', '.join(unknown)[:60]}")
    for name, value in body.items():
        fits, what = _FIELDS[name]
        if not fits(value):
            raise Undocumented(400, f"{name} is not {what}")
    _check_location(body)
    return body


def full(user: Mapping[str, Any]) -> dict[str, Any]:
    """A user as the API shows one: fields that were never given are null."""
    return {"id": user["id"], **dict.fromkeys(_FIELDS), "custom_data": {}, **user}


def _user(identity: object, fields: object) -> dict[str, Any]:
    return {"id": identity, **json.loads(str(fields))}


def _check_location(given: Mapping[str, Any]) -> None:
    # What a client must not send: it tells its own user that the row is wrong.
    postal_code, country = given.get("postal_code"), given.get("country_code")
    if postal_code is None:
        return
    if country == "CA":
        if not _CANADIAN_POSTAL_CODE.fullmatch(postal_code):
            raise Undocumented(400, "a Canadian postal code is not of the form L#L #L#")
    elif country in (None, "US"):
        if not _US_POSTAL_CODE.fullmatch(postal_code):
            raise Undocumented(400, NO_LOCATION)
        if not given.keys().isdisjoint(("country_code", "city_id", "city_name")):
            raise Undocumented(400, "a US postal code goes without country and city")


def _has_location(given: Mapping[str, Any]) -> bool:
    country = given.get("country_code")
    by_postal_code = given.get("postal_code") and country in (None, "CA")
    return bool(by_postal_code or (country and (given.get("city_id") or given.get("city_name"))))
