"""The sandbox behind httpx without a socket: connection faults become the exceptions a socket would give.

| fault | exception |
|---|---|
| reset_before, reset_after | httpx.ReadError |
| cut | httpx.RemoteProtocolError while the body is read |
| delay, drip | httpx.ReadTimeout where the wait is longer than the client's, else the wait |
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx

from zeotap_pipelines.sandbox.core import Sandbox, exchange
from zeotap_pipelines.sandbox.service import Answer

BASE_URL = "http://localhost"

Before = Callable[[httpx.Request], None]
After = Callable[[httpx.Request, httpx.Response], None]
Sleep = Callable[[float], Awaitable[object]]


class SandboxTransport(httpx.AsyncBaseTransport):
    """Requests to `http://localhost/<service>/…` reach the sandbox in this process.

    `before` is called with every request before the sandbox sees it, `after` once the sandbox is done with it and
    before the client hears; what they raise reaches the client in place of an answer. `sleep` waits in place of the
    network. `asked` and `answered` count requests and the answers that were let go.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        *,
        before: Before | None = None,
        after: After | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.sandbox = sandbox
        self.before = before
        self.after = after
        self.asked = 0
        self.answered = 0
        self._sleep = sleep

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Exchange one request."""
        body = await request.aread()
        self.asked += 1
        if self.before is not None:
            self.before(request)
        target = request.url.raw_path.decode("ascii")
        service = self.sandbox.service_of(target)
        if service is None:
            self.sandbox.stray(request.method, target)
            return httpx.Response(404, json={"message": "no service at this path"}, request=request)
        headers = tuple((name.decode("ascii").lower(), value.decode("latin-1")) for name, value in request.headers.raw)
        service.enter()
        try:
            # Requests that are sent together are in flight together.
            await asyncio.sleep(0)
            answer = exchange(service, request.method, target, headers, body)
            self.answered += answer.ending != "reset"
            patience = _patience(request)
            if answer.delay:
                if patience is not None and answer.delay >= patience:
                    await self._sleep(patience)
                    raise httpx.ReadTimeout("The read operation timed out", request=request)
                await self._sleep(answer.delay)
        finally:
            service.leave()
        response = httpx.Response(
            # Where the connection is reset before anything was applied there is no status; nobody sees this one.
            answer.reply.status or 500,
            headers=answer.reply.wire_headers(),
            stream=_stream(answer, request, self._sleep),
            request=request,
        )
        if self.after is not None:
            self.after(request, response)
        if answer.ending == "reset":
            raise httpx.ReadError("Connection reset by peer", request=request)
        return response


def at(nth: int, error: Exception) -> Callable[..., None]:
    """A hook that raises at the `nth` request, counted from 1, and at no other: a crash at a chosen moment."""
    seen = 0

    def hook(*_: object) -> None:
        nonlocal seen
        seen += 1
        if seen == nth:
            raise error

    return hook


def _stream(answer: Answer, request: httpx.Request, sleep: Sleep) -> httpx.AsyncByteStream:
    match answer.ending:
        case "cut":
            return _Cut(answer.reply.body, request)
        case "drip":
            return _Drip(answer.reply.body, answer.drip, request, sleep)
        case _:
            return httpx.ByteStream(answer.reply.body)


def _patience(request: httpx.Request) -> float | None:
    timeout = request.extensions.get("timeout", {})
    read = timeout.get("read")
    return None if read is None else float(read)


class _Cut(httpx.AsyncByteStream):
    def __init__(self, body: bytes, request: httpx.Request) -> None:
        self._body = body
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        half = self._body[: len(self._body) // 2]
        yield half
        raise httpx.RemoteProtocolError(
            "peer closed connection without sending complete message body"
            f" (received {len(half)} bytes, expected {len(self._body)})",
            request=self._request,
        )


class _Drip(httpx.AsyncByteStream):
    def __init__(self, body: bytes, seconds: float, request: httpx.Request, sleep: Sleep) -> None:
        self._body = body
        self._seconds = seconds
        self._request = request
        self._sleep = sleep

    async def __aiter__(self) -> AsyncIterator[bytes]:
        patience = _patience(self._request)
        for at in range(len(self._body)):
            if patience is not None and self._seconds >= patience:
                await self._sleep(patience)
                raise httpx.ReadTimeout("The read operation timed out", request=self._request)
            await self._sleep(self._seconds)
            yield self._body[at : at + 1]
