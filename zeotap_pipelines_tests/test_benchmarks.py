"""The benchmarks run, and what they break is there; what they measure is nobody's business here."""

import ast
import importlib
import json
import subprocess
import sys
from importlib.util import resolve_name
from pathlib import Path

import pytest

from benchmarks.figures import FIGURES
from benchmarks.mutants import MUTANTS, Mutant
from benchmarks.peers.__main__ import CONTENDERS

ROOT = Path(__file__).resolve().parents[1]
FIELDS = {"figure", "contender", "n", "seconds", "cpu_seconds", "peak_mb", "ratio", "goal", "met"}


def test_every_contender_of_ours_does_its_work(tmp_path: Path) -> None:
    for figure in FIGURES:
        size = "10000" if figure.unit == "rows" else "50"
        command = [sys.executable, "-m", "benchmarks", figure.name, "--size", size, "--runs", "1", "--ours"]
        subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "PATH": ""}, check=True)
    report = json.loads((tmp_path / "artefacts" / "benchmarks.json").read_text())
    assert report["machine"]["cpus"] > 0
    assert {row["figure"] for row in report["results"]} == {figure.name for figure in FIGURES}
    for row in report["results"]:
        assert row.keys() >= FIELDS, row
        assert (row["cpu_seconds"] is None) == ("missing" in row), row
        assert row["met"] is None or row["goal"], row


MODULES = sorted(
    ".".join(file.relative_to(ROOT).with_suffix("").parts)
    for file in (ROOT / "benchmarks").rglob("*.py")
    if file.name != "__init__.py"
)
ELSEWHERE = {
    "benchmarks.generic.positions",
    *(f"benchmarks.peers.{contender.program}" for contender in CONTENDERS if contender.packages),
    *(one.work.partition(":")[0] for figure in FIGURES for one in figure.contenders if one.packages),
}
"""Modules that run in environments of their own, with packages that need not be here."""


@pytest.mark.parametrize("name", MODULES)
def test_every_module_of_the_benchmarks_finds_what_it_imports(name: str) -> None:
    """Nothing else imports most of them: what they need may be renamed, and only `make` would tell."""
    tree = ast.parse((ROOT / name.replace(".", "/")).with_suffix(".py").read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            origin = resolve_name("." * node.level + (node.module or ""), name.rpartition(".")[0])
            if origin.partition(".")[0] in ("benchmarks", "zeotap_pipelines"):
                found = importlib.import_module(origin)
                for one in node.names:
                    assert hasattr(found, one.name) or importlib.import_module(f"{origin}.{one.name}")
    if name not in ELSEWHERE:
        importlib.import_module(name)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_mutant_finds_the_text_that_it_breaks_and_tests_that_may_catch_it(mutant: Mutant) -> None:
    text = (ROOT / "zeotap_pipelines" / mutant.file).read_text(encoding="utf-8")
    assert text.count(mutant.old) == 1
    assert mutant.new != mutant.old
    for name in mutant.tests.split():
        module = f"{name}.py" if "/" in name else f"test_{name}.py"
        assert (ROOT / "zeotap_pipelines_tests" / module).exists()
