"""An audience: a named query over a source."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from .errors import FixDeclaration
from .naming import NAME


class History(StrEnum):
    """Whether the query knows the past."""

    AS_OF = "as_of"  # It uses the partition's bounds: any partition can be asked for at any time.
    CURRENT = "current"  # It gives today's truth: past partitions are refused.


@dataclass(frozen=True)
class Audience:
    """
    A named query, and the columns that identify a row.

    The query runs by the clock of *timezone*. It may use ``$start`` and ``$end`` (the
    partition's window by that clock, end excluded), ``$start_utc`` and ``$end_utc``
    (the same as instants) and ``$partition`` (its key). They are bound as parameters.
    """

    name: str
    query: str
    key: tuple[str, ...]
    history: History = History.AS_OF
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise FixDeclaration(f"audience name {self.name!r}: use letters, digits and underscores")
        if not self.key:
            raise FixDeclaration(f"audience {self.name}: name at least one key column")
