"""What every stand-in gets from its base: routes, log, limits, state."""

import asyncio

import httpx
import pytest

from zeotap_pipelines.sandbox import CLIENT_SECRET, Fault, Sandbox, SandboxTransport, at
from zeotap_pipelines.sandbox.faults import Faults
from zeotap_pipelines.sandbox.messages import Redaction, Reply, Request, Undocumented
from zeotap_pipelines.sandbox.service import Route, Service
from zeotap_pipelines.sandbox.store import Store
from zeotap_pipelines_tests.sandbox.asking import BASE_URL, CREDENTIALS, MEMBERS, TOKEN, Clock, ask, bearer


class Desk(Service):
    """A service that keeps what it was given last, under a selector."""

    name = "desk"
    tables = ("desk_item",)
    schema = "CREATE TABLE IF NOT EXISTS desk_item (field TEXT, value TEXT);"
    common_query = frozenset({"api_key"})

    def routes(self):
        json = ("application/json",)
        return (
            Route("PUT", "/items/{field}={value}", self._put, body=json, query=frozenset({"id_type"})),
            Route("POST", "/items/:upsert", self._half, body=json),
        )

    def authenticate(self, request):
        return None if request.parameters().get("api_key") == "k-1" else self.refusal(401, "no")

    def state(self):
        return {"items": self.store.execute("SELECT field, value FROM desk_item")}

    def holdings(self):
        return []

    def _put(self, request, identifiers):
        request.json()
        self.store.execute("INSERT INTO desk_item VALUES (?, ?)", identifiers["field"], identifiers["value"])
        return Reply(201)

    def _half(self, request, identifiers):
        self.store.execute("INSERT INTO desk_item VALUES ('half', 'done')")
        raise Undocumented(422, "noticed too late")


def put(desk, path, query="api_key=k-1", content_type="application/json", body=b"{}", method="PUT"):
    target = f"/desk{path}?{query}"
    return desk.exchange(Request(method, target, path, query, (("content-type", content_type),), body)).reply


@pytest.fixture
def desk():
    return Desk(Store(), Faults(), Clock(), secrets=frozenset({"k-1"}))


def test_a_selector_in_a_path_keeps_its_equals_sign_and_encodes_its_value(desk):
    assert put(desk, "/items/EMAIL=a%40b.dk").status == 201
    assert desk.state() == {"items": [("EMAIL", "a@b.dk")]}
    assert put(desk, "/items/EMAIL=a@b.dk").status == 400
    assert put(desk, "/items/EMAIL=a=b").status == 400
    assert put(desk, "/items/EMAIL").status == 404


def test_a_content_type_is_taken_to_the_letter(desk):
    assert put(desk, "/items/A=1", content_type="application/json; charset=utf-8").status == 415
    assert put(desk, "/items/A=1", body=b"{").status == 400
    assert len(desk.store.entries("violation IS NOT NULL")) == 2


def test_only_documented_parameters_are_taken(desk):
    assert put(desk, "/items/A=1", query="api_key=k-1&id_type=email").status == 201
    assert put(desk, "/items/A=1", query="api_key=k-1&idtype=email").status == 400
    assert put(desk, "/items/A=1", query="api_key=k-1&api_key=k-1").status == 400


def test_what_an_endpoint_did_before_it_refused_is_undone(desk):
    assert put(desk, "/items/:upsert", method="POST").status == 422
    assert desk.state() == {"items": []}
    assert [entry.violation for entry in desk.store.entries()] == ["noticed too late"]


def test_keys_in_a_query_never_reach_the_log(desk):
    put(desk, "/items/A=1")
    put(desk, "/items/A=1", query="api_key=wrong-key")
    put(desk, "/k-1")
    kept = repr(desk.store.entries())
    assert "k-1" not in kept and "wrong-key" not in kept


def test_more_in_flight_than_allowed_is_refused():
    desk = Desk(Store(), Faults(), Clock(), max_in_flight=1)
    desk.enter()
    assert put(desk, "/items/A=1").status == 201
    desk.enter()
    assert put(desk, "/items/A=1").status == 429
    desk.leave()
    assert put(desk, "/items/A=1").status == 201
    assert desk.most_in_flight == 2


def test_redaction_knows_named_and_literal_secrets():
    redact = Redaction(frozenset({"hush", "a/b", ""}))
    assert redact("/a?api_key=1&b=2&client_secret=3") == "/a?api_key=***&b=2&client_secret=***"
    assert redact("/hush/x/a%2Fb") == "/***/x/***"


def test_the_log_says_who_asked_what_and_never_a_secret():
    clock = Clock()
    sandbox = Sandbox(clock=clock)
    header = bearer(sandbox)
    ask(sandbox, "PUT", f"{MEMBERS}/1", headers=header)
    ask(sandbox, "POST", f"{TOKEN}?client_secret={CLIENT_SECRET}", data=CREDENTIALS)
    ask(sandbox, "GET", f"{BASE_URL}/elsewhere?api_key={CLIENT_SECRET}")
    token, put, wrong, stray = sandbox.log
    assert (put.at, put.service, put.method, put.status) == (clock.now, "kognitiv", "PUT", 204)
    assert put.target == "/kognitiv/api/groups/promotionalMember/ACTIVE-90D/members/1"
    assert put.route == "/api/groups/promotionalMember/{ref}/members/{member}"
    assert (token.status, wrong.status, stray.status) == (200, 400, 404)
    kept = repr(sandbox.log)
    assert CLIENT_SECRET not in kept and header["Authorization"].split()[1] not in kept


def test_a_request_outside_every_service_is_a_violation():
    sandbox = Sandbox()
    for path in ("/", "/api/groups", "/kognitiv", "/kognitiv%2Fapi"):
        assert ask(sandbox, "GET", BASE_URL + path).status_code == 404
    assert len(sandbox.violations) == 4


def test_requests_are_counted_by_service_method_and_route():
    sandbox = Sandbox()
    header = bearer(sandbox)
    for member in ("1", "2", "stranger"):
        ask(sandbox, "PUT", f"{MEMBERS}/{member}", headers=header)
    stats = sandbox.stats()["kognitiv"]
    assert stats["requests"] == 4 and stats["statuses"] == {"200": 1, "204": 2, "404": 1}
    assert stats["routes"]["PUT /api/groups/promotionalMember/{ref}/members/{member}"] == 3
    assert len(sandbox.requests("kognitiv", method="PUT")) == 3
    assert sandbox.requests("moengage") == []


def test_requests_that_are_sent_together_are_in_flight_together():
    sandbox = Sandbox()
    header = bearer(sandbox)

    async def seven() -> None:
        async with httpx.AsyncClient(transport=SandboxTransport(sandbox)) as client:
            await asyncio.gather(*(client.put(f"{MEMBERS}/{member}", headers=header) for member in range(7)))

    asyncio.run(seven())
    assert sandbox.stats()["kognitiv"]["most_in_flight"] == 7
    assert sandbox.kognitiv.in_flight == 0


def test_a_reset_loses_members_tokens_groups_and_log_and_keeps_faults():
    sandbox = Sandbox()
    header = bearer(sandbox)
    sandbox.kognitiv.create_group("VIP")
    sandbox.faults.add(Fault(kind="delay", nth=1))
    ask(sandbox, "PUT", f"{MEMBERS}/1", headers=header)
    sandbox.reset()
    assert sandbox.log == [] and len(sandbox.faults) == 1
    assert [group["ref"] for group in sandbox.state()["kognitiv"]["groups"]] == ["ACTIVE-90D"]
    assert sandbox.kognitiv.members() == set()
    assert ask(sandbox, "PUT", f"{MEMBERS}/1", headers=header).status_code == 401


def test_a_crash_before_or_after_applying_can_be_staged_at_any_request():
    sandbox = Sandbox()
    header = bearer(sandbox)
    transport = SandboxTransport(sandbox, before=at(2, KeyError("before")), after=at(2, KeyError("after")))
    ask(transport, "PUT", f"{MEMBERS}/1", headers=header)
    with pytest.raises(KeyError, match="before"):
        ask(transport, "PUT", f"{MEMBERS}/2", headers=header)
    with pytest.raises(KeyError, match="after"):
        ask(transport, "PUT", f"{MEMBERS}/3", headers=header)
    assert sandbox.kognitiv.members() == {"1", "3"}
    assert (transport.asked, transport.answered) == (3, 2)
