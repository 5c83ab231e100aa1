"""What is still owed of a plan, read piece by piece and cut into batches."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet

from ..destinations.base import Target
from ..model import Operation, Verb

VERBS = {verb.value: verb for verb in Verb}

VERB = Operation._fields.index("verb")

PIECE = 5_000
"""So many rows of a plan are in memory at once."""


@dataclass(frozen=True)
class SoFar:
    """
    What earlier, interrupted deliveries of the same plan came to, by row.

    *done* need not be asked again; *not_in* of them were not accepted; *unsure*
    were asked, and nobody knows whether they were applied.
    """

    done: frozenset[int] = frozenset()
    not_in: frozenset[int] = frozenset()
    unsure: frozenset[int] = frozenset()


@dataclass
class Trial:
    """Which part of a plan is sent to try it: at most *limit* operations, *only* some rows; everything by default."""

    limit: int | None = None
    only: frozenset[int] | None = None

    @property
    def part(self) -> bool:
        """Whether it is a trial at all."""
        return self.limit is not None or self.only is not None

    def of(self, runs: Iterator[list[Operation]]) -> Iterator[list[Operation]]:
        """Yield what the trial asks for of *runs*; what was yielded counts against the limit."""
        for run in runs:
            if self.limit == 0:
                return
            some = run if self.only is None else [operation for operation in run if operation.row in self.only]
            if self.limit is not None:
                some = some[: self.limit]
                self.limit -= len(some)
            if some:
                yield some


def owed(plan: Path, so_far: SoFar, *, removing: bool) -> Iterator[list[Operation]]:
    """Yield the operations of the file *plan* that are still owed, those that remove or those that don't, by verb."""
    # Read ahead, the whole file would be in memory at the end.
    with parquet.ParquetFile(plan, pre_buffer=False, read_dictionary=["verb"]) as file:
        for piece in file.iter_batches(batch_size=PIECE, columns=list(Operation._fields), use_threads=False):
            verbs = piece.column("verb")
            spoken = [VERBS[verb] for verb in verbs.dictionary.to_pylist()]
            if removing not in {verb is Verb.REMOVE for verb in spoken}:
                continue
            columns = [piece.column(name).to_pylist() for name in Operation._fields if name != "verb"]
            if len(spoken) == 1:
                runs: Iterable[tuple[Verb, Iterator[Operation]]] = [(spoken[0], _made(spoken * len(piece), *columns))]
            else:
                said = [spoken[index] for index in verbs.indices.to_pylist()]
                runs = groupby(_made(said, *columns), itemgetter(VERB))
            for verb, run in runs:
                if (verb is Verb.REMOVE) is removing and (still := _still(run, so_far)):
                    yield still


def _made(verbs: list[Verb], *columns: list[Any]) -> Iterator[Operation]:
    """Return the operations of these columns, in half the time that their own constructor takes."""
    return map(partial(tuple.__new__, Operation), zip(*columns[:VERB], verbs, *columns[VERB:], strict=True))


def _still(operations: Iterator[Operation], so_far: SoFar) -> list[Operation]:
    """Return those of *operations* that are owed, with what is known of earlier attempts."""
    if not so_far.done and not so_far.unsure:
        return list(operations)
    return [
        operation._replace(repeated=True) if operation.row in so_far.unsure else operation
        for operation in operations
        if operation.row not in so_far.done
    ]


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def cut(runs: Iterator[list[Operation]], target: Target) -> Iterator[tuple[Operation, ...]]:
    """Cut *runs* of operations of one verb into batches, within the target's limits of items and bytes."""
    some: list[Operation] = []
    size, most = 0, target.max_bytes
    for run in runs:
        if some and some[0].verb is not run[0].verb:
            yield tuple(some)
            some, size = [], 0
        items = target.batch_items(run[0].verb)
        # The bytes up to the end of each, with a comma; nothing where they don't count.
        ends = list(accumulate(_bytes(operation.body) + 1 for operation in run)) if most else None
        start = 0
        while start < len(run):
            stop = min(start + items - len(some), len(run))
            if ends and most:
                before = ends[start - 1] if start else 0
                stop = min(stop, bisect_right(ends, before + most - size, start))
                stop = stop if some else max(stop, start + 1)  # What is too large alone travels alone.
                size += (ends[stop - 1] if stop else 0) - before
            some += run[start:stop]
            start = stop
            if start < len(run):
                yield tuple(some)
                some, size = [], 0
    if some:
        yield tuple(some)
