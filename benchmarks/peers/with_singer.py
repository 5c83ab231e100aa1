"""
A Singer target: a sink that posts one record, with backoff's retries; the tap states where it is every ten records.

    python -m benchmarks.peers.with_singer credits|mirror FOLDER ADDRESS

As a runner does, the last state that the target wrote is given to the tap of the next run.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import backoff
import requests
from singer_sdk import Target
from singer_sdk.sinks import RecordSink

from benchmarks.peers import rows


def refused(error: Exception) -> bool:
    answer = getattr(error, "response", None)
    return answer is not None and answer.status_code < 500 and answer.status_code != 429


def play(folder: Path, file: str, properties: dict[str, Any], key: str, send: Callable[[rows.Row], None]) -> None:
    kept = folder / "state" / "state.jsonl"
    kept.touch()
    states = kept.read_text().splitlines()
    after = json.loads(states[-1])["number"] if states else -1
    messages = folder / "messages.jsonl"
    with messages.open("w") as tap:
        schema = {"type": "object", "properties": properties}

        def say(kind: str, **more: Any) -> None:
            tap.write(json.dumps({"type": kind, **more}) + "\n")

        say("SCHEMA", stream="people", schema=schema, key_properties=[key])
        for row in rows.read(folder / file):
            if row["number"] > after:
                say("RECORD", stream="people", record=row)
                if row["number"] % 10 == 9:
                    say("STATE", value={"number": row["number"]})

    class Service(RecordSink):
        @backoff.on_exception(backoff.expo, requests.exceptions.RequestException, max_tries=5, giveup=refused)
        def process_record(self, record: dict[str, Any], context: dict[str, Any]) -> None:
            send(record)

    class Credits(Target):
        name = "target-service"
        config_jsonschema = {"type": "object", "properties": {}}
        default_sink_class = Service

    with messages.open() as file_, kept.open("a", buffering=1) as state, contextlib.redirect_stdout(state):
        Credits(config={}).listen(file_)


def credits(folder: Path, address: str) -> None:
    session = requests.Session()

    def send(row: rows.Row) -> None:
        path, query, body = rows.credit(row)
        session.post(f"{address}/crowdtwist{path}", params=query, json=body, timeout=60).raise_for_status()

    text, number = {"type": "string"}, {"type": "integer"}
    properties = {
        "number": number,
        "event_id": text,
        "email": text,
        "activity_id": text,
        "num_points": number,
    }
    play(folder, "credits.jsonl", properties, "event_id", send)


def mirror(folder: Path, address: str) -> None:
    """What is gone from the source reaches no sink: there is no record of it."""
    session = requests.Session()

    def send(row: rows.Row) -> None:
        url = f"{address}/kognitiv{rows.member(row)}"
        session.put(url, headers=rows.bearer(), timeout=60).raise_for_status()

    properties = {"number": {"type": "integer"}, "member": {"type": "string"}}
    play(folder, "members.jsonl", properties, "member", send)


if __name__ == "__main__":
    what, where, service_address = sys.argv[1:]
    {"credits": credits, "mirror": mirror}[what](Path(where), service_address)
