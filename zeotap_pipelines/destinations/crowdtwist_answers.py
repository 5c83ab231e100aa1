"""What CrowdTwist's answers mean: errors are told by their words, whatever their form and status."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx

from ..errors import FixConnection
from ..model import Fate, Halt, Outcome, Receipt
from .answers import UNREADABLE, names_an_error, without_addresses
from .base import Visit, judge

NOT_OURS = "which is no answer of CrowdTwist's"

ALREADY_TAKEN = "already taken"
NO_SUCH_USER = "user does not exist"

READ = 8_000
"""So many characters of an error are looked at."""

REMEDIES = {
    ALREADY_TAKEN: "the user exists: use the mode upsert or update to change existing users",
    "no custom attributes setup for client": "add the custom attribute in CrowdTwist Control Center, "
    "under the program settings, then run the sync again",
    "unrecognized attribute name": "the mapped field is no custom attribute in CrowdTwist Control Center: "
    "names are case-sensitive and must match exactly",
    "us zip code or country/city combo is required": "map a 5-digit postal_code for US users, "
    "country_code with city_id or city_name for others",
    NO_SUCH_USER: "no user has this user_id: check that it is what User Identifier Type (id_type) says",
}
"""What to do about the errors that the service names, found by a part of their message in any case."""


def no_such_user(response: httpx.Response, visit: Visit) -> bool:
    """
    Return whether there is no such user. A wrong path is answered 404 too: the body tells.

    Raises Halt on another 404, as long as nothing in this run has shown that base_url is right.
    """
    # Assumption (missing-user): a missing user's 404 says so in its message, in these words.
    absent = response.status_code == httpx.codes.NOT_FOUND and says(response, NO_SUCH_USER)
    if absent or acknowledged(response):
        visit.known["base_url_is_right"] = True
    if absent or response.status_code != httpx.codes.NOT_FOUND or visit.known.get("base_url_is_right"):
        return absent
    wrong = FixConnection(
        f"CrowdTwist answers {reason(response)}, and not that the user does not exist: check base_url"
    )
    raise Halt(Receipt(Outcome(Fate.DEFERRED, reason(response), 404, untouched=True)), wrong)


def judged(response: httpx.Response, visit: Visit, *, event: bool = False) -> Outcome:
    """
    Return what *response* means, with the remedy of an error that is known by name.

    A success that is not CrowdTwist's own says nothing of the row. Raises Halt on a 403
    and on a wrong path: no row is at fault there.
    """
    absent = no_such_user(response, visit)
    outcome = judge(response, event=event)
    if acknowledged(response):
        return outcome
    status = response.status_code
    if status == httpx.codes.FORBIDDEN:
        # Assumption (forbidden): a 403 speaks of the key's permissions, never of a row.
        refused = FixConnection(
            f"CrowdTwist forbids this call ({reason(response)}): the key needs the permissions POST /v2/users, "
            "PUT /v2/users/{id} and, for activity credits, POST /v2/users/{id}/activities"
        )
        raise Halt(Receipt(Outcome(Fate.DEFERRED, reason(response), status, untouched=True)), refused)
    for needle, remedy in REMEDIES.items():
        if says(response, needle):
            # Assumption (error-status): the status, documented nowhere, says nothing more: the row is at fault.
            return Outcome(Fate.REJECTED, f"{reason(response)}. {remedy}", status, untouched=True)
    if response.is_success:
        fate = Fate.IN_DOUBT if event else Fate.DEFERRED
        return Outcome(fate, f"{reason(response)}, {NOT_OURS}", status)
    if status == httpx.codes.NOT_FOUND and not absent:
        return Outcome(Fate.DEFERRED, f"{reason(response)}, which says nothing of the user", status, untouched=True)
    return replace(outcome, reason=reason(response))


def acknowledged(response: httpx.Response) -> bool:
    """
    Return whether a success is CrowdTwist's own: JSON that names no error, or nothing at all.

    A page of somebody in between (a login, a maintenance) and half an answer are none.
    """
    if not response.is_success:
        return False
    try:
        found = response.json() if response.content.strip() else None
    except UNREADABLE:
        return False
    return not names_an_error(found)


def reason(response: httpx.Response) -> str:
    """Return the status, and what was said, for a person."""
    text = said(response)
    return f"HTTP {response.status_code}: {text}" if text else f"HTTP {response.status_code}"


def said(response: httpx.Response) -> str:
    """Return the texts of an answer of any form on one line: at most 300 characters, no keys, no e-mail addresses."""
    text = re.sub(r"(?i)(api_key=|CTApiKey\s+|CTApiV2Auth\s+)[^\s&\"'<>;]+", r"\1…", _text(response)[:1_000])
    return without_addresses(text)[:300]


def says(response: httpx.Response, words: str) -> bool:
    """Return whether an answer holds *words*, in any case."""
    return words in _text(response).lower()


def _text(response: httpx.Response) -> str:
    """Return the texts of a JSON body, or what a page shows, as far as a person would read it."""
    try:
        text = "; ".join(dict.fromkeys(_texts(response.json())))[:READ]
    except (ValueError, RecursionError):
        text = re.sub(r"(?s)<(script|style)\b.*?</\1>|<[^>]*>", " ", response.text[:READ])
    return " ".join(text.split())


def _texts(found: Any) -> Iterator[str]:
    if isinstance(found, str):
        yield found
    elif isinstance(found, dict | list):
        for part in found.values() if isinstance(found, dict) else found:
            yield from _texts(part)


def activity_ids(response: httpx.Response) -> frozenset[str] | None:
    """Return the ids of a list of activities, or None where it can't be read."""
    try:
        # Assumption (activity-list): an activity's number is called id, and the list is complete.
        return frozenset(str(activity["id"]) for activity in response.json())
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
