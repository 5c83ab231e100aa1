"""
A generic mutator over diff, ledger and delivery: cosmic-ray changes the code, the fast tests of the core judge it.

    python -m benchmarks.generic [--sample N] [--seed S] [--only FILE] [--covered FILE]

The tests run once under coverage; then a mutant meets those that run its line, first the ones that caught others
and the quick ones, and at last those whose processes coverage can't see into. Of a kind of change there is at most
one at a place.
Those that `docs/mutants.md` lists with a reason are not tried. Leaves with status 1 when another one survives.
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from benchmarks.judging import Ask, in_turn
from benchmarks.mutants import ROOT, copied
from benchmarks.running import environment

COSMIC_RAY = "cosmic-ray==8.7.0"
COVERAGE = "coverage==7.11.0"
PACKAGE = ROOT / "zeotap_pipelines"
FILES = (
    *(
        "diff/diff.py",
        "diff/comparison.py",
        "diff/operations.py",
        "diff/protection.py",
        "ledger/events.py",
        "diff/come_back.py",
        "diff/opposed.py",
    ),
    *(
        "ledger/ledger.py",
        "ledger/tables.py",
        "ledger/fold.py",
        "ledger/words.py",
        "ledger/journal.py",
        "ledger/lock.py",
        "wire/limits.py",
        "diff/plan.py",
        "delivery/lost.py",
    ),
    *(
        "pipeline.py",
        "delivery/delivery.py",
        "delivery/owed.py",
        "delivery/feed.py",
        "delivery/conversing.py",
        "ledger/asking.py",
        "stopping.py",
    ),
)
TESTS = (
    *("batches", "owed", "ledger", "guards", "events", "limits", "identities", "crashes", "tasks", "wire"),
    *("mapping", "snapshot", "folding", "comparison", "history", "processes", "found_by_chaos", "numbers"),
    *("hostile", "retention", "transport", "explanation", "opposed", "doubts", "debts", "attended"),
    *("pacing", "journal", "plan", "lock", "conversing", "standing", "diff", "asking", "come_back", "values"),
)
APART = ("attended", "crashes", "processes")
"""Whose work is done by processes of their own."""

SLOW = 300.0
"""Seconds after which a mutant that makes a module of tests hang counts as caught."""

SLOWER, START = 5.0, 30.0
"""Other tests hang when they take so many times as long as they did, and the seconds to start."""

CASES = 3
"""Of tests that differ in their parameters alone so many are played: one of each law first, then another."""

FIRST = 2.0
"""So many seconds of tests are played first, and twice as many each time after; most mutants don't get past them."""

NEAR = 15
"""Tests come first that run what few tests run, so many lines before the mutant's and after it."""

QUIETLY = ("-q", "--noconftest", "-m", "not slow")
"""Without conftest: Dagster, which it imports, has no part in the core."""

LISTED = ROOT / "docs" / "mutants.md"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.generic", description=__doc__)
    parser.add_argument("--sample", type=int, default=100, help="how many mutants; 0: all of them")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="only files whose name holds this")
    parser.add_argument("--at-once", type=int, default=os.cpu_count() or 1, help="mutants tested at the same time")
    parser.add_argument("--covered", type=Path, help="where it is kept which tests run which line; made when missing")
    chosen = parser.parse_args(arguments)
    chance = random.Random(chosen.seed)
    mutants = thinned(positions([file for file in FILES if chosen.only in file]), chance)
    drawn = changed(chance.sample(mutants, min(chosen.sample or len(mutants), len(mutants))))
    accepted = listed()
    tried = [one for one in drawn if shown(one) not in accepted]
    skipped = len(drawn) - len(tried)
    print(f"{len(tried)} of {len(mutants)} mutants, seed {chosen.seed}; {skipped} more are listed", flush=True)
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        whole = copied(Path(folder) / "whole")
        seen = _kept(chosen.covered, whole)
        caught = in_turn(tried, lambda mutant, ask: caught_by(mutant, seen, whole, ask), chosen.at_once)
    survived = [shown(one) for one, said in zip(tried, caught, strict=True) if not said]
    print("\n".join([f"{len(tried) - len(survived)} caught, {len(survived)} survived", *survived]))
    return 1 if survived else 0


def listed() -> dict[str, str]:
    """Return the survivors that `docs/mutants.md` lists, as `shown`, each with the reason why it is accepted."""
    text = LISTED.read_text(encoding="utf-8").replace(r"\|", "|")
    return dict(re.findall(r"^\| ([\w/]+\.py: `.*` → `.*`) \| (.+) \|$", text, re.MULTILINE))


def positions(files: Sequence[str]) -> list[dict[str, Any]]:
    """All mutants, from cosmic-ray in an environment of its own."""
    return _asked([file for file in files if (PACKAGE / file).exists()], [])


def changed(mutants: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """*mutants* with their sources, without those that change nothing that runs."""
    return [one for one in _asked([], mutants) if one["source"] is not None]


def _asked(arguments: Sequence[str], mutants: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    command = [environment((COSMIC_RAY,)), str(Path(__file__).with_name("positions.py")), *arguments]
    lines = "".join(json.dumps(one) + "\n" for one in mutants)
    done = subprocess.run(command, cwd=PACKAGE, check=True, input=lines, stdout=subprocess.PIPE, text=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def thinned(mutants: Sequence[dict[str, Any]], chance: random.Random) -> list[dict[str, Any]]:
    """At most one mutant of a kind at a place: of twelve other operators for one plus, one says enough."""
    kinds: dict[tuple[object, ...], list[dict[str, Any]]] = {}
    for one in mutants:
        family = re.sub(r"_.*", "", one["operator"])
        kinds.setdefault((one["file"], one["line"], one["column"], family), []).append(one)
    return [chance.choice(alike) for alike in kinds.values()]


def _kept(file: Path | None, tree: Path) -> dict[str, Any]:
    """Return what the tests run, from *file* where that is there."""
    if file and file.exists():
        seen: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return seen
    seen = covered(tree)
    if file:
        file.write_text(json.dumps(seen), encoding="utf-8")
    return seen


def covered(tree: Path) -> dict[str, Any]:
    """
    What the tests of *tree* run, by `covering.py`: ``seconds`` of each, and ``lines`` of each file with their tests.

    What is compiled meanwhile stays in the tree, so that its copies need not compile it.
    """
    library = next((Path(environment((COVERAGE,))).parents[1] / "lib").glob("python*/site-packages"))
    with tempfile.TemporaryDirectory(prefix="covered-") as folder:
        settings, found = Path(folder) / "rc", Path(folder) / "found.json"
        included = "".join(f"\n    {tree}/zeotap_pipelines/{file}" for file in FILES)
        settings.write_text(f"[run]\ninclude ={included}\ndata_file = {folder}/data\n", encoding="utf-8")
        modules = [_module(name) for name in TESTS if name not in APART]
        command = [sys.executable, "-m", "coverage", "run", "-m", "pytest", "-p", "benchmarks.generic.covering"]
        variables = {**os.environ, "COVERAGE_RCFILE": str(settings), "COVERING": str(found)}
        variables |= {"PYTHONPATH": os.pathsep.join([str(tree), str(library)]), "PYTHONDONTWRITEBYTECODE": ""}
        subprocess.run([*command, "-p", "no:cacheprovider", *QUIETLY, *modules], cwd=tree, env=variables, check=True)
        seen: dict[str, Any] = json.loads(found.read_text(encoding="utf-8"))
    return seen


def caught_by(mutant: dict[str, Any], seen: dict[str, Any], whole: Path, ask: Ask) -> str:
    """The test that catches *mutant*, or nothing; *whole* is a tree that nothing was changed in."""
    with tempfile.TemporaryDirectory(prefix="mutant-", dir=whole.parent) as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(whole, tree, copy_function=os.link)
        changed_file = tree / "zeotap_pipelines" / mutant["file"]
        changed_file.unlink()  # The other trees have the same file.
        changed_file.write_text(mutant["source"], encoding="utf-8")
        each = (ask(tree, [*QUIETLY, *tests], seconds) for tests, seconds in _judges(mutant, seen) if tests)
        said = next(filter(None, each), "")
    for caught in (seen.setdefault("caught", {}), _caught_in(mutant, seen)):
        caught[_law(said)] = caught.get(_law(said), 0) + 1
    print(f"{'caught  ' if said else 'SURVIVED'} {shown(mutant)}{said and ': ' + said}", flush=True)
    return said


def _judges(mutant: dict[str, Any], seen: dict[str, Any]) -> Iterator[tuple[list[str], float]]:
    """The tests that may catch *mutant*, in the order in which they are asked, and how long they may take."""
    lines = {int(line): tests for line, tests in seen["lines"].get(mutant["file"], {}).items()}
    # Of a statement of several lines the tracer may name the first only; a module's own lines belong to no test.
    of_it = next((lines[line] for line in range(mutant["line"], 0, -1) if line in lines), [])
    took = seen["seconds"]
    caught = Counter(seen.get("caught", {})) + Counter({law: 9 * n for law, n in _caught_in(mutant, seen).items()})
    around = [tests for line, tests in lines.items() if abs(line - mutant["line"]) <= NEAR]
    told = dict.fromkeys(of_it or {test for tests in lines.values() for test in tests}, 0.01)
    for tests in around:  # What few tests run tells most: it is what those are about.
        for test in tests:
            if test in told:
                told[test] += 1 / len(tests)
    laws: dict[str, list[str]] = {}
    costs = {test: took[test] ** 0.5 / told[test] for test in told}  # What takes longer does more, as a rule.
    for test in sorted(told, key=costs.__getitem__):
        laws.setdefault(_law(test), []).append(test)
    order = sorted(laws, key=lambda law: costs[laws[law][0]] / (1 + caught[law]))
    turns = zip_longest(*(laws[law][:CASES] for law in order))
    some: list[str] = []
    most = FIRST
    for test in (one for turn in turns for one in turn if one):
        some.append(test)
        if sum(took[one] for one in some) >= most:
            yield some, START + SLOWER * sum(took[one] for one in some)
            some, most = [], 2 * most
    yield some, START + SLOWER * sum(took[one] for one in some)
    yield from (([_module(name)], SLOW) for name in APART)


def _caught_in(mutant: dict[str, Any], seen: dict[str, Any]) -> dict[str, int]:
    """How many mutants of the same file each law caught."""
    found: dict[str, int] = seen.setdefault("caught in", {}).setdefault(mutant["file"], {})
    return found


def _law(test: str) -> str:
    """The name of *test* without its parameters."""
    return test.rpartition("::")[2].partition("[")[0]


def _module(name: str) -> str:
    return f"zeotap_pipelines_tests/test_{name}.py"


def shown(mutant: dict[str, Any]) -> str:
    """The mutant as one line: the file and what became of which line of it."""
    before = (PACKAGE / mutant["file"]).read_text(encoding="utf-8").splitlines()
    lines = list(difflib.unified_diff(before, mutant["source"].splitlines(), lineterm="", n=0))[3:]
    gone, new = (" ".join(line[1:].strip() for line in lines if line.startswith(sign)) for sign in "-+")
    return f"{mutant['file']}: `{gone}` → `{new}`"


if __name__ == "__main__":
    sys.exit(main())
