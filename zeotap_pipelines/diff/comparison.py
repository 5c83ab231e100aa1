"""
Who is to be told something: the audience's rows against what the target was last told, in the engine.

Two steps, so that rows which are in step cost no more than a join and a hash:

    met      one full join of keys and stamps: which pairs of rows may have something to be said
    judged   those pairs looked at whole, their digests compared, and each named a reason and a verb
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import duckdb

from .. import rendering
from ..engines.duckdb import rows
from ..ledger.ledger import Standing
from ..model import Change, Mode, Partition
from ..naming import literal
from ..snapshot import Snapshot
from ..sync import Sync

CONFLICT = "conflicting rows for one identity"
"""Why a key is set aside whose rows would leave different things behind."""


NOBODY = """
CREATE TEMP TABLE met AS
SELECT CAST(NULL AS BIGINT) AS src, CAST(NULL AS BIGINT) AS told_row, count(*) AS told FROM told
"""
"""``met`` where nothing is to be said of anybody."""


@dataclass(frozen=True)
class Comparison:
    """
    A sync's snapshot for a partition beside the ledger that stands as *standing*, in an open connection.

    *opposing* is the snapshot of the sync's opposite, where it has one.
    """

    connection: duckdb.DuckDBPyConnection
    sync: Sync
    partition: Partition
    snapshot: Snapshot
    standing: Standing
    opposing: Snapshot | None = None

    @property
    def scan(self) -> str:
        """The SQL of the snapshot's rows."""
        return self.snapshot.scan

    def refuse_another(self) -> None:
        """Raise MakePlanAgain where a snapshot was taken anew since it was read."""
        for one in (self.snapshot, self.opposing):
            if one is not None:
                one.refuse_another()

    def picked(self, table: str) -> str:
        """Return the SQL of the snapshot's rows whose number is in ``src`` of *table*, before anything is rendered."""
        return f"(SELECT p.* FROM {self.scan} AS p JOIN {table} AS t ON t.src = p.file_row_number)"


def several(sync: Sync) -> bool:
    """Return whether a person may have several identifiers at the target, the first of which is the key."""
    return len(sync.target.identity) > 1 and not sync.target.composite


def compare(compared: Comparison, *, in_step: bool) -> None:
    """
    Make ``judged``: every key on either side that something is to be said of, with why and by which verb.

    Where both sides are known to be *in_step*, nobody is looked at. Nor is who is in
    ``opposed``, a table of keys that is there where the sync has an opposite.

    ``looked`` are the snapshot's rows that were looked at whole, ``suspects`` the
    keys among them whose rows are unfit or more than one, ``mapped`` a view of all rows.
    """
    connection, sync = compared.connection, compared.sync
    # A view: each use of it reads the columns that it needs, and nothing the size of the audience is kept.
    rows(connection, f"CREATE TEMP VIEW mapped AS {mapped_rows(sync, compared.scan, compared.snapshot.columns)}")
    rows(connection, NOBODY if in_step else _met(sync, compared.standing))
    rows(connection, "CREATE TEMP TABLE again AS SELECT DISTINCT src FROM met WHERE src IS NOT NULL")
    looked = mapped_rows(sync, compared.picked("again"), compared.snapshot.columns)
    rows(connection, f"CREATE TEMP TABLE looked AS {looked}")
    rows(connection, _judged(sync, compared.partition, compared.standing))
    _look_at_siblings(connection, looked)
    _set_suspects_aside(connection)


def mapped_rows(sync: Sync, scan: str, types: Mapping[str, str]) -> str:
    """Return the SQL of the snapshot's rows as the destination would be told of them."""
    name, value = rendering.primary(sync)
    others = rendering.others(sync) if several(sync) else "CAST([] AS VARCHAR[])"
    rules = [*rendering.convertible(sync), *sync.target.invalid()]
    odd = "".join(f", {rendering.unfit(sync, [rule])} AS odd_{n}" for n, rule in enumerate(sync.target.odd()))
    return f"""
        WITH fields AS ({rendering.mapped(sync, scan, types)}),
        identified AS (
            SELECT *, {name} AS name, {value} AS value, {others} AS others
            FROM fields
        )
        SELECT src, name, value, others, {rendering.key(sync.target, sync.identity, "name", "value")} AS key,
            {rendering.digest(sync)} AS digest, {rendering.stamp(sync)} AS stamp,
            {rendering.unfit(sync, rules)} AS unfit{odd}
        FROM identified
    """


def _met(sync: Sync, standing: Standing) -> str:
    """
    Return the SQL of ``met``: the rows of both sides that have to be looked at, matched by key.

    One row more, without numbers, stands for all the others; ``told`` counts the
    ledger's rows in each, so that every one of them is counted once unless the
    snapshot names it twice.
    """
    # What can be said of a told row by itself is said before the join, which keeps every one of them in memory.
    same, gone = _reasons(sync, standing, "true")
    different, _ = _reasons(sync, standing, "false")
    unopposed = " ANTI JOIN opposed USING (key)" if sync.opposite else ""
    return f"""
        CREATE TEMP TABLE met AS
        WITH held AS (
            SELECT rowid AS told_row, {rendering.key(sync.target, sync.identity, "name", "value")} AS key, stamp,
                {same} IS NOT NULL AS owed_if_same, {different} IS NOT NULL AS owed_if_different,
                {gone} IS NOT NULL AS owed_if_gone
            FROM told AS l
        ), wanted AS (
            SELECT src, key, stamp, unfit IS NOT NULL AS unfit FROM mapped{unopposed}
        ), paired AS (
            SELECT w.src, l.told_row,
                CASE WHEN l.told_row IS NULL THEN true WHEN w.src IS NULL THEN l.owed_if_gone
                     WHEN l.stamp IS NOT DISTINCT FROM w.stamp THEN l.owed_if_same OR w.unfit
                     ELSE l.owed_if_different OR w.unfit END AS matters
            FROM wanted AS w FULL JOIN held AS l ON l.key = w.key
        )
        SELECT CASE WHEN matters THEN src END AS src, CASE WHEN matters THEN told_row END AS told_row,
            count(told_row) AS told
        FROM paired GROUP BY 1, 2
    """


def _judged(sync: Sync, partition: Partition, standing: Standing) -> str:
    """Return the SQL of ``judged``, from the pairs in ``met``."""
    verbs = sync.verbs
    verb_of = {change: (literal(verbs[change]) if change in verbs else "NULL") for change in Change}
    # A row told by another digest version is compared by that version's function; so far there is one.
    same = f"(l.digest = w.digest AND l.digest_version = {rendering.DIGEST_VERSION})"
    wanted, left = _reasons(sync, standing, same)
    name, value = ("w.name", "w.value")
    if sync.mode is Mode.REMOVE:  # A removal uses the identity that was delivered, where one was.
        name, value = "coalesce(l.name, w.name)", "coalesce(l.value, w.value)"
    digest = "CAST(NULL AS BIGINT)" if sync.mode is Mode.REMOVE else "w.digest"
    return f"""
        CREATE TEMP TABLE judged AS
        WITH matched AS (
            SELECT coalesce(w.key, {rendering.key(sync.target, sync.identity, "l.name", "l.value")}) AS key,
                w.src IS NOT NULL AS is_wanted, w.src,
                CASE WHEN w.src IS NULL THEN l.name ELSE {name} END AS name,
                CASE WHEN w.src IS NULL THEN l.value ELSE {value} END AS value,
                CASE WHEN w.src IS NULL THEN l.others
                     ELSE list_distinct(list_concat(w.others, coalesce(l.others, []))) END AS others,
                CASE WHEN w.src IS NULL THEN NULL ELSE {digest} END AS digest, w.stamp,
                CASE WHEN w.src IS NOT NULL THEN {wanted} ELSE {left} END AS why,
                l.refused_verb, l.refused_digest, l.refused_partition, l.state AS told_state
            FROM met AS m LEFT JOIN looked AS w ON w.src = m.src LEFT JOIN told AS l ON l.rowid = m.told_row
            WHERE m.src IS NOT NULL OR m.told_row IS NOT NULL
        ), called AS (
            SELECT *,
                CASE WHEN NOT is_wanted THEN 'left' WHEN why = 'different' THEN 'changed' ELSE 'entered' END AS change,
                CASE WHEN NOT is_wanted THEN {verb_of[Change.LEFT]}
                     WHEN why = 'different' THEN {verb_of[Change.CHANGED]} ELSE {verb_of[Change.ENTERED]} END AS verb
            FROM matched WHERE why IS NOT NULL
        )
        SELECT * REPLACE (
            CASE WHEN refused_verb = verb AND refused_digest IS NOT DISTINCT FROM digest
                  AND refused_partition = {literal(partition.occasion)} THEN 'refused before' ELSE why END AS why)
        FROM called
    """


def _reasons(sync: Sync, standing: Standing, same: str) -> tuple[str, str]:
    """
    Return the SQL of why a wanted row, and why one that is no longer wanted, is owed; null where it isn't.

    *same* is the SQL of whether the wanted row ``w`` is what ``l`` says was told.
    """
    again = (
        f"(l.moment <= {literal(standing.reassert_before)})"
        if standing.reassert_before and not sync.target.event
        else "false"
    )
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
        changed = "'different'" if Change.CHANGED in sync.verbs else "NULL"
        wanted = f"""
            CASE WHEN l.unsettled THEN 'unsettled' WHEN l.state = 'in' AND {again} THEN 'asserted again'
                 WHEN l.state = 'in' AND NOT {same} THEN {changed}
                 WHEN l.state = 'in' THEN NULL WHEN l.state = 'out' THEN 'told out' ELSE 'never told' END"""
    left = "NULL"
    if Change.LEFT in sync.verbs:
        left = """
            CASE WHEN l.unsettled THEN 'left, unsettled' WHEN l.state = 'in' THEN 'left' END"""
    return wanted, left


def _look_at_siblings(connection: duckdb.DuckDBPyConnection, looked: str) -> None:
    """
    Look also at the rows that name a judged key a second time.

    A key that the target was never told is judged with all its rows. One that it was
    told has a second row only if the ledger's row was met twice.
    """
    [(once,)] = rows(connection, "SELECT (SELECT coalesce(sum(told), 0) FROM met) = (SELECT count(*) FROM told)")
    if once:
        return
    rows(
        connection,
        """
        CREATE OR REPLACE TEMP TABLE again AS
        SELECT src FROM mapped WHERE key IN (SELECT key FROM judged WHERE is_wanted)
            AND src NOT IN (SELECT src FROM looked)
        """,
    )
    rows(connection, f"INSERT INTO looked {looked}")


def _set_suspects_aside(connection: duckdb.DuckDBPyConnection) -> None:
    """
    Take out of ``judged`` who is unfit to be sent, or contradicts himself; of identical rows leave one.

    Only the keys that something is owed for are looked at: a row that says what the
    target was told already can do no harm.
    """
    rows(
        connection,
        """
        CREATE TEMP TABLE suspects AS
        SELECT key, min(src) AS src, count(*) AS copies, min(unfit) AS unfit,
            min(digest) <> max(digest) OR min(others) <> max(others) AS conflicting
        FROM looked WHERE key IN (SELECT key FROM judged WHERE is_wanted)
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
