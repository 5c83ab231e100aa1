"""A process that runs Dagster's own `dg check` on one project after another: `python -m …checking` takes JSON lines."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from click.testing import CliRunner
from dagster_dg_cli.cli import create_dg_cli


def main() -> None:
    """Read `[folder, [command, …]]` from each line, and answer with the status and the text of each command."""
    dg: Any = create_dg_cli()
    for line in sys.stdin:
        folder, commands = json.loads(line)
        os.chdir(folder)
        sys.path.insert(0, folder)
        found = {}
        for command in commands:
            done = CliRunner().invoke(dg, ["check", command])
            found[command] = [done.exit_code, done.output]
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
