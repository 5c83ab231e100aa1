"""A Singer target: a sink that posts a record, or a batch of them, with a session; one at a time, as the SDK has it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import requests
from singer_sdk import Target
from singer_sdk.sinks import BatchSink, RecordSink

from benchmarks.service import MEMBERS, Service, credit, member


def _played(folder: Path, sink: type, rows: Any, properties: Mapping[str, Any]) -> Callable[[], None]:
    messages = folder / f"{sink.__name__}.jsonl"
    with messages.open("w") as file:
        schema = {"type": "object", "properties": properties}
        file.write(json.dumps({"type": "SCHEMA", "stream": "people", "schema": schema, "key_properties": []}) + "\n")
        for row in rows:
            file.write(json.dumps({"type": "RECORD", "stream": "people", "record": row}) + "\n")

    class Bench(Target):
        name = "target-bench"
        config_jsonschema = {"type": "object", "properties": {}}
        default_sink_class = sink

    def work() -> None:
        with messages.open() as file:
            Bench(config={}).listen(file)

    return work


def one_by_one(folder: Path, size: int, delay: float = 0.05) -> Callable[[], dict[str, float]]:
    service, session = Service(delay), requests.Session()

    class Credits(RecordSink):
        def process_record(self, record: dict[str, Any], context: dict[str, Any]) -> None:
            answer = session.post(service.address + record["path"], json=record["body"])
            answer.raise_for_status()
            assert answer.json()["awarded"]

    rows = ({"path": path, "body": body} for path, body in map(credit, range(size)))
    played = _played(folder, Credits, rows, {"path": {"type": "string"}, "body": {"type": "object"}})

    def work() -> dict[str, float]:
        played()
        return service.counted(size)

    return work


def at_once(folder: Path, size: int) -> Callable[[], dict[str, float]]:
    return one_by_one(folder, size, 0.0)


def batches(folder: Path, size: int, delay: float = 0.02) -> Callable[[], dict[str, float]]:
    service, session = Service(delay), requests.Session()

    class Cohort(BatchSink):
        max_size = MEMBERS

        def process_batch(self, context: dict[str, Any]) -> None:
            members = [{"uid": record["uid"]} for record in context["records"]]
            body = {"action": "add_members", "parameters": {"cohort_id": "c", "members": members}}
            session.post(f"{service.address}/v1/integrations/cohortsync", json=body).raise_for_status()

    played = _played(folder, Cohort, map(member, range(size)), {"uid": {"type": "string"}})

    def work() -> dict[str, float]:
        played()
        return service.counted()

    return work


def batches_at_once(folder: Path, size: int) -> Callable[[], dict[str, float]]:
    return batches(folder, size, 0.0)
