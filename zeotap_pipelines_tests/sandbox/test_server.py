"""Over a real socket: faults break the connection, state outlives the process, control is apart from the services."""

import json
import os
import re
import signal
import subprocess
import sys

import httpx
import pytest

from zeotap_pipelines.sandbox import CLIENT_SECRET, Fault, Sandbox, running
from zeotap_pipelines_tests.sandbox.asking import CREDENTIALS

MEMBERS = "/kognitiv/api/groups/promotionalMember/ACTIVE-90D/members"


def authorised(base):
    token = httpx.post(f"{base}/kognitiv/Auth/connect/token", data=CREDENTIALS).json()["access_token"]
    return httpx.Client(base_url=base, headers={"Authorization": f"Bearer {token}"}, timeout=5)


@pytest.fixture(scope="module")
def served():
    with Sandbox() as sandbox, running(sandbox) as base:
        yield sandbox, base


@pytest.fixture
def live(served):
    sandbox, base = served
    sandbox.faults.clear()
    sandbox.reset()
    with authorised(base) as client:
        yield sandbox, client


@pytest.fixture
def process(tmp_path):
    started = []

    def start(*arguments):
        command = [sys.executable, "-m", "zeotap_pipelines.sandbox", "--state", str(tmp_path), *arguments]
        sandbox = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)
        started.append(sandbox)
        ready = re.fullmatch(r"sandbox ready at (http://127\.0\.0\.1:\d+)\n", sandbox.stdout.readline())
        return sandbox, ready and ready[1]

    yield start
    for sandbox in started:
        sandbox.kill()
        sandbox.communicate()


@pytest.mark.parametrize(
    ("kind", "error", "applied"),
    [
        ("reset_before", httpx.ReadError, False),
        ("reset_after", httpx.ReadError, True),
        ("cut", httpx.RemoteProtocolError, True),
    ],
)
def test_a_broken_connection_is_really_broken(live, kind, error, applied):
    sandbox, client = live
    sandbox.faults.add(Fault(kind=kind, method="PUT", nth=1))
    with pytest.raises(error):
        client.put(f"{MEMBERS}/1")
    assert sandbox.kognitiv.members() == ({"1"} if applied else set())
    assert client.put(f"{MEMBERS}/2").is_success
    assert sandbox.violations == [] and sandbox.kognitiv.most_in_flight == 1


@pytest.mark.parametrize("kind", ["delay", "drip"])
def test_a_slow_answer_times_out_and_was_applied(live, kind):
    sandbox, client = live
    sandbox.faults.add(Fault(kind=kind, method="PUT", nth=1, seconds=0.3))
    with pytest.raises(httpx.ReadTimeout):
        client.put(f"{MEMBERS}/1", timeout=0.1)
    assert sandbox.kognitiv.members() == {"1"}


def test_a_path_reaches_the_service_as_it_was_sent(live):
    sandbox, client = live
    assert client.put(f"{MEMBERS}/a%2Fb%20%C3%A6").is_success
    assert sandbox.kognitiv.members() == {"a/b æ"}
    assert client.put(f"{MEMBERS}/a@b").status_code == 400
    assert client.put(f"{MEMBERS}/1", content=b"x").status_code == 400
    assert client.get("/kognitiv/api/groups/promotionalMember").is_success
    assert client.get("/elsewhere").status_code == 404
    assert len(sandbox.violations) == 3


def test_control_shows_and_changes_the_sandbox_and_is_never_counted(live):
    sandbox, client = live
    client.put(f"{MEMBERS}/1")
    counted = len(sandbox.log)
    assert client.get("/_sandbox/state").json()["kognitiv"]["groups"][0]["members"] == ["1"]
    assert [entry["method"] for entry in client.get("/_sandbox/log?service=kognitiv").json()][-1] == "PUT"
    assert client.get("/_sandbox/violations").json() == []
    assert client.get("/_sandbox/stats").json()["kognitiv"]["requests"] == counted
    assert client.get("/_sandbox/else").status_code == 404
    fault = {"kind": "status", "status": 503, "body": {"message": "x"}}
    assert client.post("/_sandbox/faults", json=[fault]).json()[0]["status"] == 503
    assert client.post("/_sandbox/faults", json=[{"kind": "nonsense"}]).status_code == 400
    assert client.put(f"{MEMBERS}/2").json() == {"message": "x"}
    assert client.delete("/_sandbox/faults").json() == []
    assert len(sandbox.log) == counted + 1
    assert client.post("/_sandbox/reset").status_code == 204
    assert sandbox.log == [] and sandbox.kognitiv.members() == set()


def test_the_page_shows_counts_and_requests_and_no_key_and_no_secret(live):
    sandbox, client = live
    client.put(f"{MEMBERS}/100234")
    sandbox.kognitiv.create_group("<script>")
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "ACTIVE-90D" in page.text and "1••••4" in page.text
    assert "PUT /api/groups/promotionalMember/{ref}/members/{member}" in page.text
    assert "<script>" not in page.text and "100234" not in page.text and CLIENT_SECRET not in page.text
    assert "http://" not in page.text and "https://" not in page.text
    assert "GET /" not in [f"{entry.method} {entry.target}" for entry in sandbox.log]


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.0.1", "::", "example.org"])
def test_only_loopback_is_served(host):
    with Sandbox() as sandbox, pytest.raises(ValueError), running(sandbox, host=host):
        pass


def test_state_log_and_tokens_outlive_a_restart_from_the_same_file(tmp_path):
    with Sandbox(tmp_path / "s") as sandbox, running(sandbox) as base, authorised(base) as client:
        client.put(f"{MEMBERS}/1")
        header = client.headers["Authorization"]
    with Sandbox(tmp_path / "s") as sandbox, running(sandbox) as base:
        assert sandbox.kognitiv.members() == {"1"}
        assert len(sandbox.log) == 2
        assert httpx.put(f"{base}{MEMBERS}/2", headers={"Authorization": header}).is_success


def test_a_killed_process_loses_nothing_that_it_answered(process):
    sandbox, base = process()
    with authorised(base) as client:
        for member in range(20):
            assert client.put(f"{MEMBERS}/{member}").is_success
    sandbox.send_signal(signal.SIGKILL)
    sandbox.wait()
    _, base = process()
    state = httpx.get(f"{base}/_sandbox/state").json()
    assert len(state["kognitiv"]["groups"][0]["members"]) == 20
    assert len(httpx.get(f"{base}/_sandbox/log").json()) == 21


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_that_is_told_to_stop_ends_cleanly_and_has_said_one_line(process, tmp_path, number):
    faults = tmp_path / "faults.json"
    faults.write_text(json.dumps({"seed": 3, "faults": [{"kind": "status", "status": 418, "method": "DELETE"}]}))
    sandbox, base = process("--port", "0", "--faults", str(faults))
    with authorised(base) as client:
        assert client.delete(f"{MEMBERS}/1").status_code == 418
    sandbox.send_signal(number)
    out, err = sandbox.communicate(timeout=10)
    assert (sandbox.returncode, out, err) == (0, "", "")


def test_a_second_process_on_the_same_state_is_refused(process, tmp_path):
    process()
    second, ready = process()
    _, err = second.communicate(timeout=15)
    assert ready is None and second.returncode == 1 and "cannot open the sandbox's state" in err
