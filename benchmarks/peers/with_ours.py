"""
zeotap_pipelines through its core, with what it does by default.

    python -m benchmarks.peers.with_ours credits|mirror FOLDER ADDRESS

Leaves with status 0 when everything was delivered, 1 when it wasn't, 3 when a person must
decide about rows in doubt; their events are left in FOLDER/doubts.json.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars
from pydantic import SecretStr

from benchmarks.peers import rows
from zeotap_pipelines import pipeline, snapshot
from zeotap_pipelines.audience import Audience
from zeotap_pipelines.delivery.trip import Trip
from zeotap_pipelines.destinations.base import Connection
from zeotap_pipelines.destinations.crowdtwist import CrowdTwist
from zeotap_pipelines.destinations.crowdtwist_activities import ActivityCredit
from zeotap_pipelines.destinations.kognitiv import Kognitiv, PromotionalMemberGroup
from zeotap_pipelines.engines.duckdb import rows as fetched
from zeotap_pipelines.errors import ZeotapError
from zeotap_pipelines.ledger.ledger import Ledger
from zeotap_pipelines.mapping import Field
from zeotap_pipelines.model import Mode, Partition
from zeotap_pipelines.sandbox import CLIENT_ID, CLIENT_SECRET
from zeotap_pipelines.state import State
from zeotap_pipelines.sync import Sync

COLUMNS = {
    "credits": {"event_id": polars.String, "email": polars.String, "num_points": polars.Int64},
    "members": {"member": polars.String},
}


class Lines:
    """A source that gives the rows of a file of JSON lines, whatever the query."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(
        self, query: str, parameters: Mapping[str, object], path: Path, metadata: Mapping[str, str], zone: str
    ) -> None:
        schema = COLUMNS[self._path.stem]
        found = [{name: row[name] for name in schema} for row in rows.read(self._path)]
        polars.DataFrame(found, schema=schema).write_parquet(path, metadata=dict(metadata))


def day(number: int) -> Partition:
    start = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number)
    return Partition(start + timedelta(days=1), start, start.date().isoformat())


def deliver(sync: Sync, connection: Connection, source: Lines, folder: Path, number: int) -> int:
    state, run, partition = State(folder / "state"), f"run-{os.getpid()}", day(number)
    ledger = Ledger(state, sync.target, sync.address)
    try:
        snapshot.take(sync.audience, partition, source, state, run=run, now=datetime.now(UTC))
        pipeline.plan(sync, partition, state, run=run)
        summary = pipeline.carry_out(sync, partition, Trip(state, connection, run))
    except ZeotapError as error:
        print(f"{type(error).__name__}: {error}")
        return 1
    with ledger.reading() as reader:
        doubts = [value for (value,) in fetched(reader, "SELECT value FROM told WHERE state = 'doubt'")]
    (folder / "doubts.json").write_text(json.dumps(doubts))
    counts = ", ".join(f"{count} {fate}" for fate, count in summary.fates.items())
    if summary.error:
        counts += f" ({type(summary.error).__name__}: {summary.error})"
    print(f"asked {summary.asked}: {counts or 'nothing'}; {len(doubts)} in doubt for a person to decide")
    return 1 if not summary.complete else 3 if doubts else 0


def credits(folder: Path, address: str) -> int:
    key = SecretStr(os.environ[rows.KEY])
    connection = CrowdTwist(account="peers", base_url=f"{address}/crowdtwist", api_key=key)
    mapping = {
        "event_id": Field("event_id"),
        "user_id": Field("email"),
        "activity_id": Field(constant="1001"),
        "num_points": Field("num_points"),
        "extra_data.event_id": Field("event_id"),
    }
    audience = Audience("credits", "SELECT", ("event_id",))
    sync = Sync("credits", audience, ActivityCredit("peers"), "peers", Mode.INSERT, mapping)
    return deliver(sync, connection, Lines(folder / "credits.jsonl"), folder, 0)


def mirror(folder: Path, address: str) -> int:
    connection = Kognitiv(
        account="peers",
        base_url=f"{address}/kognitiv",
        client_id=CLIENT_ID,
        client_secret=SecretStr(CLIENT_SECRET),
    )
    audience = Audience("members", "SELECT", ("member",))
    mapping = {"member_internal_id": Field("member")}
    sync = Sync("members", audience, PromotionalMemberGroup(rows.GROUP), "peers", Mode.MIRROR, mapping)
    today = sum(1 for _ in (folder / "state").glob("snapshots/members/*.parquet"))
    return deliver(sync, connection, Lines(folder / "members.jsonl"), folder, today)


if __name__ == "__main__":
    what, where, service = sys.argv[1:]
    sys.exit({"credits": credits, "mirror": mirror}[what](Path(where), service))
