"""Whether a target was told what the snapshot says: the two compared by key, after a mirror was delivered."""

from __future__ import annotations

from dataclasses import dataclass

from .. import rendering
from .. import snapshot as snapshots
from ..engines.duckdb import rows
from ..ledger.ledger import Ledger
from ..model import Mode, Partition
from ..naming import literal
from ..state import State
from ..sync import Sync
from . import comparison


@dataclass(frozen=True)
class Agreement:
    """
    How many members the audience has that the target was not told to hold, and the other way round.

    Not counted is what is known otherwise: who was rejected, set aside or named twice,
    and whose removal was rejected.
    """

    missing: int
    too_many: int

    @property
    def whole(self) -> bool:
        """Whether the ledger says what the snapshot says."""
        return not (self.missing or self.too_many)


def agreement(sync: Sync, partition: Partition, state: State) -> Agreement | None:
    """
    Return how the ledger of a mirror agrees with the snapshot of *partition*; None where it isn't meant to.

    That is another mode, or a target that stands at another partition. Both sides are
    read once, by key: nothing is rendered, and no digest is computed.
    """
    if sync.mode is not Mode.MIRROR or sync.target.event:
        return None
    ledger = Ledger(state, sync.target, sync.address)
    taken = snapshots.read(sync.audience, partition, state)
    scan = f"read_parquet({literal(str(taken.path))}, file_row_number = true)"
    mapped = comparison.mapped_rows(sync, scan, taken.columns)
    told_key = rendering.key(sync.target, sync.target.identity, "name", "value")
    # Whom another identifier of a wanted person keeps in is no one too many.
    too_many = "0" if comparison.several(sync) else "count(*) FILTER (key IS NULL AND state = 'in' AND NOT refused)"
    query = f"""
        WITH wanted AS (
            SELECT key, count(*) = 1 AND min(unfit) IS NULL AS fit FROM ({mapped}) WHERE key IS NOT NULL GROUP BY key
        ), held AS (
            SELECT {told_key} AS told_key, state, refused_verb IS NOT NULL AS refused FROM told
        )
        SELECT count(*) FILTER (fit AND state IS DISTINCT FROM 'in' AND NOT coalesce(refused, false)), {too_many}
        FROM wanted FULL JOIN held ON key = told_key
    """
    with ledger.reading() as connection:
        standing = ledger.standing(connection)
        if standing.mark_partition != partition.key or standing.restored:
            return None
        [(missing, extra)] = rows(connection, query)
    return Agreement(int(missing), int(extra))
