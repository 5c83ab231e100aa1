"""The command line: ``zeotap demo``, ``zeotap dev``, and the commands that work on a project."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from datetime import date

from . import commands as project
from .errors import ZeotapError

SERVING = ("dev", "sandbox")
"""Commands that go on until somebody stops them."""


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="zeotap", description="Audiences from a warehouse, kept in step with services."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="real audiences to all four services, checked against the sandbox")
    demo.add_argument("--start", type=date.fromisoformat, default=date(1997, 9, 1), help="the first day")
    demo.add_argument("--days", type=int, default=7, help="daily runs of the active members")
    demo.add_argument("--backfill", type=int, default=30, help="the days after them, in one run")
    demo.add_argument("--purchases", type=int, default=7, help="days of profiles and purchases")
    dev = commands.add_parser("dev", help="the Dagster UI and the sandbox together")
    dev.add_argument("--port", type=int, default=3000, help="the UI's port; 0 takes a free one")
    project.add(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status; an error that a person must mend is one sentence."""
    chosen = parser().parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGINT):  # A shell that starts this in the background ignores SIGINT.
        signal.signal(number, signal.default_int_handler)
    try:
        if chosen.command == "demo":
            from .demo.run import Script
            from .demo.run import demo as run_demo

            return run_demo(Script(chosen.start, chosen.days, chosen.backfill, chosen.purchases))
        if chosen.command == "dev":
            from .demo.dev import dev as run_dev

            return run_dev(chosen.port)
        return project.run(chosen)
    except ZeotapError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        if chosen.command not in SERVING:
            print(f"{chosen.command} was stopped: say it again for what is left", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
