"""dagster-drt: a run that delivers one row, from its process's first instruction to its first request."""

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp

from benchmarks.first_request import listen
from benchmarks.others.second_drt_sync import SYNC, project


def stage(folder: Path, size: int) -> None:
    """Write the project, and a warehouse of one row."""
    warehouse = folder / "one.sqlite"
    with sqlite3.connect(warehouse) as connection:
        connection.execute("CREATE TABLE people (email TEXT, first_name TEXT, last_name TEXT, spend INTEGER)")
        connection.execute("INSERT INTO people VALUES ('m1@example.com', 'First', 'Last', 1)")
    project(folder / "dagster-drt", "sqlite", warehouse)


def work(folder: Path, size: int) -> Callable[[], None]:
    root = folder / "dagster-drt"
    os.environ |= {"DAGSTER_HOME": mkdtemp(dir=folder), "DAGSTER_DISABLE_TELEMETRY": "1"}
    os.environ |= {"HOME": str(root), "DRT_TELEMETRY": "0", "DO_NOT_TRACK": "1"}
    os.chdir(root)
    sync = SYNC.format(mode="full", url=listen())
    (root / "syncs" / "people.yml").write_text(sync)

    def run() -> None:
        import dagster as dg
        from dagster_drt import DagsterDrtResource, drt_assets

        @drt_assets(project_dir=root)
        def people(context: dg.AssetExecutionContext, drt: DagsterDrtResource):  # type: ignore[no-untyped-def]
            yield from drt.run(context=context)

        with dg.DagsterInstance.get() as instance:
            dg.materialize([people], instance=instance, resources={"drt": DagsterDrtResource(project_dir=str(root))})

    return run
