"""A webhook on a loopback port, which writes down what it takes and refuses when it is told to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

PATH = "/services/T000/B000/s3cr3t-canary"


class Webhook:
    """What Slack's incoming webhooks are: JSON with a text, posted to an address that is the secret."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}{PATH}"
        self.status = 200
        self.taken: list[str] = []
        self.refused = 0


@contextmanager
def webhook() -> Iterator[Webhook]:
    """Serve a webhook."""

    class Taking(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = hook.status if self.path == PATH and self.headers["Content-Type"] == "application/json" else 400
            if status == 200:
                said: dict[str, Any] = json.loads(body)
                assert list(said) == ["text"]
                hook.taken.append(said["text"])
            else:
                hook.refused += 1
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Taking) as server:
        hook = Webhook(server.server_port)
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield hook
        server.shutdown()
