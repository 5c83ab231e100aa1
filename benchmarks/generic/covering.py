"""
Which tests run which line: a plugin of pytest's, played under coverage in the tests' own interpreter.

    COVERING=FILE python -m coverage run --rcfile RC -m pytest -p benchmarks.generic.covering ...

Writes to FILE, as JSON, the seconds of every test, and for every file of the package its lines with
the tests that ran them. What a test's own processes run is not seen.
"""

from __future__ import annotations

import _thread
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import coverage
import pytest

import zeotap_pipelines

SECONDS: dict[str, float] = {}

_start = _thread.start_new_thread


def _start_traced(function: Callable[..., Any], arguments: tuple[Any, ...]) -> int:
    """Start a thread that is traced: coverage sees to those of threading's only, and the core has one without."""

    def traced() -> None:
        sys.settrace(threading.gettrace())
        function(*arguments)

    return _start(traced, ())


def pytest_configure() -> None:
    """Let every thread be traced."""
    _thread.start_new_thread = _start_traced  # type: ignore[assignment]


def _in_the_package(path: str) -> str:
    return Path(path).relative_to(Path(zeotap_pipelines.__file__).parent).as_posix()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """Count what is run from here on as run by *item*, and its seconds."""
    current = coverage.Coverage.current()
    assert current is not None, "coverage does not run"
    current.switch_context(item.nodeid)
    began = time.perf_counter()
    try:
        return (yield)
    finally:
        SECONDS[item.nodeid] = round(time.perf_counter() - began, 3)
        current.switch_context("")


def pytest_unconfigure() -> None:
    """Write down what was seen."""
    current = coverage.Coverage.current()
    assert current is not None, "coverage does not run"
    data = current.get_data()
    lines = {}
    for path in data.measured_files():
        by_line = data.contexts_by_lineno(path).items()
        lines[_in_the_package(path)] = {line: sorted(filter(None, tests)) for line, tests in by_line}
    Path(os.environ["COVERING"]).write_text(json.dumps({"seconds": SECONDS, "lines": lines}), encoding="utf-8")
