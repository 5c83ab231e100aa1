"""The wire: what is repeated, what waits for whom, and what never travels."""

import asyncio
import email.utils
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from zeotap_pipelines.destinations.auth import ClientCredentials
from zeotap_pipelines.destinations.base import Limits
from zeotap_pipelines.errors import ContinueLater, FixConnection, TryAgainLater
from zeotap_pipelines.model import ACCEPTED, Call, Fate, Outcome, Receipt, Unanswered
from zeotap_pipelines.sandbox import Client, Fault, KognitivSettings, Sandbox, SandboxTransport
from zeotap_pipelines.wire.calling import LONGEST_PAUSE, retry_after
from zeotap_pipelines.wire.limits import Pacer
from zeotap_pipelines.wire.transport import MAX_BODY
from zeotap_pipelines.wire.wire import Held, connect
from zeotap_pipelines_tests.world import KOGNITIV, Clock, World, day, kognitiv

TOKEN = {"access_token": "t", "expires_in": 3600}


class Service(httpx.AsyncBaseTransport):
    """Grants tokens, and answers the rest from a script: responses, or errors to raise. The last one is for ever."""

    def __init__(self, *script: httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]) -> None:
        self.script = list(script)
        self.requests: list[httpx.Request] = []
        self.tokens = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/token"):
            self.tokens += 1
            return httpx.Response(200, json=TOKEN)
        self.requests.append(request)
        await asyncio.sleep(0)
        said = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(said, Exception):
            raise said
        return (
            said(request)
            if callable(said)
            else httpx.Response(said.status_code, headers=said.headers, content=said.content)
        )


def once(event: bool = False):
    """A conversation of one call that tells the status."""
    response = yield Call("POST" if event else "PUT", "/x")
    return Receipt(ACCEPTED if response.is_success else Outcome(Fate.REJECTED, str(response.status_code)))


class Line:
    """One wire to a scripted service."""

    def __init__(self, folder: Path, service: httpx.AsyncBaseTransport, limits: Limits | None = None, **settings):
        self.clock = Clock()
        self.service = service
        self.connection = kognitiv(**settings)
        self.pacer = Pacer(limits or Limits(), folder / "limits.json", self.clock)

    def hold(self, *conversations, event: bool = False) -> list[Held]:
        async def all_of_them() -> list[Held]:
            async with connect(self.connection, self.pacer, self.clock, self.service) as wire:
                return list(await asyncio.gather(*(wire.hold(one, event=event) for one in conversations)))

        return asyncio.run(all_of_them())

    def fate(self, *, event: bool = False) -> tuple[Fate, str]:
        [held] = self.hold(once(event), event=event)
        return held.receipt.everyone.fate, held.receipt.everyone.reason


@pytest.fixture
def line(tmp_path: Path) -> Callable[..., Line]:
    return lambda *script, **settings: Line(tmp_path, Service(*script), **settings)


OK = httpx.Response(204)
BROKEN = httpx.ReadError("broken")


@pytest.mark.parametrize("trouble", [*map(httpx.Response, (408, 500, 502, 503, 504)), BROKEN, httpx.ReadTimeout("")])
def test_a_state_target_is_asked_again_at_most_three_times(line, trouble) -> None:
    passing = line(trouble, trouble, trouble, OK)
    assert passing.fate() == (Fate.ACCEPTED, "")
    assert 0.5 <= sum(passing.clock.slept) <= 0.5 + 1 + 2
    staying = line(trouble)
    staying.fate()
    assert len(staying.service.requests) == 4


@pytest.mark.parametrize("trouble", [*map(httpx.Response, (500, 502, 503, 504)), BROKEN, httpx.ReadTimeout("")])
def test_an_event_that_may_have_happened_is_never_asked_twice(line, trouble) -> None:
    asked = line(trouble)
    asked.fate(event=True)
    assert len(asked.service.requests) == 1


@pytest.mark.parametrize("unsent", [httpx.ConnectError("refused"), httpx.ConnectTimeout("")])
def test_an_event_that_was_not_sent_is_asked_again(line, unsent) -> None:
    assert line(unsent, unsent, OK).fate(event=True) == (Fate.ACCEPTED, "")


def test_an_event_whose_answer_was_lost_is_in_doubt(line) -> None:
    assert line(BROKEN).fate(event=True)[0] is Fate.IN_DOUBT


def test_a_429_costs_no_retry_and_repeats_an_event_too(line) -> None:
    refused = httpx.Response(429, headers={"Retry-After": "1"})
    assert line(*[refused] * 20, OK, retries=0).fate(event=True) == (Fate.ACCEPTED, "")


def test_429_for_minutes_ends_the_run_and_nothing_happened(line) -> None:
    asked = line(httpx.Response(429, headers={"Retry-After": "50"}))
    [held] = asked.hold(once())
    assert isinstance(held.halt, ContinueLater)
    assert held.receipt.everyone.untouched
    assert len(asked.service.requests) < 10


@pytest.mark.parametrize("header", ["61", "600", "86400", "date"])
def test_a_pause_above_a_minute_ends_the_run_and_is_kept_for_the_next(tmp_path: Path, header: str) -> None:
    clock = Clock()
    until = clock.now() + timedelta(seconds=600 if header == "date" else int(header))
    text = email.utils.format_datetime(until, usegmt=True) if header == "date" else header
    asked = Line(tmp_path, Service(httpx.Response(429, headers={"Retry-After": text})))
    [held] = asked.hold(once())
    assert isinstance(held.halt, ContinueLater)
    assert held.halt.until == until
    assert held.receipt.everyone.untouched
    later = Line(tmp_path, Service(OK))
    [held] = later.hold(once())
    assert isinstance(held.halt, ContinueLater), "the next run must not ask either"
    assert later.service.requests == []
    afterwards = Line(tmp_path, Service(OK))
    afterwards.clock.pass_((until - clock.now()).total_seconds())
    afterwards.pacer = Pacer(Limits(), tmp_path / "limits.json", afterwards.clock)
    assert afterwards.fate() == (Fate.ACCEPTED, "")


@pytest.mark.parametrize("per_second", [None, 5.0])
def test_a_429_pauses_all_workers(tmp_path: Path, per_second: float | None) -> None:
    times = []

    def answer(request: httpx.Request) -> httpx.Response:
        times.append(round(asked.clock.monotonic(), 3))
        return httpx.Response(429, headers={"Retry-After": "30"}) if len(times) == 1 else httpx.Response(204)

    asked = Line(tmp_path, Service(answer), Limits(concurrency=10, per_second=per_second))
    assert all(held.receipt.everyone is ACCEPTED for held in asked.hold(*(once() for _ in range(10))))
    # What was under way at the moment of the refusal was sent; nothing else before the pause was over.
    assert [at for at in times if 0 < at < 30] == []
    assert times[-1] >= 30


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("1.5", 1.5),
        ("Sat, 21 Nov 2026 08:00:30 GMT", 30.0),
        ("Sat, 21 Nov 2026 07:00:00 GMT", 0.0),
        ("99999999999999999999999", None),
        ("999999999", LONGEST_PAUSE),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_PAUSE),
        ("soon", None),
        ("-5", None),
        ("²", None),
        ("nan", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_never_absurd(said: str, seconds: float | None) -> None:
    response = httpx.Response(429, headers=[(b"Retry-After", said.encode("latin-1"))])
    assert retry_after(response, Clock()) == seconds


def test_a_401_refreshes_the_token_once_for_all_concurrent_requests(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.connection = kognitiv(concurrency=8)
    world.sandbox.faults.add(Fault(kind="token_expiry", path="/members/", nth=4))
    summary = world.deliver([str(n) for n in range(16)])
    assert summary.fates == {Fate.ACCEPTED: 16}
    assert len(world.sandbox.requests(route="/Auth/connect/token")) == 2
    assert not world.sandbox.violations


def test_401_for_ever_ends_with_what_to_fix(line) -> None:
    asked = line(httpx.Response(401))
    [held] = asked.hold(once())
    assert isinstance(held.halt, FixConnection)
    assert "check the settings" in str(held.halt)
    assert len(asked.service.requests) == asked.service.tokens == 2


def test_wrong_credentials_name_the_settings_to_check_before_anything_is_sent(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.connection = kognitiv(client_secret="wrong")
    with pytest.raises(FixConnection, match=r"invalid_client.*check client_id and client_secret"):
        world.deliver(["1"])
    assert len(world.sandbox.log) == 1


def test_a_token_is_renewed_early_and_only_then() -> None:
    now, asked = [0.0], []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        token = f"t{len(asked)}"
        return httpx.Response(200, json={"access_token": token, "expires_in": 600})

    auth = ClientCredentials(
        "https://x.test/token", "id", kognitiv().client_secret, settings="x", monotonic=lambda: now[0]
    )

    async def ask_at(*moments: float) -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer), auth=auth) as client:
            for moment in moments:
                now[0] = moment
                await client.get("https://x.test/a")

    asyncio.run(ask_at(0, 539, 541))
    assert asked == ["/token", "/a", "/a", "/token", "/a"]


def test_a_token_shorter_than_the_early_renewal_still_lives_half_its_life(tmp_path: Path) -> None:
    settings = KognitivSettings(client=Client(client_id="sandbox", client_secret="s", expires_in=10))
    sandbox = Sandbox(clock=Clock().unix, kognitiv=settings)
    held = Line(tmp_path, SandboxTransport(sandbox), client_secret="s").hold(*(listing() for _ in range(5)))
    assert [one.receipt.everyone for one in held] == [ACCEPTED] * 5
    assert len(sandbox.requests(route="/Auth/connect/token")) == 1


def listing():
    response = yield Call("GET", "/api/groups/promotionalMember")
    return Receipt(ACCEPTED if response.status_code == 200 else Outcome(Fate.REJECTED))


def test_trouble_of_the_token_service_is_waited_out(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.sandbox.faults.add(Fault(kind="status", status=503, path="/Auth/", times=2))
    assert world.deliver(["1"]).complete
    world.sandbox.kognitiv.expire_tokens()
    world.sandbox.faults.add(Fault(kind="status", status=503, path="/Auth/"))
    summary = world.deliver(["1", "2"], day(1))
    assert isinstance(summary.error, TryAgainLater)
    assert "in trouble, not the credentials" in str(summary.error)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_refused(line, status: int) -> None:
    asked = line(httpx.Response(status, headers={"Location": "https://evil.test/"}))
    [held] = asked.hold(once())
    assert isinstance(held.halt, FixConnection)
    assert "check base_url" in str(held.halt)
    assert len(asked.service.requests) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_leaves_an_event_in_doubt(line, status: int) -> None:
    """Some services answer what they took with a redirect."""
    [held] = line(httpx.Response(status, headers={"Location": "/done"})).hold(once(), event=True)
    assert held.receipt.everyone.fate is Fate.IN_DOUBT
    assert isinstance(held.halt, FixConnection)


def test_no_cookie_is_sent_back(line) -> None:
    asked = line(httpx.Response(204, headers={"Set-Cookie": "affinity=1; Path=/"}))
    asked.hold(once())
    asked.hold(once(), once())
    assert not any("cookie" in request.headers for request in asked.service.requests)


def test_a_body_without_end_fills_no_memory_and_hides_no_status(line) -> None:
    read = 0

    class Endless(httpx.AsyncByteStream):
        async def __aiter__(self):
            nonlocal read
            while True:
                read += 65536
                yield b"x" * 65536

    asked = line(lambda request: httpx.Response(400, stream=Endless()))
    assert asked.fate() == (Fate.REJECTED, "400")
    assert read <= MAX_BODY + 65536


def test_a_huge_body_is_an_answer_like_any_other(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.sandbox.faults.add(Fault(kind="huge", path="/members/"))
    assert world.deliver(["1"]).fates == {Fate.ACCEPTED: 1}


def test_a_page_of_html_does_not_hide_the_status(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.sandbox.faults.add(Fault(kind="html", status=400, path="/members/1$"))
    world.sandbox.faults.add(Fault(kind="html", status=503, path="/members/2$"))
    summary = world.deliver(["1", "2", "3"])
    assert summary.fates == {Fate.REJECTED: 1, Fate.DEFERRED: 1, Fate.ACCEPTED: 1}


def test_an_answer_that_can_not_be_read_is_a_lost_answer(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.sandbox.faults.add(Fault(kind="drip", seconds=90, path="/members/1$"))
    assert world.deliver(["1", "2"]).fates == {Fate.DEFERRED: 1, Fate.ACCEPTED: 1}
    assert world.told("value, state, unsettled") == [("1", "unknown", True), ("2", "in", False)]


def test_a_service_that_is_not_there_ends_the_run_before_anything_moves(tmp_path: Path) -> None:
    world = World(tmp_path)
    down = Service(httpx.ConnectError("Name or service not known"))
    summary = world.deliver(["1"], trip=world.trip(transport=down))
    assert isinstance(summary.error, TryAgainLater)
    assert "can't be asked: the connection could not be made" in str(summary.error)
    assert (summary.asked, summary.left) == (0, 1)
    assert world.told() == []


def test_a_host_without_a_name_is_said_so_in_one_sentence(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.connection = kognitiv(base_url="https://nobody.invalid")
    summary = world.deliver(["1"], trip=world.trip(transport=None))
    assert "kognitiv (nobody.invalid) can't be asked: the connection could not be made" in str(summary.error)


def test_three_that_could_not_be_sent_end_the_run(tmp_path: Path) -> None:
    world = World(tmp_path)
    lost = [httpx.Response(200, json={"data": [{"externalReference": "ACTIVE-90D"}]}), httpx.ConnectError("gone")]
    summary = world.deliver([str(n) for n in range(9)], trip=world.trip(transport=Service(*lost)))
    assert isinstance(summary.error, TryAgainLater)
    assert (summary.asked, summary.left) == (3, 6)
    assert world.told() == [], "what was never sent leaves no trace"


def test_one_that_was_answered_begins_the_count_of_those_that_were_not_sent_anew(tmp_path: Path) -> None:
    world = World(tmp_path)
    group = httpx.Response(200, json={"data": [{"externalReference": "ACTIVE-90D"}]})
    lost = [group, httpx.Response(200), httpx.ConnectError("gone")]
    summary = world.deliver([str(n) for n in range(9)], trip=world.trip(transport=Service(*lost)))
    assert (summary.asked, summary.fates[Fate.ACCEPTED]) == (4, 1)


def test_twenty_silent_conversations_end_the_run(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.sandbox.faults.add(Fault(kind="status", status=500, path="/members/"))
    summary = world.deliver([str(n) for n in range(100, 130)])
    assert "gives no usable answer" in str(summary.error)
    assert summary.fates == {Fate.DEFERRED: 20}
    world.sandbox.faults.clear()
    assert world.carry_out().complete
    assert len(world.held) == 30


def test_what_an_earlier_call_did_is_not_taken_back_by_a_later_one_that_was_not_sent(line) -> None:
    def two_calls():
        yield Call("PUT", "/a")
        yield Call("PUT", "/b")
        return Receipt(ACCEPTED)

    [held] = line(OK, httpx.ConnectError("gone")).hold(two_calls())
    assert held.receipt.everyone.fate is Fate.DEFERRED
    assert not held.receipt.everyone.untouched


def test_a_conversation_may_keep_what_it_learnt_before_it_was_cut_off(line) -> None:
    def knows():
        try:
            yield Call("PUT", "/a")
        except Unanswered as lost:
            return Receipt(lost.outcome, {7: ACCEPTED})

    [held] = line(BROKEN).hold(knows())
    assert held.receipt.except_for == {7: ACCEPTED}
    assert held.unsure


@pytest.mark.parametrize("url", ["http://api.example.com", "ftp://localhost", "https://a:b@x.test", "//x", "x"])
def test_credentials_travel_over_https_only(url: str) -> None:
    with pytest.raises(ValueError, match=r"https|protocol|credentials") as refused:
        kognitiv(base_url=url)
    assert KOGNITIV.connection.client_secret.get_secret_value() not in str(refused.value)


def test_secrets_and_payload_are_in_no_error_summary_journal_or_plan(tmp_path: Path) -> None:
    secret, person = "s3cr3t-canary", "person-canary-4711"
    settings = KognitivSettings(client=Client(client_id="sandbox", client_secret=secret))
    for number, fault in enumerate(
        [
            Fault(
                kind="status", status=400, path="/members/", body=json.dumps({"message": f"no {person} for {secret}"})
            ),
            Fault(kind="status", status=500, path="/members/"),
            Fault(kind="reset_after", path="/members/"),
            Fault(kind="status", status=401, path="/members/"),
            Fault(kind="status", status=302, path="/members/"),
            Fault(kind="malformed", path="/members/"),
            Fault(kind="status", status=400, path="/Auth/", body=json.dumps({"error": "invalid_client"})),
        ]
    ):
        world = World(tmp_path / str(number))
        world.connection = kognitiv(client_secret=secret)
        world.sandbox = Sandbox(clock=world.clock.unix, kognitiv=settings)
        world.sandbox.faults.add(fault)
        try:
            said = repr(world.deliver([person]))
        except FixConnection as error:
            said = repr(error)
        texts = [
            said,
            repr(world.connection),
            repr(world.sync),
            *(path.read_text() for path in world.state.root.rglob("*") if path.suffix in (".json", ".jsonl", ".lock")),
        ]
        texts.append(repr(world.told("refused_verb, plan, run")))
        assert not [text for text in texts if secret in text or person in text]


def test_a_token_that_was_lost_on_the_way_leaves_no_doubt_about_an_event(tmp_path: Path) -> None:
    class Forgetful(Service):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.url.path.endswith("/token") and self.tokens < 2:
                self.tokens += 1
                raise httpx.ReadError("broken")
            return await super().handle_async_request(request)

    assert Line(tmp_path, Forgetful(OK)).fate(event=True) == (Fate.ACCEPTED, "")
