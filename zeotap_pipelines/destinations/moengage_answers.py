"""What MoEngage's answers mean besides their status: its errors, with the request's id for its support desk."""

from __future__ import annotations

from collections.abc import Mapping

import httpx

from ..errors import FixConnection
from ..model import Fate, Halt, Outcome, Receipt
from .base import judge


def halted(error: Exception, response: httpx.Response | None) -> Halt:
    """Return what ends the run: nothing of the batch was done."""
    if response is None:
        return Halt(Receipt(Outcome(Fate.DEFERRED, str(error), untouched=True)), error)
    found = told(response)
    outcome = Outcome(
        Fate.DEFERRED, reason(response, found), response.status_code, untouched=True, request=found.get("request_id")
    )
    return Halt(Receipt(outcome), error)


def not_the_rows(response: httpx.Response) -> FixConnection:
    """Return what to fix after a refusal that isn't a 400 or a 413: it can't be the rows' fault."""
    said = reason(response, told(response))
    match response.status_code:
        case httpx.codes.FORBIDDEN:
            return FixConnection(f"MoEngage has blocked this account or client ({said}): ask MoEngage's support")
        case httpx.codes.NOT_FOUND | httpx.codes.METHOD_NOT_ALLOWED:
            return FixConnection(f"this is not MoEngage's cohort sync API ({said}): check data_center and base_url")
        case _:
            return FixConnection(f"MoEngage does not take the request ({said}): check data_center and extra_headers")


def told(response: httpx.Response) -> dict[str, str]:
    """Return the texts of an error's body; nothing where it is none."""
    try:
        found = response.json()["error"]
        return {name: text for name, text in found.items() if isinstance(text, str)}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def reason(response: httpx.Response, error: Mapping[str, str]) -> str:
    """Return an error as one line of at most 300 characters: status, type, message, attribute."""
    if not error:
        return judge(response).reason
    said = ": ".join(error[name] for name in ("type", "message") if error.get(name))
    at = f" ({error['attribute']})" if error.get("attribute") else ""
    return f"HTTP {response.status_code}: {' '.join(f'{said}{at}'.split())[:300]}"
