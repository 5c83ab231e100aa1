"""
What a figure should reach: a quantity of one contender, by itself or beside that of others.

Goals are judged from what was stored, so that whoever reads the stored figures comes to the same verdicts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Measured = Mapping[str, Any]
"""What one contender took: seconds, cpu_seconds and peak_mb, and what else its work says of itself."""


@dataclass(frozen=True)
class Quantity:
    """Something that is measured, in *unit*; *more* says that a larger one is better."""

    unit: str
    of: Callable[[Measured], float]
    more: bool = False


CPU = Quantity("CPU s", lambda one: one["cpu_seconds"])
SECONDS = Quantity("s", lambda one: one["seconds"])
MEMORY = Quantity("MB", lambda one: one["peak_mb"])
REQUESTS = Quantity("requests", lambda one: one["requests"])


@dataclass(frozen=True)
class Goal:
    """
    At *most* or at *least* so much of *quantity*, or so many times the best of those *beside*.

    *less* names a contender whose part is taken off ours first. With *tenth* ours is
    compared with itself at a tenth of the size. A goal with sizes in *at* counts at
    those only.
    """

    text: str
    ours: str
    quantity: Quantity
    beside: tuple[str, ...] = ()
    most: float | None = None
    least: float | None = None
    less: str | None = None
    tenth: bool = False
    at: tuple[int, ...] = ()

    def reached(self, value: float) -> bool:
        """Whether *value*, or the ratio where there is one, is within the goal."""
        return (self.most is None or value <= self.most) and (self.least is None or value >= self.least)


def judged(figure: str, goals: Sequence[Goal], results: Sequence[Measured]) -> list[dict[str, Any]]:
    """Return a row for each goal and size that *results* have of *figure*: ours, beside, ratio, met (None: unknown)."""
    found = {(row["contender"], row["n"]): row for row in results if row["figure"] == figure}
    sizes = sorted({n for _, n in found})
    return [_judge(figure, goal, n, found) for n in sizes for goal in goals if not goal.at or n in goal.at]


def _judge(figure: str, goal: Goal, n: int, found: Mapping[tuple[str, int], Measured]) -> dict[str, Any]:
    row: dict[str, Any] = {"figure": figure, "n": n, "goal": goal.text, "unit": goal.quantity.unit}
    row |= {"contender": goal.ours, "ours": None, "beside": None, "beside_value": None, "ratio": None, "met": None}

    def value(name: str, size: int) -> float | None:
        measured = found.get((name, size))
        return None if measured is None or "missing" in measured else goal.quantity.of(measured)

    ours, off = value(goal.ours, n), value(goal.less, n) if goal.less else 0.0
    if ours is None or off is None:
        return row
    ours -= off
    row["ours"] = _rounded(ours)
    others = {name: value(name, n) for name in goal.beside}
    if goal.tenth:
        others = {f"{n // 10:,}": value(goal.ours, n // 10)}
    present = {name: one for name, one in others.items() if one is not None}
    if not others:
        row["met"] = goal.reached(ours)
    elif present:
        best = (max if goal.quantity.more else min)(present, key=lambda name: present[name])
        ratio = ours / (present[best] or 1e-4)  # Less than is measured.
        row |= {"beside": best, "beside_value": _rounded(present[best]), "ratio": round(ratio, 3)}
        row["met"] = goal.reached(ratio)
    else:
        row["beside"] = next(iter(others))
    return row


def _rounded(value: float) -> float:
    """Return *value* with four digits that count; of what was counted, all."""
    return value if float(value).is_integer() else float(f"{value:.4g}")
