"""A fault hits the requests it was meant for and does what its name says."""

import json
from email.utils import parsedate_to_datetime

import httpx
import pytest

from zeotap_pipelines.sandbox import Fault, Faults, Sandbox, SandboxTransport
from zeotap_pipelines_tests.sandbox.asking import MEMBERS, Clock, ask, bearer


def put(sandbox, member="1", transport=None, **sent):
    return ask(transport or sandbox, "PUT", f"{MEMBERS}/{member}", headers=bearer(sandbox), **sent)


def struck(fault, requests=10, seed=0):
    faults = Faults(seed)
    faults.add(fault)
    return [number for number in range(1, requests + 1) if faults.draw("kognitiv", "PUT", f"/members/{number}")]


@pytest.mark.parametrize(
    ("rule", "hit"),
    [
        ({}, list(range(1, 11))),
        ({"nth": 3}, [3]),
        ({"every": 4}, [4, 8]),
        ({"every": 2, "times": 2}, [2, 4]),
        ({"times": 1}, [1]),
        ({"path": r"/members/(2|7)$"}, [2, 7]),
        ({"path": r"/members/(2|7)$", "nth": 2}, [7]),
        ({"service": "agillic"}, []),
        ({"method": "DELETE"}, []),
        ({"service": "kognitiv", "method": "PUT", "nth": 1}, [1]),
        ({"probability": 0.0}, []),
        ({"probability": 1.0, "nth": 2}, [2]),
    ],
)
def test_a_rule_hits_the_requests_it_names(rule, hit):
    assert struck(Fault(kind="reset_before", **rule)) == hit


def test_chance_is_the_same_for_the_same_seed():
    fault = Fault(kind="reset_before", probability=0.3)
    assert struck(fault, 200, seed=1) == struck(fault, 200, seed=1) != struck(fault, 200, seed=2)
    assert 30 < len(struck(fault, 200)) < 90


def test_of_several_faults_the_first_hits_and_the_others_go_on_counting():
    faults = Faults()
    first, second = Fault(kind="cut", nth=1), Fault(kind="delay", nth=2)
    faults.add(first, second)
    assert [faults.draw("s", "GET", "/") for _ in range(3)] == [first, second, None]


def test_a_fault_survives_json():
    fault = Fault(
        kind="status", status=429, headers=(("X-A", "b"),), body="later", retry_after=2, retry_after_as="date", every=3
    )
    assert Fault.from_json(json.loads(json.dumps(fault.to_json()))) == fault
    assert Fault(kind="cut").to_json() == {"kind": "cut"}


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"kind": "flood"},
        {"kind": "status"},
        {"kind": "status", "status": 99},
        {"kind": "status", "status": "503"},
        {"kind": "cut", "nht": 3},
        {"kind": "cut", "nth": 0},
        {"kind": "cut", "nth": "1"},
        {"kind": "cut", "path": "("},
        {"kind": "cut", "probability": 2},
        {"kind": "cut", "applied": False},
    ],
)
def test_a_fault_that_means_nothing_is_refused(wrong):
    with pytest.raises(ValueError):
        Faults().load([wrong])


def test_an_injected_status_applies_nothing_unless_it_is_told_to():
    sandbox = Sandbox()
    sandbox.faults.add(Fault(kind="status", status=503, method="PUT", nth=1, body='{"message":"no"}'))
    sandbox.faults.add(Fault(kind="status", status=502, method="PUT", nth=2, applied=True))
    answer = put(sandbox, "1")
    assert (answer.status_code, answer.json()) == (503, {"message": "no"})
    assert sandbox.kognitiv.members() == set()
    assert put(sandbox, "2").status_code == 502
    assert sandbox.kognitiv.members() == {"2"}
    assert [entry.note for entry in sandbox.requests(method="PUT")] == ["fault: status"] * 2


def test_retry_after_comes_as_seconds_or_as_a_date():
    clock = Clock()
    sandbox = Sandbox(clock=clock)
    sandbox.faults.add(Fault(kind="status", status=429, method="PUT", nth=1, retry_after=7))
    sandbox.faults.add(Fault(kind="status", status=429, method="PUT", nth=2, retry_after=7, retry_after_as="date"))
    assert put(sandbox).headers["retry-after"] == "7"
    assert parsedate_to_datetime(put(sandbox).headers["retry-after"]).timestamp() == clock.now + 7


def test_a_page_of_maintenance_is_html_and_applies_nothing():
    sandbox = Sandbox()
    sandbox.faults.add(Fault(kind="html", method="PUT"))
    answer = put(sandbox)
    assert answer.status_code == 503 and answer.headers["content-type"].startswith("text/html")
    assert sandbox.kognitiv.members() == set()


@pytest.mark.parametrize(("kind", "error"), [("reset_before", httpx.ReadError), ("reset_after", httpx.ReadError)])
def test_a_reset_without_a_socket_is_a_read_error(kind, error):
    sandbox = Sandbox()
    sandbox.faults.add(Fault(kind=kind, method="PUT"))
    with pytest.raises(error):
        put(sandbox)
    assert sandbox.kognitiv.members() == ({"1"} if kind == "reset_after" else set())
    assert [entry.status for entry in sandbox.requests(method="PUT")] == ([204] if kind == "reset_after" else [None])


def test_a_cut_answer_without_a_socket_is_a_protocol_error_and_was_applied():
    sandbox = Sandbox()
    sandbox.faults.add(Fault(kind="cut", method="PUT"))
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
        put(sandbox)
    assert sandbox.kognitiv.members() == {"1"}


@pytest.mark.parametrize("kind", ["delay", "drip"])
def test_a_wait_longer_than_the_clients_is_a_read_timeout_and_was_applied(kind):
    sandbox = Sandbox()
    waited = []

    async def sleep(seconds):
        waited.append(seconds)

    transport = SandboxTransport(sandbox, sleep=sleep)
    sandbox.faults.add(Fault(kind=kind, method="PUT", seconds=30))
    with pytest.raises(httpx.ReadTimeout):
        put(sandbox, "1", transport, timeout=10)
    assert waited == [10] and sandbox.kognitiv.members() == {"1"}
    assert put(sandbox, "2", transport, timeout=40).is_success
    assert set(waited[1:]) == {30}


def test_a_malformed_body_does_not_parse_and_a_huge_one_is_huge():
    sandbox = Sandbox()
    sandbox.faults.add(Fault(kind="malformed", method="PUT", nth=1), Fault(kind="huge", method="PUT", nth=2, size=9999))
    with pytest.raises(ValueError):
        put(sandbox, "1").json()
    assert len(put(sandbox, "2").content) > 9999
    assert sandbox.kognitiv.members() == {"1", "2"}


def test_expiring_tokens_refuses_the_request_at_hand_and_every_token_before_it():
    sandbox = Sandbox()
    header = bearer(sandbox)
    sandbox.faults.add(Fault(kind="token_expiry", method="PUT", nth=2))
    statuses = [ask(sandbox, "PUT", f"{MEMBERS}/{member}", headers=header).status_code for member in range(3)]
    assert statuses == [204, 401, 401]
    assert put(sandbox, "3").is_success
    assert sandbox.violations == []


def test_named_faults_wait_until_a_service_asks_for_them():
    faults = Faults()
    faults.add(Fault(kind="task_failure", nth=1))
    assert faults.draw("agillic", "POST", "/") is None
    assert faults.named("propagation_delay", "agillic", "POST", "/") is None
    assert faults.named("task_failure", "agillic", "POST", "/") is not None
