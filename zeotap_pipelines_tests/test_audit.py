"""The audit of the pinned packages: what is known is named, and what could not be asked is never silently fine."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@contextmanager
def database(answer: Callable[[list[dict]], object]) -> Iterator[str]:
    """A database of vulnerabilities on a loopback port."""

    class Answering(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/querybatch"
            body = json.dumps(answer(json.loads(self.rfile.read(int(self.headers["content-length"])))["queries"]))
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def audit(address: str, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "audit.py"), "--database", address, *more]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_every_pinned_package_is_looked_up_and_a_known_vulnerability_fails_the_check() -> None:
    asked = []

    def answer(queries: list[dict]) -> object:
        asked.extend(queries)
        return {
            "results": [{"vulns": [{"id": "GHSA-1"}]} if one["package"]["name"] == "httpx" else {} for one in queries]
        }

    with database(answer) as address:
        done = audit(address)
    pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line]
    assert [f"{one['package']['name']}=={one['version']}" for one in asked] == [
        pin.split(" ;")[0].split(";")[0] for pin in pins
    ]
    assert done.returncode == 1
    assert "audit: httpx 0.28.1: GHSA-1, see https://osv.dev/vulnerability/GHSA-1" in done.stdout


def test_without_a_known_vulnerability_the_check_says_how_many_were_looked_up() -> None:
    with database(lambda queries: {"results": [{} for _ in queries]}) as address:
        done = audit(address)
    assert done.returncode == 0
    assert "pinned packages, 0 known vulnerabilities" in done.stdout


@pytest.mark.parametrize("answer", [None, {"results": []}, {"error": "no"}, []])
def test_a_database_that_can_not_be_asked_is_said_so_and_fails_where_the_audit_is_required(answer: object) -> None:
    if answer is None:
        address = "http://127.0.0.1:9"
        done, required = audit(address), audit(address, "--required")
    else:
        with database(lambda queries: answer) as address:
            done, required = audit(address), audit(address, "--required")
    assert (done.returncode, required.returncode) == (0, 1)
    for one in (done, required):
        assert f"audit: NOT DONE, {address} can't be asked" in one.stderr
        assert "0 known vulnerabilities" not in one.stdout
