"""The second run: a process from its start to its first request, a million rows in DuckDB, compared by content."""

from __future__ import annotations

from ..figure import Contender, Figure, Goal, at_most

HERE = "benchmarks.second_run"
PLAN, SCRIPT = "snapshot, diff, delivery", "EXCEPT ALL in a script"
SAME = "snapshot, diff, delivery, nothing changed"

FIGURES = (
    Figure(
        "second run",
        (1_000_000,),
        (
            Contender(SCRIPT, "benchmarks.others.second_script:work"),
            Contender(PLAN, f"{HERE}:changed"),
            Contender(SAME, f"{HERE}:same"),
        ),
        SCRIPT,
        {
            PLAN: Goal(
                "≤ 2 CPU s and ≤ 2 s", lambda found: found[PLAN]["cpu_seconds"] <= 2 and found[PLAN]["seconds"] <= 2
            ),
            SAME: at_most(0.6, PLAN)(SAME),
        },
        stage=f"{HERE}:stage",
        whole=True,
    ),
)
