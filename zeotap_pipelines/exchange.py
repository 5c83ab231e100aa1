"""httpx's values made of parts that are known to be right: httpx itself looks at each of their characters again."""

from __future__ import annotations

import re

import httpx

RIGHT = re.compile(r"(?:[A-Za-z0-9/?_.~!$&'()*+,;=:@-]++|%[0-9A-Fa-f]{2})*+")
"""What httpx leaves as it is in a path and in a query."""


def at(url: httpx.URL, target: str) -> httpx.URL:
    """Return the address of *target*, a percent-encoded path with or without a query, at the host of *url*."""
    path, mark, query = target.partition("?")
    if not RIGHT.fullmatch(target) or "/." in path:  # A segment of dots leads elsewhere: httpx finds out where.
        return httpx.URL(f"{url.scheme}://{url.netloc.decode('ascii')}{target}")
    address = httpx.URL(url)
    # httpx has no public way to a part that doesn't parse the whole (80 µs): a law holds this one to that one.
    address._uri_reference = url._uri_reference._replace(path=path, query=query if mark else None)
    return address


class Whole(httpx.Response):
    """A response whose body is there: httpx would carry it through its decoders once more."""

    def __init__(self, status: int, headers: list[tuple[bytes, bytes]], content: bytes, request: httpx.Request) -> None:
        super().__init__(status, headers=headers, stream=httpx.ByteStream(content), request=request)
        self._content = content
        self.is_closed = self.is_stream_consumed = True
