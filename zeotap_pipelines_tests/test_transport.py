"""The transport over real sockets: what it takes for an answer, and how connections end."""

import asyncio
import gzip
import ssl
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import httpx
import pytest
import trustme
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from zeotap_pipelines.destinations.base import Limits
from zeotap_pipelines.model import Call, Fate, Outcome, Receipt
from zeotap_pipelines.wire.calling import Caller
from zeotap_pipelines.wire.limits import Pacer
from zeotap_pipelines.wire.transport import MAX_BODY, Lanes
from zeotap_pipelines.wire.wire import Wire
from zeotap_pipelines_tests.world import Clock, kognitiv

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
BYE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
ENDLESS = b"HTTP/1.1 400 Bad Request\r\nTransfer-Encoding: chunked\r\n\r\n" + b"10000\r\n" + b"x" * 65536 + b"\r\n"

Visit = Callable[[Lanes, str], Awaitable[None]]


class Service:
    """A server that says, request by request, what it is told to; a piece that is None hangs up."""

    loop: ClassVar[Callable[[], asyncio.AbstractEventLoop]]

    def __init__(self, *answers: bytes | list[bytes | None] | None, secure: ssl.SSLContext | None = None) -> None:
        self.answers = list(answers)
        self.secure = secure
        self.connections = 0
        self.heard: list[bytes] = []

    async def speak(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while self.answers:
                head = await reader.readuntil(b"\r\n\r\n")
                size = next((int(line[16:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length: ")), 0)
                self.heard.append(head + await reader.readexactly(size))
                answer = self.answers.pop(0)
                for piece in answer if isinstance(answer, list) else [answer]:
                    if piece is None:
                        return
                    writer.write(piece)
                    await writer.drain()
            await reader.read()
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass  # The client hung up, or the test is over.
        finally:
            writer.close()

    def visited(
        self, visit: Callable[[Lanes, str], Awaitable[None]], certificates: ssl.SSLContext | None = None
    ) -> None:
        """Run *visit* with a transport and the service's address."""

        async def body() -> None:
            server = await asyncio.start_server(self.speak, "127.0.0.1", 0, ssl=self.secure)
            scheme = "https" if self.secure else "http"
            address = f"{scheme}://localhost:{server.sockets[0].getsockname()[1]}"
            async with server, Lanes(certificates) as lanes:
                await visit(lanes, address)

        with asyncio.Runner(loop_factory=Service.loop) as runner:
            runner.run(body())

    def ask(self, *requests: httpx.Request, certificates: ssl.SSLContext | None = None) -> list[httpx.Response]:
        """Return the answers to some requests, one after the other."""
        found = []

        async def visit(lanes: Lanes, address: str) -> None:
            for request in requests or (get(),):
                request.url = httpx.URL(address + request.url.path)
                found.append(await lanes.handle_async_request(request))

        self.visited(visit, certificates)
        return found


@pytest.fixture(autouse=True, scope="module", params=[asyncio.new_event_loop, uvloop.new_event_loop])
def loop(request: pytest.FixtureRequest) -> None:
    Service.loop = request.param


def get(path: str = "/x", **headers: str) -> httpx.Request:
    return httpx.Request("GET", f"http://localhost{path}", headers=headers)


@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        (OK, 200, b"ok"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n", 200, b"ok"),
        ([b"HTTP/1.0 200 OK\r\n\r\no", b"k", None], 200, b"ok"),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK, 200, b"ok"),
        (b"HTTP/1.1 503 \r\nRetry-After: 3\r\ncontent-length:0\r\n\r\n", 503, b""),
    ],
)
def test_an_answer_in_any_form_that_http_allows_is_read(answer: bytes, status: int, body: bytes) -> None:
    [response] = Service(answer).ask()
    assert (response.status_code, response.content) == (status, body)


@given(st.lists(st.integers(0, 120), max_size=6))
@settings(max_examples=25, deadline=None)
def test_how_an_answer_is_cut_into_packets_changes_nothing(cuts: list[int]) -> None:
    whole = (
        b"HTTP/1.1 201 Created\r\nX-Id: 7\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
    )
    edges = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    [response] = Service([whole[a:b] for a, b in pairwise(edges)]).ask()
    assert (response.status_code, response.headers["X-Id"], response.content) == (201, "7", b"hello world")


def test_a_connection_is_used_again_unless_the_service_says_otherwise() -> None:
    service = Service(OK, BYE, OK, [OK, None], OK)
    assert [response.content for response in service.ask(*(get(f"/{n}") for n in range(5)))] == [b"ok"] * 5
    assert service.connections == 3, "one for two requests, one for two more, and one after the service hung up"


@pytest.mark.parametrize(
    "answer",
    [
        [None],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", None],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe", None],
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
        [b"HTTP/1.1 200 OK\r\n", *[b"X: " + b"y" * 60_000 + b"\r\n"] * 6],
    ],
)
def test_an_answer_that_is_none_is_a_lost_one(answer: bytes | list[bytes | None]) -> None:
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        Service(answer).ask()


def test_what_comes_unasked_is_nobody_s_answer() -> None:
    service = Service(OK + b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", OK)
    assert [response.status_code for response in service.ask(get("/1"), get("/2"))] == [200, 200]
    assert service.connections == 2


def test_a_body_without_end_is_cut_off_and_its_connection_closed() -> None:
    service = Service([ENDLESS, *[b"10000\r\n" + b"x" * 65536 + b"\r\n"] * 1000], OK)
    first, second = service.ask(get("/1"), get("/2"))
    assert (first.status_code, len(first.content)) == (400, MAX_BODY)
    assert (second.content, service.connections) == (b"ok", 2)


def test_a_compressed_answer_is_read_and_a_bomb_fills_no_memory() -> None:
    def answer(body: bytes) -> bytes:
        return b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)

    bomb = gzip.compress(b"0" * 50_000_000)
    first, second = Service(answer(gzip.compress(b'{"a": 1}')), answer(bomb)).ask(get("/1"), get("/2"))
    assert first.json() == {"a": 1}
    assert len(second.content) == MAX_BODY
    with pytest.raises(httpx.DecodingError):
        Service(answer(b"not gzip")).ask()


@pytest.mark.parametrize("value", ["a\r\nX: b", "a\nb", "a\0"])
def test_no_value_can_begin_a_header_of_its_own(value: str) -> None:
    service = Service(OK)
    with pytest.raises(httpx.UnsupportedProtocol):
        service.ask(get(token=value))
    assert service.heard == []


def test_requests_under_way_have_a_connection_each() -> None:
    service = Service(*[OK] * 8)

    async def visit(lanes: Lanes, address: str) -> None:
        for _ in range(2):
            requests = (httpx.Request("POST", f"{address}/{n}", content=b"body") for n in range(4))
            await asyncio.gather(*(lanes.handle_async_request(request) for request in requests))

    service.visited(visit)
    assert (service.connections, len(service.heard)) == (4, 8)
    assert all(heard.endswith(b"\r\n\r\nbody") for heard in service.heard)


def asked(service: Service, folder: Path, certificates: ssl.SSLContext | None = None, timeout: float = 60.0) -> Outcome:
    """Return what becomes of one event that is asked over the wire."""
    outcome: list[Outcome] = []

    def conversation():
        response = yield Call("POST", "/x", content=b'{"points":1}')
        return Receipt(Outcome(Fate.ACCEPTED, status=response.status_code))

    class Open(type(kognitiv())):
        def auth(self) -> httpx.Auth:
            return httpx.BasicAuth("user", "password")

    async def visit(lanes: Lanes, address: str) -> None:
        given = kognitiv(base_url=address, timeout=timeout, retries=0).model_dump()
        connection = Open(**given | {"client_secret": "secret"})
        clock = Clock()
        caller = Caller(lanes, connection, Pacer(Limits(), folder / "limits.json", clock), clock)
        held = await Wire(caller, connection).hold(conversation(), event=True)
        outcome.append(held.receipt.everyone)

    service.visited(visit, certificates)
    return outcome[0]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def secured(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    """What a server with a certificate for *names* speaks."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*names).configure_cert(context)
    return context


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = httpx.create_ssl_context(trust_env=False)
    authority.configure_trust(context)
    return context


def test_a_service_of_a_known_authority_is_spoken_to_over_tls(authority: trustme.CA, tmp_path: Path) -> None:
    service = Service(OK, OK, BYE, OK, secure=secured(authority, "localhost"))
    requests = [httpx.Request("POST", "https://localhost/x", content=b"z" * 200_000) for _ in range(4)]
    answers = service.ask(*requests, certificates=trusting(authority))
    assert [answer.content for answer in answers] == [b"ok"] * 4
    assert service.connections == 2
    assert asked(Service(OK, secure=service.secure), tmp_path, trusting(authority)).fate is Fate.ACCEPTED


@pytest.mark.parametrize("name", ["localhost", "elsewhere.test"])
def test_nothing_is_said_to_a_service_whose_certificate_is_wrong(
    authority: trustme.CA, tmp_path: Path, name: str
) -> None:
    service = Service(OK, secure=secured(authority, name))
    trusted = None if name == "localhost" else trusting(authority)
    outcome = asked(service, tmp_path, trusted)
    assert (outcome.fate, outcome.untouched) == (Fate.DEFERRED, True)
    assert "certificate" in outcome.reason
    assert service.heard == []


def test_an_answer_that_breaks_off_over_tls_leaves_an_event_in_doubt(authority: trustme.CA, tmp_path: Path) -> None:
    service = Service([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nha", None], secure=secured(authority, "localhost"))
    assert asked(service, tmp_path, trusting(authority)).fate is Fate.IN_DOUBT


def test_a_handshake_that_never_ends_leaves_no_doubt(tmp_path: Path) -> None:
    class Mute(Service):
        async def speak(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

    async def visit(lanes: Lanes, address: str) -> None:
        request = httpx.Request("GET", address.replace("http:", "https:"), extensions={"timeout": {"connect": 0.05}})
        with pytest.raises(httpx.ConnectTimeout):
            await lanes.handle_async_request(request)

    Mute().visited(visit)


def test_an_event_that_is_never_answered_is_in_doubt(tmp_path: Path) -> None:
    assert asked(Service([b"HTTP/1.1 200 OK\r\n"], OK), tmp_path, timeout=0.1).fate is Fate.IN_DOUBT


def test_a_port_that_nobody_listens_at_was_never_told_anything(tmp_path: Path) -> None:
    class Gone(Service):
        def visited(self, visit, certificates=None) -> None:
            async def body() -> None:
                server = await asyncio.start_server(self.speak, "127.0.0.1", 0)
                port = server.sockets[0].getsockname()[1]
                server.close()
                async with Lanes() as lanes:
                    await visit(lanes, f"http://localhost:{port}")

            asyncio.run(body())

    outcome = asked(Gone(), tmp_path)
    assert (outcome.fate, outcome.untouched) == (Fate.DEFERRED, True)
    assert "the connection could not be made" in outcome.reason
