"""
What a journal says of the operations of its plans: the last word on each, a slice of a plan's rows at a time.

    lines      the journal as it is
    said       one row per range of rows that a line speaks of, and one per exception; later words have higher numbers
    last_word  the row and the number of the last word, of the rows of one slice
    words      those rows of the plan, each with what its last word says

Nothing the size of a plan is kept: a fold takes the same memory for a thousand rows and for ten million.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow
from pyarrow import parquet

from ..destinations.base import Target
from ..engines.duckdb import first_line, rows
from ..errors import RepairState
from ..model import UNPARTITIONED, Fate
from ..naming import identifier, literal
from ..state import State
from .journal import COLUMNS

SLICE = 122_880
"""So many rows of a plan are looked at at once."""

NO_ANSWER = "asked, and no answer is known"

PLANNED = {
    "row": "BIGINT",
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
}
"""The columns of a plan that a fold reads; one that an earlier version wrote may lack some."""


@dataclass(frozen=True)
class Begun:
    """
    A plan that a journal speaks of: by which run, sync and partition it was begun last, and its file.

    *occasion* is what its partition calls so.
    """

    plan: str
    run: str
    sync: str
    partition: str
    occasion: str
    path: Path

    @property
    def scan(self) -> str:
        """The SQL of the plan's rows, with null for a column that it lacks."""
        there = set(parquet.read_schema(self.path).names)
        columns = (
            identifier(name) if name in there else f"CAST(NULL AS {kind}) AS {identifier(name)}"
            for name, kind in PLANNED.items()
        )
        return f"(SELECT {', '.join(columns)} FROM read_parquet({literal(str(self.path))}))"


def read(connection: duckdb.DuckDBPyConnection, target: Target, state: State, journal: Path) -> list[Begun]:
    """
    Make the temporary tables ``lines`` and ``said`` of *journal*; return the plans that were asked for, in their order.

    Raises RepairState where the journal is damaged, or a plan that it speaks of is gone.
    """
    columns = ", ".join(f"{identifier(name)}: {literal(kind)}" for name, kind in COLUMNS.items())
    # DuckDB takes twice as much memory as the longest line may have.
    options = f"format = 'newline_delimited', columns = {{{columns}}}, maximum_object_size = {_longest(journal)}"
    scan = f"read_json({literal(str(journal))}, {options})"
    try:
        rows(connection, f"CREATE OR REPLACE TEMP TABLE lines AS SELECT * FROM {scan}")
    except duckdb.Error as error:
        raise RepairState(f"the journal {journal} is damaged: {first_line(error)}") from error
    unanswered = Fate.IN_DOUBT if target.event else Fate.DEFERRED
    rows(connection, _SAID.format(unanswered=literal(unanswered), no_answer=literal(NO_ANSWER)))
    rejected_at = f'CASE WHEN partition = {literal(UNPARTITIONED)} THEN coalesce("end", partition) ELSE partition END'
    begun = rows(
        connection,
        f"""
        SELECT plan, arg_max(run, n), arg_max(sync, n), arg_max(partition, n), arg_max({rejected_at}, n) FROM lines
        WHERE kind = 'begin' AND plan IN (SELECT plan FROM said) GROUP BY plan ORDER BY max(n)
        """,
    )
    return [
        Begun(plan, run, sync, partition, occasion, plan_file(state, plan))
        for plan, run, sync, partition, occasion in begun
    ]


def slices(connection: duckdb.DuckDBPyConnection, begun: Begun) -> Iterator[int]:
    """Make ``last_word`` and ``words`` of one slice of a plan after the other, and yield the slice's number."""
    query = f"""
        SELECT DISTINCT unnest(generate_series("first" // {SLICE}, "last" // {SLICE})) AS number
        FROM said WHERE plan = {literal(begun.plan)} ORDER BY number
    """
    scan = begun.scan
    for (number,) in rows(connection, query):
        first, last = number * SLICE, (number + 1) * SLICE - 1
        rows(connection, _LAST_WORD.format(plan=literal(begun.plan), first=first, last=last))
        rows(connection, _WORDS.format(scan=scan, first=first, last=last))
        yield number


@contextmanager
def readable(begun: Begun) -> Iterator[None]:
    """Turn an error of the engine into RepairState where it is the plan that can't be read."""
    try:
        yield
    except (duckdb.Error, pyarrow.ArrowException) as error:
        try:
            for _ in parquet.ParquetFile(begun.path).iter_batches():
                pass
        except (pyarrow.ArrowException, OSError) as damage:
            raise RepairState(
                f"the plan {begun.path}, which the journal refers to, is damaged: restore it ({first_line(damage)})"
            ) from error
        raise


def plan_file(state: State, plan: str) -> Path:
    """Return the file of a plan that the journal refers to. Raises RepairState where it is gone."""
    path = state.find_plan(plan)
    if path is None:
        raise RepairState(f"plan {plan} is gone, and the journal still refers to it: restore {state.root}/diffs")
    return path


def _longest(journal: Path) -> int:
    """Return the bytes of the longest line, or a little more."""
    with journal.open("rb") as file:
        return max(map(len, file), default=0) + 1024


_SAID = """
CREATE OR REPLACE TEMP TABLE said AS
WITH every_word AS (
    SELECT n, 0 AS exception, plan, unnest(rows) AS span, fate, CASE kind WHEN 'asked' THEN {no_answer} ELSE reason END
        AS reason, status, untouched, final, request, coalesce(unsure, false) AS unsure, moment
    FROM lines WHERE kind IN ('asked', 'answered')
    UNION ALL
    SELECT n, 1, plan, [e."row", e."row"], e.fate, e.reason, e.status, e.untouched, e.final, e.request, unsure, moment
    FROM (
        SELECT n, plan, coalesce(unsure, false) AS unsure, moment, unnest("except") AS e FROM lines
        WHERE kind = 'answered' AND "except" IS NOT NULL
    )
)
SELECT row_number() OVER (ORDER BY n, exception) AS word, plan, span[1] AS "first", span[2] AS "last",
    coalesce(fate, {unanswered}) AS fate, reason, status, coalesce(untouched AND NOT unsure, false) AS untouched,
    coalesce(final, false) AS final, request, unsure, moment AS word_moment
FROM every_word
"""

_LAST_WORD = """
CREATE OR REPLACE TEMP TABLE last_word AS
SELECT "row", max(word) AS word
FROM (
    SELECT word, unnest(generate_series(greatest("first", {first}), least("last", {last}))) AS "row"
    FROM said WHERE plan = {plan} AND "first" <= {last} AND "last" >= {first}
)
GROUP BY "row"
"""

_WORDS = """
CREATE OR REPLACE TEMP VIEW words AS
SELECT p.*, s.fate, s.reason, s.status, s.untouched, s.final, s.request, s.unsure, s.word_moment
FROM {scan} AS p JOIN last_word AS w ON w."row" = p."row" JOIN said AS s ON s.word = w.word
WHERE p."row" BETWEEN {first} AND {last}
"""
