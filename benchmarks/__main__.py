"""
The figures, each with its contenders in turn in the same run.

    python -m benchmarks [FIGURE …] [--size N] [--runs N] [--ours] [--smoke] [--install]

Prints what each contender took, then a table of the goals, and writes both to
artefacts/benchmarks.json, where the figures that weren't asked for stay as they
were. The status is 1 where one of ours failed.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .figure import Figure
from .figures import FIGURES
from .report import goals_table, save
from .running import environment, run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = [figure.name for figure in FIGURES]
    parser.add_argument(
        "figures", nargs="*", metavar="FIGURE", help=f"of {', '.join(names)}; without: all but the last"
    )
    parser.add_argument("--size", type=int, action="append", help="rows or requests, in place of a figure's own")
    parser.add_argument("--runs", type=int, help="in place of a figure's own")
    parser.add_argument("--ours", action="store_true", help="only contenders that need no packages of their own")
    parser.add_argument("--smoke", action="store_true", help="small sizes, one run, only ours")
    parser.add_argument("--install", action="store_true", help="make the contenders' environments, and measure nothing")
    chosen = parser.parse_args()
    if unknown := [name for name in chosen.figures if name not in names]:
        parser.error(f"there is no figure {unknown[0]!r}; there are {', '.join(names)}")
    figures = [one for one in FIGURES if (one.name in chosen.figures if chosen.figures else not one.apart)]
    if chosen.install:
        return _install(figures)
    began, rows = time.monotonic(), []
    for figure in figures:
        sizes = [figure.smoke] if chosen.smoke else chosen.size or figure.sizes
        for size in sizes:
            folder = Path(tempfile.mkdtemp(prefix="benchmarks-"))
            start = time.monotonic()
            try:
                found = run(
                    figure, size, folder, runs=1 if chosen.smoke else chosen.runs, ours=chosen.ours or chosen.smoke
                )
            finally:
                shutil.rmtree(folder)
            took = time.monotonic() - start
            _print(f"{figure.name}, {size:,} {figure.unit}, took {took:,.0f} s", found)
            rows += found
            report = save(FIGURES, rows)
    print(f"\n{goals_table([row for row in report['goals'] if row['figure'] in {one.name for one in figures}])}")
    print(f"\ntook {(time.monotonic() - began) / 60:.1f} minutes")
    return _status(figures, rows)


def _install(figures: Sequence[Figure]) -> int:
    for packages in sorted({one.packages for figure in figures for one in figure.contenders if one.packages}):
        try:
            environment(packages)
        except subprocess.CalledProcessError as error:
            print(f"missing: {', '.join(packages)}: {error.stderr[-500:]}")
    return 0


def _status(figures: Sequence[Figure], rows: Sequence[dict[str, Any]]) -> int:
    """Return 1, and say whose, where something of ours failed."""
    ours = {(figure.name, one.name) for figure in figures for one in figure.contenders if not one.packages}
    failed = [
        row
        for row in rows
        if (row["figure"], row["contender"]) in ours and row.get("missing", "").startswith(("failed", "missing"))
    ]
    for row in failed:
        print(f"{row['figure']}, {row['n']:,}: {row['contender']} {row['missing']}")
    return 1 if failed else 0


def _print(title: str, rows: Sequence[dict[str, Any]]) -> None:
    print(f"\n{title}\n  {'':<40} {'CPU s':>8} {'s':>8} {'MB':>7} {'ratio':>7}")
    for row in rows:
        if "missing" in row:
            print(f"  {row['contender']:<40} {row['missing']}")
            continue
        ratio = f"{row['ratio']:>7.2f}" if row["ratio"] is not None else ""
        values = f"{row['cpu_seconds']:>8.2f} {row['seconds']:>8.2f} {row['peak_mb']:>7,.0f} {ratio}"
        print(f"  {row['contender']:<40} {values}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
