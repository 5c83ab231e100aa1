"""
Puts what `make bench` measured into the documentation.

    python -m benchmarks.document

Stores artefacts/benchmarks.json as docs/benchmarks.json, draws docs/plots/*.svg, and
writes what stands between the marks `<!-- measured: NAME -->` and `<!-- /measured -->`
of README.md, docs/benchmarks.md and docs/scale.md. The prose around them is by hand.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import scale
from .figure import Figure
from .figures import FIGURES
from .plots import drawn
from .report import REPORT, goals_table, number, verdicts

STORED, PLOTS = Path("docs/benchmarks.json"), Path("docs/plots")
README, PAGE, SCALE = Path("README.md"), Path("docs/benchmarks.md"), Path("docs/scale.md")

Report = Mapping[str, Any]


def main() -> int:
    report = at_own_sizes(json.loads(REPORT.read_text()))
    made = blocks(report)
    STORED.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    for name, picture in plots(report).items():
        PLOTS.mkdir(exist_ok=True)
        (PLOTS / name).write_text(picture)
    for page, some in made.items():
        text = page.read_text()
        for name, block in some.items():
            text = _put(text, name, block)
        page.write_text(text)
    return 0


def at_own_sizes(report: Report) -> dict[str, Any]:
    """Return *report* without what somebody tried at sizes that aren't a figure's own, where it has those too."""
    own = {figure.name: figure.sizes for figure in FIGURES}
    there = {row["figure"] for row in report["results"] if row["n"] in own[row["figure"]]}
    results = [row for row in report["results"] if row["figure"] not in there or row["n"] in own[row["figure"]]]
    return {**report, "results": results, "goals": verdicts(FIGURES, results)}


def blocks(report: Report) -> dict[Path, dict[str, str]]:
    """Return what stands between the marks of each page, by the marks' names."""
    figures = {figure.name: _figure(figure, report) for figure in FIGURES}
    return {
        README: {"goals": f"{measured(report)}\n\n{goals_table(report['goals'])}"},
        PAGE: {"machine": measured(report), "goals": goals_table(report["goals"]), **figures},
        SCALE: scale.blocks(report),
    }


def measured(report: Report) -> str:
    """Return the sentence that says when, how and on what *report* was made."""
    machine = report["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    small = "" if all(row["own_size"] for row in report["goals"]) else " (some figures smaller than it has them)"
    return (
        f"Measured by `{report['command']}`{small}, the last of it on {report['measured']}, "
        f"on {machine['system']} with {machine['cores']} cores and {machine['memory_gb']:g} GB, "
        f"load average {machine['load']:g} at the end, with {versions}."
    )


def plots(report: Report) -> dict[str, str]:
    """Return the pictures, by the names of their files."""
    pictures = {f"{_name(figure)}.svg": drawn(figure, report["results"]) for figure in FIGURES}
    return {name: picture for name, picture in pictures.items() if picture}


def _name(figure: Figure) -> str:
    return re.sub(r"\W+", "-", figure.name)


def _figure(figure: Figure, report: Report) -> str:
    """Return what a figure's contenders took, a table."""
    rows = [row for row in report["results"] if row["figure"] == figure.name]
    if not rows:
        return f"Not measured yet: `python -m benchmarks {json.dumps(figure.name)}`."
    lines = [(figure.unit, "contender", "CPU s", "seconds", "MB", "CPU ratio", "runs")]
    lines.append(("--:", "---", "--:", "--:", "--:", "--:", "--:"))
    for row in rows:
        if "missing" in row:
            lines.append((f"{row['n']:,}", row["contender"], row["missing"], "", "", "", ""))
            continue
        took = (f"{row['cpu_seconds']:.2f}", f"{row['seconds']:.2f}", number(row["peak_mb"]))
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        lines.append((f"{row['n']:,}", row["contender"], *took, ratio, str(row["runs"])))
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    picture = f"\n\n![{figure.bars.title}](plots/{_name(figure)}.svg)" if figure.bars else ""
    when = dict.fromkeys(f"{row['measured']}, load average {row['load']:g} before" for row in rows)
    return f"Measured {'; '.join(when)}.\n\n{table}{picture}"


def _put(text: str, name: str, block: str) -> str:
    """Return *text* with *block* between the marks called *name*; raises where there are none."""
    pattern = rf"(<!-- measured: {re.escape(name)} -->\n).*?(<!-- /measured -->)"
    text, count = re.subn(pattern, lambda found: f"{found[1]}{block}\n{found[2]}", text, flags=re.S)
    if count != 1:
        raise ValueError(f"{count} places are marked <!-- measured: {name} -->, and not one")
    return text


if __name__ == "__main__":
    sys.exit(main())
