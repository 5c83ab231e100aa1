"""Our part of the second run: nothing is imported but what a run without Dagster needs."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import httpx

from zeotap_pipelines import pipeline, snapshot
from zeotap_pipelines.delivery.trip import Trip
from zeotap_pipelines.destinations.agillic import Agillic
from zeotap_pipelines.engines.duckdb import DuckDBSource
from zeotap_pipelines.state import State

from .measured import cpu, report
from .people import NOW, PROFILES, People, before, day, settled, told

NOWHERE = "http://127.0.0.1:1"
"""Nobody listens there: the first request that is to change something ends the process."""


def stage(folder: Path, size: int) -> None:
    """Write the warehouse, of which 1 % changed, and the state that an earlier run left: other rows, and the same."""
    with duckdb.connect(str(folder / "warehouse.duckdb")) as connection:
        connection.execute(f"CREATE TABLE people AS {People(0, size, 1, every=100).query}")
        connection.execute(f"CREATE TABLE sent AS {before(size).query}")
    # Who compares by a cursor column needs one, and a mark that an earlier run left: one row goes before all others.
    with duckdb.connect(str(folder / "cursor.duckdb")) as connection:
        connection.execute(f"ATTACH '{folder / 'warehouse.duckdb'}' AS warehouse (READ_ONLY)").fetchall()
        connection.execute(
            "CREATE TABLE rest AS SELECT *, CASE WHEN spend > i % 1000 THEN 2 ELSE 0 END AS updated "
            "FROM (SELECT *, CAST(id AS BIGINT) AS i FROM warehouse.people)"
        )
        connection.execute("CREATE TABLE people AS SELECT * REPLACE (1 AS updated) FROM rest LIMIT 1")
    for name in ("changed", "same"):
        state = State(folder / name)
        told(PROFILES, state, before(size))
    source = DuckDBSource(folder / "warehouse.duckdb")
    snapshot.take(PROFILES.audience, day(2), source, state, run="2", now=NOW)
    settled(PROFILES, state)


class FirstRequest(httpx.AsyncBaseTransport):
    """Answers what a run asks beforehand, and ends the process when it asks for a change."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Exchange one request."""
        if request.method == "GET":
            return httpx.Response(200, json={"fields": [{"name": name} for name in PROFILES.mapping]}, request=request)
        if "upsert" in request.url.path:
            report(time.time() - float(sys.argv[4]), cpu())
            os._exit(0)
        return httpx.Response(200, json={"access_token": "bench-token", "expires_in": 3600}, request=request)


def changed(folder: Path, size: int) -> Callable[[], None]:
    """Freeze the audience, plan, and begin to deliver: the first request ends it."""
    state = State(folder / "changed")
    (state.target(PROFILES.address) / "journal.jsonl").unlink(missing_ok=True)  # It was never folded.
    return lambda: _run(folder, state)


def same(folder: Path, size: int) -> Callable[[], None]:
    """Freeze the audience, plan, and find that nothing is owed."""
    return lambda: _run(folder, State(folder / "same"))


def _run(folder: Path, state: State) -> None:
    source = DuckDBSource(folder / "warehouse.duckdb")
    shutil.rmtree(state.plans(PROFILES.name, day(3).key), ignore_errors=True)  # The run before was this one.
    snapshot.take(PROFILES.audience, day(3), source, state, run=str(time.time()), now=NOW)
    plan = pipeline.plan(PROFILES, day(3), state, run="3")
    connection = Agillic(account="bench", base_url=NOWHERE, developer_key="bench-key", developer_secret="bench-secret")  # type: ignore[arg-type]
    summary = pipeline.carry_out(PROFILES, day(3), Trip(state, connection, "3", transport=FirstRequest()))
    assert summary.complete and not plan.operations, (summary.error, plan.counts)
