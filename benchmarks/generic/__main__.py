"""
A generic mutator over diff, ledger and delivery: cosmic-ray changes the code, the fast tests of the core judge it.

    python -m benchmarks.generic [--sample N] [--seed S] [--only FILE]

The whole set takes most of a day: a sample is drawn with the seed, at most one change of a kind at a place.
Leaves with status 1 when a mutant survives that `docs/mutants.md` doesn't list with its reason.
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
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.mutants import COPIED, ROOT
from benchmarks.running import environment

COSMIC_RAY = "cosmic-ray==8.7.0"
PACKAGE = ROOT / "zeotap_pipelines"
FILES = (
    *("diff.py", "comparison.py", "operations.py", "protection.py", "events.py"),
    *("ledger.py", "fold.py", "words.py", "journal.py", "lock.py", "limits.py", "plan.py"),
    *("pipeline.py", "delivery.py", "owed.py", "feed.py", "conversing.py", "stopping.py"),
)
TESTS = (
    "batches",
    "owed",
    "ledger",
    "guards",
    "events",
    "limits",
    "identities",
    "crashes",
    "tasks",
    "wire",
    "mapping",
    "snapshot",
    "folding",
    "comparison",
    "history",
    "processes",
)
"""Quick ones first: most mutants don't get past them."""

SLOW = 600.0
"""Seconds after which a mutant that makes a module of tests hang counts as caught."""

LISTED = ROOT / "docs" / "mutants.md"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.generic", description=__doc__)
    parser.add_argument("--sample", type=int, default=100, help="how many mutants; 0: all of them")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="only files whose name holds this")
    parser.add_argument("--at-once", type=int, default=os.cpu_count() or 1, help="mutants tested at the same time")
    chosen = parser.parse_args(arguments)
    chance = random.Random(chosen.seed)
    mutants = thinned(positions([file for file in FILES if chosen.only in file]), chance)
    drawn = changed(chance.sample(mutants, min(chosen.sample or len(mutants), len(mutants))))
    print(f"{len(drawn)} of {len(mutants)} mutants, seed {chosen.seed}", flush=True)
    with ThreadPoolExecutor(chosen.at_once) as pool:
        survivors = [one for one, caught in zip(drawn, pool.map(caught_by, drawn), strict=True) if not caught]
    unlisted = [one for one in survivors if shown(one) not in LISTED.read_text(encoding="utf-8")]
    print(f"{len(drawn) - len(survivors)} caught, {len(survivors)} survived, {len(unlisted)} of them not listed")
    return 1 if unlisted else 0


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


def caught_by(mutant: dict[str, Any]) -> str:
    """The test that catches *mutant*, or nothing."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        tree = Path(folder)
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / name, tree / name)
        (tree / "zeotap_pipelines" / mutant["file"]).write_text(mutant["source"], encoding="utf-8")
        said = next(_failures(tree), "")
    print(f"{'caught  ' if said else 'SURVIVED'} {shown(mutant)}{said and ': ' + said}", flush=True)
    return said


def _failures(tree: Path) -> Iterator[str]:
    variables = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    for name in TESTS:
        module = f"zeotap_pipelines_tests/test_{name}.py"
        # Without conftest: Dagster, which it imports, has no part in the core.
        options = ["-x", "-q", "--noconftest", "-p", "no:cacheprovider", "-m", "not slow", module]
        try:
            done = subprocess.run(
                [sys.executable, "-m", "pytest", *options],
                cwd=tree,
                env=variables,
                capture_output=True,
                text=True,
                timeout=SLOW,
                check=False,
            )
        except subprocess.TimeoutExpired:
            yield f"{module} hangs"
            return
        if done.returncode not in (0, 5):
            found = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
            yield found.group(1).rpartition("::")[2] if found else "the tests do not start"


def shown(mutant: dict[str, Any]) -> str:
    """The mutant as one line: the file and what became of which line of it."""
    before = (PACKAGE / mutant["file"]).read_text(encoding="utf-8").splitlines()
    lines = list(difflib.unified_diff(before, mutant["source"].splitlines(), lineterm="", n=0))[3:]
    gone, new = (" ".join(line[1:].strip() for line in lines if line.startswith(sign)) for sign in "-+")
    return f"{mutant['file']}: `{gone}` → `{new}`"


if __name__ == "__main__":
    sys.exit(main())
