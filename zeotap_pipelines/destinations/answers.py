"""What a success must not hold: an error, in the forms that services and what stands before them give it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

UNREADABLE = (ValueError, RecursionError)
"""What a body raises that is no JSON, or is nested without end."""

WRAPPERS = frozenset({"data", "result", "results", "response", "details", "meta"})
"""Where an answer may stand in another."""

_ERRORS = frozenset({"error", "errors", "errorcode", "errormessage", "errordescription", "exception", "fault"})
_SUCCESS = frozenset({"success", "successful", "issuccess", "succeeded", "ok"})
_STATUS = frozenset({"status", "statuscode", "httpstatus", "code", "result", "state"})
_SAID = frozenset({"message", "msg", "title", "detail", "reason", "description"})
_NOTHING = frozenset({"", "0", "none", "null", "false", "ok", "no"})
_FAILED = re.compile(
    r"(?i)err(or)?|fail(ed|ure)?|refused|rejected|denied|invalid|unauthori[sz]ed|forbidden|unsuccessful"
)
_WORDS = re.compile(
    r"(?i)(?<!no )(?<!without )(?<!without any )\b(errors?|fail(ed|ure)?|invalid|denied|unauthori[sz]ed|forbidden|"
    r"not found|(does|do|did) not exist|doesn't exist|no such)\b"
)


_AT = r"(?:@|%(?:25)*40|&#0*64;|&#x0*40;|&commat;|\\+u0040)"
_ADDRESS = re.compile(rf"(?i)[^\s\"'<>(),;:@]+{_AT}[^\s\"'<>(),;:@]+")


def without_addresses(text: str) -> str:
    """Return *text* with every e-mail address hidden, also one that is written for a URL, a page or JSON."""
    return _ADDRESS.sub("…", text)


def names_an_error(found: Any, depth: int = 4) -> bool:
    """Return whether the JSON value *found* says that something went wrong, as far as a reader would see it at once."""
    if found is False:
        return True
    if isinstance(found, str):
        return _WORDS.search(found) is not None
    if isinstance(found, list):
        return depth > 0 and any(isinstance(one, dict) and names_an_error(one, depth - 1) for one in found)
    if not isinstance(found, dict):
        return False
    names = {re.sub(r"[^a-z]", "", str(name).lower()): value for name, value in found.items()}
    if any(name in names and _something(names[name]) for name in _ERRORS):
        return True
    if any(name in names and _no(names[name]) for name in _SUCCESS):
        return True
    # What has an id is a thing with a status and a title of its own, and not the word about one.
    if "id" not in names and any(_bad(names, name) for name in _STATUS | _SAID):
        return True
    return depth > 0 and any(names_an_error(one, depth - 1) for one in _wrapped(names))


def _wrapped(names: dict[str, Any]) -> Iterator[Any]:
    return (value for name, value in names.items() if name in WRAPPERS and isinstance(value, dict | list))


def _something(value: Any) -> bool:
    return bool(value) and not (isinstance(value, str) and value.strip().lower() in _NOTHING)


def _no(value: Any) -> bool:
    return value in (False, 0) or (isinstance(value, str) and value.strip().lower() in ("false", "0", "no"))


def _bad(names: dict[str, Any], name: str) -> bool:
    value = names.get(name)
    if name in _SAID:
        return isinstance(value, str) and _WORDS.search(value) is not None
    text = str(value).strip()
    return _FAILED.fullmatch(text) is not None or re.fullmatch("[45][0-9]{2}", text) is not None
