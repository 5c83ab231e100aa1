"""How CrowdTwist knows us: an API key, or a signature on every attempt. Neither is ever in a log or an error."""

from __future__ import annotations

import hashlib
import hmac
import time
from base64 import b64encode
from collections.abc import Callable, Generator
from email.utils import parsedate_to_datetime
from urllib.parse import quote

import httpx
from pydantic import SecretStr

from ..errors import FixConnection
from ..exchange import at

TOLERANCE = 15 * 60
"""Seconds by which a signature's timestamp may differ from the service's clock."""

SETTINGS = "(CrowdTwist Control Center: Settings > API)"


class HiddenUrl(httpx.URL):
    """A URL that is sent whole and shown without its query: httpx logs the URL of every request."""

    def __str__(self) -> str:
        return f"{self.scheme}://{self.netloc.decode('ascii')}{self.raw_path.decode('ascii').partition('?')[0]}"

    def __repr__(self) -> str:
        return f"HiddenUrl({str(self)!r})"


class ApiKey(httpx.Auth):
    """The API key, in the query or in the header. Raises FixConnection when it is refused."""

    def __init__(self, key: SecretStr, *, key_in: str = "query") -> None:
        self._key, self._key_in = key, key_in

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Add the key to *request*."""
        key = self._key.get_secret_value()
        if self._key_in == "header":
            request.headers["X-CT-Authorization"] = f"CTApiKey {key}"
        else:
            target = request.url.raw_path.decode("ascii")
            request.url = HiddenUrl(
                at(request.url, f"{target}{'&' if '?' in target else '?'}api_key={quote(key, safe='')}")
            )
        response = yield request
        if response.status_code == httpx.codes.UNAUTHORIZED:
            raise FixConnection(f"CrowdTwist refuses the API key (HTTP 401): check api_key {SETTINGS} and base_url")


class Signature(httpx.Auth):
    """
    HMAC-SHA256 over verb, MD5 of the body, content type, timestamp, and path with query as they are sent.

    Every attempt is signed anew. Raises FixConnection when the signature is
    refused, and says so when this machine's clock is the reason.
    """

    def __init__(
        self,
        public_key: str,
        private_key: SecretStr,
        *,
        encoding: str = "hex_base64",
        unit: str = "ms",
        now: Callable[[], float] = time.time,
    ) -> None:
        self._public_key, self._private_key = public_key, private_key
        self._encoding, self._unit, self._now = encoding, unit, now

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Sign *request*: exactly the bytes of body and target that leave this machine."""
        # Assumption (timestamp-unit): milliseconds, as the vendor's samples have 13 digits; a setting says otherwise.
        stamp = str(int(self._now() * (1000 if self._unit == "ms" else 1)))
        text = string_to_sign(
            request.method, request.content, request.headers.get("Content-Type", ""), stamp, request.url.raw_path
        )
        mac = hmac.new(self._private_key.get_secret_value().encode(), text, hashlib.sha256)
        # Assumption (signature-encoding): base64 of the hex text, as the vendor's code has it; a setting, too.
        signed = mac.hexdigest().encode() if self._encoding == "hex_base64" else mac.digest()
        request.headers["X-CT-Authorization"] = f"CTApiV2Auth {self._public_key}:{b64encode(signed).decode()}"
        request.headers["X-CT-Timestamp"] = stamp
        response = yield request
        if response.status_code == httpx.codes.UNAUTHORIZED:
            raise FixConnection(self._refusal(response))

    def _refusal(self, response: httpx.Response) -> str:
        off = self._clock_is_off(response)
        if off is not None and abs(off) > TOLERANCE:
            side = "ahead of" if off > 0 else "behind"
            return (
                f"CrowdTwist refuses the signature (HTTP 401): this machine's clock is {abs(off) / 60:.0f} minutes "
                f"{side} the service's, and {TOLERANCE // 60} are allowed: synchronize the system clock"
            )
        return (
            f"CrowdTwist refuses the signature (HTTP 401): check public_key and private_key {SETTINGS}, "
            "signature_encoding, timestamp_unit, and that the system clock is synchronized"
        )

    def _clock_is_off(self, response: httpx.Response) -> float | None:
        """Return by how many seconds this machine is ahead of the service, as far as its answer says."""
        try:
            return self._now() - parsedate_to_datetime(response.headers["Date"]).timestamp()
        except (KeyError, ValueError, TypeError):
            return None


def string_to_sign(method: str, body: bytes, content_type: str, stamp: str, target: bytes) -> bytes:
    """Return the five lines that are signed; those of MD5 and content type are empty where there is no body."""
    md5 = hashlib.md5(body, usedforsecurity=False).hexdigest() if body else ""
    return b"\n".join([method.encode(), md5.encode(), (content_type if body else "").encode(), stamp.encode(), target])
