"""
The figures, each with its contenders in turn in the same run.

    python -m benchmarks [FIGURE …] [--size N] [--runs N]

Prints medians and ratios, and writes them to artefacts/benchmarks.json, where the
figures that weren't asked for stay as they were.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb

from .figure import run
from .figures import FIGURES

REPORT = Path("artefacts/benchmarks.json")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = [figure.name for figure in FIGURES]
    parser.add_argument("figures", nargs="*", metavar="FIGURE", help=f"one of {', '.join(names)}; all without")
    parser.add_argument("--size", type=int, action="append", help="rows or requests, in place of a figure's own")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--ours", action="store_true", help="only contenders that need no packages of their own")
    chosen = parser.parse_args()
    if unknown := [name for name in chosen.figures if name not in names]:
        parser.error(f"there is no figure {unknown[0]!r}; there are {', '.join(names)}")
    rows: list[dict[str, Any]] = []
    for figure in FIGURES:
        if chosen.figures and figure.name not in chosen.figures:
            continue
        for size in chosen.size or figure.sizes:
            folder = Path(tempfile.mkdtemp(prefix="benchmarks-"))
            try:
                found = run(figure, size, chosen.runs, folder, ours=chosen.ours)
            finally:
                shutil.rmtree(folder)
            _print(f"{figure.name}, {size:,} {figure.unit}", found)
            rows += found
            _save(rows)
    return 0


def _print(title: str, rows: Sequence[dict[str, Any]]) -> None:
    print(f"\n{title}\n  {'':<34} {'CPU s':>8} {'s':>8} {'MB':>7} {'ratio':>7}")
    for row in rows:
        if "missing" in row:
            print(f"  {row['contender']:<34} {row['missing']}")
            continue
        goal = f"   {row['goal']}: {'met' if row['met'] else 'not met'}" if row["met"] is not None else ""
        ratio = f"{row['ratio']:>7.2f}" if row["ratio"] is not None else f"{'':>7}"
        values = f"{row['cpu_seconds']:>8.2f} {row['seconds']:>8.2f} {row['peak_mb']:>7,.0f} {ratio}"
        print(f"  {row['contender']:<34} {values}{goal}", flush=True)


def _save(rows: Sequence[dict[str, Any]]) -> None:
    """Write *rows* in place of those of the same figure and size."""
    REPORT.parent.mkdir(exist_ok=True)
    anew = {(row["figure"], row["n"]) for row in rows}
    kept = json.loads(REPORT.read_text())["results"] if REPORT.exists() else []
    machine = {
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "duckdb": duckdb.__version__,
    }
    results = [row for row in kept if (row["figure"], row["n"]) not in anew] + list(rows)
    REPORT.write_text(json.dumps({"machine": machine, "results": results}, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    sys.exit(main())
