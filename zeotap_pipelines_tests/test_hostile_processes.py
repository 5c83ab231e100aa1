"""A disk that is full, a state that can't be written, a budget that many processes share: real processes."""

import os
import shutil
import signal
import socket
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from zeotap_pipelines.sandbox import Sandbox, running
from zeotap_pipelines_tests.processes import Nursery, nursery
from zeotap_pipelines_tests.test_processes import Site

PEOPLE = {str(number) for number in range(100, 140)}


@pytest.fixture(scope="module")
def workers() -> Iterator[Nursery]:
    with nursery() as started:
        yield started


@pytest.fixture
def site(workers: Nursery) -> Iterator[Site]:
    # Not below pytest's own folder, which only its owner may look into.
    folder = Path(tempfile.mkdtemp(prefix="hostile-"))
    folder.chmod(0o755)
    try:
        with Sandbox() as sandbox, running(sandbox) as address:
            yield Site(folder, address, sandbox, workers)
    finally:
        shutil.rmtree(folder)


def ended(site: Site, number: int, **more) -> dict:
    """How a run ended: always by itself, and never by an error that nobody foresaw."""
    code, result = site.workers.wait(site.start(number, **more))
    assert code == 0, result
    assert result is not None
    return result


def test_wherever_the_disk_is_full_the_run_ends_in_a_sentence_and_nothing_is_lost(site: Site) -> None:
    """No file may grow beyond a limit that grows from run to run: snapshot, plan, journal, ledger, outcomes."""
    failures = Counter()
    limit = 16
    while True:
        result = ended(site, 0, take=sorted(PEOPLE), largest=limit)
        if result.get("complete"):
            break
        assert "can't be " in result["said"], result
        assert "\n" not in result["said"]
        failures[result["said"].partition(" can't be ")[0].rpartition("/")[2]] += 1
        limit = int(limit * 2.2)
    assert len(failures) >= 3, failures
    assert site.sandbox.kognitiv.members() == PEOPLE
    assert site.told() == {(who, "in", False) for who in PEOPLE}
    assert site.run(0)["asked"] == 0
    assert not list(site.state.root.rglob("*.tmp"))


@pytest.mark.skipif(os.name != "posix", reason="there are no permissions to take away")
def test_a_state_that_can_not_be_written_is_named_before_anything_is_sent(site: Site) -> None:
    site.take(PEOPLE, 0)
    assert site.run(0)["complete"]
    site.take(PEOPLE | {"1"}, 1)
    asked = len(site.changes)
    for path in (site.state.root, *site.state.root.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    for take in (None, sorted(PEOPLE)):
        result = ended(site, 1, take=take, nobody=True)
        assert result["error"] == "RepairState", result
        assert str(site.state.root) in result["said"]
        assert "\n" not in result["said"]
    assert len(site.changes) == asked
    for path in (site.state.root, *site.state.root.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    assert site.run(1)["complete"]
    assert site.sandbox.kognitiv.members() == PEOPLE | {"1"}


def test_processes_that_share_a_budget_never_exceed_it_and_deliver_everything_once_in_some_days(site: Site) -> None:
    """Several start at the same moment every day, and one of them is killed."""
    wanted = {str(number) for number in range(100)}
    site.take(wanted, 0)
    per_day = []
    for days in range(6):
        before = len(requests(site))
        together = [site.start(0, per_day=40, days=days, concurrency=2) for _ in range(3)]
        if days % 2:
            os.kill(together[0], signal.SIGKILL)
        results = [result for code, result in map(site.workers.wait, together) if code == 0]
        per_day.append(len(requests(site)) - before)
        if any(result["complete"] for result in results):
            break
        assert any("the day's budget of 40 calls is used up" in result["said"] for result in results), results
    assert max(per_day) <= 40
    assert len(per_day) >= 3
    assert site.sandbox.kognitiv.members() == wanted
    assert site.run(0, per_day=40, days=days + 1)["asked"] == 0
    assert max(Counter(site.changes).values()) <= 2, "only who was asked when a process was killed is asked again"


def requests(site: Site) -> list[str]:
    return [entry.target for entry in site.sandbox.log if "/Auth/" not in entry.target]


def test_a_proxy_that_the_environment_names_sees_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy, Sandbox() as sandbox, running(sandbox) as address:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}")
            monkeypatch.setenv(name.upper(), f"http://127.0.0.1:{proxy.getsockname()[1]}")
            monkeypatch.delenv("no_proxy", raising=False)
            monkeypatch.delenv("NO_PROXY", raising=False)
        with nursery() as workers:
            site = Site(tmp_path, address, sandbox, workers)
            site.take(PEOPLE, 0)
            assert site.run(0)["complete"]
        assert sandbox.kognitiv.members() == PEOPLE
        proxy.setblocking(False)
        with pytest.raises(BlockingIOError):
            proxy.accept()
