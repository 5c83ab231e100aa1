"""
The figures, each with its contenders in turn in the same run: ``python -m benchmarks [--rows N] [--requests N]``.

Figures are CPU seconds of whole processes (children excluded), as medians, and the
ratio to the first contender of the table; JSON goes to artefacts/benchmarks.json.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
from pathlib import Path

FIGURES = {
    "diff": ("bare join and digest pass", "complete plan", "polars full join"),
    "one request per row": ("script with httpx", "delivery"),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="members of the snapshot and of the ledger")
    parser.add_argument("--requests", type=int, default=2_000, help="rows of the figures that ask one by one")
    parser.add_argument("--runs", type=int, default=3)
    chosen = parser.parse_args()
    found: dict[str, dict[str, float]] = {}
    for figure, contenders in FIGURES.items():
        size = chosen.rows if figure == "diff" else chosen.requests
        seconds: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(chosen.runs):
            for name in contenders:
                seconds[name].append(_measured(figure, name, size))
        found[figure] = {name: statistics.median(values) for name, values in seconds.items()}
        print(f"\n{figure}, {size:,} rows")
        first = found[figure][contenders[0]]
        for name, value in found[figure].items():
            print(f"  {name:<28} {value:>8.2f} CPU s  {value / first:>6.2f}")
    artefacts = Path("artefacts")
    artefacts.mkdir(exist_ok=True)
    report = {"machine": platform.platform(), "rows": chosen.rows, "requests": chosen.requests, "cpu_seconds": found}
    (artefacts / "benchmarks.json").write_text(json.dumps(report, indent=2) + "\n")
    return 0


def _measured(figure: str, contender: str, size: int) -> float:
    """Run one contender in a process of its own, and return the CPU seconds of the part that counts."""
    command = [sys.executable, "-m", "benchmarks.contenders", figure, contender, str(size)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


if __name__ == "__main__":
    sys.exit(main())
