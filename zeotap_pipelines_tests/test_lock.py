"""One speaker per account: who holds the lock, how long one waits for it, and what is said of it."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from zeotap_pipelines.errors import RepairState, WaitForAccount
from zeotap_pipelines.ledger.lock import may_speak, speaking


class Waiting:
    """A clock that sleeping winds; *then* is what happens while somebody sleeps for the nth time."""

    def __init__(self) -> None:
        self.now, self.slept, self.then = 100.0, [], {}

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        self.then.get(len(self.slept), lambda: None)()

    def speaking(self, account: Path, **options):
        return speaking(account, run="late", sync="waits", monotonic=self.monotonic, sleep=self.sleep, **options)


@pytest.fixture
def account(tmp_path: Path) -> Path:
    return tmp_path / "accounts" / "a"


@contextmanager
def held(account: Path, run: str = "m", sync: str = "holds") -> Iterator[None]:
    with speaking(account, run=run, sync=sync, wait=0.0):
        yield


def said(account: Path) -> dict:
    return json.loads((account / "account.lock").read_text())


def test_whoever_holds_it_is_named_and_nobody_else_may_speak(account: Path) -> None:
    assert not may_speak(account, "m"), "nobody has ever spoken"
    with held(account):
        assert said(account) == {"run": "m", "sync": "holds", "pid": os.getpid()}
        assert may_speak(account, "m")
        assert not may_speak(account, "a")
        assert not may_speak(account, "z")
    assert not may_speak(account, "m"), "what the file says is over"
    with held(account, run="a run with a longer name"):
        pass
    with held(account, run="r"):
        assert said(account)["run"] == "r", "nothing of an earlier holder is left"
    assert (account / "account.lock").stat().st_mode & 0o777 == 0o600


def test_who_looks_keeps_nobody_from_speaking_and_nobody_from_looking(account: Path) -> None:
    with held(account):
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            assert may_speak(account, "m")
        assert len(os.listdir("/proc/self/fd")) == before
    with held(account):
        pass


@pytest.mark.parametrize("content", ["", "{", "[]", "3"])
def test_a_holder_who_has_not_said_who_he_is_may_be_anybody(account: Path, content: str) -> None:
    with held(account):
        (account / "account.lock").write_text(content)
        assert may_speak(account, "a")
        assert may_speak(account, "z")


def test_one_waits_as_long_as_one_is_told_and_is_told_for_whom(account: Path) -> None:
    waiting = Waiting()
    with held(account), pytest.raises(WaitForAccount) as refused, waiting.speaking(account, wait=0.25):
        pytest.fail("two speak at once")
    assert str(refused.value) == (
        f"sync holds (run m, process {os.getpid()}) speaks to this account; waited 0.25 s for it to end"
    )
    assert waiting.slept == [0.1, 0.1, 0.1]
    with held(account), pytest.raises(WaitForAccount), waiting.speaking(account, wait=0.0):
        pytest.fail("two speak at once")
    assert len(waiting.slept) == 3, "who is not to wait doesn't"


def test_one_waits_for_ten_minutes_where_nothing_is_said(account: Path) -> None:
    waiting = Waiting()
    with held(account), pytest.raises(WaitForAccount, match="waited 600 s"), waiting.speaking(account):
        pytest.fail("two speak at once")
    assert 5_999 <= len(waiting.slept) <= 6_001


def test_one_speaks_as_soon_as_it_is_free(account: Path) -> None:
    waiting, holder = Waiting(), held(account)
    holder.__enter__()
    waiting.then[4] = lambda: holder.__exit__(None, None, None)
    with waiting.speaking(account, wait=60.0):
        assert may_speak(account, "late")
    assert len(waiting.slept) == 4


@pytest.mark.parametrize("content", ["", "{", "[]", '"run"', '{"run": "m"}', '{"run": "m", "sync": "s"}', None])
def test_a_holder_who_does_not_say_who_he_is_is_another_run(account: Path, content: str | None) -> None:
    lock = account / "account.lock"
    with held(account):
        if content is None:
            lock.write_bytes(b"\xff")
        else:
            lock.write_text(content)
        with pytest.raises(WaitForAccount, match=r"^another run speaks to this account; waited 0 s"), held(account):
            pytest.fail("two speak at once")


def test_what_fails_while_it_is_held_lets_it_go(account: Path) -> None:
    with pytest.raises(ZeroDivisionError), held(account):
        raise ZeroDivisionError
    with held(account):
        pass


def test_a_lock_that_can_not_be_made_is_said_so(account: Path) -> None:
    (account / "account.lock").mkdir(parents=True)
    with pytest.raises(RepairState, match=r"account\.lock can't be written: Is a directory"), held(account):
        pytest.fail("nobody has a lock")
