"""The figures, a file for each kind of work."""

from __future__ import annotations

from ..figure import Figure
from . import backfill, batches, diff, in_dagster, limits, memory, one_by_one, second_run

ALL: tuple[Figure, ...] = (
    *diff.FIGURES,
    *second_run.FIGURES,
    *one_by_one.FIGURES,
    *batches.FIGURES,
    *limits.FIGURES,
    *memory.FIGURES,
    *in_dagster.FIGURES,
    *backfill.FIGURES,
)

FIGURES = tuple(sorted(ALL, key=lambda figure: figure.apart))
"""Those that run by themselves, then the one that doesn't."""
