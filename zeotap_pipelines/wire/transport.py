"""
The transport under httpx: a request takes a free connection, or a new one, and is alone on it until it was answered.

``docs/transport.md`` says why it is ours, and how it behaves. No environment but the
certificate authorities' is read: a proxy that nobody declared would carry the credentials elsewhere.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import zlib
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import cache

import httpx

from ..exchange import Whole
from .http1 import Lane

MAX_BODY = 4 * 1024 * 1024
"""Answers are read up to this many bytes; none of the services has more to say."""

IDLE = 5.0
"""Seconds after which a connection that nobody used is not used again: the service may be about to close it."""

PORTS = {"http": 80, "https": 443}

HEAD = re.compile(rb"[A-Z]+ [!-~]+ HTTP/1\.1\r\n(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+: [^\r\n\0]*\r\n)+")
"""A request's first line and headers."""

Origin = tuple[str, str, int]


class Lanes(httpx.AsyncBaseTransport):
    """
    HTTP/1.1 over as many connections as there are requests under way.

    Failures are httpx's: ConnectError and ConnectTimeout before any byte was sent,
    ReadError and RemoteProtocolError afterwards. Whoever asks bounds the whole time.
    """

    def __init__(self, certificates: ssl.SSLContext | None = None) -> None:
        self._certificates = certificates
        self._free: dict[Origin, list[Lane]] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send *request* and return its answer, read to the end or to MAX_BODY."""
        body = await request.aread()
        head = _head(request)
        url = request.url
        origin = (url.scheme, url.raw_host.decode("ascii"), url.port or PORTS.get(url.scheme, 0))
        lane = self._idle(origin) or await self._connected(origin, request)
        try:
            status, headers, content = await lane.ask(head + body)
        except BaseException:
            lane.close()
            raise
        if lane.reusable:
            self._free.setdefault(origin, []).append(lane)
        else:
            lane.close()
        return Whole(status, headers, unpacked(headers, content), request)

    async def aclose(self) -> None:
        """Close every connection that waits for a request."""
        lanes = [lane for free in self._free.values() for lane in free]
        self._free.clear()
        for lane in lanes:
            lane.close()
        if lanes:
            await asyncio.sleep(0)  # A loop that ends at once would leave them open.

    def _idle(self, origin: Origin) -> Lane | None:
        """Return a connection that waits, the last one used first; those that can't be trusted any more are closed."""
        free = self._free.get(origin)
        while free:
            lane = free.pop()
            if lane.waits(IDLE):
                return lane
            lane.close()
        return None

    async def _connected(self, origin: Origin, request: httpx.Request) -> Lane:
        """Connect to *origin*, address by address. Raises ConnectError or ConnectTimeout."""
        scheme, host, port = origin
        if scheme not in PORTS:
            raise httpx.UnsupportedProtocol(f"{scheme} is not spoken here", request=request)
        certificates = (self._certificates or authorities()) if scheme == "https" else None
        patience = request.extensions.get("timeout", {}).get("connect")
        loop = asyncio.get_running_loop()
        failed: Exception = OSError("no address")
        try:
            async with asyncio.timeout(patience):
                found = await loop.getaddrinfo(host, port, type=1)  # SOCK_STREAM
                addresses = list(dict.fromkeys(str(address[4][0]) for address in found))
                for place, address in enumerate(addresses):
                    # An address that swallows everything must not use up the others' time.
                    share = patience and patience / (len(addresses) - place + 1)
                    with suppress(TimeoutError):
                        try:
                            async with asyncio.timeout(share if place + 1 < len(addresses) else None):
                                _, lane = await loop.create_connection(
                                    lambda: Lane(MAX_BODY),
                                    address,
                                    port,
                                    ssl=certificates,
                                    server_hostname=host if certificates else None,
                                )
                            return lane
                        except ssl.SSLCertVerificationError:
                            raise  # The service itself answered: another address has no better certificate.
                        except OSError as error:
                            failed = error
        except TimeoutError:
            raise httpx.ConnectTimeout("the connection took too long", request=request) from None
        except ssl.SSLCertVerificationError as error:
            raise Untrusted(error.verify_message, request=request) from error
        except (OSError, UnicodeError) as error:
            failed = error
        raise httpx.ConnectError(str(failed), request=request) from failed


class Untrusted(httpx.ConnectError):
    """The service's certificate could not be verified: nothing was sent."""


class Capped(httpx.AsyncByteStream):
    """
    A body of another transport, cut off at MAX_BODY.

    One without end must neither fill the memory nor hide the status.
    """

    def __init__(self, inner: httpx.AsyncByteStream) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = MAX_BODY
        async for chunk in self._inner:
            yield chunk[:left]
            left -= len(chunk)
            if left <= 0:
                return

    async def aclose(self) -> None:
        """Close the body."""
        await self._inner.aclose()


def unpacked(headers: list[tuple[bytes, bytes]], content: bytes) -> bytes:
    """
    Return *content* as it was meant, at most MAX_BODY of it, and take the encoding off *headers*.

    No request asks for compression; a service that compresses all the same can't fill the memory.
    """
    for place, (name, value) in enumerate(headers):
        if name.lower() == b"content-encoding" and value.strip().lower() in (b"gzip", b"x-gzip", b"deflate"):
            try:
                content = zlib.decompressobj(47).decompress(content, MAX_BODY)  # 47: gzip or zlib, as the bytes say.
            except zlib.error as error:
                raise httpx.DecodingError("the answer is not compressed as it says") from error
            del headers[place]
            break
    return content


def _head(request: httpx.Request) -> bytes:
    """
    Return the bytes before the body. Raises UnsupportedProtocol when they aren't HTTP: nothing was sent.

    Whatever came from a setting or a row can't begin a line of its own.
    """
    lines = [b"%s %s HTTP/1.1\r\n" % (request.method.encode("ascii"), request.url.raw_path)]
    lines += [b"%s: %s\r\n" % field for field in request.headers.raw]
    head = b"".join(lines)
    if not HEAD.fullmatch(head) or head.count(b"\n") != len(lines) or request.method == "HEAD":
        raise httpx.UnsupportedProtocol("a header or the path holds what HTTP does not allow", request=request)
    return head + b"\r\n"


@cache
def authorities() -> ssl.SSLContext:
    """Return the certificate authorities, read once (50 ms): certifi's, or those that SSL_CERT_FILE or _DIR names."""
    return httpx.create_ssl_context(trust_env=True)
