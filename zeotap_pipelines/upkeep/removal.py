"""Remove members from a target outside any audience: who is forgotten, or everybody where a target is given up."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import asdict
from datetime import UTC, datetime

import duckdb

from .. import rendering
from ..delivery.delivery import deliver
from ..delivery.trip import Summary, Trip
from ..diff.operations import identity_mapping, removal_body
from ..diff.plan import Plan
from ..engines.duckdb import rows
from ..ledger.ledger import Ledger, Standing
from ..ledger.rest import fold_rest
from ..model import Change, Mode, Verb
from ..naming import literal
from ..state import State, replacing, write_text
from ..sync import Sync

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


def removable(sync: Sync) -> bool:
    """Return whether the service can be asked to take a member out of the sync's target."""
    return Verb.REMOVE in sync.target.verbs


def remove(sync: Sync, keys: Collection[str] | None, trip: Trip) -> Summary:
    """
    Ask the service to remove *keys* (None: everybody whom the target was told to hold).

    A removal uses the identity that was delivered, stripped of what somebody who
    stays carries; who has no other isn't asked about, and stays `held`. It is a plan
    like any other, journaled and folded, but of no partition: time doesn't move, and
    nothing counts as filled. The account's lock must be held.
    """
    ledger = Ledger(trip.state, sync.target, sync.address)
    fold_rest(ledger)
    with ledger.reading() as connection:
        standing = ledger.standing(connection)
        _leaving(connection, sync, keys)
        plan = _write(connection, sync, standing, trip)
    # Not the partition's newest plan: that is what its audience asks for.
    write_text(plan.file(trip.state).with_suffix(".json"), json.dumps(asdict(plan), indent=2) + "\n")
    return deliver(sync, plan, trip, restore=True)


def held(sync: Sync, keys: Collection[str], state: State) -> int:
    """Return how many of *keys* the target was told to hold, or may hold."""
    told_key = rendering.key(sync.target, sync.target.identity, "name", "value")
    theirs = f"{told_key} IN (SELECT unnest(?::VARCHAR[]))"
    query = f"SELECT count(*) FROM told WHERE (state = 'in' OR unsettled) AND {theirs}"
    with Ledger(state, sync.target, sync.address).reading() as connection:
        [(count,)] = rows(connection, query, [list(keys)])
    return int(count)


def _leaving(connection: duckdb.DuckDBPyConnection, sync: Sync, keys: Collection[str] | None) -> None:
    """Make ``owed``: who is to be removed, by which of the identifiers that nobody who stays carries."""
    rows(connection, "CREATE TEMP TABLE chosen AS SELECT unnest(?::VARCHAR[]) AS key", [list(keys or ())])
    told_key = rendering.key(sync.target, sync.target.identity, "name", "value")
    form = rendering.same_form(sync.target, "x")
    among = "true" if keys is None else "key IN (SELECT key FROM chosen)"
    rows(
        connection,
        f"""
        CREATE TEMP TABLE owed AS
        WITH held AS (
            SELECT *, {told_key} AS key, list_distinct(list_append(coalesce(others, []), name || '=' || value)) AS every
            FROM told WHERE state = 'in' OR unsettled
        ), leaving AS (SELECT * FROM held WHERE {among}),
        kept AS (SELECT DISTINCT {form} AS x FROM (SELECT unnest(every) AS x FROM held WHERE NOT ({among}))),
        free AS (
            SELECT key, name, value, digest, unsettled,
                list_filter(every, lambda x: NOT list_contains(taken, {form})) AS others
            FROM leaving, (SELECT coalesce(list(x), []) AS taken FROM kept)
        )
        SELECT row_number() OVER (ORDER BY key) - 1 AS "row", 'remove' AS verb, 'left' AS change,
            CASE WHEN unsettled THEN 'unsettled' ELSE 'removed on request' END AS why, key, name, value, others
        FROM free WHERE len(others) > 0
        """,
    )


def _write(connection: duckdb.DuckDBPyConnection, sync: Sync, standing: Standing, trip: Trip) -> Plan:
    [(operations, told, fingerprint)] = rows(
        connection,
        """
        SELECT (SELECT count(*) FROM owed), (SELECT count(*) FROM told WHERE state = 'in' OR unsettled),
            (SELECT coalesce(bit_xor(md5_number_lower(key)), 0) FROM owed)
        """,
    )
    now = trip.clock.now()
    end = (standing.mark or BEGINNING).astimezone(UTC).isoformat()
    text = f"removal\n{sync.address}\n{standing.generation}\n{fingerprint}\n{now.isoformat()}"
    plan = Plan(
        id=hashlib.sha256(text.encode()).hexdigest()[:16],
        sync=sync.name,
        address=str(sync.address),
        mode=Mode.REMOVE.value,
        partition=standing.mark_partition or "none",
        partition_start=end,
        partition_end=end,
        generation=standing.generation,
        snapshot="",
        audience=0,
        told=told,
        operations=operations,
        counts={Verb.REMOVE.value: operations, Change.LEFT.value: operations},
        why={"removed on request": operations},
        set_aside={},
        odd={},
        null_keys=0,
        kept_for=0,
        refused_before=0,
        come_back=0,
        changed_unsent=0,
        digest_version=rendering.DIGEST_VERSION,
        identity=standing.identity or identity_mapping(sync),
        declared=sync.declared,
        replacement=False,
        made_at=now.isoformat(),
    )
    with replacing(plan.file(trip.state)) as draft:
        rows(
            connection,
            f"""
            COPY (
                SELECT "row", verb, change, why, key, name, value, others, CAST(NULL AS BIGINT) AS digest,
                    CAST({rendering.DIGEST_VERSION} AS TINYINT) AS digest_version, CAST(NULL AS UBIGINT) AS stamp,
                    {removal_body(sync)} AS body,
                    why = 'unsettled' AS repeated
                FROM owed AS o ORDER BY "row"
            ) TO {literal(str(draft))} (FORMAT parquet)
            """,
        )
    return plan
