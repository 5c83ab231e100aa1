"""What every command shares: the project it works on, where its state lies, and how it is called in a journal."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Collection, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # Dagster takes a second to import, and `zeotap --help` needs none of it.
    from ..declared import Declared
    from ..state import State


def command(parsers: Any, name: str, says: str, *, listing: bool = False) -> argparse.ArgumentParser:
    """Return the parser of a new command that works on a project."""
    parser: argparse.ArgumentParser = parsers.add_parser(name, help=says, description=says)
    parser.add_argument("--project", type=Path, default=Path(), metavar="DIR", help="the project's folder")
    if listing:
        parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def declared(chosen: argparse.Namespace) -> Declared:
    """Return what the project declares."""
    from ..declared import Declared

    return Declared.at(chosen.project)


def state() -> State:
    """Return where state lies."""
    from ..assets.assets import state

    return state()


def run_name() -> str:
    """Return what stands in place of a run's id."""
    return f"command {os.getpid()}"


def now() -> datetime:
    """Return the time of day."""
    return datetime.now(UTC)


def show(found: Sequence[Any], as_json: bool, nothing: str, *, unknown: Collection[str] = ()) -> None:
    """Print dataclasses as a table, or as JSON; *nothing* says that there are none. None in *unknown* shows as "?"."""
    lines = [asdict(one) for one in found]
    if as_json:
        print(json.dumps(lines, indent=2, ensure_ascii=False, default=str))
        return
    if not lines:
        print(nothing)
        return
    table = [list(lines[0])] + [
        [("?" if name in unknown else "") if v is None else str(v) for name, v in one.items()] for one in lines
    ]
    widths = [max(len(row[n]) for row in table) for n in range(len(table[0]))]
    for row in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
