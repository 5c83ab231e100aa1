"""
What a figure is: contenders that do the same work in turn, each in a process of its own, and goals.

A contender is a function ``(folder, size) -> work``: what it does before it returns is
not measured, what the returned function does is, and what that returns is kept beside
it. Of a figure that is *whole*, the process counts from its first instruction to the
end of the work, imports and all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .goal import Goal


@dataclass(frozen=True)
class Contender:
    """
    Who does the work: a function as ``module:function``.

    One that needs *packages* which are not ours runs in an environment of its own,
    made from them; its module imports nothing else. *stage* makes, once per size and
    in that environment, what it alone works on. One that takes too long for more than
    *largest* rows is left out of larger figures, a slow one runs at most *runs* times,
    and one that has nothing of the kind says *none*, and why.
    """

    name: str
    work: str = ""
    packages: tuple[str, ...] = ()
    stage: str | None = None
    largest: int | None = None
    runs: int | None = None
    none: str | None = None


@dataclass(frozen=True)
class Bars:
    """How a figure is drawn: *value* of each contender at *size*, in words."""

    title: str
    value: str
    size: int
    per: str | None = None
    """What *value* is divided by: another value of the same contender."""
    scale: float = 1.0


@dataclass(frozen=True)
class Figure:
    """
    Contenders side by side at each of *sizes*, as often as it says there.

    Ratios are of CPU seconds, to the contender that *against* names. *stage* makes,
    once per size, what all of them work on. *smoke* is a size at which it takes
    seconds. One that is *apart* runs only where it is asked for by name.
    """

    name: str
    sizes: Mapping[int, int]
    contenders: tuple[Contender, ...]
    against: str
    goals: tuple[Goal, ...]
    stage: str | None = None
    whole: bool = False
    unit: str = "rows"
    smoke: int = 10_000
    apart: bool = False
    bars: Bars | None = None
