"""CrowdTwist's credentials: a key in the query, the same key in a header, or an HMAC signature in that header."""

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Literal

from zeotap_pipelines.sandbox.messages import Request, Undocumented

CROWDTWIST_API_KEY = "not-a-secret-crowdtwist"
CROWDTWIST_PUBLIC_KEY = "sandbox"
CROWDTWIST_PRIVATE_KEY = "not-a-secret-signing-key"

TOLERANCE = 15 * 60
_TIMESTAMP = re.compile(r"[0-9]{1,16}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CrowdTwistKeys:
    """The keys of an account, and how it reads timestamps and signatures."""

    api_key: str = CROWDTWIST_API_KEY
    public_key: str = CROWDTWIST_PUBLIC_KEY
    private_key: str = CROWDTWIST_PRIVATE_KEY
    timestamp_unit: Literal["ms", "s"] = "ms"
    signature_encoding: Literal["hex_base64", "raw_base64"] = "hex_base64"

    def refusal(self, request: Request, now: float) -> str | None:
        """Why the credentials of a request aren't good (401), None where they are; `now` is in Unix seconds."""
        header = request.header("x-ct-authorization")
        in_query = request.parameters().get("api_key")
        if header is None:
            if in_query is None:
                raise Undocumented(401, "neither api_key nor X-CT-Authorization")
            return self._unless_known(in_query)
        if in_query is not None:
            raise Undocumented(400, "api_key beside X-CT-Authorization")
        scheme, _, credentials = header.partition(" ")
        match scheme:
            case "CTApiKey":
                return self._unless_known(credentials)
            case "CTApiV2Auth":
                return self._unless_signed(credentials, request, now)
            case _:
                raise Undocumented(401, "X-CT-Authorization is neither CTApiKey nor CTApiV2Auth")

    def _unless_known(self, key: str) -> str | None:
        return None if hmac.compare_digest(key.encode(), self.api_key.encode()) else "unknown API key"

    def _unless_signed(self, credentials: str, request: Request, now: float) -> str | None:
        public_key, colon, signature = credentials.partition(":")
        timestamp = request.header("x-ct-timestamp")
        if not (colon and public_key and signature):
            raise Undocumented(401, "CTApiV2Auth isn't followed by public key, colon and signature")
        if timestamp is None or not _TIMESTAMP.fullmatch(timestamp):
            raise Undocumented(401, "X-CT-Timestamp isn't a Unix time in digits")
        if public_key != self.public_key:
            return "unknown public key"
        if abs(now - int(timestamp) / (1000 if self.timestamp_unit == "ms" else 1)) > TOLERANCE:
            return "X-CT-Timestamp is not within 15 minutes of the server time"
        right = self._signature(request, timestamp)
        return None if hmac.compare_digest(signature.encode(), right) else "the signature doesn't match"

    def _signature(self, request: Request, timestamp: str) -> bytes:
        bodiless = request.method == "GET"
        signed = (
            request.method,
            "" if bodiless else hashlib.md5(request.body, usedforsecurity=False).hexdigest(),
            "" if bodiless else request.header("content-type") or "",
            timestamp,
            request.target,
        )
        mac = hmac.new(self.private_key.encode(), "\n".join(signed).encode(), hashlib.sha256)
        return base64.b64encode(mac.digest() if self.signature_encoding == "raw_base64" else mac.hexdigest().encode())
