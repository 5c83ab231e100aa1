"""The demonstration is a real process, and survives what real ones do not."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from zeotap_pipelines.sandbox import Sandbox

CHECKOUT = Path(__file__).resolve().parents[1]
SHORT = ("--start", "1997-01-05", "--days", "1", "--backfill", "2", "--purchases", "1")
ACTIVE = ["--start", "1997-01-05", "--days", "1", "--backfill", "2", "--purchases", "0"]


class Demo:
    """A folder to play in, with the instance's settings that the checkout has: pools hold there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copyfile(CHECKOUT / "dagster.yaml", folder / "dagster.yaml")
        self.place = folder / "data" / "state" / "demo"

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "zeotap_pipelines.cli", "demo", *arguments]
        given = {**os.environ, **environment}
        return subprocess.Popen(
            command, cwd=self.folder, env=given, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def play(self, *arguments: str, **environment: str) -> tuple[int, str]:
        process = self.start(*arguments, **environment)
        said, _ = process.communicate(timeout=300)
        return process.returncode, said

    def sandbox(self) -> Sandbox:
        return Sandbox(self.place / "sandbox" / "sandbox.sqlite3")

    def lose_the_sandbox(self) -> None:
        for file in (self.place / "sandbox").iterdir():
            file.unlink()

    def requests(self, method: str) -> int:
        with self.sandbox() as sandbox:
            return len(sandbox.requests("kognitiv", method=method))


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    yield Demo(tmp_path)


def test_all_four_services_end_up_with_what_the_purchases_say_however_often_it_is_played(demo: Demo) -> None:
    for _ in range(2):
        status, said = demo.play(*SHORT)
        assert status == 0, said
        assert "Every service holds what the purchases say." in said
        assert "saved" in said
        assert len(re.findall(r"^\w.* +\d[\d,]* +0 +0$", said, flags=re.M)) == 7  # targets, none too many, none missing
    demo.lose_the_sandbox()
    status, said = demo.play(*SHORT)
    assert status == 0, said
    assert "no credit is given again" in said
    with demo.sandbox() as sandbox:
        routes = {entry.route for entry in sandbox.requests("crowdtwist", method="POST")}
    assert routes == {"/v2/users"}  # Profiles are told again.


def test_a_sandbox_that_lost_its_state_is_told_again(demo: Demo) -> None:
    assert demo.play(*ACTIVE)[0] == 0
    demo.lose_the_sandbox()
    status, said = demo.play(*ACTIVE)
    assert status == 0, said
    assert "told again" in said
    assert "saved" not in said  # Telling everything again is no backfill to compare.
    assert demo.requests("PUT") > 0
    assert demo.requests("DELETE") == 0  # Who had left was never put into the new one.


def test_a_finished_one_can_be_gone_on_with_and_finds_what_somebody_else_wrote(demo: Demo) -> None:
    assert demo.play(*ACTIVE)[0] == 0
    status, said = demo.play(*ACTIVE, KEEP="1")
    assert status == 0, said
    assert "1997-01-08" in said  # The day after the last one.
    with demo.sandbox() as sandbox:
        sandbox.kognitiv.put_members("ACTIVE-90D", "999999")
    status, said = demo.play(*ACTIVE, KEEP="1")
    assert status == 1
    assert "WRONG: 1 differences" in said


def test_one_that_was_killed_in_mid_delivery_is_completed_by_the_next(demo: Demo) -> None:
    killed = demo.start(*ACTIVE)
    assert killed.stdout is not None
    base = killed.stdout.readline().split()[-1]
    while _written(base) < 300:
        assert killed.poll() is None
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    status, said = demo.play(*ACTIVE)
    assert status == 0, said
    assert "an unfinished demonstration is completed" in said
    assert "saved" not in said  # The killed one had sent a part.


def _written(base: str) -> int:
    """The members that the sandbox at *base* was told of so far."""
    routes = httpx.get(f"{base}/_sandbox/stats", timeout=30).json()["kognitiv"]["routes"]
    return sum(count for route, count in routes.items() if route.startswith("PUT"))
