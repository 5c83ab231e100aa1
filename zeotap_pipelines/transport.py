"""
The transports under httpx: one connection a lane, and answers that end.

httpcore's pool looks through all of its connections for every request. Here a
pool holds one connection, and a request takes a free lane, which costs the same
however many there are.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from functools import cache

import httpx

MAX_BODY = 4 * 1024 * 1024
"""Answers are read up to this many bytes; none of the services has more to say."""


class Lanes(httpx.AsyncBaseTransport):
    """As many transports of one connection each as there are requests under way."""

    def __init__(self, make: Callable[[], httpx.AsyncBaseTransport] | None = None) -> None:
        self._make = make or _one_connection
        self._free: list[httpx.AsyncBaseTransport] = []
        self._all: list[httpx.AsyncBaseTransport] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send *request* on a lane of its own, which is free again when the answer was read."""
        if self._free:
            lane = self._free.pop()
        else:
            lane = self._make()
            self._all.append(lane)
        try:
            response = await lane.handle_async_request(request)
        except BaseException:
            self._free.append(lane)
            raise
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _Stream(response.stream, lambda: self._free.append(lane))
        return response

    async def aclose(self) -> None:
        """Close every lane."""
        for lane in self._all:
            await lane.aclose()


class _Stream(httpx.AsyncByteStream):
    """An answer's body, cut off at MAX_BODY: one without end must neither fill the memory nor hide the status."""

    def __init__(self, inner: httpx.AsyncByteStream, done: Callable[[], None]) -> None:
        self._inner, self._done = inner, done

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = MAX_BODY
        async for chunk in self._inner:
            yield chunk[:left]
            left -= len(chunk)
            if left <= 0:
                return

    async def aclose(self) -> None:
        await self._inner.aclose()
        self._done()


def _one_connection() -> httpx.AsyncBaseTransport:
    # No environment: a proxy that nobody declared would carry the credentials elsewhere.
    one = httpx.Limits(max_connections=1, max_keepalive_connections=1)
    return httpx.AsyncHTTPTransport(trust_env=False, verify=_certificates(), limits=one)


@cache
def _certificates() -> ssl.SSLContext:
    """Return the certificate authorities, read once: they are some 70 ms of work."""
    return httpx.create_ssl_context(trust_env=False)
