"""
Judges: processes that have imported what tests need, and fork to run the tests of a broken tree.

    with judge() as ask:
        said = ask(tree, ["zeotap_pipelines_tests/test_owed.py"], seconds=600)

Run as a program it is such a process. It imports nothing of this project: each fork takes that from its tree.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import queue
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

Case = TypeVar("Case")

NEEDED = ("pytest", "hypothesis", "duckdb", "pyarrow.parquet", "httpx", "tenacity", "pydantic", "dagster")
"""What most tests import, and what starts no thread by being imported."""

Ask = Callable[[Path, Sequence[str], float], str]


@contextlib.contextmanager
def judge() -> Iterator[Ask]:
    """
    Start a judge, and yield what asks it.

    It returns the first test that fails in a tree, given what pytest is given, or that one hangs, or nothing.
    One thread at a time may ask.
    """
    command = [sys.executable, "-P", __file__]
    with (
        tempfile.TemporaryDirectory(prefix="judge-") as folder,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process,
    ):
        assert process.stdin and process.stdout
        asking, answering = process.stdin, process.stdout

        def ask(tree: Path, arguments: Sequence[str], seconds: float) -> str:
            out = Path(folder) / "said"
            case = {"tree": str(tree), "arguments": arguments, "seconds": seconds, "out": str(out)}
            asking.write(json.dumps(case) + "\n")
            asking.flush()
            status = json.loads(answering.readline())
            return _verdict(status, out.read_text(encoding="utf-8", errors="replace"))

        yield ask
        asking.close()


def in_turn(cases: Sequence[Case], say: Callable[[Case, Ask], str], at_once: int) -> list[str]:
    """Return what *say* returns of each of *cases*, so many at once, each with a judge that nobody else asks then."""
    free: queue.Queue[Ask] = queue.Queue()

    def one(case: Case) -> str:
        ask = free.get()
        try:
            return say(case, ask)
        finally:
            free.put(ask)

    with contextlib.ExitStack() as stack:
        for _ in range(at_once):
            free.put(stack.enter_context(judge()))
        with ThreadPoolExecutor(at_once) as pool:
            return list(pool.map(one, cases))


def _verdict(status: int | None, said: str) -> str:
    if status is None:
        return "a test hangs"
    if status in (0, 5):  # All passed; or all were deselected.
        return ""
    found = re.search(r"^(?:FAILED|ERROR) (\S+)", said, re.MULTILINE)
    return found.group(1).rpartition("::")[2] if found else "the tests do not start"


def _serve() -> None:
    for name in NEEDED:
        importlib.import_module(name)
    for line in sys.stdin:
        case = json.loads(line)
        child = os.fork()
        if child == 0:
            _play(case)
        print(json.dumps(_ended(child, case["seconds"])), flush=True)


def _play(case: dict[str, object]) -> None:
    """Run the tests of *case* in this process, and end it."""
    import pytest

    code = 3
    try:
        os.setsid()  # What hangs is killed with all that it started.
        out = os.open(str(case["out"]), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for number, to in ((0, os.open(os.devnull, os.O_RDONLY)), (1, out), (2, out)):
            os.dup2(to, number)
        tree = str(case["tree"])
        os.chdir(tree)
        sys.path.insert(0, tree)
        os.environ |= {"PYTHONPATH": tree, "PYTHONDONTWRITEBYTECODE": "1"}
        sys.dont_write_bytecode = True
        arguments = case["arguments"]
        assert isinstance(arguments, list)
        code = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *arguments]))
        sys.stdout.flush()
    finally:
        os._exit(code)


def _ended(child: int, seconds: float) -> int | None:
    """Wait for *child* and return its status; kill it after *seconds*, and return None."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


if __name__ == "__main__":
    _serve()
