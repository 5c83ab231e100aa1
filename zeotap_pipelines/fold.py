"""
Fold a journal into the ledger: set-based SQL over the journal's lines and the plans they refer to.

The last word on every operation decides:

    accepted            told anew: in with its digest, or out
    rejected            told as before; asked once more per partition at most
    rejected and final  the target holds it already: told
    deferred            told as before; unsettled, unless it is certain that nothing happened
    in doubt            an event: nobody asks again before a person decides
    asked, no answer    as deferred, or for an event as in doubt
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import duckdb

from . import events
from .destinations.base import Target
from .engines.duckdb import first_line, rows
from .errors import RepairState
from .journal import COLUMNS
from .model import Fate
from .naming import filename, identifier, literal
from .rendering import key
from .state import State, replacing

NO_ANSWER = "asked, and no answer is known"


def fold(connection: duckdb.DuckDBPyConnection, target: Target, state: State, journal_id: str) -> None:
    """Move what the journal's `words` say into ``told``, ``meta`` and ``movements``, in one transaction, once."""
    if rows(connection, "SELECT 1 FROM meta WHERE key = 'journal' AND value = ?", [journal_id]):
        return
    rows(connection, "BEGIN")
    try:
        rows(connection, _MOVED.format(key=key(target, target.identity, "name", "value"), event=_sql(target.event)))
        rows(connection, "DELETE FROM told WHERE rowid IN (SELECT old_row FROM moved WHERE old_row IS NOT NULL)")
        columns = (
            "name, value, others, state, digest, digest_version, stamp, unsettled, refused_verb, refused_digest, "
            "refused_partition, partition, plan, run, moment"
        )
        rows(connection, f"INSERT INTO told BY NAME SELECT {columns} FROM moved WHERE keep")
        rows(connection, _MOVEMENTS)
        _marks(connection)
        if target.event:
            events.remember_plans(connection, target, state)
        set_meta(connection, journal=journal_id)
        state.witness("folding")
        rows(connection, "COMMIT")
    except BaseException:
        connection.rollback()
        raise
    for table in ("lines", "words", "moved"):
        rows(connection, f"DROP TABLE IF EXISTS temp.{table}")


def outcomes(connection: duckdb.DuckDBPyConnection, state: State, journal_id: str) -> None:
    """Write what the journal's `words` say of every operation, one Parquet file per sync, partition, run and fold."""
    runs = rows(
        connection,
        """
        SELECT plan, arg_max(run, n), arg_max(sync, n), arg_max(partition, n)
        FROM lines WHERE kind = 'begin' GROUP BY plan
        """,
    )
    for plan, run, sync, partition in runs:
        # A run that is retried folds more than once: each fold is a file of its own.
        with replacing(state.outcomes(sync, partition) / f"{filename(run)}.{journal_id[:8]}.parquet") as draft:
            query = f"""
                COPY (
                    SELECT {literal(plan)} AS plan, "row", verb, change, why, key, fate, reason, status, request,
                        word_moment AS moment
                    FROM words WHERE plan = {literal(plan)} ORDER BY "row"
                ) TO {literal(str(draft))} (FORMAT parquet)
            """
            rows(connection, query)


def set_meta(connection: duckdb.DuckDBPyConnection, **values: str | None) -> None:
    """Remember *values* by name; None forgets one."""
    rows(connection, "DELETE FROM meta WHERE key IN (SELECT unnest(?::VARCHAR[]))", [list(values)])
    kept = {name: value for name, value in values.items() if value is not None}
    insert = "INSERT INTO meta SELECT unnest(?::VARCHAR[]), unnest(?::VARCHAR[])"
    rows(connection, insert, [list(kept), list(kept.values())])


def move(connection: duckdb.DuckDBPyConnection, what: str, now: datetime) -> None:
    """Note that the ledger moved by something else than a plan."""
    [(generation,)] = rows(connection, "SELECT coalesce(max(generation), 0) + 1 FROM movements")
    values = [generation, what, now.isoformat()]
    rows(connection, "INSERT INTO movements (generation, plan, moment) VALUES (?, ?, ?)", values)
    set_meta(connection, generation=str(generation))


def words(connection: duckdb.DuckDBPyConnection, target: Target, state: State, journal: Path) -> None:
    """Make the temporary tables ``lines`` of *journal*, and ``words``: every operation in it with the last word."""
    columns = ", ".join(f"{identifier(name)}: {literal(kind)}" for name, kind in COLUMNS.items())
    # DuckDB takes twice as much memory as the longest line may have.
    options = f"format = 'newline_delimited', columns = {{{columns}}}, maximum_object_size = {_longest(journal)}"
    scan = f"read_json({literal(str(journal))}, {options})"
    try:
        rows(connection, f"CREATE OR REPLACE TEMP TABLE lines AS SELECT * FROM {scan}")
    except duckdb.Error as error:
        raise RepairState(f"the journal {journal} is damaged: {first_line(error)}") from error
    asked = "SELECT DISTINCT plan FROM lines WHERE kind IN ('asked', 'answered') ORDER BY plan"
    names = [name for (name,) in rows(connection, asked)]
    # By name: a plan that an earlier version wrote may lack a column.
    plans = " UNION ALL BY NAME ".join(
        [f"SELECT NULL::VARCHAR AS plan, {_NOTHING} WHERE false"]
        + [f"SELECT {literal(name)} AS plan, * FROM {_plan_scan(state, name)}" for name in names]
    )
    unanswered = Fate.IN_DOUBT if target.event else Fate.DEFERRED
    query = _WORDS.format(plans=plans, unanswered=literal(unanswered), no_answer=literal(NO_ANSWER))
    try:
        rows(connection, query)
    except duckdb.Error as error:
        raise RepairState(
            f"a plan that the journal {journal} refers to is damaged: restore {state.root}/diffs ({first_line(error)})"
        ) from error


def _longest(journal: Path) -> int:
    """Return the bytes of the longest line, or a little more."""
    with journal.open("rb") as file:
        return max(map(len, file), default=0) + 1024


def _plan_scan(state: State, plan: str) -> str:
    path = state.find_plan(plan)
    if path is None:
        raise RepairState(f"plan {plan} is gone, and the journal still refers to it: restore {state.root}/diffs")
    return f"read_parquet({literal(str(path))})"


def _sql(value: bool) -> str:
    return "true" if value else "false"


_NOTHING = ", ".join(
    f"NULL::{kind} AS {name}"
    for name, kind in {
        '"row"': "BIGINT",
        "verb": "VARCHAR",
        "change": "VARCHAR",
        "why": "VARCHAR",
        "key": "VARCHAR",
        "name": "VARCHAR",
        "value": "VARCHAR",
        "others": "VARCHAR[]",
        "digest": "BIGINT",
        "digest_version": "TINYINT",
        "stamp": "UBIGINT",
        "body": "VARCHAR",
        "repeated": "BOOLEAN",
    }.items()
)

_WORDS = """
CREATE OR REPLACE TEMP TABLE words AS
WITH spoken AS (
    SELECT n, 0 AS exception, plan, unnest(rows) AS span, kind, fate, reason, status, untouched, final, request,
        coalesce(unsure, false) AS unsure, moment
    FROM lines WHERE kind IN ('asked', 'answered')
), excepted AS (
    SELECT n, plan, coalesce(unsure, false) AS unsure, moment, unnest("except") AS e FROM lines
    WHERE kind = 'answered' AND "except" IS NOT NULL
), every_word AS (
    SELECT n, exception, plan, unnest(generate_series(span[1], span[2])) AS "row",
        coalesce(fate, {unanswered}) AS fate, CASE kind WHEN 'asked' THEN {no_answer} ELSE reason END AS reason,
        status, coalesce(untouched AND NOT unsure, false) AS untouched, coalesce(final, false) AS final, request,
        unsure, moment
    FROM spoken
    UNION ALL
    SELECT n, 1, plan, e."row", e.fate, e.reason, e.status, coalesce(e.untouched AND NOT unsure, false),
        coalesce(e.final, false), e.request, unsure, moment
    FROM excepted
), last_word AS (
    SELECT plan, "row",
        max_by(
            struct_pack(fate, reason, status, untouched, final, request, unsure, moment), n * 2 + exception
        ) AS word,
        max(n) AS last_n
    FROM every_word GROUP BY plan, "row"
), plans AS ({plans})
SELECT p.*, w.word.fate AS fate, w.word.reason AS reason, w.word.status AS status, w.word.untouched AS untouched,
    w.word.final AS final, w.word.request AS request, w.word.unsure AS unsure, w.word.moment AS word_moment, w.last_n
FROM last_word AS w JOIN plans AS p ON p.plan = w.plan AND p."row" = w."row"
"""

_MOVED = """
CREATE OR REPLACE TEMP TABLE moved AS
WITH begun AS (
    SELECT plan, arg_max(run, n) AS run, arg_max(partition, n) AS partition
    FROM lines WHERE kind = 'begin' GROUP BY plan
), once AS (  -- The last word on each key, whichever plan it came from.
    SELECT * FROM words QUALIFY row_number() OVER (PARTITION BY key ORDER BY last_n DESC) = 1
), held AS (
    SELECT rowid AS old_row, {key} AS old_key, * FROM told
), paired AS (
    SELECT o.* EXCLUDE (name, value, others, digest, digest_version, stamp, partition, plan, run, moment),
        o.name AS o_name, o.value AS o_value, o.others AS o_others, o.digest AS o_digest, o.digest_version AS o_version,
        o.stamp AS o_stamp, o.partition AS o_partition, o.plan AS o_plan, o.run AS o_run, o.moment AS o_moment,
        p.*, b.run AS new_run, b.partition AS new_partition,
        p.fate = 'accepted' OR (p.fate = 'rejected' AND p.final) AS settled,
        p.fate = 'rejected' AND NOT p.final AS refused
    FROM once AS p JOIN begun AS b ON b.plan = p.plan LEFT JOIN held AS o ON o.old_key = p.key
)
SELECT old_row,
    CASE WHEN (settled AND verb <> 'remove') OR o_name IS NULL THEN name ELSE o_name END AS name,
    CASE WHEN (settled AND verb <> 'remove') OR o_name IS NULL THEN value ELSE o_value END AS value,
    list_sort(list_distinct(list_concat(coalesce(o_others, []), coalesce(others, [])))) AS others,
    CASE WHEN settled THEN CASE verb WHEN 'remove' THEN 'out' ELSE 'in' END
         WHEN fate = 'in_doubt' THEN 'doubt' ELSE coalesce(state, 'unknown') END AS state,
    CASE WHEN settled OR fate = 'in_doubt' THEN digest ELSE o_digest END AS digest,
    CASE WHEN settled OR fate = 'in_doubt' THEN digest_version ELSE o_version END AS digest_version,
    CASE WHEN settled OR fate = 'in_doubt' THEN stamp ELSE o_stamp END AS stamp,
    CASE WHEN settled THEN false
         WHEN {event} THEN coalesce(unsettled, false)
         WHEN fate = 'deferred' AND NOT untouched THEN true
         WHEN unsure THEN true  -- Refused, but an earlier attempt of the same request may have been applied.
         ELSE coalesce(unsettled, false) END AS unsettled,
    CASE WHEN settled THEN NULL WHEN refused THEN verb ELSE refused_verb END AS refused_verb,
    CASE WHEN settled THEN NULL WHEN refused THEN digest ELSE refused_digest END AS refused_digest,
    CASE WHEN settled THEN NULL WHEN refused THEN new_partition ELSE refused_partition END AS refused_partition,
    CASE WHEN settled OR o_name IS NULL THEN new_partition ELSE o_partition END AS partition,
    CASE WHEN settled OR o_name IS NULL THEN plan ELSE o_plan END AS plan,
    CASE WHEN settled OR o_name IS NULL THEN new_run ELSE o_run END AS run,
    CASE WHEN settled OR o_name IS NULL THEN word_moment ELSE o_moment END AS moment,
    -- What certainly did not happen to somebody never heard of leaves no trace.
    NOT (o_name IS NULL AND fate = 'deferred' AND untouched) AS keep
FROM paired
"""

_MOVEMENTS = """
INSERT INTO movements
WITH begun AS (
    SELECT plan, arg_max(run, n) AS run, arg_max(partition, n) AS partition, arg_max(sync, n) AS sync, max(n) AS n
    FROM lines WHERE kind = 'begin' GROUP BY plan
), counted AS (
    SELECT plan, max(word_moment) AS moment, count(*) FILTER (fate = 'accepted') AS accepted,
        count(*) FILTER (fate = 'rejected') AS rejected, count(*) FILTER (fate = 'deferred') AS deferred,
        count(*) FILTER (fate = 'in_doubt') AS in_doubt
    FROM words GROUP BY plan
)
SELECT (SELECT coalesce(max(CAST(value AS BIGINT)), 0) FROM meta WHERE key = 'generation')
        + row_number() OVER (ORDER BY b.n),
    b.plan, b.partition, b.run, b.sync, c.moment, c.accepted, c.rejected, c.deferred, c.in_doubt
FROM begun AS b JOIN counted AS c ON c.plan = b.plan
"""


def _marks(connection: duckdb.DuckDBPyConnection) -> None:
    """Move the mark, and what else the lines say of the target as a whole."""
    meta: dict[str, str] = dict(rows(connection, "SELECT key, value FROM meta"))
    mark, partition, restored = meta.get("mark"), meta.get("mark_partition"), meta.get("restored")
    identity = meta.get("identity")
    asked = {plan for (plan,) in rows(connection, "SELECT DISTINCT plan FROM lines WHERE kind = 'asked'")}
    kinds = "('begin', 'in_step', 'replaced')"
    lines = rows(
        connection, f'SELECT kind, plan, partition, "end", identity FROM lines WHERE kind IN {kinds} ORDER BY n'
    )
    for kind, plan, name, end, mapped in lines:
        if kind == "begin" and plan not in asked:
            continue
        identity = mapped or identity
        if kind == "replaced":
            continue
        if mark is None or end > mark:
            mark, partition, restored = end, name, "false"
        elif end < mark:
            restored = "true"
    pinned, filled = meta.get("pinned"), meta.get("filled")
    if begun := [name for kind, plan, name, *_ in lines if kind == "begin" and plan in asked]:
        pinned = pinned or begun[0]
    if rows(connection, "SELECT 1 FROM lines WHERE kind = 'filled'"):
        filled = "true"
    moments = rows(connection, "SELECT max(moment) FROM lines WHERE kind = 'asked'")
    last_at = max([m for m in (meta.get("last_at"), moments[0][0]) if m], default=None)
    generation = rows(connection, "SELECT coalesce(max(generation), 0) FROM movements")[0][0]
    set_meta(
        connection,
        mark=mark,
        mark_partition=partition,
        restored=restored,
        identity=identity,
        last_at=last_at,
        pinned=pinned,
        filled=filled,
        generation=str(max(generation, int(meta.get("generation", 0)))),
    )
