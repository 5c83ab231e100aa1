"""One HTTP/1.1 connection: bytes out, an answer in, parsed by httptools (llhttp, which is node's and uvicorn's)."""

from __future__ import annotations

import asyncio
import select
from typing import Any

import httptools
import httpx

MAX_HEAD = 256 * 1024
"""Bytes of an answer's headers: who sends more says nothing."""

Answer = tuple[int, list[tuple[bytes, bytes]], bytes]
"""Status, headers and body."""


class Lane(asyncio.Protocol):
    """A connection that carries one request at a time. *most* is how much of a body is read."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._loop = asyncio.get_running_loop()
        self._asked: asyncio.Future[Answer] | None = None
        self._open = False
        self._idle_since = 0.0
        self.reusable = False

    async def ask(self, request: bytes) -> Answer:
        """Send the bytes of a request and return the answer. Raises httpx's ReadError and RemoteProtocolError."""
        self._parser = httptools.HttpResponseParser(self)
        self._status, self._head_size, self._body_size = 0, 0, 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self.reusable = False
        self._asked = self._loop.create_future()
        try:
            self._transport.write(request)
            return await self._asked
        finally:
            self._asked = None
            self._idle_since = self._loop.time()

    def waits(self, at_most: float) -> bool:
        """Return whether another request may be sent: nobody closed, or said anything unasked."""
        if not self._open or self._loop.time() - self._idle_since > at_most:
            return False
        return not self._readable.poll(0)  # A close that the loop has not heard of yet.

    def close(self) -> None:
        """End the connection at once."""
        self._open = False
        self._transport.abort()

    # What asyncio tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport: Any = transport  # uvloop's are no asyncio.Transport.
        self._readable = select.poll()
        self._readable.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        self._open = True

    def data_received(self, data: bytes) -> None:
        """Read on; what comes unasked ends the connection."""
        if self._over:
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._lose(httpx.RemoteProtocolError("the answer is not HTTP"))
            self.reusable = False

    def eof_received(self) -> None:
        """Take the end of the connection for the end of a body that has no other."""
        self._ended(None)

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        self._ended(error)

    def _ended(self, error: Exception | None) -> None:
        self._open = self.reusable = False
        if self._over:
            return
        if error is None and self._status and self._until_closed():
            self._complete()
        elif error is not None:
            self._lose(httpx.ReadError(type(error).__name__))
        else:
            self._lose(httpx.RemoteProtocolError("the service hung up before its answer was whole"))

    def _until_closed(self) -> bool:
        names = {name.lower() for name, _ in self._headers}
        return not names & {b"content-length", b"transfer-encoding"}

    @property
    def _over(self) -> bool:
        return self._asked is None or self._asked.done()

    def _complete(self) -> None:
        if self._asked is not None and not self._asked.done():
            self._asked.set_result((self._status, self._headers, b"".join(self._body)))

    def _lose(self, error: Exception) -> None:
        if self._asked is not None and not self._asked.done():
            self._asked.set_exception(error)

    # What httptools tells.

    def on_message_begin(self) -> None:
        """Trust nobody who says more than was asked."""
        if self._over:
            self.reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        if self._over:
            return
        self._head_size += len(name) + len(value)
        if self._head_size > MAX_HEAD:
            self._lose(httpx.RemoteProtocolError("the answer's headers have no end"))
        else:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Learn the status; an interim answer is none."""
        if self._over:
            return
        status = self._parser.get_status_code()
        if status < 200:
            self._headers.clear()
        else:
            self._status = status

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body, up to what is wanted of it."""
        if self._over:
            return
        self._body.append(body[: self._most - self._body_size])
        self._body_size += len(body)
        if self._body_size >= self._most:
            self._complete()

    def on_message_complete(self) -> None:
        """Hand over the answer."""
        if self._status and not self._over:
            # Bytes that the service did not wait for would stand before the next request.
            self.reusable = self._open and self._parser.should_keep_alive() and not self._unsent()
            self._complete()

    def _unsent(self) -> bool:
        return bool(self._transport.get_write_buffer_size())
