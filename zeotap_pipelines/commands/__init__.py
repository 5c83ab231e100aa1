"""The commands of ``zeotap`` that work on a project: what persons need besides the assets."""

from __future__ import annotations

import argparse
from typing import Any

from . import beginning, changing, forgetting, looking, running


def add(parsers: Any) -> None:
    """Add the commands to the parser's; each sets ``run``, which returns the exit status."""
    for module in (beginning, running, looking, changing, forgetting):
        module.add(parsers)


def run(chosen: argparse.Namespace) -> int:
    """Run the chosen command."""
    status: int = chosen.run(chosen)
    return status
