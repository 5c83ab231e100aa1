"""The benchmarks run, and what they break is there; what they measure is nobody's business here but the documents'."""

from __future__ import annotations

import ast
import importlib
import json
import re
import subprocess
import sys
from importlib.util import resolve_name
from pathlib import Path
from typing import Any

import pytest

from benchmarks import document
from benchmarks.figure import Contender, Figure
from benchmarks.figures import FIGURES
from benchmarks.generic import __main__ as generic
from benchmarks.goal import CPU, Goal, judged
from benchmarks.judging import judge
from benchmarks.mutants import MUTANTS, Mutant
from benchmarks.peers.__main__ import CONTENDERS
from benchmarks.report import verdicts
from benchmarks.running import run

ROOT = Path(__file__).resolve().parents[1]
FIELDS = {"figure", "contender", "n", "runs", "load", "seconds", "cpu_seconds", "peak_mb", "ratio"}
STORED: dict[str, Any] = json.loads((ROOT / document.STORED).read_text(encoding="utf-8"))


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.name)
def test_every_contender_of_ours_does_its_work(figure: Figure, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", figure.name, "--smoke"]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "", "TMPDIR": str(tmp_path)}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    report = json.loads((tmp_path / "artefacts" / "benchmarks.json").read_text())
    assert report["machine"]["cores"] > 0
    ours = {one.name for one in figure.contenders if not one.packages and not one.none}
    assert {row["contender"] for row in report["results"]} == {one.name for one in figure.contenders}
    for row in report["results"]:
        assert row.keys() >= FIELDS, row
        assert (row["cpu_seconds"] is None) == ("missing" in row) == (row["contender"] not in ours), row
    judged_here = [goal for goal in figure.goals if not goal.at]
    assert [row["goal"] for row in report["goals"]] == [goal.text for goal in judged_here]
    for row, goal in zip(report["goals"], judged_here, strict=True):
        assert (row["met"] is None) == (bool(goal.beside) and not ours & set(goal.beside)) or goal.less, row


def test_what_fails_is_said_to_have_and_stops_nobody(tmp_path: Path) -> None:
    here = "zeotap_pipelines_tests.test_benchmarks"
    figure = Figure(
        "figure",
        {1: 2},
        (
            Contender("fails", f"{here}:fails"),
            Contender("none", none="it has no such thing"),
            Contender("works", WORKS),
        ),
        "works",
        (Goal("≤ 1 × the one that fails", "works", CPU, ("fails",), most=1),),
    )
    rows = run(figure, 1, tmp_path)
    assert [row.get("missing") for row in rows] == [
        "failed: ValueError: on purpose",
        "none: it has no such thing",
        None,
    ]
    assert rows[2]["seen"] == 7 and rows[2]["runs"] == 2
    [verdict] = judged(figure.name, figure.goals, rows)
    assert verdict["ours"] == pytest.approx(rows[2]["cpu_seconds"], rel=0.01) and verdict["met"] is None


WORKS = "zeotap_pipelines_tests.test_benchmarks:works"


def fails(folder: Path, size: int) -> Any:
    raise ValueError("on purpose")


def works(folder: Path, size: int) -> Any:
    return lambda: {"seen": 7}


def _row(contender: str, n: int, **measured: float) -> dict[str, Any]:
    return {"figure": "f", "contender": contender, "n": n, **measured}


def test_a_goal_is_met_at_its_limit_and_not_beyond() -> None:
    rows = [_row("ours", 1, cpu_seconds=3.0), _row("best", 1, cpu_seconds=2.0), _row("other", 1, cpu_seconds=9.0)]

    def met(**goal: Any) -> bool | None:
        [row] = judged("f", (Goal("", "ours", CPU, **goal),), rows)
        verdict: bool | None = row["met"]
        return verdict

    assert met(most=3) and not met(most=2.99)
    assert met(beside=("other", "best"), most=1.5) and not met(beside=("other", "best"), most=1.49)
    assert met(beside=("best",), less="best", most=0.5) and not met(beside=("best",), less="best", most=0.49)
    assert met(beside=("absent",), most=99) is None
    assert judged("f", (Goal("", "ours", CPU, most=1, at=(2,)),), rows) == []


def test_growth_is_judged_beside_a_tenth_of_the_size() -> None:
    rows = [_row("ours", 10, cpu_seconds=1.0), _row("ours", 100, cpu_seconds=11.5)]
    [row] = judged("f", (Goal("", "ours", CPU, most=11, tenth=True, at=(100,)),), rows)
    assert (row["ratio"], row["met"], row["beside"]) == (11.5, False, "10")


def test_every_figure_of_the_code_and_no_other_is_stored() -> None:
    found = {(row["figure"], row["contender"]) for row in STORED["results"]}
    wanted = {(figure.name, one.name) for figure in FIGURES for one in figure.contenders if not figure.apart}
    apart = {(figure.name, one.name) for figure in FIGURES for one in figure.contenders if figure.apart}
    assert wanted <= found <= wanted | apart


def test_what_was_stored_is_judged_by_the_goals_of_the_code() -> None:
    assert STORED["goals"] == verdicts(FIGURES, STORED["results"])


def test_what_was_tried_at_another_size_is_documented_only_where_there_is_nothing_else() -> None:
    tried = [{**row, "n": 3} for row in STORED["results"]]
    own = [
        {**row, "n": next(iter(figure.sizes))} for row in tried for figure in FIGURES if figure.name == row["figure"]
    ]
    assert document.at_own_sizes({"results": tried})["results"] == tried
    assert document.at_own_sizes({"results": tried + own})["results"] == own


def test_what_was_stored_names_no_path_of_the_machine() -> None:
    text = json.dumps(STORED)
    assert not re.search(r"/(home|work|tmp|root|Users)/|https?://", text)
    assert STORED["machine"].keys() == {"system", "cores", "memory_gb", "load", "versions"}


@pytest.mark.parametrize(
    ("page", "name"), [(page, name) for page, made in document.blocks(STORED).items() for name in made], ids=str
)
def test_the_pages_show_the_figures_that_were_stored(page: Path, name: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert f"<!-- measured: {name} -->\n{document.blocks(STORED)[page][name]}\n<!-- /measured -->" in text


def test_the_pictures_show_the_figures_that_were_stored() -> None:
    drawn = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / document.PLOTS).glob("*.svg")}
    assert drawn == document.plots(STORED)


MODULES = sorted(
    ".".join(file.relative_to(ROOT).with_suffix("").parts)
    for file in (ROOT / "benchmarks").rglob("*.py")
    if file.name != "__init__.py"
)
ELSEWHERE = {
    "benchmarks.generic.positions",
    "benchmarks.generic.covering",
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


def test_every_listed_survivor_is_of_a_text_that_is_there_and_has_a_reason() -> None:
    accepted = generic.listed()
    assert accepted, "the page lists some"
    for mutant, reason in accepted.items():
        file, before, after = re.fullmatch(r"([\w/]+\.py): `(.*)` → `(.*)`", mutant).groups()  # type: ignore[union-attr]
        lines = (ROOT / "zeotap_pipelines" / file).read_text(encoding="utf-8").splitlines()
        assert before in " ".join(line.strip() for line in lines), mutant
        assert before != after and len(reason) > 10, mutant


@pytest.mark.slow
def test_a_judge_says_which_test_fails_in_a_tree_or_that_one_hangs_or_nothing(tmp_path: Path) -> None:
    (tmp_path / "test_right.py").write_text("def test_right(): pass\n")
    (tmp_path / "test_wrong.py").write_text("def test_wrong(): raise AssertionError\n")
    (tmp_path / "test_hangs.py").write_text("import time\ndef test_hangs(): time.sleep(600)\n")
    with judge() as ask:
        assert ask(tmp_path, ["test_right.py"], 60) == ""
        assert ask(tmp_path, ["test_right.py", "test_wrong.py"], 60) == "test_wrong"
        assert ask(tmp_path, ["test_hangs.py"], 2) == "a test hangs"
        assert ask(tmp_path, ["test_nowhere.py"], 60) == "the tests do not start"
