"""A project of somebody else's, which only has the package installed, works the same."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from zeotap_pipelines.sandbox import Sandbox
from zeotap_pipelines_tests.project import DAYS, DOCUMENTS, Project, asked, members

README = Path(__file__).resolve().parents[1] / "README.md"
ONE, TWO, *_ = DAYS


@pytest.fixture
def others(project: Project, tmp_path: Path) -> Project:
    """The project with what its owner writes besides `defs/`: README's pyproject.toml and definitions.py."""
    [settings] = re.findall(r"```toml\n(.*?)```", README.read_text(), flags=re.S)
    named = f'[project]\nname = "{project.module}"\nversion = "1"\n'
    (project.root / "pyproject.toml").write_text(named + settings.replace("yours", project.module))
    [shown] = re.findall(r"```python\n(import dagster as dg\n.*?)```", README.read_text(), flags=re.S)
    (project.package / "definitions.py").write_text(shown)
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    return project


def command(project: Project, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one of the environment's commands in the project, which knows nothing of the package's checkout."""
    environment = {**os.environ, "DAGSTER_HOME": str(project.root / "home"), "VIRTUAL_ENV": sys.prefix}
    environment["PYTHONPATH"] = str(project.root)  # As if it were installed.
    program = str(Path(sys.executable).with_name(arguments[0]))
    return subprocess.run(
        [program, *arguments[1:]], cwd=project.root, env=environment, capture_output=True, text=True, check=False
    )


def test_a_second_project_is_checked_and_delivers_from_the_command_line(others: Project, group: Sandbox) -> None:
    others.seen({ONE: ["1", "2"], TWO: ["2", "3"]})
    checked = command(others, "dg", "check", "defs")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    launch = ("dagster", "asset", "materialize", "-m", f"{others.module}.definitions", "--select", "*")
    launched = command(others, *launch, "--partition", ONE)
    assert launched.returncode == 0, launched.stderr
    assert members(group) == {"1", "2"}
    assert others.run(day=TWO).green() == [TWO]
    assert asked(group) == ["DELETE 1", "PUT 1", "PUT 2", "PUT 3"]


def test_a_second_project_holds_what_its_own_documents_declare_and_nothing_else(project: Project) -> None:
    specs = project.load().resolve_all_asset_specs()
    assert {str(spec.metadata["declared"]).split("/")[0] for spec in specs} == {project.module}
    assert {spec.key.to_user_string() for spec in specs} == {
        "snapshots/people",
        "diffs/people_to_group",
        "syncs/people_to_group",
    }
    assert set(project.load().resources or {}) == {name for name in DOCUMENTS if not name.startswith("people")}
