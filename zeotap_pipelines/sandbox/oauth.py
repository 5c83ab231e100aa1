"""Client credentials (RFC 6749, 4.4): the token endpoint and the bearer check that some stand-ins share."""

import base64
import binascii
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote_plus

from zeotap_pipelines.sandbox.messages import Reply, Request, Undocumented
from zeotap_pipelines.sandbox.service import Clock
from zeotap_pipelines.sandbox.store import Store

FORM = ("application/x-www-form-urlencoded", "application/x-www-form-urlencoded; charset=utf-8")
_FIELDS = frozenset({"grant_type", "client_id", "client_secret", "scope"})
# Only digests of tokens are kept: a state file that is passed around opens nothing.
TOKEN_SCHEMA = """
CREATE TABLE IF NOT EXISTS tokens (service TEXT, digest TEXT, expires_at REAL NOT NULL, PRIMARY KEY (service, digest))
WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """The credentials that a service knows, where it accepts them, and the life of its tokens in seconds."""

    client_id: str
    client_secret: str
    credentials_in: Literal["either", "form", "basic"] = "either"
    expires_in: int = 3600
    scope: str | None = None


class Tokens:
    """The tokens of one service."""

    def __init__(self, store: Store, service: str, clock: Clock, client: Client) -> None:
        self._store = store
        self._service = service
        self._clock = clock
        self._client = client
        store.define(TOKEN_SCHEMA)

    def grant(self, request: Request) -> Reply:
        """Answer a request for a token: 200 with the token, 400 with OAuth's error code."""
        form = request.form()
        unknown = set(form) - _FIELDS
        if unknown:
            raise Undocumented(400, f"unknown token form fields: {', '.join(sorted(unknown))[:60]}")
        if form.get("grant_type") != "client_credentials":
            raise Undocumented(400, "grant_type is not client_credentials")
        if form.get("scope") == "":
            raise Undocumented(400, "an empty scope was sent")
        way, client_id, client_secret = _credentials(request.header("authorization"), form)
        if self._client.credentials_in not in ("either", way):
            return _error("invalid_client", f"credentials in the {way}, wanted in the {self._client.credentials_in}")
        if not (_same(client_id, self._client.client_id) and _same(client_secret, self._client.client_secret)):
            return _error("invalid_client", "unknown credentials")
        if self._client.scope is not None and form.get("scope") != self._client.scope:
            return _error("invalid_scope", "another scope")
        return self._issue()

    def refusal(self, request: Request) -> str | None:
        """Why the bearer token of a request isn't good (401), None where it is; no bearer token is undocumented."""
        scheme, _, token = (request.header("authorization") or "").partition(" ")
        if scheme != "Bearer" or not token or "," in token:
            raise Undocumented(401, "no Authorization: Bearer header")
        found = self._store.execute(
            "SELECT expires_at FROM tokens WHERE service = ? AND digest = ?", self._service, _digest(token)
        )
        if not found:
            return "unknown token"
        return None if self._clock() < float(str(found[0][0])) else "expired token"

    def expire(self) -> None:
        """Make every token invalid."""
        self._store.execute("DELETE FROM tokens WHERE service = ?", self._service)

    def _issue(self) -> Reply:
        token = secrets.token_urlsafe(24)
        life = self._client.expires_in
        self._store.execute("INSERT INTO tokens VALUES (?, ?, ?)", self._service, _digest(token), self._clock() + life)
        granted = {"access_token": token, "expires_in": life, "token_type": "Bearer"}
        # A cookie that a well-behaved client never sends back.
        return Reply.json(200, granted, headers=(("cache-control", "no-store"), ("set-cookie", "affinity=1; Path=/")))


def _credentials(authorization: str | None, form: dict[str, str]) -> tuple[str, str, str]:
    in_form = "client_id" in form or "client_secret" in form
    if authorization is None:
        if not ("client_id" in form and "client_secret" in form):
            raise Undocumented(400, "no client credentials")
        return "form", form["client_id"], form["client_secret"]
    if in_form:
        raise Undocumented(400, "client credentials both in the form and in the header")
    scheme, _, encoded = authorization.partition(" ")
    try:
        client_id, colon, client_secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise Undocumented(400, "the Authorization header is not Basic") from None
    if scheme != "Basic" or not colon:
        raise Undocumented(400, "the Authorization header is not Basic")
    return "basic", client_id, client_secret


def _same(given: str, known: str) -> bool:
    # RFC 6749, 2.3.1 encodes both before Basic; many clients don't, and servers accept either.
    return any(hmac.compare_digest(one.encode(), known.encode()) for one in (given, unquote_plus(given)))


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _error(code: str, note: str) -> Reply:
    return Reply.json(400, {"error": code}, note=note)
