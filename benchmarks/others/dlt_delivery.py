"""dlt: a custom destination; twenty files, loaded by twenty threads, each with a session of its own."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import dlt
import requests

from benchmarks.service import MEMBERS, Service, credit, member

PAGE = 5_000


def _run(folder: Path, rows: Any, send: Callable[[Any], None], batch: int, per_file: int, workers: int) -> None:
    @dlt.destination(
        batch_size=batch,
        loader_file_format="typed-jsonl",
        name="bench",
        naming_convention="direct",
        max_table_nesting=0,
        skip_dlt_columns_and_tables=True,
    )
    def sink(items: Any, table: Any) -> None:
        send(items)

    pipeline = dlt.pipeline("bench", destination=sink, pipelines_dir=mkdtemp(dir=folder))
    pipeline.run(rows, table_name="people")


def _pages(size: int, row: Callable[[int], Any]) -> Iterator[list[Any]]:
    """Yield the rows by pages, as that page advises first."""
    for first in range(0, size, PAGE):
        yield [row(number) for number in range(first, min(first + PAGE, size))]


def _settled(workers: int, per_file: int) -> None:
    """What dlt's page on performance advises."""
    os.environ |= {
        "RUNTIME__DLTHUB_TELEMETRY": "false",
        "RUNTIME__LOG_LEVEL": "ERROR",
        "LOAD__WORKERS": str(workers),
        "DATA_WRITER__BUFFER_MAX_ITEMS": str(min(per_file, 5000)),
        "EXTRACT__DATA_WRITER__FILE_MAX_ITEMS": str(per_file),
        "NORMALIZE__DATA_WRITER__FILE_MAX_ITEMS": str(per_file),
        "NORMALIZE__DATA_WRITER__DISABLE_COMPRESSION": "true",
    }


def one_by_one(folder: Path, size: int, delay: float = 0.05) -> Callable[[], dict[str, float]]:
    service, kept = Service(delay), threading.local()
    _settled(20, max(1, size // 20))

    def send(items: Any) -> None:
        if not hasattr(kept, "session"):
            kept.session = requests.Session()
        for item in items if isinstance(items, list) else [items]:
            answer = kept.session.post(service.address + item["path"], json=item["body"])
            answer.raise_for_status()
            assert answer.json()["awarded"]

    def row(number: int) -> dict[str, Any]:
        path, body = credit(number)
        return {"path": path, "body": body}

    def work() -> dict[str, float]:
        _run(folder, _pages(size, row), send, 1, size // 20, 20)
        return service.counted(size)

    return work


def at_once(folder: Path, size: int) -> Callable[[], dict[str, float]]:
    return one_by_one(folder, size, 0.0)


def batches(folder: Path, size: int, delay: float = 0.02) -> Callable[[], dict[str, float]]:
    service, session = Service(delay), requests.Session()
    _settled(1, MEMBERS * 10)

    def send(items: Any) -> None:
        body = {"action": "add_members", "parameters": {"cohort_id": "c", "members": items}}
        session.post(f"{service.address}/v1/integrations/cohortsync", json=body).raise_for_status()

    def work() -> dict[str, float]:
        _run(folder, _pages(size, member), send, MEMBERS, MEMBERS * 10, 1)
        return service.counted()

    return work


def batches_at_once(folder: Path, size: int) -> Callable[[], dict[str, float]]:
    return batches(folder, size, 0.0)
