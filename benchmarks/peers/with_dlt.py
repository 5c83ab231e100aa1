"""
dlt: a custom destination, dlt's own requests with their retries, an incremental resource, one row at a time.

    python -m benchmarks.peers.with_dlt credits|mirror FOLDER ADDRESS
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dlt
from dlt.sources.helpers import requests

from benchmarks.peers import rows


def load(folder: Path, file: str, key: str, send: Callable[[rows.Row], None]) -> None:
    @dlt.resource(name="people", primary_key=key)
    def people(number: Any = dlt.sources.incremental("number")) -> Iterator[rows.Row]:  # noqa: B008
        yield from rows.read(folder / file)

    # With one row at a time as little as can be is sent again where a job is taken up again.
    @dlt.destination(batch_size=1, name="service", naming_convention="direct", max_table_nesting=0)
    def service(items: Any, table: Any) -> None:
        for item in items:
            send(item)

    pipeline = dlt.pipeline("peers", destination=service, pipelines_dir=str(folder / "state"))
    print(pipeline.run(people()))


def credits(folder: Path, address: str) -> None:
    def send(row: rows.Row) -> None:
        path, query, body = rows.credit(row)
        requests.post(f"{address}/crowdtwist{path}", params=query, json=body).raise_for_status()

    load(folder, "credits.jsonl", "event_id", send)


def mirror(folder: Path, address: str) -> None:
    """What is gone from the source reaches no destination: there is no row of it."""

    def send(row: rows.Row) -> None:
        requests.put(f"{address}/kognitiv{rows.member(row)}", headers=rows.bearer()).raise_for_status()

    load(folder, "members.jsonl", "member", send)


if __name__ == "__main__":
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    what, where, service_address = sys.argv[1:]
    {"credits": credits, "mirror": mirror}[what](Path(where), service_address)
