"""dlt: an incremental resource from DuckDB by a cursor column, to its first request; an earlier run left its mark."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import dlt
import duckdb
import requests

from benchmarks.first_request import listen
from benchmarks.service import Service

os.environ |= {
    "RUNTIME__DLTHUB_TELEMETRY": "false",
    "RUNTIME__LOG_LEVEL": "ERROR",
    "NORMALIZE__DATA_WRITER__DISABLE_COMPRESSION": "true",
    "DATA_WRITER__BUFFER_MAX_ITEMS": "5000",
}


def load(warehouse: Path, state: Path, address: str) -> None:
    @dlt.resource(name="people")
    def people(updated: Any = dlt.sources.incremental("updated")) -> Iterator[list[dict[str, Any]]]:  # noqa: B008
        with duckdb.connect(str(warehouse), read_only=True) as connection:
            found = connection.execute("SELECT * FROM people WHERE updated > ?", [updated.last_value or 0])
            names = [column[0] for column in found.description]
            while some := found.fetchmany(5_000):
                yield [dict(zip(names, row, strict=True)) for row in some]

    @dlt.destination(
        batch_size=1000,
        loader_file_format="typed-jsonl",
        name="bench",
        naming_convention="direct",
        max_table_nesting=0,
        skip_dlt_columns_and_tables=True,
    )
    def sink(items: Any, table: Any) -> None:
        requests.post(address, json=items).raise_for_status()

    dlt.pipeline("bench", destination=sink, pipelines_dir=str(state)).run(people())


def stage(folder: Path, size: int) -> None:
    """Deliver the row that carries the mark, then let the others be there."""
    warehouse = folder / "dlt.duckdb"
    shutil.copyfile(folder / "cursor.duckdb", warehouse)
    service = Service()
    load(warehouse, folder / "dlt", service.address)
    service.counted(1)
    with duckdb.connect(str(warehouse)) as connection:
        connection.execute("INSERT INTO people SELECT * FROM rest")


def work(folder: Path, size: int) -> Callable[[], None]:
    state = Path(mkdtemp(dir=folder)) / "dlt"
    shutil.copytree(folder / "dlt", state)  # What it notes of a run that ends at once is nobody's.
    return lambda: load(folder / "dlt.duckdb", state, listen())
