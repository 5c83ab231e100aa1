"""The second run: a process from its start to its first request, a million rows in DuckDB, compared by content."""

from __future__ import annotations

from ..figure import Bars, Contender, Figure
from ..goal import CPU, SECONDS, Goal

HERE = "benchmarks.second_run"
OTHERS = "benchmarks.others"
PLAN, SCRIPT = "snapshot, diff, delivery", "script with EXCEPT ALL"
SAME = "snapshot, diff, delivery, nothing changed"
DAGSTER, DAGSTER_DRT = "snapshot, diff, delivery in a Dagster run", "dagster-drt, one row"

FIGURES = (
    Figure(
        "second run",
        {1_000_000: 3},
        (
            Contender(SCRIPT, f"{OTHERS}.second_script:work"),
            Contender(PLAN, f"{HERE}:changed"),
            Contender(SAME, f"{HERE}:same"),
            Contender(DAGSTER, "benchmarks.second_run_in_dagster:work", stage="benchmarks.second_run_in_dagster:stage"),
            Contender(
                DAGSTER_DRT,
                f"{OTHERS}.second_dagster_drt:work",
                ("dagster-drt", "drt-core"),
                stage=f"{OTHERS}.second_dagster_drt:stage",
            ),
            Contender(
                "drt by a cursor column",
                f"{OTHERS}.second_drt:work",
                ("drt-core", "duckdb"),
                stage=f"{OTHERS}.second_drt:stage",
            ),
            Contender(
                "dlt by a cursor column",
                f"{OTHERS}.second_dlt:work",
                ("dlt", "duckdb"),
                stage=f"{OTHERS}.second_dlt:stage",
            ),
            Contender("drt by content", none="it refuses on DuckDB"),
        ),
        SCRIPT,
        (
            Goal("≤ 2.0 CPU s", PLAN, CPU, most=2),
            Goal("≤ 2 s", PLAN, SECONDS, most=2),
            Goal("nothing changed: ≤ 0.6 × the cost", SAME, CPU, (PLAN,), most=0.6),
            Goal(
                "in a Dagster run ≤ 1.5 × dagster-drt's start-up more",
                DAGSTER,
                CPU,
                (DAGSTER_DRT,),
                less=PLAN,
                most=1.5,
            ),
        ),
        stage=f"{HERE}:stage",
        whole=True,
        bars=Bars(
            "Second run: CPU seconds to the first request",
            "cpu_seconds",
            1_000_000,
        ),
    ),
)
