"""The question that changes nothing at CrowdTwist, asked before the first request that does: the list of activities."""

from __future__ import annotations

from collections.abc import Generator

import httpx

from ..errors import FixConnection, TryAgainLater
from ..model import Call
from .base import TRANSIENT, Visit
from .crowdtwist_answers import acknowledged, activity_ids, reason

ACTIVITIES = "/v2/activities"


def list_of_activities(visit: Visit) -> Generator[Call, httpx.Response, frozenset[str] | None]:
    """
    Ask for the activities and return their ids, or None where they can't be read.

    A key may be allowed to write and not to list them, so that a 403 refuses nothing; a
    401 and a redirect are the wire's to judge. Raises FixConnection naming base_url where
    somebody else answers, and TryAgainLater where the service is in trouble: a credit
    asked then would be in doubt.
    """
    response = yield Call("GET", ACTIVITIES)
    status = response.status_code
    cut_off = response.is_success and not acknowledged(response) and response.text.lstrip()[:1] in ("[", "{")
    if cut_off or status in TRANSIENT or response.is_server_error:
        raise TryAgainLater(
            f"CrowdTwist answers {reason(response)} at {ACTIVITIES}: it is in trouble, not the settings"
        )
    if status == httpx.codes.NOT_FOUND or (response.is_success and not acknowledged(response)):
        raise FixConnection(f"CrowdTwist answers {reason(response)} at {ACTIVITIES}: check base_url")
    if not response.is_success:
        return None
    visit.known["base_url_is_right"] = True
    return activity_ids(response)
