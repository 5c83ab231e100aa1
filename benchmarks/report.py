"""What was measured, as JSON and as a table; it names the machine by what matters, and neither host nor path."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .figure import Figure
from .goal import judged
from .running import versions

REPORT = Path("artefacts/benchmarks.json")
OURS = ("dagster", "duckdb", "httpx", "polars", "pyarrow", "uvloop")


def save(figures: Sequence[Figure], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Write *rows* in place of those of the same figure and size, judge all goals anew, and return the report."""
    REPORT.parent.mkdir(exist_ok=True)
    anew = {(row["figure"], row["n"]) for row in rows}
    there = {(figure.name, one.name) for figure in figures for one in figure.contenders}
    kept = json.loads(REPORT.read_text())["results"] if REPORT.exists() else []
    results = [row for row in kept if (row["figure"], row["n"]) not in anew] + list(rows)
    results = [row for row in results if (row["figure"], row["contender"]) in there]
    order = [figure.name for figure in figures]
    results.sort(key=lambda row: (order.index(row["figure"]), row["n"]))  # Stable: contenders stay in their order.
    report = {
        "command": "make bench",
        "measured": datetime.now(UTC).date().isoformat(),
        "machine": machine(figures),
        "results": results,
        "goals": verdicts(figures, results),
    }
    REPORT.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    return report


def verdicts(figures: Sequence[Figure], results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of all goals, judged from *results*; each says whether its size is one of the figure's own."""
    return [
        row | {"own_size": row["n"] in figure.sizes}
        for figure in figures
        for row in judged(figure.name, figure.goals, results)
    ]


def machine(figures: Sequence[Figure]) -> dict[str, Any]:
    """Return what matters of this machine, and the versions of what was measured."""
    ours = {"python": platform.python_version(), **{name: version(name) for name in OURS}}
    others = versions(tuple(one for figure in figures for one in figure.contenders), ours)
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "load": round(os.getloadavg()[0], 1),
        "versions": ours | others,
    }


HEADER = ("figure", "n", "ours", "beside", "ratio", "goal", "met")


def goals_table(goals: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of *goals* in Markdown."""
    lines = [HEADER, ("---", "--:", "--:", "---", "--:", "---", "---"), *map(_cells, goals)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    unit, ours = row["unit"], row["ours"]
    beside = row["beside"] or ""
    if row["beside_value"] is not None:
        beside += f": {number(row['beside_value'])}"
    return (
        row["figure"],
        f"{row['n']:,}",
        "not measured" if ours is None else f"{number(ours)} {unit}",
        beside,
        "" if row["ratio"] is None else f"{row['ratio']:.2f}",
        row["goal"],
        {True: "met", False: "**not met**", None: "not measured"}[row["met"]]
        if row["own_size"]
        else "no goal at this size",
    )


def number(value: float) -> str:
    """Return *value* as a person writes it: three digits that count, all of them before the point."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
