"""
Compare what an audience wants with what the target was last told, and write the plan.

Everything is computed in the engine: the snapshot's rows are mapped to the
destination's identity and fields first, and joined once with the ledger (full
outer, on the key). Digests are compared, and bodies rendered, of few rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import duckdb

from .. import rendering
from ..engines.duckdb import first_line, rows
from ..errors import FixDeclaration, RepairState
from ..ledger import events, stamps
from ..ledger.ledger import Ledger
from ..model import Change, Partition, Verb
from ..snapshot import Snapshot
from ..state import State, content_digest, replacing
from ..sync import Sync
from . import come_back, guards, operations, opposed
from .comparison import Comparison, compare, several
from .in_step import delivered
from .plan import Plan, load, save
from .protection import protect


def make_plan(sync: Sync, partition: Partition, snapshot: Snapshot, state: State, *, now: datetime) -> Plan:
    """
    Compute what *sync* owes its target for *partition*, and save it as a plan.

    Raises FixDeclaration when the mapping names a column that the snapshot lacks,
    MakePlanAgain when another one took its place meanwhile, or its opposite's is missing.
    """
    opposing = opposed.opposing(sync, partition, state)
    ledger = Ledger(state, sync.target, sync.address)
    with ledger.reading() as connection:
        standing = ledger.standing(connection)
        if sync.reassert_after_hours is not None:
            old = (now - timedelta(hours=sync.reassert_after_hours)).isoformat()
            standing = replace(standing, reassert_before=max(old, standing.reassert_before or old))
        compared = Comparison(connection, sync, partition, snapshot, standing, opposing)
        try:
            told_by = delivered(compared, state)
            in_both = opposed.find(compared) if opposing and told_by is None else 0
            compare(compared, in_step=told_by is not None)
            stamps.note(connection, ledger.stamps_file)
            counted = {**_judge(compared, state), "opposed": in_both}
            plan = _write(compared, state, counted, told_by, now)
        except duckdb.Error as error:
            compared.refuse_another()
            raise FixDeclaration(f"sync {sync.name}: the mapping can't be computed: {first_line(error)}") from error
    judged = guards.judge(plan, sync, snapshot_taken_at=snapshot.taken_at, now=now)
    plan = replace(plan, verdicts=judged)
    save(plan, state)
    state.witness("plan")
    return plan


def _judge(compared: Comparison, state: State) -> Mapping[str, int]:
    """Complete ``judged`` by what only events and removals need; return counts that only the tables know."""
    connection, sync = compared.connection, compared.sync
    [(null_keys,)] = rows(connection, "SELECT count(*) FROM judged WHERE key IS NULL")
    if null_keys:
        rows(connection, "DELETE FROM judged WHERE key IS NULL")
    returning = 0
    if sync.target.event:
        mapped = compared.standing.identity
        changed = mapped is not None and mapped != operations.identity_mapping(sync)
        returning = come_back.count(compared, identity_changed=changed)
        events.carry_over(connection, sync.target, state)
    kept_for = protect(connection, sync) if several(sync) and Change.LEFT in sync.verbs else 0
    [(told, refused, unsent)] = rows(
        connection,
        """
        SELECT (SELECT count(*) FROM told WHERE state = 'in' OR unsettled),
            count(*) FILTER (why = 'refused before'), count(*) FILTER (why = 'changed, not sent')
        FROM judged
        """,
    )
    return {
        "null_keys": null_keys,
        "told": told,
        "refused_before": refused,
        "changed_unsent": unsent,
        "kept_for": kept_for,
        "come_back": returning,
    }


def _write(compared: Comparison, state: State, counted: Mapping[str, int], told_by: Plan | None, now: datetime) -> Plan:
    """
    Number the owed operations, render their bodies, write them, and return the plan without verdicts.

    *told_by* is the plan that was made from the same rows, where they were not looked at again.
    """
    connection, sync, partition = compared.connection, compared.sync, compared.partition
    snapshot, standing = compared.snapshot, compared.standing
    number, fingerprint = operations.number(connection)
    grouped = "SELECT verb, change, why, count(*) FROM owed GROUP BY verb, change, why ORDER BY why"
    counts: dict[str, int] = {}
    why: dict[str, int] = {}
    for verb, change, reason, count in rows(connection, grouped):
        for name in (verb, change):
            counts[name] = counts.get(name, 0) + count
        why[reason] = why.get(reason, 0) + count
    identity = operations.identity_mapping(sync)
    known = {identity, operations.identity_mapping(sync.opposite)} if sync.opposite else {identity}
    replacement = bool(standing.identity and standing.identity not in known and counts.get(Verb.REMOVE))
    parts = (sync.address, partition.key, partition.end.isoformat(), standing.generation, number, fingerprint)
    made_of = (snapshot.digest, sync.declared, *([compared.opposing.digest] if compared.opposing else []))
    text = "\n".join(str(part) for part in (*parts, replacement, *made_of))
    set_aside, repeated = operations.set_aside(compared, counted["null_keys"], counted["opposed"])
    audience = snapshot.rows - sum(set_aside.values()) - repeated
    if told_by is not None:
        counted = {**counted, "null_keys": told_by.null_keys, "opposed": told_by.opposed}
        set_aside, audience = dict(told_by.set_aside), told_by.audience
    plan = Plan(
        id=hashlib.sha256(text.encode()).hexdigest()[:16],
        sync=sync.name,
        address=str(sync.address),
        mode=sync.mode.value,
        partition=partition.key,
        partition_start=partition.start.astimezone(UTC).isoformat(),
        partition_end=partition.end.astimezone(UTC).isoformat(),
        generation=standing.generation,
        snapshot=snapshot.digest,
        operations=number,
        counts=counts,
        why=why,
        audience=audience,
        set_aside=set_aside,
        odd=operations.odd(connection, sync),
        digest_version=rendering.DIGEST_VERSION,
        identity=identity,
        declared=sync.declared,
        replacement=replacement,
        made_at=now.isoformat(),
        opposing=compared.opposing.digest if compared.opposing else "",
        **counted,  # type: ignore[arg-type]
    )
    path, before = plan.file(state), None
    with suppress(RepairState):  # What is damaged is made again.
        before = load(state, sync.name, partition.key, plan.id)
    there = before is not None and before.intact(state)
    with nullcontext(None) if there else replacing(path) as draft:
        if draft:
            rows(connection, operations.copied(compared, str(draft)))
        # Each statement opened the file by its name, and knew the rows by their numbers.
        compared.refuse_another()
    if draft:
        state.witness("operations")
    return replace(plan, content=content_digest(path))
