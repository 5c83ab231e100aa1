"""Requests and replies as the stand-ins see them: bytes on the wire, nothing decoded on the way."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote

# RFC 3986: everything outside the unreserved set is encoded when it is part of an identifier.
_ENCODED_SEGMENT = re.compile(r"(?:[A-Za-z0-9._~-]|%[0-9A-Fa-f]{2})+")


class Undocumented(Exception):
    """A request of a shape that the contract doesn't know: a bug of the client, refused with `status`."""

    def __init__(self, status: int, what: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(what)
        self.status = status
        self.what = what
        self.headers = headers


@dataclass(frozen=True, slots=True)
class Request:
    """One request; `target` is path and query exactly as sent, `path` and `query` are the service's part of it."""

    method: str
    target: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""

    @property
    def whole(self) -> str:
        """All of it as text."""
        headers = ", ".join(f"{name}: {value}" for name, value in self.headers)
        return f"{self.body.decode('utf-8', 'replace')} {self.method} {self.target} {headers}"

    def header(self, name: str) -> str | None:
        """The header `name` (lower case), repeated ones joined by a comma; None where it is absent."""
        found = [value for key, value in self.headers if key == name]
        return ", ".join(found) if found else None

    def json(self) -> object:
        """The body read as JSON; anything else is undocumented (400)."""
        try:
            return json.loads(self.body)
        except ValueError:
            raise Undocumented(400, "body is not JSON") from None

    def form(self) -> dict[str, str]:
        """The body read as a form whose fields appear once each; anything else is undocumented (400)."""
        return _once(self.body.decode("utf-8", "replace"), "form field")

    def parameters(self) -> dict[str, str]:
        """The query's parameters, which appear once each; anything else is undocumented (400)."""
        return _once(self.query, "query parameter")


def _once(encoded: str, what: str) -> dict[str, str]:
    if not encoded:
        return {}
    try:
        pairs = parse_qsl(encoded, keep_blank_values=True, strict_parsing=True, errors="strict")
    except ValueError:
        raise Undocumented(400, f"{what}s are not form-encoded") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise Undocumented(400, f"a {what} is repeated")
    return fields


@dataclass(frozen=True, slots=True)
class Reply:
    """What a service answers; `note` goes to the log, `violation` says what the client did wrong."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    note: str = ""
    violation: str | None = None

    @classmethod
    def json(cls, status: int, value: object, *, note: str = "", headers: tuple[tuple[str, str], ...] = ()) -> "Reply":
        """A reply whose body is `value` as JSON."""
        body = json.dumps(value, separators=(",", ":")).encode()
        return cls(status, body, (("content-type", "application/json; charset=utf-8"), *headers), note)

    def wire_headers(self) -> list[tuple[str, str]]:
        """The headers with the length of the body, which 204 and 304 don't carry."""
        if self.status in (204, 304):
            return list(self.headers)
        return [*self.headers, ("content-length", str(len(self.body)))]


def split_target(target: str) -> tuple[str, str, str]:
    """The service's name, its own path and the query of a request target such as `/kognitiv/api/x?y`."""
    path, _, query = target.partition("?")
    service, slash, rest = path.removeprefix("/").partition("/")
    return service, slash + rest, query


def decode_segments(raw: Mapping[str, str]) -> dict[str, str]:
    """Identifiers taken from a path, decoded; one that wasn't encoded as a single segment is undocumented (400)."""
    return {name: _decode(name, value) for name, value in raw.items()}


def _decode(name: str, raw: str) -> str:
    if not _ENCODED_SEGMENT.fullmatch(raw) or raw in (".", ".."):
        raise Undocumented(400, f"{name} is not percent-encoded as one path segment")
    try:
        return unquote(raw, errors="strict")
    except UnicodeDecodeError:
        raise Undocumented(400, f"{name} is not UTF-8") from None


@dataclass(frozen=True, slots=True)
class Redaction:
    """Removes secrets from text that is kept: named query parameters and the literal secrets of the services."""

    secrets: frozenset[str] = field(default_factory=frozenset)

    _NAMED = re.compile(r"(?i)\b(api_?key|client_secret|access_token|signature|password)=[^&\s]*")

    def __call__(self, text: str) -> str:
        """`text` with every secret replaced by three asterisks."""
        text = self._NAMED.sub(r"\1=***", text)
        for secret in self.secrets:
            for form in (secret, quote(secret, safe="")):
                if form and form in text:
                    text = text.replace(form, "***")
        return text
