"""
Compare what an audience wants with what the target was last told, and write the plan.

Everything is computed in the engine: the snapshot's rows are mapped to the
destination's identity and fields first, get a digest, and are joined once with
the ledger (full outer, on the key). Bodies are rendered for owed rows only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import duckdb

from . import events, guards, rendering
from .engines.duckdb import first_line, rows
from .errors import FixDeclaration
from .ledger import Ledger, Standing
from .model import Change, Mode, Partition, Verb
from .naming import literal
from .plan import Plan, save
from .snapshot import Snapshot
from .state import State, replacing
from .sync import Sync

NO_IDENTITY = "no identity"
CONFLICT = "conflicting rows for one identity"


def make_plan(sync: Sync, partition: Partition, snapshot: Snapshot, state: State, *, now: datetime) -> Plan:
    """
    Compute what *sync* owes its target for *partition*, and save it as a plan.

    Raises FixDeclaration when the mapping names a column that the snapshot lacks.
    """
    ledger = Ledger(state, sync.target, sync.address)
    with ledger.reading() as connection:
        standing = ledger.standing(connection)
        if sync.reassert_after_hours is not None:
            old = (now - timedelta(hours=sync.reassert_after_hours)).isoformat()
            standing = replace(standing, reassert_before=max(old, standing.reassert_before or old))
        try:
            counted = _compute(connection, sync, partition, snapshot, standing, state)
            plan = _write(connection, sync, partition, snapshot, state, standing, counted, now)
        except duckdb.Error as error:
            raise FixDeclaration(f"sync {sync.name}: the mapping can't be computed: {first_line(error)}") from error
    judged = guards.judge(plan, sync, snapshot_taken_at=snapshot.taken_at, now=now)
    plan = replace(plan, verdicts=judged)
    save(plan, state)
    state.witness("plan")
    return plan


def identity_mapping(sync: Sync) -> str:
    """Return what the identity of a row is made of: when it changes, everybody at the target is replaced."""
    return "; ".join(f"{name} ← {sync.mapping[name].describe()}" for name in sync.identity)


def _compute(
    connection: duckdb.DuckDBPyConnection,
    sync: Sync,
    partition: Partition,
    snapshot: Snapshot,
    standing: Standing,
    state: State,
) -> Mapping[str, int]:
    """Make the tables ``judged`` and ``suspects``; return counts that only they know."""
    target = sync.target
    scan = f"read_parquet({literal(str(snapshot.path))}, file_row_number = true)"
    several = len(target.identity) > 1 and not target.composite
    # A view: each use of it reads the columns that it needs, and nothing the size of the audience is kept.
    rows(connection, f"CREATE TEMP VIEW mapped AS {mapped_rows(sync, scan, snapshot.columns, several)}")
    rows(connection, _joined(sync, partition, standing))
    [(null_keys,)] = rows(connection, "SELECT count(*) FROM judged WHERE key IS NULL")
    rows(connection, "DELETE FROM judged WHERE key IS NULL")
    _set_suspects_aside(connection, sync, snapshot, several)
    if target.event:
        events.carry_over(connection, target, state)
    kept_for = _protect(connection, sync) if several and Change.LEFT in sync.verbs else 0
    [(told,)] = rows(connection, "SELECT count(*) FROM told WHERE state = 'in' OR unsettled")
    [(refused, unsent)] = rows(
        connection,
        "SELECT count(*) FILTER (why = 'refused before'), count(*) FILTER (why = 'changed, not sent') FROM judged",
    )
    return {
        "null_keys": null_keys,
        "told": told,
        "refused_before": refused,
        "changed_unsent": unsent,
        "kept_for": kept_for,
    }


def mapped_rows(sync: Sync, scan: str, types: Mapping[str, str], several: bool) -> str:
    """Return the SQL of the snapshot's rows as the destination would be told of them."""
    name, value = rendering.primary(sync)
    others = _others(sync) if several else "CAST([] AS VARCHAR[])"
    rules = [*rendering.convertible(sync), *sync.target.invalid()]
    return f"""
        WITH fields AS ({rendering.mapped(sync, scan, types)}),
        identified AS (
            SELECT *, {name} AS name, {value} AS value, {others} AS others
            FROM fields
        )
        SELECT src, name, value, others, {rendering.key(sync.target, sync.identity, "name", "value")} AS key,
            {rendering.digest(sync)} AS digest, {rendering.unfit(sync, rules)} AS unfit
        FROM identified
    """


def _picked(snapshot: Snapshot, table: str) -> str:
    """Return the SQL of the snapshot's rows whose number is in ``src`` of *table*, before anything is rendered."""
    scan = f"read_parquet({literal(str(snapshot.path))}, file_row_number = true)"
    return f"(SELECT p.* FROM {scan} AS p JOIN {table} AS t ON t.src = p.file_row_number)"


def _set_suspects_aside(connection: duckdb.DuckDBPyConnection, sync: Sync, snapshot: Snapshot, several: bool) -> None:
    """
    Take out of ``judged`` who is unfit to be sent, or contradicts himself; of identical rows leave one.

    Only the keys that something is owed for are looked at again: a row that says what
    the target was told already can do no harm.
    """
    rows(
        connection,
        """
        CREATE TEMP TABLE again AS
        SELECT src FROM mapped WHERE key IN (SELECT key FROM judged WHERE is_wanted)
        """,
    )
    rows(
        connection,
        f"""
        CREATE TEMP TABLE suspects AS
        SELECT key, min(src) AS src, count(*) AS copies, min(unfit) AS unfit,
            min(digest) <> max(digest) OR min(others) <> max(others) AS conflicting
        FROM ({mapped_rows(sync, _picked(snapshot, "again"), snapshot.columns, several)})
        GROUP BY key HAVING count(*) > 1 OR min(unfit) IS NOT NULL
        """,
    )
    rows(
        connection,
        """
        DELETE FROM judged USING suspects AS s
        WHERE judged.key = s.key AND judged.is_wanted AND (s.unfit IS NOT NULL OR s.conflicting OR judged.src <> s.src)
        """,
    )


def _joined(sync: Sync, partition: Partition, standing: Standing) -> str:
    """Return the SQL of ``judged``: every key on either side that something is to be said of."""
    verbs = sync.verbs
    verb_of = {change: (literal(verbs[change]) if change in verbs else "NULL") for change in Change}
    again = (
        f"(l.moment <= {literal(standing.reassert_before)})"
        if standing.reassert_before and not sync.target.event
        else "false"
    )
    # A row told by another digest version is compared by that version's function; so far there is one.
    same = f"(l.digest = w.digest AND l.digest_version = {rendering.DIGEST_VERSION})"
    if sync.mode is Mode.REMOVE:
        wanted = f"""
            CASE WHEN l.state = 'out' AND NOT l.unsettled AND NOT {again} THEN NULL
                 WHEN l.unsettled THEN 'unsettled' WHEN l.state = 'out' THEN 'asserted again'
                 WHEN l.state = 'in' THEN 'told in' ELSE 'never told' END"""
    elif sync.target.event:
        wanted = f"""
            CASE WHEN l.state = 'in' AND NOT {same} AND l.digest <> {rendering.UNKNOWN_DIGEST} THEN 'changed, not sent'
                 WHEN l.state IN ('in', 'doubt', 'dropped') THEN NULL
                 WHEN l.state = 'released' THEN 'released' WHEN l.state = 'unknown' THEN 'deferred'
                 ELSE 'never told' END"""
    else:
        changed = "'different'" if Change.CHANGED in verbs else "NULL"
        wanted = f"""
            CASE WHEN l.unsettled THEN 'unsettled' WHEN l.state = 'in' AND {again} THEN 'asserted again'
                 WHEN l.state = 'in' AND NOT {same} THEN {changed}
                 WHEN l.state = 'in' THEN NULL WHEN l.state = 'out' THEN 'told out' ELSE 'never told' END"""
    left = "NULL"
    if Change.LEFT in verbs:
        left = """
            CASE WHEN l.unsettled THEN 'left, unsettled' WHEN l.state = 'in' THEN 'left' END"""
    name, value = ("w.name", "w.value")
    if sync.mode is Mode.REMOVE:  # A removal uses the identity that was delivered, where one was.
        name, value = "coalesce(l.name, w.name)", "coalesce(l.value, w.value)"
    digest = "CAST(NULL AS BIGINT)" if sync.mode is Mode.REMOVE else "w.digest"
    return f"""
        CREATE TEMP TABLE judged AS
        WITH held AS (SELECT *, {rendering.key(sync.target, sync.identity, "name", "value")} AS key FROM told),
        matched AS (
            SELECT coalesce(w.key, l.key) AS key, w.src IS NOT NULL AS is_wanted, w.src,
                CASE WHEN w.src IS NULL THEN l.name ELSE {name} END AS name,
                CASE WHEN w.src IS NULL THEN l.value ELSE {value} END AS value,
                CASE WHEN w.src IS NULL THEN l.others
                     ELSE list_distinct(list_concat(w.others, coalesce(l.others, []))) END AS others,
                CASE WHEN w.src IS NULL THEN NULL ELSE {digest} END AS digest,
                CASE WHEN w.src IS NOT NULL THEN {wanted} ELSE {left} END AS why,
                l.refused_verb, l.refused_digest, l.refused_partition, l.state AS told_state
            FROM mapped AS w FULL JOIN held AS l ON l.key = w.key
        ), called AS (
            SELECT *,
                CASE WHEN NOT is_wanted THEN 'left' WHEN why = 'different' THEN 'changed' ELSE 'entered' END AS change,
                CASE WHEN NOT is_wanted THEN {verb_of[Change.LEFT]}
                     WHEN why = 'different' THEN {verb_of[Change.CHANGED]} ELSE {verb_of[Change.ENTERED]} END AS verb
            FROM matched WHERE why IS NOT NULL
        )
        SELECT * REPLACE (
            CASE WHEN refused_verb = verb AND refused_digest IS NOT DISTINCT FROM digest
                  AND refused_partition = {literal(partition.key)} THEN 'refused before' ELSE why END AS why)
        FROM called
    """


def _others(sync: Sync) -> str:
    """Return the SQL of the identifiers that a row has besides its primary one, each as ``name=value``."""
    parts = [
        f"CASE WHEN name <> {literal(n)} THEN {literal(n + '=')} || {rendering.field(n)} END" for n in sync.identity
    ]
    return f"list_filter([{', '.join(parts)}], lambda x: x IS NOT NULL)"


def _protect(connection: duckdb.DuckDBPyConnection, sync: Sync) -> int:
    """
    Strip removals of every identifier that a wanted row carries or ever carried; return how many have none left.

    Removing somebody's old anonymous_id would take out the person who is wanted
    under a uid. Rows that were set aside protect their identifiers in the same way.
    """
    target = sync.target
    normal = " ".join(
        f"WHEN starts_with(x, {literal(n + '=')}) THEN {literal(n + '=')} || "
        f"{rendering.normalised(target, n, f'substr(x, {len(n) + 2})')}"
        for n in target.identity
    )
    rows(connection, f"CREATE TEMP MACRO same_form(x) AS CASE {normal} END")
    ledger_key = rendering.key(target, sync.identity, "t.name", "t.value")
    rows(
        connection,
        f"""
        CREATE TEMP TABLE carried AS
        WITH kept AS (
            SELECT key, others FROM mapped WHERE key IS NOT NULL
            UNION ALL
            SELECT m.key, t.others || [t.name || '=' || t.value]
            FROM told AS t JOIN mapped AS m ON m.key = {ledger_key}
        )
        SELECT DISTINCT same_form(x) AS identifier FROM (SELECT unnest(others) AS x FROM kept)
        UNION SELECT key FROM mapped WHERE key IS NOT NULL
        """,
    )
    rows(
        connection,
        """
        CREATE TEMP TABLE leaving AS
        WITH every AS (
            SELECT key, unnest(list_distinct(list_concat([name || '=' || value], others))) AS x
            FROM judged WHERE change = 'left'
        )
        SELECT key, CASE
            -- Somebody wanted is known by nothing else: the service may take the two for one person.
            WHEN bool_or(same_form(x) IN (SELECT key FROM mapped WHERE key IS NOT NULL)) THEN []
            ELSE list_sort(list(x) FILTER (same_form(x) NOT IN (SELECT identifier FROM carried))) END AS remaining
        FROM every GROUP BY key
        """,
    )
    [(kept,)] = rows(connection, "SELECT count(*) FROM leaving WHERE coalesce(len(remaining), 0) = 0")
    rows(connection, "DELETE FROM judged WHERE key IN (SELECT key FROM leaving WHERE coalesce(len(remaining), 0) = 0)")
    rows(connection, "UPDATE judged SET others = l.remaining FROM leaving AS l WHERE l.key = judged.key")
    return int(kept)


def _write(
    connection: duckdb.DuckDBPyConnection,
    sync: Sync,
    partition: Partition,
    snapshot: Snapshot,
    state: State,
    standing: Standing,
    counted: Mapping[str, int],
    now: datetime,
) -> Plan:
    """Number the owed operations, render their bodies, write them, and return the plan without verdicts."""
    rows(
        connection,
        """
        CREATE TEMP TABLE owed AS
        SELECT row_number() OVER (ORDER BY verb = 'remove', key) - 1 AS "row", * FROM judged
        WHERE why NOT IN ('refused before', 'changed, not sent') AND verb IS NOT NULL
        """,
    )
    [(operations, fingerprint)] = rows(
        connection,
        """
        SELECT count(*), coalesce(bit_xor(md5_number_lower(line)), 0)
        FROM (SELECT concat("row", ':', verb, ':', coalesce(digest, -1), ':', key) AS line FROM owed)
        """,
    )
    counts = dict(rows(connection, "SELECT verb, count(*) FROM owed GROUP BY verb"))
    counts |= dict(rows(connection, "SELECT change, count(*) FROM owed GROUP BY change"))
    why = dict(rows(connection, "SELECT why, count(*) FROM owed GROUP BY why ORDER BY why"))
    identity = identity_mapping(sync)
    replacement = bool(standing.identity and standing.identity != identity and counts.get(Verb.REMOVE))
    parts = (sync.address, partition.key, partition.end.isoformat(), standing.generation, operations, fingerprint)
    text = "\n".join(str(part) for part in (*parts, replacement, snapshot.digest, sync.declared))
    plan_id = hashlib.sha256(text.encode()).hexdigest()[:16]
    set_aside = _set_aside(connection, sync, counted["null_keys"])
    same = "SELECT coalesce(sum(copies - 1), 0)::BIGINT FROM suspects WHERE unfit IS NULL AND NOT conflicting"
    [(repeated,)] = rows(connection, same)
    plan = Plan(
        id=plan_id,
        sync=sync.name,
        address=str(sync.address),
        mode=sync.mode.value,
        partition=partition.key,
        partition_start=partition.start.astimezone(UTC).isoformat(),
        partition_end=partition.end.astimezone(UTC).isoformat(),
        generation=standing.generation,
        snapshot=snapshot.digest,
        operations=operations,
        counts=counts,
        why=why,
        audience=snapshot.rows - sum(set_aside.values()) - repeated,
        set_aside=set_aside,
        odd=_odd(connection, sync, snapshot),
        digest_version=rendering.DIGEST_VERSION,
        identity=identity,
        declared=sync.declared,
        replacement=replacement,
        made_at=now.isoformat(),
        **counted,  # type: ignore[arg-type]
    )
    path = plan.file(state)
    if not plan.intact(state):
        with replacing(path) as draft:
            rows(connection, _copy(sync, snapshot, str(draft)))
        state.witness("operations")
    return plan


def _copy(sync: Sync, snapshot: Snapshot, path: str) -> str:
    if len(sync.mapping) > 1:
        picked = _picked(snapshot, "owed")
        rendered = f"""
            SELECT o."row", {rendering.body(sync)} AS body
            FROM ({rendering.mapped(sync, picked, snapshot.columns)}) AS m JOIN owed AS o ON o.src = m.src
            WHERE o.verb <> 'remove'"""
    else:
        only = rendering.identity_body({sync.identity[0]: "value"})
        rendered = f"""SELECT "row", {only} AS body FROM owed WHERE verb <> 'remove'"""
    earlier = "(SELECT t.body FROM taken_over AS t WHERE t.key = o.key)" if sync.target.event else "NULL"
    return f"""
        COPY (
            WITH rendered AS ({rendered})
            SELECT o."row", o.verb, o.change, o.why, o.key, o.name, o.value, o.others,
                o.digest, CAST({rendering.DIGEST_VERSION} AS TINYINT) AS digest_version,
                coalesce(b.body, {earlier}, {removal_body(sync)}) AS body,
                o.why IN ('unsettled', 'released') AS repeated
            FROM owed AS o LEFT JOIN rendered AS b ON b."row" = o."row"
            ORDER BY o."row"
        ) TO {literal(path)} (FORMAT parquet, ROW_GROUP_SIZE 50000)
    """


def removal_body(sync: Sync) -> str:
    """Return the SQL of a removal's payload: the identity that was delivered, as far as nobody wanted carries it."""
    if len(sync.target.identity) == 1:
        # By the name it was delivered under, which is the mapped one unless that was changed.
        return "'{' || CAST(to_json(o.name) AS VARCHAR) || ':' || CAST(to_json(o.value) AS VARCHAR) || '}'"
    pairs = {}
    for name in sync.target.identity:
        kept = "(o.change <> 'left' OR list_contains(o.others, o.name || '=' || o.value))"
        own = f"CASE WHEN o.name = {literal(name)} AND {kept} THEN o.value END"
        listed = f"list_filter(o.others, lambda x: starts_with(x, {literal(name + '=')}))[1]"
        pairs[name] = f"coalesce({own}, substr({listed}, {len(name) + 2}))"
    return rendering.identity_body(pairs)


def _set_aside(connection: duckdb.DuckDBPyConnection, sync: Sync, null_keys: int) -> dict[str, int]:
    """Count the rows that are neither sent nor removed, by reason: the unfit ones of the whole snapshot."""
    found = {NO_IDENTITY: null_keys}
    query = "SELECT coalesce(sum(copies), 0) FROM suspects WHERE conflicting AND unfit IS NULL"
    [(found[CONFLICT],)] = rows(connection, query)
    if rendering.convertible(sync) or sync.target.invalid():
        query = "SELECT unfit, count(*) FROM mapped WHERE unfit IS NOT NULL AND key IS NOT NULL GROUP BY unfit"
        found |= dict(rows(connection, query))
    return {reason: int(count) for reason, count in sorted(found.items()) if count}


def _odd(connection: duckdb.DuckDBPyConnection, sync: Sync, snapshot: Snapshot) -> dict[str, int]:
    """Count the rows to be sent that deserve a warning."""
    found = {}
    picked = _picked(snapshot, "owed")
    for reason, condition in sync.target.odd():
        verdict = rendering.unfit(sync, [(reason, condition)])
        query = f"SELECT count(*) FROM ({rendering.mapped(sync, picked, snapshot.columns)}) WHERE {verdict} IS NOT NULL"
        [(count,)] = rows(connection, query)
        if count:
            found[reason] = int(count)
    return found
