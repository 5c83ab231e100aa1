"""The command line: ``zeotap demo`` and ``zeotap dev``."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence

from .errors import ZeotapError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status; an error that a person must mend is one sentence."""
    parser = argparse.ArgumentParser(
        prog="zeotap", description="Audiences from a warehouse, kept in step with services."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("demo", help="a week of daily runs and a month's backfill, checked against the sandbox")
    dev = commands.add_parser("dev", help="the Dagster UI and the sandbox together")
    dev.add_argument("--port", type=int, default=3000, help="the UI's port; 0 takes a free one")
    chosen = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if chosen.command == "demo":
            from .demo.run import demo as run_demo

            return run_demo()
        from .demo.dev import dev as run_dev

        return run_dev(chosen.port)
    except ZeotapError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
