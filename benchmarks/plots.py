"""Draws a figure as bars: an SVG of text and rectangles that reads on light and dark pages alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from .figure import Bars, Figure
from .report import number

LABEL, WIDTH, ROW, TOP = 340, 840, 28, 46
OURS, OTHERS = "#1f6feb", "#9aa4b1"
STYLE = (
    "text{font:13px system-ui,-apple-system,'Segoe UI',sans-serif;fill:#1f2328}"
    ".title{font-weight:600;font-size:15px}.ours{font-weight:600}.none{fill:#6e7781;font-style:italic}"
)


def drawn(figure: Figure, results: Sequence[Mapping[str, Any]]) -> str | None:
    """Return *figure* as SVG at the size that its bars name, or the largest there is; None where it has no bars."""
    rows = [row for row in results if row["figure"] == figure.name]
    if figure.bars is None or not rows:
        return None
    sizes = {row["n"] for row in rows}
    size = figure.bars.size if figure.bars.size in sizes else max(sizes)
    return _svg(figure, figure.bars, [row for row in rows if row["n"] == size], size)


def _svg(figure: Figure, bars: Bars, rows: Sequence[Mapping[str, Any]], size: int) -> str:
    ours = {goal.ours for goal in figure.goals}
    values = {row["contender"]: _value(bars, row) for row in rows}
    longest = max((value for value in values.values() if value), default=1.0)
    order = sorted(values, key=lambda name: (values[name] is None, values[name] or 0.0))
    title = f"{bars.title}, {size:,} {figure.unit}"
    height = TOP + ROW * len(order) + 12
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}">',
        f"<style>{STYLE}</style>",
        f'<rect width="{WIDTH}" height="{height}" rx="8" fill="#ffffff" stroke="#d0d7de"/>',
        f'<text class="title" x="16" y="28">{escape(title)}</text>',
    ]
    for place, name in enumerate(order):
        value, y = values[name], TOP + ROW * place
        mine = "ours" if name in ours else "other"
        parts.append(f'<text class="{mine}" x="{LABEL - 12}" y="{y + 17}" text-anchor="end">{escape(name)}</text>')
        if value is None:
            parts.append(f'<text class="none" x="{LABEL}" y="{y + 17}">not measured</text>')
            continue
        wide = max(2.0, (WIDTH - LABEL - 100) * value / longest)
        colour = OURS if name in ours else OTHERS
        parts.append(f'<rect x="{LABEL}" y="{y + 4}" width="{wide:.1f}" height="{ROW - 9}" rx="3" fill="{colour}"/>')
        parts.append(f'<text class="{mine}" x="{LABEL + wide + 8:.1f}" y="{y + 17}">{number(value)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _value(bars: Bars, row: Mapping[str, Any]) -> float | None:
    value, per = row.get(bars.value), row.get(bars.per, 1) if bars.per else 1
    return None if value is None or not per else bars.scale * value / per
