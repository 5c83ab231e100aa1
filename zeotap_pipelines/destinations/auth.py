"""How services know us, as httpx auth flows: no socket in here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Generator
from urllib.parse import quote_plus

import httpx
from pydantic import SecretStr

from ..errors import FixConnection, TryAgainLater

EARLY = 60.0
"""A token is renewed so many seconds before it ends (but never in the first half of its life)."""


class ClientCredentials(httpx.Auth):
    """
    OAuth 2.0 client credentials.

    A token is fetched once, renewed before it ends, and renewed once when it is
    refused; requests under way at the same time wait for the one renewal. Raises
    FixConnection, naming *settings*, when the credentials are refused, and
    TryAgainLater when the token service itself is in trouble.
    """

    def __init__(
        self,
        token_url: str,
        client_id: str,
        client_secret: SecretStr,
        *,
        settings: str,
        scope: str | None = None,
        credentials_in: str = "body",
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.token_url = token_url
        self._client_id, self._client_secret = client_id, client_secret
        self._settings, self._scope, self._credentials_in = settings, scope, credentials_in
        self._monotonic = monotonic
        self._token: str | None = None
        self._renew_at = 0.0
        self._lock = asyncio.Lock()

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Not there: deliveries are asynchronous."""
        raise RuntimeError("this client is asynchronous")

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Sign *request*; renew the token where it is missing, old or refused."""
        used = self._token
        if used is None or self._monotonic() >= self._renew_at:
            async with self._lock:
                if self._token is used:
                    answer = yield self._token_request()
                    await answer.aread()
                    self._learn(answer)
        used = self._token
        request.headers["Authorization"] = f"Bearer {used}"
        response = yield request
        if response.status_code != httpx.codes.UNAUTHORIZED:
            return
        async with self._lock:
            if self._token is used:
                answer = yield self._token_request()
                await answer.aread()
                self._learn(answer)
        request.headers["Authorization"] = f"Bearer {self._token}"
        yield request

    def _token_request(self) -> httpx.Request:
        # Assumption (token-form): a form with grant_type, and an error is {"error": "invalid_client"}.
        secret = self._client_secret.get_secret_value()
        form = {"grant_type": "client_credentials"}
        auth = None
        if self._credentials_in == "header":
            # RFC 6749 §2.3.1: both are form-encoded before they are joined.
            auth = httpx.BasicAuth(quote_plus(self._client_id), quote_plus(secret))
        else:
            form |= {"client_id": self._client_id, "client_secret": secret}
        if self._scope:
            form["scope"] = self._scope
        request = httpx.Request("POST", self.token_url, data=form, headers={"Accept": "application/json"})
        return next(auth.auth_flow(request)) if auth else request

    def _learn(self, response: httpx.Response) -> None:
        if response.status_code == 429 or response.is_server_error:
            raise TryAgainLater(
                f"the token service answers HTTP {response.status_code}: it is in trouble, not the credentials; "
                "where that lasts, look at the service's status page"
            )
        if response.is_redirect:
            where = f"{self.token_url} answers with a redirect (HTTP {response.status_code}), which is not followed"
            raise FixConnection(f"{where}: check base_url and token_url")
        if response.status_code in (404, 405):
            where = f"there is no token service at {self.token_url} (HTTP {response.status_code})"
            raise FixConnection(f"{where}: check base_url and token_url")
        if not response.is_success:
            # A token that was granted before tells a revocation from a wrong setting.
            since = "" if self._token is None else "; they were taken earlier in this run: revoked or rotated since?"
            raise FixConnection(
                f"the credentials are refused (HTTP {response.status_code}{_error(response)}): "
                f"check {self._settings}{since}"
            )
        try:
            answer = response.json()
            token, life = answer["access_token"], float(answer.get("expires_in", 3600))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise FixConnection(f"{self.token_url} answers without an access_token: check token_url") from error
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise FixConnection(f"{self.token_url} answers with an access_token that is no token: check token_url")
        self._token = token
        self._renew_at = self._monotonic() + max(life - EARLY, life / 2)


def _error(response: httpx.Response) -> str:
    """Return OAuth's own word for what is wrong; nothing else of the body, which may echo what was sent."""
    try:
        code = response.json()["error"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    known = (
        "invalid_client",
        "invalid_grant",
        "invalid_request",
        "invalid_scope",
        "unauthorized_client",
        "unsupported_grant_type",
    )
    return f", {code}" if code in known else ""
