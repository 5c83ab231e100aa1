"""The one body that MoEngage's Cohort Sync takes."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

MISSING = "MissingAttributeError"
# The contract names no type for an attribute that is there and wrong.
INVALID = "InvalidAttributeError"

_ACTIONS = ("add_members", "remove_members")
_ISO_8601_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|\+00:00)", re.ASCII)
_NOT_IN_A_NAME = frozenset('|*?\\:<>=$"')
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Wrong(Exception):
    """An attribute that isn't as documented."""

    def __init__(self, attribute: str, what: str, kind: str = INVALID) -> None:
        super().__init__(f"{attribute} {what}")
        self.attribute = attribute
        self.what = what
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Member:
    """One member as a client names it, by one identifier or by both."""

    uid: str | None
    anonymous_id: str | None


@dataclass(frozen=True, slots=True)
class Cohort:
    """What one request asks for a cohort; `timestamp` is in microseconds since 1970, UTC."""

    action: str
    timestamp: int
    id: str
    name: str
    description: str | None
    members: tuple[Member, ...]


def read(body: object) -> Cohort:
    """What a body asks for; `Wrong` where it isn't exactly of the documented shape."""
    whole = _object(body, "body", required=("action", "partner", "timestamp", "parameters"))
    action = _text(whole, "action")
    if action not in _ACTIONS:
        raise Wrong("action", f"is not {' or '.join(_ACTIONS)}")
    _text(whole, "partner")
    timestamp = _instant(_text(whole, "timestamp"))
    parameters = _object(
        whole["parameters"],
        "parameters",
        required=("cohort_name", "cohort_id", "members"),
        optional=("cohort_description",),
    )
    name = _text(parameters, "cohort_name")
    if name.startswith(".") or not _NOT_IN_A_NAME.isdisjoint(name):
        raise Wrong("cohort_name", f"begins with . or holds one of {' '.join(sorted(_NOT_IN_A_NAME))}")
    description = parameters.get("cohort_description")
    if not isinstance(description, str) and "cohort_description" in parameters:
        raise Wrong("cohort_description", "is not a text")
    return Cohort(
        action,
        timestamp,
        _text(parameters, "cohort_id"),
        name,
        None if description is None else str(description),
        _members(parameters["members"]),
    )


def _members(value: object) -> tuple[Member, ...]:
    if not isinstance(value, list):
        raise Wrong("members", "is not a list")
    if not value:
        raise Wrong("members", "is empty")
    seen: dict[str, set[str]] = {"uid": set(), "anonymous_id": set()}
    members = []
    for one in value:
        member = _object(one, "members", optional=tuple(seen))
        if not member:
            raise Wrong("members", "has one with neither uid nor anonymous_id", MISSING)
        for name in member:
            identifier = _text(member, name)
            if identifier in seen[name]:
                raise Wrong("members", f"has the same {name} twice")
            seen[name].add(identifier)
        members.append(Member(_optional(member, "uid"), _optional(member, "anonymous_id")))
    return tuple(members)


def _object(
    value: object, where: str, *, required: tuple[str, ...] = (), optional: tuple[str, ...] = ()
) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise Wrong(where, "is not an object")
    for name in required:
        if name not in value:
            raise Wrong(name, "is missing", MISSING)
    unknown = sorted(set(value) - {*required, *optional})
    if unknown:
        raise Wrong(where, f"has unknown attributes: {', '.join(unknown)[:60]}")
    return value


def _text(holder: Mapping[str, object], name: str) -> str:
    value = holder[name]
    if not isinstance(value, str) or not value:
        raise Wrong(name, "is not a text, or empty")
    return value


def _optional(holder: Mapping[str, object], name: str) -> str | None:
    return _text(holder, name) if name in holder else None


def _instant(text: str) -> int:
    if not _ISO_8601_UTC.fullmatch(text):
        raise Wrong("timestamp", "is not ISO 8601 in UTC")
    try:
        return (datetime.fromisoformat(text) - _EPOCH) // timedelta(microseconds=1)
    except ValueError:
        raise Wrong("timestamp", "is not a time that exists") from None
