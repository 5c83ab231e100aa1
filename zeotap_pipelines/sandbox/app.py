"""The sandbox as an ASGI app: each service under its prefix, control under `/_sandbox`, a page for people at `/`.

| method | path | meaning |
|---|---|---|
| GET | /_sandbox/state | what each service holds |
| GET | /_sandbox/log | every request; `?service=` for one service's |
| GET | /_sandbox/violations | the requests whose shape no contract documents |
| GET | /_sandbox/stats | requests per service, method and route; the most in flight |
| GET, POST, DELETE | /_sandbox/faults | the faults in force; put more in force; lift all |
| POST | /_sandbox/reset | lose everything |
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import asdict

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import Receive, Scope, Send

from zeotap_pipelines.sandbox.core import Sandbox, exchange
from zeotap_pipelines.sandbox.page import page
from zeotap_pipelines.sandbox.service import Answer

# How the server lets the app end a connection: called with whether the peer gets a reset (else a plain close).
HANG_UP = "sandbox.hang_up"


def create_app(sandbox: Sandbox) -> Starlette:
    """The app of one sandbox."""

    async def show(_: Request) -> Response:
        return HTMLResponse(page(sandbox))

    async def state(_: Request) -> Response:
        return JSONResponse(sandbox.state())

    async def log(request: Request) -> Response:
        return JSONResponse([asdict(entry) for entry in sandbox.requests(request.query_params.get("service"))])

    async def violations(_: Request) -> Response:
        return JSONResponse([asdict(entry) for entry in sandbox.violations])

    async def stats(_: Request) -> Response:
        return JSONResponse(sandbox.stats())

    async def faults(request: Request) -> Response:
        if request.method == "DELETE":
            sandbox.faults.clear()
        elif request.method == "POST":
            try:
                sandbox.faults.load(await request.json())
            except ValueError as error:
                return JSONResponse({"message": str(error)}, 400)
        return JSONResponse([fault.to_json() for fault in sandbox.faults])

    async def reset(_: Request) -> Response:
        sandbox.reset()
        return Response(status_code=204)

    app = Starlette(
        routes=[
            Route("/", show, methods=["GET"]),
            Route("/_sandbox/state", state, methods=["GET"]),
            Route("/_sandbox/log", log, methods=["GET"]),
            Route("/_sandbox/violations", violations, methods=["GET"]),
            Route("/_sandbox/stats", stats, methods=["GET"]),
            Route("/_sandbox/faults", faults, methods=["GET", "POST", "DELETE"]),
            Route("/_sandbox/reset", reset, methods=["POST"]),
            Mount("/_sandbox", Response(status_code=404)),
            # Prefixes are matched against the raw path: a decoded one would hide what a client failed to encode.
            Mount("/", _Services(sandbox)),
        ]
    )
    app.router.redirect_slashes = False
    return app


class _Services:
    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError("the services speak HTTP only")
        target = scope["raw_path"].decode("ascii", "backslashreplace")
        if scope["query_string"]:
            target += "?" + scope["query_string"].decode("ascii", "backslashreplace")
        service = self._sandbox.service_of(target)
        if service is None:
            self._sandbox.stray(scope["method"], target)
            await JSONResponse({"message": "no service at this path"}, 404)(scope, receive, send)
            return
        headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"])
        with contextlib.ExitStack() as flight:
            service.enter()
            flight.callback(service.leave)
            body = await _body(receive)
            if body is not None:
                answer = exchange(service, scope["method"], target, headers, body)
                await _deliver(answer, flight, scope, receive, send)


async def _body(receive: Receive) -> bytes | None:
    # None where the client went away before it had sent everything: nothing is applied then.
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


async def _deliver(answer: Answer, flight: contextlib.ExitStack, scope: Scope, receive: Receive, send: Send) -> None:
    # The request stops being in flight just before its end can be seen: who asks one at a time is counted as one.
    reply, body = answer.reply, answer.reply.body
    if answer.delay:
        await asyncio.sleep(answer.delay)
    if answer.ending != "drip":
        flight.close()
    if answer.ending == "reset":
        await _hang_up(scope, receive, reset=True)
        return
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in reply.wire_headers()]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    if answer.ending == "cut":
        await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
        await _hang_up(scope, receive, reset=False)
        return
    if answer.ending == "drip":
        for at in range(len(body) - 1):
            await asyncio.sleep(answer.drip)
            await send({"type": "http.response.body", "body": body[at : at + 1], "more_body": True})
        await asyncio.sleep(answer.drip)
        body = body[-1:]
        flight.close()
    await send({"type": "http.response.body", "body": body})


async def _hang_up(scope: Scope, receive: Receive, *, reset: bool) -> None:
    hang_up: Callable[[bool], None] = scope["extensions"][HANG_UP]
    hang_up(reset)
    # The server learns of the lost connection a moment later; returning earlier would make it answer 500.
    while (await receive())["type"] != "http.disconnect":
        pass
