"""
Who is in both audiences where two syncs share a target, of which one adds and the other removes.

Nobody can tell here which of the two is right, so that neither asks anything for such
a key. It stays as it was until one audience lets go of it.
"""

from __future__ import annotations

from .. import rendering
from .. import snapshot as snapshots
from ..engines.duckdb import rows
from ..errors import FixDeclaration, MakePlanAgain
from ..model import Mode, Partition
from ..snapshot import Snapshot
from ..state import State
from ..sync import Sync
from .comparison import Comparison, mapped_rows, several


def opposing(sync: Sync, partition: Partition, state: State) -> Snapshot | None:
    """
    Return the snapshot of the opposite's audience at the same partition; None where *sync* has no opposite.

    Raises MakePlanAgain, naming what to materialize, where it wasn't taken.
    """
    other = sync.opposite
    if other is None:
        return None
    try:
        return snapshots.read(other.audience, partition, state)
    except MakePlanAgain:
        raise MakePlanAgain(
            f"there is no snapshot of {other.audience.name} at {partition}, and {sync.name} needs it, since "
            f"{other.name} does the opposite at the same target: materialize snapshots/{other.audience.name} first"
        ) from None


def rows_of(other: Sync, theirs: Snapshot) -> str:
    """Return the SQL of the rows of *theirs* as *other* maps them; raise FixDeclaration, naming it, where it can't."""
    try:
        return mapped_rows(other, theirs.scan, theirs.columns)
    except FixDeclaration as error:
        raise FixDeclaration(f"sync {other.name}: {error}") from error


def reason(other: Sync) -> str:
    """Return why a key is set aside that *other* wants otherwise."""
    return f"sync {other.name} wants it {'out' if other.mode is Mode.REMOVE else 'in'}"


def find(compared: Comparison) -> int:
    """Make ``opposed``, the keys of the snapshot that the opposite's has too; return how many rows they have."""
    connection, sync, theirs = compared.connection, compared.sync, compared.opposing
    assert sync.opposite is not None and theirs is not None
    ours = mapped_rows(sync, compared.scan, compared.snapshot.columns)
    both = in_both(sync, ours, rows_of(sync.opposite, theirs))
    query = f"SELECT key, count(*) AS copies FROM ({ours}) WHERE key IN ({both}) GROUP BY key"
    rows(connection, f"CREATE TEMP TABLE opposed AS {query}")
    [(count,)] = rows(connection, "SELECT coalesce(sum(copies), 0) FROM opposed")
    return int(count)


def in_both(sync: Sync, ours: str, theirs: str) -> str:
    """
    Return the SQL of the keys of the mapped rows *ours* who are among *theirs* too; ``told`` is the ledger's table.

    Where a person may have several identifiers, one in common is enough: of those that
    a row has, and of those that the target was told together with its key.
    """
    if not several(sync):
        return f"SELECT key FROM ({theirs}) WHERE key IS NOT NULL"
    told = "SELECT rowid AS told_row, unnest(list_concat(others, [name || '=' || value])) AS x FROM told"
    identifier = f"{rendering.same_form(sync.target, 'x')} AS identifier"

    def known(side: str) -> str:
        return f"""
            SELECT key, key AS identifier FROM ({side}) WHERE key IS NOT NULL
            UNION SELECT key, {identifier} FROM (SELECT key, unnest(others) AS x FROM ({side}))
            UNION SELECT s.key, b.identifier FROM ({side}) AS s
                JOIN told_as AS a ON a.identifier = s.key JOIN told_as AS b ON b.told_row = a.told_row
        """

    return f"""
        WITH told_as AS (SELECT told_row, {identifier} FROM ({told}))
        SELECT key FROM ({known(ours)}) WHERE identifier IN (SELECT identifier FROM ({known(theirs)}))
    """
