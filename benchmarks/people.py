"""Generated members, and a state in which a target was told of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb

from zeotap_pipelines import pipeline, rendering, snapshot
from zeotap_pipelines.audience import Audience
from zeotap_pipelines.delivery.conversing import about
from zeotap_pipelines.destinations.agillic_recipients import AgillicRecipients
from zeotap_pipelines.destinations.kognitiv import PromotionalMemberGroup
from zeotap_pipelines.ledger.ledger import Ledger
from zeotap_pipelines.mapping import Field
from zeotap_pipelines.model import Fate, Mode, Partition
from zeotap_pipelines.snapshot import Snapshot
from zeotap_pipelines.state import State
from zeotap_pipelines.sync import Sync

NOW = datetime(2026, 1, 3, tzinfo=UTC)

AUDIENCE = Audience("people", "SELECT * FROM people", ("id",))

PROFILES = Sync(
    "profiles",
    AUDIENCE,
    AgillicRecipients("profiles"),
    "bench",
    Mode.UPSERT,
    {
        "EMAIL": Field("email"),
        "FIRSTNAME": Field("first_name"),
        "LASTNAME": Field("last_name"),
        "SPEND": Field("spend"),
    },
)
"""Members with three attributes."""

GROUP = Sync(
    "group",
    AUDIENCE,
    PromotionalMemberGroup("ACTIVE-90D"),
    "bench",
    Mode.MIRROR,
    {"member_internal_id": Field("id")},
)
"""Members and nothing else."""


@dataclass(frozen=True)
class People:
    """Members with numbers from *first* to before *last*; one in *every* so many spends *more*."""

    first: int
    last: int
    more: int = 0
    every: int = 50

    @property
    def query(self) -> str:
        """The SQL of the members; names as various as in life, an address each."""
        return f"""
            SELECT CAST(i AS VARCHAR) AS id, 'm' || i || '@example.com' AS email,
                'First' || hash(i) % 20000 AS first_name, 'Last' || hash(i + 1) % 200000 AS last_name,
                i % 1000 + CASE WHEN i % {self.every} = 0 THEN {self.more} ELSE 0 END AS spend
            FROM range({self.first}, {self.last}) AS r(i)
        """

    def write(
        self, query: str, parameters: Mapping[str, object], path: Path, metadata: Mapping[str, str], zone: str
    ) -> None:
        """Write the members to *path*, whatever the query."""
        footer = ", ".join(f"{name}: '{value}'" for name, value in metadata.items())
        with duckdb.connect() as connection:
            connection.execute(f"COPY ({self.query}) TO '{path}' (FORMAT parquet, KV_METADATA {{{footer}}})")


def day(number: int) -> Partition:
    """Return the partition of a day in January 2026."""
    start = datetime(2026, 1, number, tzinfo=UTC)
    return Partition(start + timedelta(days=1), start, start.date().isoformat())


def before(size: int) -> People:
    """Return whom the target was told of."""
    return People(0, size)


def after(size: int) -> People:
    """Return who is wanted now: 1 % came, 1 % went, 2 % changed."""
    return People(size // 100, size + size // 100, 1)


def told(sync: Sync, state: State, people: People) -> Ledger:
    """Return a ledger that says that *people* were told to the target, each with its digest."""
    taken = snapshot.take(sync.audience, day(1), people, state, run="1", now=NOW)
    ledger = Ledger(state, sync.target, sync.address)
    _, value = rendering.primary(sync)
    rows = rendering.mapped(sync, f"read_parquet('{taken.path}', file_row_number = true)", taken.columns)
    with ledger.writing() as connection:
        connection.execute(
            f"""
            INSERT INTO told BY NAME
            SELECT '{sync.identity[0]}' AS name, {value} AS value, CAST([] AS VARCHAR[]) AS others, 'in' AS state,
                {rendering.digest(sync)} AS digest, {rendering.DIGEST_VERSION} AS digest_version,
                {rendering.stamp(sync)} AS stamp, false AS unsettled, '1' AS plan, '1' AS run, '2026' AS moment
            FROM ({rows})
            """
        )
    return ledger


def wanted(sync: Sync, state: State, people: People, number: int = 2) -> Snapshot:
    """Return the snapshot of *people* at a day, the second unless *number* says otherwise."""
    return snapshot.take(sync.audience, day(number), people, state, run=str(number), now=NOW)


def settled(sync: Sync, state: State) -> None:
    """Let the target have accepted everything that was planned at the second day."""
    made = pipeline.plan(sync, day(2), state, run="2")
    ledger = Ledger(state, sync.target, sync.address)
    with ledger.reading() as connection:
        standing = ledger.standing(connection)
    with ledger.journal() as journal:
        journal.append("begin", plan=made.id, **about(sync, made, "2", standing))
        journal.asked(made.id, range(made.operations), NOW.isoformat())
        answer = {"rows": [[0, made.operations - 1]], "fate": Fate.ACCEPTED, "moment": NOW.isoformat()}
        journal.append("answered", plan=made.id, **answer)
        ledger.fold(journal)
