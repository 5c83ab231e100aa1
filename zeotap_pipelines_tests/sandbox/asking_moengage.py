"""Requests to MoEngage's stand-in as a client might send them, right and wrong."""

import base64
import json

from zeotap_pipelines.sandbox import BASE_URL, MOENGAGE_APP_ID, MOENGAGE_SECRET, MoEngageSettings, Sandbox
from zeotap_pipelines_tests.sandbox.asking import Clock, ask

URL = f"{BASE_URL}/moengage/v1/integrations/cohortsync"
ABSENT = object()


def basic(app_id=MOENGAGE_APP_ID, secret=MOENGAGE_SECRET):
    return "Basic " + base64.b64encode(f"{app_id}:{secret}".encode()).decode()


HEADERS = {"Authorization": basic(), "MOE-APPKEY": MOENGAGE_APP_ID, "Content-Type": "application/json"}


def account(**settings):
    return Sandbox(clock=Clock(), moengage=MoEngageSettings(**settings))


def body(action="add_members", *members, at=1, **parameters):
    """A good body, but for what the caller says; a parameter that is ABSENT is left out."""
    named = {"cohort_name": "Active", "cohort_id": "c-1", "members": list(members) or [{"uid": "1"}], **parameters}
    return {
        "action": action,
        "partner": "Zeotap",
        "timestamp": f"2025-01-01T00:00:{at:06.3f}Z",
        "parameters": {name: value for name, value in named.items() if value is not ABSENT},
    }


def send(sandbox, wanted, **headers):
    kept = {name: value for name, value in {**HEADERS, **headers}.items() if value is not ABSENT}
    content = wanted if isinstance(wanted, bytes) else json.dumps(wanted)
    return ask(sandbox, "POST", URL, content=content, headers=kept)
