"""drt: an incremental sync from DuckDB by a cursor column, to its first request; an earlier run left its mark."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp

import duckdb

from benchmarks.first_request import listen
from benchmarks.others.second_drt_sync import SYNC, project
from benchmarks.service import Service


def run(root: Path, url: str) -> None:
    sync = SYNC.format(mode="incremental\n  cursor_field: updated", url=url)
    (root / "syncs" / "people.yml").write_text(sync)
    os.environ |= {"HOME": str(root), "DRT_TELEMETRY": "0", "DO_NOT_TRACK": "1"}
    os.chdir(root)
    from drt.cli.main import app

    try:
        app(["run"])
    except SystemExit as ended:
        if ended.code:
            raise RuntimeError(f"drt ended with {ended.code}") from None


def stage(folder: Path, size: int) -> None:
    """Deliver the row that carries the mark, then let the others be there."""
    warehouse = folder / "drt.duckdb"
    shutil.copyfile(folder / "cursor.duckdb", warehouse)
    service = Service()
    project(folder / "drt", "duckdb", warehouse)
    run(folder / "drt", service.address)
    service.counted(1)
    with duckdb.connect(str(warehouse)) as connection:
        connection.execute("INSERT INTO people SELECT * FROM rest")


def work(folder: Path, size: int) -> Callable[[], None]:
    root = Path(mkdtemp(dir=folder)) / "drt"
    shutil.copytree(folder / "drt", root)  # What it notes of a run that ends at once is nobody's.
    return lambda: run(root, listen())
