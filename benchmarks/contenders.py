"""The contenders: each sets its stage, does its work, and prints the CPU seconds of the work."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path

import duckdb
import httpx
import polars as pl

from zeotap_pipelines import pipeline, rendering, snapshot
from zeotap_pipelines.audience import Audience
from zeotap_pipelines.demo.place import Place
from zeotap_pipelines.destinations.agillic_recipients import AgillicRecipients
from zeotap_pipelines.destinations.kognitiv import Kognitiv, PromotionalMemberGroup
from zeotap_pipelines.diff import make_plan
from zeotap_pipelines.ledger import Ledger
from zeotap_pipelines.mapping import Field
from zeotap_pipelines.model import Mode, Partition
from zeotap_pipelines.sandbox import CLIENT_ID, CLIENT_SECRET
from zeotap_pipelines.state import State
from zeotap_pipelines.sync import Guards, Sync
from zeotap_pipelines.trip import Trip

AUDIENCE = Audience("people", "SELECT 1", ("id",))
NOW = datetime(2026, 1, 3, tzinfo=UTC)


@dataclass(frozen=True)
class People:
    """Generated members with numbers from *first* to *last*; one in fifty spends *more*."""

    first: int
    last: int
    more: int

    def write(self, query: str, parameters: Mapping[str, object], path: Path, metadata: Mapping[str, str]) -> None:
        footer = ", ".join(f"{name}: '{value}'" for name, value in metadata.items())
        made = f"""
            SELECT CAST(i AS VARCHAR) AS id, 'm' || i || '@example.com' AS email, 'First' || i % 1000 AS first_name,
                'Last' || i % 5000 AS last_name, i % 1000 + CASE WHEN i % 50 = 0 THEN {self.more} ELSE 0 END AS spend
            FROM range({self.first}, {self.last}) AS r(i)
        """
        copy = f"COPY ({made}) TO '{path}' (FORMAT parquet, KV_METADATA {{{footer}}})"
        duckdb.connect().execute(copy).fetchall()


def day(number: int) -> Partition:
    start = datetime(2026, 1, number, tzinfo=UTC)
    return Partition(start + timedelta(days=1), start, start.date().isoformat())


def diff(contender: str, size: int, root: Path) -> float:
    """1 % in, 1 % out, 2 % changed, against a ledger of *size* members."""
    state = State(root)
    mapping = {"EMAIL": "email", "FIRSTNAME": "first_name", "LASTNAME": "last_name", "SPEND": "spend"}
    fields = {name: Field.of(column) for name, column in mapping.items()}
    sync = Sync("people", AUDIENCE, AgillicRecipients("profiles"), "bench", Mode.UPSERT, fields, Guards())
    before = snapshot.take(AUDIENCE, day(1), People(0, size, 0), state, run="1", now=NOW)
    ledger = Ledger(state, sync.target, sync.address)
    _, value = rendering.primary(sync)
    mapped = rendering.mapped(sync, f"read_parquet('{before.path}', file_row_number = true)", before.columns)
    with ledger.writing() as connection:
        digests = f"{rendering.digest(sync)}, 1, {rendering.stamp(sync)}"
        told = f"SELECT 'EMAIL', {value}, [], 'in', {digests}, false, NULL, NULL, NULL, '1', '1', '1', '1'"
        connection.execute(f"INSERT INTO told {told} FROM ({mapped})").fetchall()
    part = size // 100
    after = snapshot.take(AUDIENCE, day(2), People(part, size + part, 1), state, run="2", now=NOW)

    def plan() -> None:
        assert make_plan(sync, day(2), after, state, now=NOW).count("entered") == part

    def bare() -> None:
        with duckdb.connect() as connection:
            connection.execute(f"ATTACH '{ledger.file}' AS ledger (READ_ONLY)").fetchall()
            wanted = f"(SELECT email AS k, 1 AS d FROM read_parquet('{after.path}'))"
            held = "(SELECT value AS k, digest AS d FROM ledger.told)"
            join = f"SELECT count(*) FROM {wanted} AS w FULL JOIN {held} AS l USING (k) WHERE w.d IS DISTINCT FROM l.d"
            connection.execute(join).fetchall()
            again = rendering.mapped(sync, f"read_parquet('{after.path}', file_row_number = true)", after.columns)
            connection.execute(f"SELECT bit_xor({rendering.digest(sync)}) FROM ({again})").fetchall()

    def polars() -> None:
        columns = ["email", "first_name", "last_name", "spend"]
        frames = [pl.scan_parquet(taken.path).select(columns) for taken in (after, before)]
        joined = frames[0].join(frames[1], on="email", how="full", suffix="_told", coalesce=False)
        same = [pl.col(name).eq_missing(pl.col(f"{name}_told")) for name in columns]
        joined.filter(~pl.all_horizontal(same)).collect(engine="streaming")

    return _cpu({"complete plan": plan, "bare join and digest pass": bare, "polars full join": polars}[contender])


def one_by_one(contender: str, size: int, root: Path) -> float:
    """A request per row to the sandbox in another process, twenty at a time; ours writes down every answer."""
    with Place(root).sandbox() as base:
        connection = Kognitiv(
            account="bench",
            base_url=f"{base}/kognitiv",
            client_id=CLIENT_ID,
            client_secret=CLIENT_SECRET,  # type: ignore[arg-type]
            concurrency=20,
        )
        if contender == "script with httpx":
            return _cpu(lambda: asyncio.run(_script(connection, size)))
        state = State(root / "state")
        mapping = {"member_internal_id": Field.of("id")}
        sync = Sync("people", AUDIENCE, PromotionalMemberGroup("ACTIVE-90D"), "bench", Mode.MIRROR, mapping)
        snapshot.take(AUDIENCE, day(1), People(0, size, 0), state, run="1", now=NOW)
        pipeline.plan(sync, day(1), state, run="1")

        def deliver() -> None:
            assert pipeline.carry_out(sync, day(1), Trip(state, connection, "1")).complete

        return _cpu(deliver)


async def _script(connection: Kognitiv, size: int) -> None:
    """What one writes in ten lines: a shared client and a semaphore, and no memory of anything."""
    gate = asyncio.Semaphore(20)
    async with httpx.AsyncClient(base_url=connection.base_url, auth=connection.auth()) as client:
        client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # The services refuse them.

        async def put(number: int) -> None:
            async with gate:
                answer = await client.put(f"/api/groups/promotionalMember/ACTIVE-90D/members/{number}")
                answer.raise_for_status()

        await asyncio.gather(*(put(number) for number in range(size)))


def _cpu(work: Callable[[], None]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def main() -> None:
    figure, contender, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
    play = {"diff": diff, "one request per row": one_by_one}[figure]
    with tempfile.TemporaryDirectory() as folder:
        print(play(contender, size, Path(folder)))


if __name__ == "__main__":
    main()
