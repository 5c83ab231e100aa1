"""
Credits and a group under trouble, for zeotap_pipelines and for what others use.

    python -m benchmarks.peers [--only NAME] [--credits N] [--rounds N] [--of N] [--seed N] [--ours] [--document]

1,000 credits whose first answer is lost after it was applied (2 %) or is a 500 (2 %); 10 rounds of
200 credits with a `kill -9` and a rerun; a group that loses members and then its source; a service that
fails for ever. Writes artefacts/peers.json, and with --document docs/peers.json and the tables of docs/peers.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..running import environment
from . import play
from .play import Contender, Player

REPORT = Path("artefacts/peers.json")
STORED, PAGE = Path("docs/peers.json"), Path("docs/peers.md")

CONTENDERS = (
    Contender("zeotap_pipelines", "with_ours"),
    Contender("drt", "with_drt", ("drt-core",)),
    Contender("dlt", "with_dlt", ("dlt",)),
    Contender("Singer with backoff", "with_singer", ("singer-sdk",)),
    Contender("script with tenacity", "with_script", ("httpx", "tenacity")),
)


def main() -> int:
    names = [contender.name for contender in CONTENDERS]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", choices=names, help="only this one (may be repeated)")
    parser.add_argument("--ours", action="store_true", help="only what needs no packages of its own")
    parser.add_argument("--credits", type=int, default=1000, help="credits of the run with lost answers")
    parser.add_argument("--rounds", type=int, default=10, help="rounds with a kill")
    parser.add_argument("--of", type=int, default=200, help="credits of such a round")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--document", action="store_true", help="let the documentation say what was found")
    chosen = parser.parse_args()
    contenders = [
        one for one in CONTENDERS if (not chosen.only or one.name in chosen.only) and not (chosen.ours and one.packages)
    ]
    folder = Path(tempfile.mkdtemp(prefix="peers-"))
    try:
        # Much of the time is spent waiting before a retry.
        with ThreadPoolExecutor(len(contenders)) as pool:
            found = list(pool.map(lambda one: _put_through(one, folder, chosen), contenders))
    finally:
        shutil.rmtree(folder)
    report = _report(found, chosen)
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    for heading, table in tables(report).items():
        print(f"\n{heading}\n\n{table}")
    for row in found:
        print(f"\n{row['contender']}: {(row.get('missing') and 'missing: ' + row['missing']) or _words(row)}")
    if chosen.document:
        document(report)
    wrong = [
        row["contender"]
        for row in found
        if any(row[part]["violations"] for part in ("credits", "mirror") if part in row)
    ]
    if wrong:
        print(f"\nspoke to the services in ways that no contract documents: {', '.join(wrong)}")
    return 1 if wrong else 0


def _words(row: Mapping[str, Any]) -> str:
    """Return what a contender said in its last lines."""
    lines = (row["credits"]["said"], row["mirror"]["said_when_empty"])
    return "; of an empty source: ".join(line or "nothing" for line in lines)


def _put_through(contender: Contender, folder: Path, chosen: argparse.Namespace) -> dict[str, Any]:
    row: dict[str, Any] = {"contender": contender.name}
    try:
        python = environment(contender.packages)
    except subprocess.CalledProcessError as error:
        lines = [line for line in error.stderr.splitlines() if line.startswith("ERROR")]
        return row | {"missing": lines[-1][:200] if lines else "its environment could not be made"}
    versions = _versions(python, contender.packages)
    player = Player(contender, python, folder / contender.program)
    return row | {
        "versions": versions,
        "credits": play.credits(player, chosen.credits, chosen.seed),
        "killed": play.killed(player, chosen.of, chosen.rounds, chosen.seed),
        "mirror": play.mirror(player),
        "outage": play.outage(player),
    }


def _versions(python: str, packages: tuple[str, ...]) -> dict[str, str]:
    """Return which versions of *packages* an interpreter has."""
    ask = "import importlib.metadata as m, json, sys; print(json.dumps({n: m.version(n) for n in sys.argv[1:]}))"
    ran = subprocess.run([python, "-c", ask, *packages], check=True, capture_output=True, text=True)
    found: dict[str, str] = json.loads(ran.stdout)
    return found


def tables(report: Mapping[str, Any]) -> dict[str, str]:
    """Return the tables of what was found, by their headings."""
    found = report["contenders"]
    shown = {
        "Answers are lost, or are a 500": (
            ("contender", "wanted", "given once", "given twice", "lost", "in doubt", "calls it"),
            lambda row: (*_counts(row["credits"]), row["credits"]["called"]),
        ),
        "`kill -9` and a rerun": (
            ("contender", "wanted", "given once", "given twice", "lost", "in doubt", "rounds with doubles"),
            lambda row: (
                *_counts(row["killed"]),
                f"{row['killed']['rounds_with_doubles']} of {row['killed']['rounds']}",
            ),
        ),
        "A group, cookies and secrets": (
            ("contender", "removed of those gone", "source empty", "cookies sent back", "secrets printed"),
            _rest,
        ),
    }
    made = {}
    for heading, (header, cells) in shown.items():
        lines = [header, ["---"] * len(header)]
        for row in found:
            missing = ["missing", *[""] * (len(header) - 2)]
            lines.append([row["contender"], *(missing if "missing" in row else cells(row))])
        made[heading] = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return made


def _counts(scene: Mapping[str, Any]) -> list[str]:
    doubt = scene["in_doubt"]
    names = ("wanted", "once", "twice", "lost")
    return [*(f"{scene[name]:,}" for name in names), "can't say" if doubt is None else f"{doubt:,}"]


def _rest(row: Mapping[str, Any]) -> list[str]:
    mirror = row["mirror"]
    emptied = "group emptied" if mirror["emptied"] else f"{mirror['left_when_empty']} of {mirror['members']} stay"
    cookies = row["credits"]["cookies"] + mirror["cookies"]
    return [
        f"{mirror['removed']} of {mirror['gone']}",
        f"{emptied}, {mirror['called_when_empty']}",
        "yes" if cookies else "no",
        "yes" if row["outage"]["secrets_printed"] else "no",
    ]


def _report(found: Sequence[Mapping[str, Any]], chosen: argparse.Namespace) -> dict[str, Any]:
    return {
        "command": "python -m benchmarks.peers",
        "measured": datetime.now(UTC).date().isoformat(),
        "credits": chosen.credits,
        "rounds": chosen.rounds,
        "credits_of_a_round": chosen.of,
        "seed": chosen.seed,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs, "
        f"Python {platform.python_version()}",
        "contenders": found,
    }


def measured(report: Mapping[str, Any]) -> str:
    """Return the sentence that says when, how and on what *report* was made."""
    versions = [f"{name} {number}" for row in report["contenders"] for name, number in row.get("versions", {}).items()]
    size = f"{report['credits']:,} credits; {report['rounds']} rounds of {report['credits_of_a_round']} with a kill"
    return (
        f"Measured {report['measured']} by `{report['command']}` ({size}; seed {report['seed']}) "
        f"on {report['machine']}, with {', '.join(versions)}."
    )


def document(report: Mapping[str, Any]) -> None:
    """Store *report* and put its tables into the page."""
    STORED.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    text = re.sub(r"(?m)^Measured.*$", lambda _: measured(report), PAGE.read_text(), count=1)
    for heading, table in tables(report).items():
        before, mark, after = text.partition(f"\n## {heading}\n")
        text = before + mark + re.sub(r"(?m)(^\|.*\n)+", lambda _, made=table: made + "\n", after, count=1)
    PAGE.write_text(text)


if __name__ == "__main__":
    sys.exit(main())
