"""Dagster's own commands on declarations: a mistake is found with file and line, whatever kind it is of."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from zeotap_pipelines_tests.project import Project, environment
from zeotap_pipelines_tests.test_declarations import DEFINITIONS, MISTAKES

pytestmark = pytest.mark.slow

BY_SCHEMA = {
    "a misspelt attribute",
    "a missing attribute",
    "a mode that the target lacks",
    "a guard that does not exist",
    "a number for the guards",
    "a name that is none",
    "a secret instead of a variable",
    "a cadence that is none",
}
"""What `dg check yaml` finds, which looks at one document at a time, and `dg check defs` repeats."""

BY_LOADING = {
    "an unknown audience",
    "an unknown connection",
    "an unknown source",
    "a text for a list",
    "a text for a number",
    "a number out of range",
    "an unmapped identity",
    "a field that the target lacks",
    "two origins of one field",
    "an unknown mapping setting",
    "a date format of another kind",
    "a guard of the wrong type",
    "a guard out of range",
    "an unset variable",
    "a start that is no date",
    "an unknown time zone",
    "a time that never comes",
    "a watch of nothing",
    "an owner who is nobody",
    "a key given twice",
}
"""What only `dg check defs` finds."""


class Checker:
    """One process that is told which project to check: what Dagster takes to start is paid once."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self._process, self._folder = process, folder

    def __call__(self, *commands: str, mistake: str | None = None) -> dict[str, tuple[int, str]]:
        """Return the status and the text of the commands on a project with a *mistake*."""
        root = self._folder / (mistake or "right")
        root.mkdir()
        project = Project(root)
        (project.package / "definitions.py").write_text(DEFINITIONS)
        if mistake:
            document, right, wrong, *_ = MISTAKES[mistake]
            project.change(document, (right, wrong))
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps([str(root), commands]) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return {command: (status, said) for command, (status, said) in answer.items()}


@pytest.fixture(scope="module")
def check(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checker]:
    home = tmp_path_factory.mktemp("dg")
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    apart = {"DAGSTER_HOME": str(home), "DAGSTER_DISABLE_TELEMETRY": "1", "VIRTUAL_ENV": sys.prefix, "COLUMNS": "400"}
    leads = {**os.environ, **environment("http://127.0.0.1:1", home / "state"), **apart}
    command = [sys.executable, "-m", "zeotap_pipelines_tests.checking"]
    with subprocess.Popen(
        command, env=leads, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        yield Checker(process, home)
        assert process.stdin is not None
        process.stdin.close()


def test_what_is_right_passes_both(check: Checker) -> None:
    found = check("yaml", "defs")
    assert {command: status for command, (status, _) in found.items()} == {"yaml": 0, "defs": 0}, found


def test_there_are_enough_kinds() -> None:
    assert len(BY_SCHEMA | BY_LOADING) >= 20 and MISTAKES.keys() >= BY_SCHEMA | BY_LOADING


@pytest.mark.parametrize("mistake", sorted(BY_SCHEMA | BY_LOADING))
def test_dg_check_says_file_and_line_of_a_mistake(check: Checker, mistake: str) -> None:
    document, _, _, line, says = MISTAKES[mistake]
    found = check("yaml", "defs", mistake=mistake)
    place = f"defs/{document}/defs.yaml:{line}"
    for command in ("yaml", "defs") if mistake in BY_SCHEMA else ("defs",):
        status, said = found[command]
        assert status == 1 and place in said, said
    if mistake in BY_LOADING:
        assert found["yaml"][0] == 0 and says in found["defs"][1], found
