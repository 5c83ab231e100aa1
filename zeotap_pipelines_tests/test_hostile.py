"""Surroundings that mean no good: each ends in a clear sentence, with nothing lost."""

import dataclasses
import json
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from zeotap_pipelines.delivery.trip import Approval
from zeotap_pipelines.destinations.auth import ClientCredentials
from zeotap_pipelines.destinations.base import Limits
from zeotap_pipelines.errors import (
    ApprovePlan,
    ContinueLater,
    FixConnection,
    MakePlanAgain,
    RepairState,
    TryAgainLater,
    ZeotapError,
)
from zeotap_pipelines.model import Fate
from zeotap_pipelines.sandbox import Fault
from zeotap_pipelines.sync import Guards
from zeotap_pipelines.wire.limits import DAYS
from zeotap_pipelines_tests.searching import TOKENS
from zeotap_pipelines_tests.specimens import MAIN, Example
from zeotap_pipelines_tests.test_limits import Account
from zeotap_pipelines_tests.world import World, day, kognitiv

WRONG = json.dumps({"error": "something went wrong", "errors": ["something went wrong"], "success": False})
ANSWERS = {
    "200 with an error body": Fault(kind="status", status=200, body=WRONG),
    "200 with a page of HTML": Fault(kind="html", status=200),
    "a body that breaks off": Fault(kind="malformed"),
    "a gigantic body": Fault(kind="huge", size=5_000_000),
    "a body nested without end": Fault(kind="status", status=200, body="[" * 100_000),
    "an error nested without end": Fault(kind="status", status=400, body='{"error":' * 50_000),
    "a body byte by byte": Fault(kind="drip", seconds=7),
    "a redirect to another host": Fault(kind="status", status=302, headers=(("location", "https://evil.test/"),)),
    "401 for ever": Fault(kind="status", status=401),
}


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("example", MAIN, ids=lambda one: one.name)
def test_a_service_that_answers_what_no_contract_knows_loses_and_doubles_nobody(
    tmp_path: Path, example: Example, answer: str
) -> None:
    world = World(tmp_path, example)
    world.deliver(["ann", "bob"])
    world.sandbox.faults.add(dataclasses.replace(ANSWERS[answer], path=example.asks))
    wanted = ["ann", "cid"]
    try:
        summary = world.deliver(wanted, day(1))
        says = [str(summary.error or ""), *(reason for _, reason in summary.reasons)]
        assert summary.complete or any(says), "what is not done is said"
        assert not any("\n" in sentence for sentence in says)
    except ZeotapError as error:
        assert str(error) and "\n" not in str(error)
    world.sandbox.faults.clear()
    world.clock.pass_(86_400)
    world.deliver(wanted, day(2))
    if example.target.event:  # Whoever is in doubt is left to a person, and is not credited twice.
        doubtful = {value for value, state in world.told() if state == "doubt"}
        assert example.ends([["ann", "bob"], wanted]) - world.held <= doubtful
    else:
        assert world.held == example.ends([["ann", "bob"], wanted, wanted])
    assert not example.doubled(world.sandbox)
    assert not world.sandbox.violations


@pytest.mark.parametrize("example", [one for one in MAIN if isinstance(one.connection.auth(), ClientCredentials)][:3])
@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Fault(kind="status", status=503), "in trouble, not the credentials"),
        (Fault(kind="reset_before"), "the connection broke before the answer came"),
        (Fault(kind="malformed"), "answers without an access_token"),
        (Fault(kind="status", status=302, headers=(("location", "https://evil.test/"),)), "redirect"),
        (Fault(kind="cut"), "the connection broke before the answer came"),
        (Fault(kind="huge", size=5_000_000), "answers without an access_token"),
        (Fault(kind="status", status=200, body="[" * 100_000), "answers without an access_token"),
        (Fault(kind="status", status=401, body='{"error":' * 50_000), "the credentials are refused (HTTP 401)"),
    ],
)
def test_while_no_token_can_be_had_nothing_is_asked_and_the_sentence_says_why(
    tmp_path: Path, example: Example, fault: Fault, says: str
) -> None:
    world = World(tmp_path, example)
    world.sandbox.faults.add(dataclasses.replace(fault, path=TOKENS))
    try:
        said = str(world.deliver(["ann"]).error)
    except FixConnection as error:
        said = str(error)
    assert says in said
    assert world.asked == []
    assert world.told() == []
    world.sandbox.faults.clear()
    assert world.carry_out().complete


@contextmanager
def listening(certificate_for: str | None = None, folder: Path | None = None) -> Iterator[str]:
    """A host on loopback that answers 500 to everything; over TLS with a certificate that nobody signed, if named."""

    class Answering(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(500)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answering) as server:
        if certificate_for:
            assert folder
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self_signed(certificate_for, folder))
            server.socket = context.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"{'https' if certificate_for else 'http'}://127.0.0.1:{server.server_port}"
        server.shutdown()


def self_signed(name: str, folder: Path) -> Path:
    key, subject = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = folder / "certificate.pem"
    file.write_bytes(private + made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    return file


def test_a_certificate_that_nobody_vouches_for_is_named_and_gets_no_credentials(tmp_path: Path) -> None:
    world = World(tmp_path)
    with listening("evil.test", tmp_path) as address:
        world.connection = kognitiv(base_url=address, retries=0)
        summary = world.deliver(["1"], trip=world.trip(transport=None))
    assert isinstance(summary.error, TryAgainLater)
    assert "can't be asked: the host's certificate is not valid for it" in str(summary.error)
    assert world.told() == []


def test_a_host_that_speaks_no_tls_is_said_so(tmp_path: Path) -> None:
    world = World(tmp_path)
    with listening() as address:
        world.connection = kognitiv(base_url=address.replace("http", "https"), retries=0)
        summary = world.deliver(["1"], trip=world.trip(transport=None))
    assert "can't be asked: the host speaks no TLS that can be agreed on" in str(summary.error)


def test_a_clock_that_was_years_ahead_holds_nobody_up_when_it_is_right_again(tmp_path: Path) -> None:
    account = Account(tmp_path, Limits(per_day=40))
    account.clock.jump(timedelta(days=700))
    account.run(40)
    account.clock.jump(-timedelta(days=700))
    assert account.run(40) == 40
    account.clock.jump(timedelta(days=DAYS - 1))
    account.run(40)
    account.clock.jump(-timedelta(days=DAYS - 1))
    assert account.run(1) == 0, "a few days ahead may have been today"


def test_a_pause_that_a_wrong_clock_wrote_down_ends(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.clock.jump(timedelta(days=700))
    world.sandbox.faults.add(Fault(kind="status", status=429, path="/members/", retry_after=600, nth=1))
    assert isinstance(world.deliver(["1"]).error, ContinueLater)
    world.clock.jump(-timedelta(days=700))
    assert world.carry_out().complete


MANY = [str(number) for number in range(10)]


@pytest.mark.parametrize("beneath", ["the snapshot", "the operations", "the mapping", "the group", "another delivery"])
def test_an_approved_plan_that_changed_underneath_is_refused_and_says_why(tmp_path: Path, beneath: str) -> None:
    world = World(tmp_path, guards=Guards())
    world.deliver(MANY)
    world.take(MANY[:4], day(1))
    plan = world.plan(day(1))
    approval = Approval(plan.id, "ada", "it is right")
    sent = len(world.asked)
    match beneath:
        case "the snapshot":
            world.take(MANY[:3], day(1))
        case "the operations":
            swap(plan.file(world.state))
        case "the mapping":
            world.renamed(guards=Guards(max_removed=1))
        case "the group":
            world.renamed(name="other")
            world.deliver([*MANY, "new"], day(1))
            sent += 1
            world.take(MANY[:4], day(1), run="again")
            world.renamed(name="sync")
        case _:
            world.deliver([*MANY, "new"], day(1))
            sent += 1
            world.take(MANY[:4], day(1), run="again")
    with pytest.raises((MakePlanAgain, RepairState, ApprovePlan), match=r"make it again|look at it") as refused:
        world.carry_out(day(1), approval=approval)
    assert plan.id in str(refused.value)
    assert len(world.asked) == sent
    again = world.plan(day(1))
    assert world.carry_out(day(1), approval=Approval(again.id, "ada", "now it is")).complete


def swap(operations: Path) -> None:
    """Let the file name somebody else, as many as before."""
    query = f"COPY (SELECT * REPLACE (replace(body, '9', '8') AS body) FROM '{operations}') TO '{operations}.new'"
    run = f"import duckdb; duckdb.sql({query + ' (FORMAT parquet)'!r})"
    subprocess.run([sys.executable, "-c", run], check=True)
    Path(f"{operations}.new").replace(operations)


def test_a_snapshot_that_was_replaced_after_the_diff_is_what_is_delivered(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.take(MANY)
    world.plan()
    world.take(MANY[:3])
    summary = world.carry_out()
    assert summary.fates == {Fate.ACCEPTED: 3}
    assert world.held == set(MANY[:3])
