"""The sandbox over real HTTP, on loopback only, with connections that really break."""

import argparse
import contextlib
import ipaddress
import json
import signal
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from zeotap_pipelines.sandbox.agillic_settings import AgillicSettings
from zeotap_pipelines.sandbox.app import HANG_UP, create_app
from zeotap_pipelines.sandbox.core import Sandbox

STATE_FILE = "sandbox.sqlite3"


class _Server(uvicorn.Server):
    def __init__(self, app: ASGIApp, **options: Any) -> None:
        super().__init__(uvicorn.Config(_with_hang_up(app, self.hang_up), **options))
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.ready.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # Signals belong to the process that serves, not to the thread that it serves in.
        yield

    def hang_up(self, client: object, reset: bool) -> None:
        """End the connection of a client: by a reset, or by a close after what was written."""
        protocol: Any = next(
            (one for one in self.server_state.connections if getattr(one, "client", None) == client), None
        )
        if protocol is None:
            return  # the client went away first
        if reset:
            # Lingering for no time makes the kernel send RST in place of FIN.
            connection = protocol.transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            protocol.transport.abort()
        else:
            protocol.transport.close()


@contextlib.contextmanager
def running(sandbox: Sandbox, *, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Serve a sandbox in a thread while the block runs; yields its address, such as `http://127.0.0.1:40123`.

    Port 0 takes a free one. Another host than loopback is refused: the sandbox knows no authorisation of its own.
    """
    listening = _listen(host, port)
    with contextlib.closing(listening):
        server = _Server(
            create_app(sandbox),
            log_level="error",
            access_log=False,
            lifespan="off",
            loop="asyncio",
            ws="none",
            timeout_graceful_shutdown=1,
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="sandbox", daemon=True)
        thread.start()
        while not server.ready.wait(0.05):
            if not thread.is_alive():
                raise RuntimeError("the sandbox did not start")
        name = f"[{host}]" if ":" in host else host
        try:
            yield f"http://{name}:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; one line on standard output says where, once it is ready."""
    parser = argparse.ArgumentParser(prog="python -m zeotap_pipelines.sandbox", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="a loopback address (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free port (default)")
    parser.add_argument("--state", type=Path, metavar="DIR", help="keep the state here (default: in memory)")
    parser.add_argument("--faults", type=Path, metavar="FILE.json", help="faults to inject from the start")
    parser.add_argument(
        "--attached", action="store_true", help="end when standard input is closed: with who started it"
    )
    chosen = parser.parse_args(arguments)
    ready = "sandbox ready at {address}"
    return serve(chosen.host, chosen.port, ready, state=chosen.state, faults=chosen.faults, attached=chosen.attached)


def serve(
    host: str, port: int, ready: str, *, state: Path | None = None, faults: Path | None = None, attached: bool = False
) -> int:
    """Serve until SIGTERM or SIGINT, and return the exit status; *ready*, with the address, is said once it is."""
    # Both interrupt: a shell that starts this in the background has SIGINT ignored unless it is asked for.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    try:
        if state is not None:
            state.mkdir(parents=True, exist_ok=True)
        # Somebody waits: tasks take one question less than in tests.
        quick = AgillicSettings(task_polls=1)
        with Sandbox(None if state is None else state / STATE_FILE, agillic=quick) as sandbox:
            if faults is not None:
                sandbox.faults.load(json.loads(faults.read_text("utf-8")))
            with running(sandbox, host=host, port=port) as address:
                print(ready.replace("{address}", address), flush=True)
                if attached:
                    sys.stdin.read()
                else:
                    threading.Event().wait()
    except KeyboardInterrupt:
        return 0
    except (OSError, RuntimeError, ValueError) as error:
        print(f"sandbox: {error}", file=sys.stderr)
        return 1
    return 0


def _listen(host: str, port: int) -> socket.socket:
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        raise ValueError(f"{host} is not an address") from None
    if not address.is_loopback:
        raise ValueError(f"{host} is not a loopback address")
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    listening = socket.create_server((str(address), port), family=family, backlog=256)
    # asyncio sets it only where the protocol is named; without it every answer with a body waits 40 ms for an ACK.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def _with_hang_up(app: ASGIApp, hang_up: Callable[[object, bool], None]) -> ASGIApp:
    async def served(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            client = scope["client"]
            scope.setdefault("extensions", {})[HANG_UP] = lambda reset: hang_up(client, reset)
        await app(scope, receive, send)

    return served
