from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from playwright.sync_api import Error, Page


class Greeting(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"<h1>nobody</h1><button onclick=\"document.querySelector('h1').textContent = 'told'\">Tell</button>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Greeting) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_a_click_on_a_local_page_is_seen(page: Page, address: str, screenshot: Callable[[str], Path]) -> None:
    page.goto(address)
    page.get_by_role("button", name="Tell").click()
    assert page.inner_text("h1") == "told"
    assert screenshot("rig").stat().st_size > 1_000


def test_no_page_reaches_beyond_this_machine(page: Page) -> None:
    with pytest.raises(Error, match="ERR_FAILED"):
        page.goto("http://example.com/")
