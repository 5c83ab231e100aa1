"""What MoEngage's answers mean besides their status: its errors, with the request's id for its support desk."""

from __future__ import annotations

from collections.abc import Mapping

import httpx

from ..errors import FixConnection
from ..model import Fate, Halt, Outcome, Receipt
from .base import judge


def confirmed(response: httpx.Response) -> bool:
    """Return whether the body says that the request was accepted: a status is also what a proxy or a login page has."""
    try:
        return bool(response.json()["status"] == "success")
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


def unconfirmed(response: httpx.Response) -> str:
    """Return what is said of a 2xx that doesn't say what MoEngage says of a request that it accepted."""
    found = told(response)
    said = f" ({reason(response, found)})" if found else ""
    return f"HTTP {response.status_code} without MoEngage's word that it accepted the request{said}"


def halted(error: Exception, response: httpx.Response) -> Halt:
    """Return what ends the run: nothing of the batch was done."""
    found = told(response)
    outcome = Outcome(
        Fate.DEFERRED, reason(response, found), response.status_code, untouched=True, request=found.get("request_id")
    )
    return Halt(Receipt(outcome), error)


def not_the_rows(response: httpx.Response) -> FixConnection:
    """Return what to fix after an answer that no row can have caused."""
    said = reason(response, told(response)) or unconfirmed(response)
    match response.status_code:
        case 403:
            return FixConnection(f"MoEngage has blocked this account or client ({said}): ask MoEngage's support")
        case 200 | 400 | 404 | 405:
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
