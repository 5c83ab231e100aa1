"""
A service that answers and does nothing else, so that the client's cost is what is measured.

    python -m benchmarks.server [--delay 0.05] [--allowed 200 --seconds 1] [--certificate FILE --key FILE]

Speaks enough of Kognitiv, CrowdTwist and MoEngage for a delivery: tokens, listings, and a yes to whatever else.
``GET /counted`` tells what it has seen: requests and those refused, bytes, and the seconds from the first to the
last of them. Ends when standard input is closed. Uses nothing but the standard library, and uvloop where there is one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import ssl
import sys
import threading
from collections import deque
from typing import Any

LISTS = {
    b"/Auth/connect/token": {"access_token": "t", "expires_in": 36_000},
    b"/api/groups/promotionalMember": {"data": [{"externalReference": "ACTIVE-90D"}]},
    b"/v2/activities": [{"id": 1}],
}


YES = {b"activities": b'{"awarded":true}', b"cohortsync": b'{"status":"success"}'}
"""What a service says of what it did, by the end of the path."""


class Counted:
    """What was seen, and what is allowed: so many requests in any so many *seconds*, more are refused with a 429."""

    def __init__(self, delay: float, allowed: int | None, seconds: float) -> None:
        self.delay, self.allowed, self.seconds = delay, allowed, seconds
        self.admitted = self.refused = self.bytes = 0
        self.first = self.last = 0.0
        self.window: deque[float] = deque()

    def admits(self, now: float, size: int) -> bool:
        if self.allowed:
            while self.window and self.window[0] <= now - self.seconds:
                self.window.popleft()
            if len(self.window) >= self.allowed:
                self.refused += 1
                return False
            self.window.append(now)
        self.first = self.first or now
        self.last = now
        self.admitted += 1
        self.bytes += size
        return True

    def told(self) -> dict[str, float]:
        seconds = self.last - self.first
        return {"requests": self.admitted, "refused": self.refused, "bytes": self.bytes, "span": seconds}


class Speaker(asyncio.Protocol):
    """One connection: requests one after the other, bodies by Content-Length or chunked."""

    def __init__(self, counted: Counted) -> None:
        self.counted, self.loop = counted, asyncio.get_running_loop()
        self.received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport  # uvloop's are no asyncio.Transport.

    def data_received(self, data: bytes) -> None:
        self.received += data
        while (end := self.received.find(b"\r\n\r\n")) >= 0:
            head = bytes(self.received[:end])
            size = self.body(head.lower(), end + 4)
            if size is None:
                return
            del self.received[: end + 4 + size]
            self.answer(head, size)

    def body(self, head: bytes, start: int) -> int | None:
        """Return the bytes of the body, or None while some are missing."""
        if b"\r\ntransfer-encoding: chunked" in head:
            end = self.received.find(b"0\r\n\r\n", start)
            return None if end < 0 else end + 5 - start
        place = head.find(b"\r\ncontent-length:")
        size = int(head[place + 17 :].split(b"\r\n", 1)[0]) if place >= 0 else 0
        return size if len(self.received) >= start + size else None

    def answer(self, head: bytes, size: int) -> None:
        method, target, _ = head.split(b"\r\n", 1)[0].split(b" ", 2)
        path = target.split(b"?", 1)[0]
        if path == b"/counted":
            return self.send(b"200 OK", json.dumps(self.counted.told()).encode())
        if path in LISTS and (method == b"GET" or path.endswith(b"token")):
            return self.send(b"200 OK", json.dumps(LISTS[path]).encode())
        if not self.counted.admits(self.loop.time(), size):
            return self.send(b"429 Too Many Requests\r\nRetry-After: 1", b'{"message":"too many requests"}')
        body = YES.get(path.rsplit(b"/", 1)[-1], b"{}")
        if self.counted.delay:
            self.loop.call_later(self.counted.delay, self.send, b"200 OK", body)
        else:
            self.send(b"200 OK", body)
        return None

    def send(self, status: bytes, body: bytes) -> None:
        head = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
        self.transport.write(head + body)


async def serve(chosen: argparse.Namespace) -> None:
    counted = Counted(chosen.delay, chosen.allowed, chosen.seconds)
    secure = None
    if chosen.certificate:
        secure = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        secure.load_cert_chain(chosen.certificate, chosen.key)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Speaker(counted), "127.0.0.1", 0, ssl=secure)
    print(f"{'https' if secure else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    closed = asyncio.Event()
    threading.Thread(
        target=lambda: (sys.stdin.read(), loop.call_soon_threadsafe(closed.set)), daemon=True, name="stdin"
    ).start()
    await closed.wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.server", description=__doc__)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--allowed", type=int, help="requests allowed in any --seconds")
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    chosen = parser.parse_args()
    try:
        import uvloop
    except ImportError:
        asyncio.run(serve(chosen))
    else:
        uvloop.run(serve(chosen))


if __name__ == "__main__":
    main()
