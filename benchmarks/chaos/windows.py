"""
Windows: what a run had written down as asked, and no answer to.

Whoever comes next folds the journal at once, perhaps before anybody has looked: so
every worker keeps a copy of a journal before it folds it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CUT_OFF = "stopped before the answer came"
"""What the journal says of a request that was under way when its run was stopped."""


@dataclass(frozen=True)
class Window:
    """What one run left of a plan: rows that are *open*, and rows that were *cut_off* because it was stopped."""

    run: str
    plan: str
    open: frozenset[int]
    cut_off: frozenset[int]


def keep(journal: Path, folder: Path) -> None:
    """Put a copy of *journal* into *folder*. Whoever dies before the fold is committed leaves it to the next one."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{os.getpid()}-{time.monotonic_ns()}.jsonl").write_bytes(journal.read_bytes())


def left(folder: Path, journal: Path) -> Iterator[Window]:
    """Yield the windows in the copies in *folder*, which are thrown away, and in *journal*; nobody may speak."""
    copies = sorted(folder.glob("*.jsonl"))
    longest: dict[bytes, bytes] = {}  # A journal only grows: of several copies of one the longest says it all.
    for file in [*copies, *([journal] if journal.exists() else [])]:
        lines = file.read_bytes()
        first = lines.partition(b"\n")[0]
        longest[first] = max(longest.get(first, b""), lines, key=len)
    for lines in longest.values():
        yield from _windows([json.loads(line) for line in lines.split(b"\n")[:-1]])
    for file in copies:
        file.unlink()


def _windows(lines: list[Mapping[str, Any]]) -> Iterator[Window]:
    asked: dict[tuple[str, str], set[int]] = {}
    cut: dict[tuple[str, str], set[int]] = {}
    run = ""
    for line in lines:
        if line["kind"] == "begin":
            run = line["run"]
        elif line["kind"] in ("asked", "answered"):
            some = {row for first, last in line["rows"] for row in range(first, last + 1)}
            mine = asked.setdefault((run, line["plan"]), set())
            if line["kind"] == "asked":
                mine |= some
            else:
                mine -= some
                if line.get("reason") == CUT_OFF:
                    cut.setdefault((run, line["plan"]), set()).update(some)
    for (speaker, plan), numbers in asked.items():
        yield Window(speaker, plan, frozenset(numbers), frozenset(cut.get((speaker, plan), ())))
