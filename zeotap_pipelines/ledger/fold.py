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

from collections import Counter
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path

import duckdb

from ..destinations.base import Target
from ..engines.duckdb import rows
from ..model import UNPARTITIONED, Fate
from ..naming import filename, literal
from ..rendering import key
from ..state import State, replacing
from . import asking, events, words
from .words import Begun


def fold(
    connection: duckdb.DuckDBPyConnection,
    target: Target,
    state: State,
    journal_id: str,
    journal: Path,
    *,
    outcomes: bool = False,
    asked: bool = False,
) -> None:
    """
    Move what *journal* says into ``told``, ``meta`` and ``movements``, in one transaction, once.

    With *outcomes* what became of every operation is written down as well, before anything is moved for good; with
    *asked*, which events have no answer, in ``temp.asked``.
    Raises RepairState where the journal, or a plan that it speaks of, is damaged or gone.
    """
    if rows(connection, "SELECT 1 FROM meta WHERE key = 'journal' AND value = ?", [journal_id]):
        return
    plans = words.read(connection, target, state, journal)

    def write_down(begun: Begun, number: int) -> None:
        if outcomes:
            _write_outcomes(connection, state, journal_id, begun, number)
        if asked and target.event:
            asking.note(connection, begun)

    rows(connection, "BEGIN")
    try:
        for begun in plans:
            with words.readable(begun):
                _fold_plan(connection, target, begun, partial(write_down, begun))
        if outcomes:
            state.witness("outcomes")
        _marks(connection)
        if target.event:
            events.remember_plans(connection, target, state)
        [(last,)] = rows(connection, "SELECT max(n) FROM lines")
        set_meta(connection, journal=journal_id, journal_lines=str(last + 1))
        state.witness("folding")
        rows(connection, "COMMIT")
    except BaseException:
        connection.rollback()
        raise
    rows(connection, "DROP VIEW IF EXISTS temp.words")
    for table in ("lines", "said", "last_word", "met", "held"):
        rows(connection, f"DROP TABLE IF EXISTS temp.{table}")


def _fold_plan(
    connection: duckdb.DuckDBPyConnection, target: Target, begun: Begun, write_down: Callable[[int], None]
) -> None:
    """Move what is said of the operations of one plan, a slice after the other, and note the movement."""
    fates: Counter[str] = Counter()
    newest = ""
    told_key = key(target, target.identity, "name", "value")
    anybody = rows(connection, "SELECT 1 FROM told LIMIT 1")
    scan = begun.scan if anybody else "(SELECT NULL AS row, NULL AS key WHERE false)"
    rows(connection, _MET.format(scan=scan, plan=literal(begun.plan), key=told_key))
    names = {name: literal(getattr(begun, name)) for name in ("plan", "run", "partition", "occasion")}
    told = _TOLD.format(event="true" if target.event else "false", **names)
    for number in words.slices(connection, begun):
        write_down(number)
        for fate, count, moment in rows(connection, _COUNTED):
            fates[fate] += count
            newest = max(newest, moment)
        rows(connection, _HELD)
        rows(connection, told)
        rows(connection, "DELETE FROM told WHERE rowid IN (SELECT told_row FROM held)")
    values = [begun.plan, begun.partition, begun.run, begun.sync, newest, *(fates[fate] for fate in COUNTED)]
    rows(connection, _MOVEMENT, values)


def _write_outcomes(
    connection: duckdb.DuckDBPyConnection, state: State, journal_id: str, begun: Begun, number: int
) -> None:
    """Write what the `words` of a slice say, one Parquet file per sync, partition, run, fold and slice."""
    # A run that is retried folds more than once: each fold has files of its own.
    name = f"{filename(begun.run)}.{journal_id[:8]}{f'.{number}' if number else ''}.parquet"
    with replacing(state.outcomes(begun.sync, begun.partition) / name) as draft:
        query = f"""
            COPY (
                SELECT {literal(begun.plan)} AS plan, "row", verb, change, why, key, fate, reason, status, request,
                    word_moment AS moment
                FROM words
            ) TO {literal(str(draft))} (FORMAT parquet, DICTIONARY_SIZE_LIMIT 1000)
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


COUNTED = (Fate.ACCEPTED, Fate.REJECTED, Fate.DEFERRED, Fate.IN_DOUBT)
"""The fates in the order of the columns of ``movements``."""

_COUNTED = """
SELECT s.fate, count(*), max(s.word_moment) FROM last_word AS w JOIN said AS s ON s.word = w.word GROUP BY s.fate
"""

_MET = """
CREATE OR REPLACE TEMP TABLE met AS
SELECT p."row", t.told_row FROM {scan} AS p JOIN (SELECT rowid AS told_row, {key} AS told_key FROM told) AS t
    ON t.told_key = p.key
WHERE p."row" BETWEEN (SELECT min("first") FROM said WHERE plan = {plan})
    AND (SELECT max("last") FROM said WHERE plan = {plan})
"""

_HELD = """
CREATE OR REPLACE TEMP TABLE held AS
SELECT m."row", m.told_row, t.* FROM told AS t
    JOIN (SELECT met.* FROM met JOIN last_word AS w ON w."row" = met."row") AS m ON m.told_row = t.rowid
"""

_TOLD = """
INSERT INTO told BY NAME
WITH paired AS (
    SELECT o.name AS o_name, o.value AS o_value, o.others AS o_others, o.state, o.digest AS o_digest,
        o.digest_version AS o_version, o.stamp AS o_stamp, o.unsettled, o.refused_verb, o.refused_digest,
        o.refused_partition, o.partition AS o_partition, o.plan AS o_plan, o.run AS o_run, o.moment AS o_moment,
        p.*, p.fate = 'accepted' OR (p.fate = 'rejected' AND p.final) AS settled,
        p.fate = 'rejected' AND NOT p.final AS refused,
        -- Of an event it is the plan that asked last whose body is asked again, and whose word holds.
        settled OR {event} AS heard
    FROM words AS p LEFT JOIN held AS o ON o."row" = p."row"
)
SELECT CASE WHEN (settled AND verb <> 'remove') OR o_name IS NULL THEN name ELSE o_name END AS name,
    CASE WHEN (settled AND verb <> 'remove') OR o_name IS NULL THEN value ELSE o_value END AS value,
    CASE WHEN coalesce(len(o_others), 0) + coalesce(len(others), 0) = 0 THEN []
         ELSE list_sort(list_distinct(list_concat(coalesce(o_others, []), coalesce(others, [])))) END AS others,
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
    CASE WHEN refused THEN verb WHEN heard THEN NULL ELSE refused_verb END AS refused_verb,
    CASE WHEN refused THEN digest WHEN heard THEN NULL ELSE refused_digest END AS refused_digest,
    CASE WHEN refused THEN {occasion} WHEN heard THEN NULL ELSE refused_partition END AS refused_partition,
    CASE WHEN heard OR o_name IS NULL THEN {partition} ELSE o_partition END AS partition,
    CASE WHEN heard OR o_name IS NULL THEN {plan} ELSE o_plan END AS plan,
    CASE WHEN heard OR o_name IS NULL THEN {run} ELSE o_run END AS run,
    CASE WHEN heard OR o_name IS NULL THEN word_moment ELSE o_moment END AS moment
FROM paired
-- What certainly did not happen to somebody never heard of leaves no trace.
WHERE NOT (o_name IS NULL AND fate = 'deferred' AND untouched)
"""

_MOVEMENT = """
INSERT INTO movements
SELECT coalesce(max(generation), 0) + 1, ?, ?, ?, ?, ?, ?, ?, ?, ? FROM (
    SELECT generation FROM movements UNION ALL SELECT CAST(value AS BIGINT) FROM meta WHERE key = 'generation'
)
"""


def _marks(connection: duckdb.DuckDBPyConnection) -> None:
    """Move the mark, and what else the lines say of the target as a whole."""
    meta: dict[str, str] = dict(rows(connection, "SELECT key, value FROM meta"))
    mark, partition, restored = meta.get("mark"), meta.get("mark_partition"), meta.get("restored")
    identity = meta.get("identity")
    asked = {plan for (plan,) in rows(connection, "SELECT DISTINCT plan FROM lines WHERE kind = 'asked'")}
    lines = rows(
        connection,
        """
        SELECT kind, plan, partition, "end", identity, part FROM lines
        WHERE kind = 'replaced' OR (kind IN ('begin', 'in_step') AND "end" IS NOT NULL) ORDER BY n
        """,
    )
    for kind, plan, name, end, mapped, _ in lines:
        if kind == "begin" and plan not in asked:
            continue
        identity = mapped or identity
        if kind == "replaced":
            continue
        if mark is None or end > mark or name == UNPARTITIONED:
            mark, partition, restored = end, name, "false"
        elif end < mark:
            restored = "true"
    pinned, filled = meta.get("pinned"), meta.get("filled")
    if begun := [name for kind, plan, name, *_, part in lines if kind == "begin" and plan in asked and not part]:
        pinned = pinned or begun[0]
    if done := rows(connection, "SELECT partition FROM lines WHERE kind = 'filled'"):
        pinned, filled = pinned or done[0][0], "true"
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
        generation=str(max(generation, int(meta.get("generation", "0")))),
    )
