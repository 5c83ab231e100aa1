"""The diff: a snapshot of N members against a ledger of N, to a complete plan on disk."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import mkdtemp

import duckdb

from zeotap_pipelines import pipeline, rendering, snapshot
from zeotap_pipelines.engines.duckdb import DuckDBSource
from zeotap_pipelines.ledger.ledger import Ledger
from zeotap_pipelines.state import State
from zeotap_pipelines.sync import Sync

from ..figure import Bars, Contender, Figure
from ..goal import CPU, MEMORY, Goal
from ..people import GROUP, NOW, PROFILES, after, before, day, settled, told, wanted

Work = Callable[[], Mapping[str, float] | None]
HERE = "benchmarks.figures.diff"
OTHERS = "benchmarks.others"
SNAPSHOT = "snapshot of the same members"
PLAN, BARE, EMPTY = "complete plan", "bare join and digest pass", "complete plan, nothing changed"


def stage(folder: Path, size: int, sync: Sync = PROFILES) -> None:
    """Write the ledger and the snapshot: before a delivery, and after it with the same rows once more."""
    before_and_after(folder, size, sync)
    shutil.copytree(folder / sync.name / "changed", folder / sync.name / "same", copy_function=_copy)
    state = State(folder / sync.name / "same")
    settled(sync, state)
    wanted(sync, state, after(size), 3)


def stage_group(folder: Path, size: int) -> None:
    """Write the same for a group."""
    stage(folder, size, GROUP)


def before_and_after(folder: Path, size: int, sync: Sync = PROFILES) -> None:
    """Write a ledger and a snapshot, and nothing that isn't needed for one plan."""
    state = State(folder / sync.name / "changed")
    told(sync, state, before(size))
    wanted(sync, state, after(size))


def _copy(source: str, target: str) -> None:
    """Copy what may change; what never does needs no room of its own."""
    (os.link if source.endswith(".parquet") else shutil.copyfile)(source, target)


def _plan(sync: Sync, folder: Path, name: str, number: int, added: int) -> Work:
    state = State(folder / sync.name / name)
    shutil.rmtree(state.plans(sync.name, day(number).key), ignore_errors=True)

    def work() -> Mapping[str, float]:
        plan = pipeline.plan(sync, day(number), state, run="3")
        assert plan.count("entered") == added
        taken = snapshot.read(sync.audience, day(number), state)
        stored = {"snapshot": taken.path, "ledger": Ledger(state, sync.target, sync.address).file}
        stored |= {"plan": state.find_plan(plan.id)} if plan.operations else {}
        sizes = {f"{name}_bytes": path.stat().st_size for name, path in stored.items()}
        return {"operations": plan.operations, **sizes}

    return work


def snapshot_profiles(folder: Path, size: int) -> Work:
    """Freeze the same members from a table of a DuckDB file."""
    warehouse = folder / "warehouse.duckdb"
    if not warehouse.exists():
        with duckdb.connect(str(warehouse)) as connection:
            connection.execute(f"CREATE TABLE people AS {after(size).query}")
    state = State(Path(mkdtemp(dir=folder)))

    def work() -> None:
        snapshot.take(PROFILES.audience, day(2), DuckDBSource(warehouse), state, run="2", now=NOW)
        shutil.rmtree(state.root)

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


TENFOLD = "cost grows linearly: ≤ 11 × a tenth of the members"


def _goals(others: Sequence[str] = ()) -> tuple[Goal, ...]:
    lean = "≤ 1.3 × the bare join and digest pass (ambition 1.0 ×)"
    return (
        Goal(lean, PLAN, CPU, (BARE,), most=1.3),
        Goal("nothing changed: ≤ 0.6 × the plan", EMPTY, CPU, (PLAN,), most=0.6),
        *(Goal("≥ 5 × less CPU", PLAN, CPU, (name,), most=1 / 5) for name in others),
    )


POLARS, PANDAS, DELTA = "polars full join, streaming", "pandas outer merge", "Delta merge"
DRT = "drt's snapshot diff on Postgres"
UNTRIED = "not tried with so many"

FIGURES = (
    Figure(
        "diff",
        {1_000_000: 3, 10_000_000: 3},
        (
            Contender(BARE, f"{HERE}:bare_profiles"),
            Contender(PLAN, f"{HERE}:profiles"),
            Contender(EMPTY, f"{HERE}:profiles_same"),
            Contender(SNAPSHOT, f"{HERE}:snapshot_profiles", runs=1),
            Contender(POLARS, f"{HERE}:polars"),
            Contender(PANDAS, f"{OTHERS}.diff_pandas:work", ("pandas", "pyarrow"), runs=2),
            Contender(DELTA, f"{OTHERS}.diff_delta:work", ("deltalake", "pyarrow"), largest=1_000_000, runs=1),
            Contender(
                DRT,
                f"{OTHERS}.diff_drt:work",
                ("drt-core", "psycopg2-binary", "pyarrow"),
                stage=f"{OTHERS}.diff_drt:stage",
                largest=1_000_000,
                runs=2,
            ),
            Contender("dlt", none="it compares no rows with what a target was told"),
        ),
        BARE,
        (
            *_goals((PANDAS, DELTA, DRT)),
            Goal("≤ 1,500 MB resident at 10,000,000", PLAN, MEMORY, most=1_500, at=(10_000_000,)),
            Goal(TENFOLD, PLAN, CPU, most=11, tenth=True, at=(10_000_000,)),
        ),
        stage=f"{HERE}:stage",
        unit="members",
        bars=Bars("Diff: CPU seconds", "cpu_seconds", 1_000_000),
    ),
    Figure(
        "diff of a group",
        {1_000_000: 3},
        (
            Contender(BARE, f"{HERE}:bare_group"),
            Contender(PLAN, f"{HERE}:group"),
            Contender(EMPTY, f"{HERE}:group_same"),
        ),
        BARE,
        _goals(),
        stage=f"{HERE}:stage_group",
        unit="members",
    ),
    Figure(
        "diff of a hundred million",
        {10_000_000: 1, 100_000_000: 1},
        (
            Contender(BARE, f"{HERE}:bare_profiles"),
            Contender(PLAN, f"{HERE}:profiles"),
            *(Contender(name, none=UNTRIED) for name in (POLARS, PANDAS, DELTA, DRT)),
        ),
        BARE,
        (
            _goals()[0],
            Goal("≤ 4,000 MB resident at 100,000,000", PLAN, MEMORY, most=4_000, at=(100_000_000,)),
            Goal(TENFOLD, PLAN, CPU, most=11, tenth=True, at=(100_000_000,)),
        ),
        stage=f"{HERE}:before_and_after",
        unit="members",
        apart=True,
    ),
)
