"""What Dagster takes by itself. Beside it no module is imported that would make that more."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp


def imported(folder: Path, size: int) -> Callable[[], None]:
    """Only import Dagster."""

    def work() -> None:
        import dagster

        assert dagster.__version__

    return work


def empty(folder: Path, size: int) -> Callable[[], None]:
    """Import Dagster and run one asset that does nothing, in a process of its own."""
    home = mkdtemp(dir=folder)
    environment = {**os.environ, "DAGSTER_HOME": home, "DAGSTER_DISABLE_TELEMETRY": "1"}
    command = [sys.executable, "-c", "from benchmarks.bare_dagster import run_nothing; run_nothing()"]

    def work() -> None:
        subprocess.run(command, check=True, env=environment, stdout=sys.stderr)

    return work


def run_nothing() -> None:
    """Run an asset that does nothing."""
    import dagster as dg

    @dg.asset
    def nothing() -> None:
        return None

    with dg.DagsterInstance.get() as instance:
        assert dg.materialize([nothing], instance=instance).success
