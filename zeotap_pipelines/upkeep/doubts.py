"""Rows in doubt: events that may have happened and must not happen twice. A person decides."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import duckdb

from ..engines.duckdb import rows
from ..errors import FixDeclaration
from ..ledger import asking, fold
from ..ledger.ledger import Ledger
from ..naming import masked, said


class Decision(StrEnum):
    """What a person decides about a row in doubt."""

    RESEND = "resend"  # It did not happen: ask again.
    WAS_SENT = "was_sent"  # It happened.
    DROP = "drop"  # Nobody knows, and it is not to be asked again.


@dataclass(frozen=True)
class Doubt:
    """A row in doubt: *id* is opaque, so that it may stand in a run's configuration; *key* is masked."""

    id: str
    key: str
    partition: str
    run: str
    since: str


def doubts(ledger: Ledger) -> list[Doubt]:
    """Return the rows that a person must decide about, the oldest first; not those that a run is just asking."""
    query = "SELECT value, plan, partition, run, moment FROM told"
    with ledger.reading() as connection:
        found = rows(connection, f"{query} WHERE {asking.in_doubt(ledger.target)} ORDER BY moment, value")
    return [Doubt(_opaque(plan, value), masked(value), partition, run, at) for value, plan, partition, run, at in found]


def decide(ledger: Ledger, ids: Iterable[str], decision: Decision, *, by: str, reason: str, now: datetime) -> int:
    """
    Settle rows in doubt by their opaque *ids*, and return how many.

    Who decided what, when and why is stored. The account's lock must be held.
    """
    if not (said(by) and said(reason)):
        raise FixDeclaration("a decision about rows in doubt carries who decides and why")
    wanted = set(ids)
    becomes = {Decision.RESEND: "released", Decision.WAS_SENT: "in", Decision.DROP: "dropped"}[decision]
    with ledger.journal() as journal:
        ledger.fold(journal)
    with ledger.writing() as connection:
        found = rows(connection, "SELECT rowid, value, plan FROM told WHERE state = 'doubt'")
        chosen = [(row, value, plan) for row, value, plan in found if _opaque(plan, value) in wanted]
        if unknown := wanted - {_opaque(plan, value) for _, value, plan in chosen}:
            raise FixDeclaration(f"no row in doubt has the id {min(unknown)}: list them again")
        rows(connection, "BEGIN")
        for row, value, plan in chosen:
            asked_by = _healed(connection, ledger, row) or plan
            rows(connection, "UPDATE told SET state = ?, plan = ? WHERE rowid = ?", [becomes, asked_by, row])
            line = [_opaque(plan, value), decision.value, by, reason, now.isoformat()]
            rows(connection, "INSERT INTO decisions VALUES (?, ?, ?, ?, ?)", line)
            if decision is Decision.RESEND:
                query = "INSERT INTO open_plans SELECT ?, 0, NULL WHERE ? NOT IN (SELECT plan FROM open_plans)"
                rows(connection, query, [asked_by, asked_by])
        if chosen:
            fold.move(connection, f"decided: {decision.value}", now)
        rows(connection, "COMMIT")
    return len(chosen)


def _healed(connection: duckdb.DuckDBPyConnection, ledger: Ledger, row: int) -> str | None:
    """
    Take back a refusal that is noted of a row in doubt, and return the plan that asked for it last, if it is kept.

    Nobody asks for what is in doubt, so that the refusal came before: earlier versions kept it, and the plan that was
    refused.
    """
    noted = "SELECT value, digest FROM told WHERE refused_verb IS NOT NULL AND rowid = ?"
    if not (found := rows(connection, noted, [row])):
        return None
    forgive = "UPDATE told SET refused_verb = NULL, refused_digest = NULL, refused_partition = NULL WHERE rowid = ?"
    rows(connection, forgive, [row])
    begun = "SELECT plan FROM movements WHERE partition IS NOT NULL ORDER BY generation DESC"
    for (plan,) in rows(connection, begun):
        path = ledger.state.find_plan(plan)
        query = "SELECT 1 FROM read_parquet(?) WHERE value = ? AND digest = ?"
        if path and rows(connection, query, [str(path), *found[0]]):
            return str(plan)
    return None


def _opaque(plan: str, value: str) -> str:
    """Return a name for a row that says nothing about who it is."""
    return hashlib.sha256(f"{plan}\n{value}".encode()).hexdigest()[:12]
