"""Requests to CrowdTwist's stand-in as a client might send them, right and wrong."""

import base64
import hashlib
import hmac
import json

from zeotap_pipelines.sandbox import (
    BASE_URL,
    CROWDTWIST_API_KEY,
    CROWDTWIST_PRIVATE_KEY,
    CROWDTWIST_PUBLIC_KEY,
    CrowdTwistSettings,
    Sandbox,
)
from zeotap_pipelines_tests.sandbox.asking import Clock, ask

PREFIX = "/crowdtwist"
JSON = {"Content-Type": "application/json"}
KEY = {"X-CT-Authorization": f"CTApiKey {CROWDTWIST_API_KEY}"}
ANNA = {"first_name": "Anna", "last_name": "Berg", "email_address": "anna@example.com", "postal_code": "10001"}


def account(**settings):
    return Sandbox(clock=Clock(), crowdtwist=CrowdTwistSettings(**settings))


def send(sandbox, method, path, body=None, headers=KEY):
    """One request with a key in the header, and with JSON where there is a body."""
    if body is None:
        return ask(sandbox, method, BASE_URL + PREFIX + path, headers=headers)
    return ask(sandbox, method, BASE_URL + PREFIX + path, content=json.dumps(body), headers={**JSON, **headers})


def credit(sandbox, user="anna%40example.com", id_type="email", **body):
    given = {"activity_id": "1001", **body}
    return send(sandbox, "POST", f"/v2/users/{user}/activities?id_type={id_type}", given)


def signed(
    sandbox,
    method,
    path,
    body=b"",
    *,
    content_type="application/json",
    timestamp=None,
    encoding="hex_base64",
    private_key=CROWDTWIST_PRIVATE_KEY,
    public_key=CROWDTWIST_PUBLIC_KEY,
    change=lambda lines: lines,
    scheme="CTApiV2Auth",
):
    """One request with a signature over the documented lines, which `change` may make wrong."""
    timestamp = str(round(sandbox.clock() * 1000)) if timestamp is None else timestamp
    get = method == "GET"
    lines = [
        method,
        "" if get else hashlib.md5(body).hexdigest(),
        "" if get else content_type,
        timestamp,
        PREFIX + path,
    ]
    mac = hmac.new(private_key.encode(), "\n".join(change(lines)).encode(), hashlib.sha256)
    raw = mac.digest() if encoding == "raw_base64" else mac.hexdigest().encode()
    headers = {
        "X-CT-Authorization": f"{scheme} {public_key}:{base64.b64encode(raw).decode()}",
        "X-CT-Timestamp": timestamp,
    }
    if get:
        return ask(sandbox, method, BASE_URL + PREFIX + path, headers=headers)
    return ask(
        sandbox, method, BASE_URL + PREFIX + path, content=body, headers={**headers, "Content-Type": content_type}
    )
