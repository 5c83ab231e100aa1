"""The diff: a snapshot of N members against a ledger of N, to a complete plan on disk."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb

from zeotap_pipelines import pipeline, rendering, snapshot
from zeotap_pipelines.ledger import Ledger
from zeotap_pipelines.state import State
from zeotap_pipelines.sync import Sync

from ..figure import Contender, Figure, Goal, at_least, at_most
from ..people import GROUP, PROFILES, after, before, day, settled, told, wanted

Work = Callable[[], None]
HERE = "benchmarks.figures.diff"
OTHERS = "benchmarks.others"
PLAN, BARE, EMPTY = "complete plan", "bare join and digest pass", "complete plan, nothing changed"


def stage(folder: Path, size: int) -> None:
    """Write the ledgers and the snapshots: before a delivery, and after it with the same rows once more."""
    for sync in (PROFILES, GROUP):
        for name in ("changed", "same"):
            state = State(folder / sync.name / name)
            told(sync, state, before(size))
            wanted(sync, state, after(size))
        settled(sync, state)
        wanted(sync, state, after(size), 3)


def _plan(sync: Sync, folder: Path, name: str, number: int, added: int) -> Work:
    state = State(folder / sync.name / name)
    shutil.rmtree(state.plans(sync.name, day(number).key), ignore_errors=True)

    def work() -> None:
        assert pipeline.plan(sync, day(number), state, run="3").count("entered") == added

    return work


def profiles(folder: Path, size: int) -> Work:
    """Plan members with attributes."""
    return _plan(PROFILES, folder, "changed", 2, size // 100)


def group(folder: Path, size: int) -> Work:
    """Plan members of a group."""
    return _plan(GROUP, folder, "changed", 2, size // 100)


def profiles_same(folder: Path, size: int) -> Work:
    """Plan members with attributes who were delivered and have not changed."""
    return _plan(PROFILES, folder, "same", 3, 0)


def group_same(folder: Path, size: int) -> Work:
    """Plan members of a group who were delivered and have not changed."""
    return _plan(GROUP, folder, "same", 3, 0)


def _bare(sync: Sync, folder: Path, key: str) -> Work:
    state = State(folder / sync.name / "changed")
    ledger = Ledger(state, sync.target, sync.address)
    taken = snapshot.read(sync.audience, day(2), state)

    def work() -> None:
        with duckdb.connect() as connection:
            connection.execute(f"ATTACH '{ledger.file}' AS ledger (READ_ONLY)").fetchall()
            wanted = f"(SELECT {key} AS k, 1 AS d FROM read_parquet('{taken.path}'))"
            held = "(SELECT value AS k, digest AS d FROM ledger.told)"
            join = f"SELECT count(*) FROM {wanted} AS w FULL JOIN {held} AS l USING (k) WHERE w.d IS DISTINCT FROM l.d"
            connection.execute(join).fetchall()
            every = rendering.mapped(sync, f"read_parquet('{taken.path}', file_row_number = true)", taken.columns)
            values = " || ".join(f"coalesce({rendering.field(name)}, '-')" for name in sync.mapping)
            connection.execute(f"SELECT bit_xor(md5_number_lower({values})) FROM ({every})").fetchall()

    return work


def bare_profiles(folder: Path, size: int) -> Work:
    """Join the keys, and make one md5 of every row's mapped fields: what the machine allows."""
    return _bare(PROFILES, folder, "email")


def bare_group(folder: Path, size: int) -> Work:
    """Join the keys, and make one md5 of every row's mapped fields: what the machine allows."""
    return _bare(GROUP, folder, "id")


def polars(folder: Path, size: int) -> Work:
    """Join both sides whole, streaming, and keep the rows that differ."""
    import polars as pl

    state = State(folder / PROFILES.name / "changed")
    columns = ["email", "first_name", "last_name", "spend"]

    def work() -> None:
        paths = [state.snapshot("people", day(number).key) for number in (2, 1)]
        frames = [pl.scan_parquet(path).select(columns) for path in paths]
        joined = frames[0].join(frames[1], on="email", how="full", suffix="_told", coalesce=False)
        same = [pl.col(name).eq_missing(pl.col(f"{name}_told")) for name in columns]
        found = joined.filter(~pl.all_horizontal(same)).collect(engine="streaming")
        assert len(found) == 2 * (size // 100) + len(range(0, size, 50)) - len(range(0, size // 100, 50))

    return work


def _memory(limit: float) -> Goal:
    return Goal(f"≤ {limit:,.0f} MB resident", lambda found: found[PLAN]["peak_mb"] <= limit)


FIGURES = (
    Figure(
        "diff",
        (1_000_000, 10_000_000),
        (
            Contender(BARE, f"{HERE}:bare_profiles"),
            Contender(PLAN, f"{HERE}:profiles"),
            Contender(EMPTY, f"{HERE}:profiles_same"),
            Contender("polars full join", f"{HERE}:polars"),
            Contender("pandas outer merge", f"{OTHERS}.diff_pandas:work", ("pandas", "pyarrow"), 1_000_000),
            Contender("Delta merge", f"{OTHERS}.diff_delta:work", ("deltalake", "pyarrow"), 1_000_000),
        ),
        BARE,
        {
            PLAN: at_most(1.3, BARE)(PLAN),
            EMPTY: at_most(0.6, PLAN)(EMPTY),
            "pandas outer merge": at_least(5, PLAN)("pandas outer merge"),
            "Delta merge": at_least(5, PLAN)("Delta merge"),
        },
        stage=f"{HERE}:stage",
    ),
    Figure(
        "diff of a group",
        (1_000_000, 10_000_000),
        (
            Contender(BARE, f"{HERE}:bare_group"),
            Contender(PLAN, f"{HERE}:group"),
            Contender(EMPTY, f"{HERE}:group_same"),
        ),
        BARE,
        {PLAN: at_most(1.3, BARE)(PLAN), EMPTY: at_most(0.6, PLAN)(EMPTY)},
        stage=f"{HERE}:stage",
    ),
    Figure(
        "memory of the diff",
        (10_000_000,),
        (Contender(PLAN, f"{HERE}:profiles"),),
        PLAN,
        {PLAN: _memory(1500)},
        stage=f"{HERE}:stage",
    ),
)
