"""What a delivery's page says of rows that were not simply accepted: why, how many, who (masked), what to do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb

from ..delivery.trip import Summary
from ..engines.duckdb import memory, rows
from ..model import Fate
from ..naming import filename, literal, masked
from ..state import State

SHOWN = 20
"""So many reasons are shown, the most frequent first."""

SAMPLES = 3
"""So many rows are shown of each reason."""

REMEDIES = {
    Fate.ACCEPTED: "nothing",
    Fate.REJECTED: "mend the row in the source: it is asked again once it has changed, and in the next partition",
    Fate.DEFERRED: "nothing: the retry, or the sensor `going_on`, asks these rows again",
    Fate.IN_DOUBT: "look at the service, then decide with the job `decide_doubts`",
}
"""What a person does about a row, by its fate."""

REJECTED_EVENT = (
    "mend the cause, then change the row and run its own partition again, or let it be asked again with `reassert`: "
    "no later partition asks it"
)
"""The same of an event that was rejected: it is in the snapshot of its own partition only."""

SETTLED = "nothing: the service holds it already, and it is not asked again"
"""The same of a row that was refused for good."""


def outcome_files(sync: str, summary: Summary, run: str, state: State) -> list[Path]:
    """Return the outcome files of a run's partition, the newest last: each attempt of the run has some."""
    found = state.outcomes(sync, summary.partition).glob(f"{filename(run)}.*.parquet")
    return sorted(found, key=lambda path: path.stat().st_mtime)


def reasons_table(summary: Summary, files: Sequence[Path], *, event: bool) -> str | None:
    """
    Return why rows were not simply accepted, as a table; None where all of them were.

    *files* are the run's outcomes: of each reason the first rows are shown, their keys masked.
    """
    if not summary.reasons:
        return None
    samples = _samples(files)
    lines = []
    for (fate, reason), count in summary.reasons.most_common(SHOWN):
        keys = ", ".join(f"{masked(key)} `{row}`" for key, row in samples.get((fate.value, reason), ())) or "–"
        remedy = SETTLED if reason in summary.settled else _remedy(fate, event)
        lines.append(f"| {fate.value} | {_cell(reason)} | {count:,} | {_cell(keys)} | {remedy} |")
    more = len(summary.reasons) - SHOWN
    rest = f"\n\nAnd {more:,} reasons more." if more > 0 else ""
    header = "| fate | reason | rows | such as | what to do |\n|---|---|---|---|---|\n"
    return header + "\n".join(lines) + rest


def _remedy(fate: Fate, event: bool) -> str:
    return REJECTED_EVENT if event and fate is Fate.REJECTED else REMEDIES[fate]


def _samples(files: Sequence[Path]) -> dict[tuple[str, str], list[tuple[str, str]]]:
    """Return the first keys of each fate and reason, with the rows' ids, in the newest outcomes that name them."""
    found: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for file in files:
        query = f"""
            SELECT fate, reason, arg_min(key, "row", {SAMPLES}),
                arg_min(concat(left(plan, 8), '-', "row"), "row", {SAMPLES})
            FROM read_parquet({literal(str(file))}) WHERE reason <> '' AND key IS NOT NULL GROUP BY fate, reason
        """
        try:
            with memory() as connection:
                for fate, reason, keys, ids in rows(connection, query):
                    found[fate, reason] = list(zip(keys, ids, strict=True))
        except duckdb.Error:
            continue  # Deleted or damaged meanwhile: the counts stand all the same.
    return found


def _cell(text: str) -> str:
    """Return *text* so that it stays within a cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")
