"""What a run of chaos came to: as JSON, as a table, and on its page in the documentation."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.chaos.play import Play

COLUMNS = ("rounds", "kills", "faults", "rows", "checks", "lost", "doubled", "in_doubt", "violations")
STORED, PAGE = Path("docs/chaos.json"), Path("docs/chaos.md")


def report(plays: Sequence[Play], seed: int, seconds: float) -> dict[str, Any]:
    """Return what *plays* came to."""
    targets = [
        {"target": name, **{column: getattr(tally, column) for column in COLUMNS}}
        for play in plays
        for name, tally in play.tallies.items()
    ]
    credits = [tally for play in plays for name, tally in play.tallies.items() if name == "crowdtwist_credits"]
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}"
    return {
        "measured": datetime.now(UTC).date().isoformat(),
        "machine": machine,
        "seed": seed,
        "kills": sum(play.kills for play in plays),
        "minutes": round(seconds / 60, 1),
        "targets": targets,
        "unheard": sum(tally.unheard for tally in credits),
        "largest_window": max((tally.largest_window for tally in credits), default=0),
        "defects": [what for play in plays for what in play.defects],
    }


def plain(found: Mapping[str, Any]) -> str:
    """Return the table of one run, for a terminal."""
    lines = [f"{'target':<20}" + "".join(f"{name.replace('_', ' '):>11}" for name in COLUMNS)]
    for row in found["targets"]:
        lines.append(f"{row['target']:<20}" + "".join(f"{row[column]:>11,}" for column in COLUMNS))
    return "\n".join(lines)


def said(found: Mapping[str, Any]) -> str:
    """Return in a line when, how and on what one run was made, and what its credits came to."""
    doubtful = sum(row["in_doubt"] for row in found["targets"])
    return (
        f"Seed {found['seed']}: {found['kills']:,} kills in {found['minutes']:g} minutes on {found['measured']} "
        f"({found['machine']}). Of {doubtful:,} credits in doubt the answers to {found['unheard']:,} were lost on "
        "their way; the others were being asked, or next, when their run was killed or stopped: "
        f"{found['largest_window']} at a time at most."
    )


def section(found: Mapping[str, Any]) -> str:
    """Return what the page says of one run."""
    table: list[Sequence[str]] = [["target", *(name.replace("_", " ") for name in COLUMNS)]]
    table.append(["---"] * len(table[0]))
    table += [[row["target"], *(f"{row[column]:,}" for column in COLUMNS)] for row in found["targets"]]
    return "\n".join([said(found), "", *(f"| {' | '.join(line)} |" for line in table)])


def document(files: Sequence[Path]) -> None:
    """Store the reports in *files*, one of each run, and let the page show them."""
    runs = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    STORED.write_text(json.dumps(runs, indent=2) + "\n", encoding="utf-8")
    PAGE.write_text(shown(PAGE.read_text(encoding="utf-8"), runs), encoding="utf-8")


def shown(page: str, runs: Sequence[Mapping[str, Any]]) -> str:
    """Return *page* with the results of *runs* in place of those that it has."""
    results = "\n\n".join(map(section, runs))
    return re.sub(r"(?s)(?<=\n## Last results\n\n).*?(?=\n\n## |\n*\Z)", lambda _: results, page, count=1)
