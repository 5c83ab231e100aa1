"""What Dagster costs beside the work: loading a thousand syncs, a small run in a process of its own, a year at once."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import date, timedelta
from pathlib import Path
from tempfile import mkdtemp

import duckdb

from zeotap_pipelines.demo.place import Place, enter, holds
from zeotap_pipelines.demo.truth import Truth, kognitiv_group

from ..figure import Contender, Figure, Goal, Measured, at_most

Work = Callable[[], None]
HERE = "benchmarks.figures.in_dagster"
KOGNITIV = "active_members_to_kognitiv"

CONNECTION = """
type: zeotap_pipelines.MoEngageConnection
attributes:
  name: moengage
  account: bench
  base_url: "{{ env('MOENGAGE_BASE_URL') }}"
  app_id: "{{ env('MOENGAGE_APP_ID') }}"
  secret_key: MOENGAGE_SECRET_KEY
---
type: zeotap_pipelines.DuckDBWarehouse
attributes:
  name: warehouse
  database: "{{ env('ZEOTAP_WAREHOUSE') }}"
"""

AUDIENCE = """
type: zeotap_pipelines.Audience
attributes:
  name: audience_{n}
  source: warehouse
  key: [id]
  partitions: daily
  start: "1997-01-01"
  query: |
    select id, email from people where segment = {n}
"""

SYNC = """
type: zeotap_pipelines.MoEngageCohortSync
attributes:
  name: sync_{n}
  audience: audience_{audience}
  connection: moengage
  cohort_id: cohort-{n}
  cohort_name: Cohort {n}
  mode: mirror
  mapping:
    uid: id
"""


def _project(folder: Path, syncs: int) -> Path:
    """Write a project of so many syncs and three audiences for ten of them, a hundred documents a file."""
    audiences = max(1, syncs * 3 // 10)
    documents = [AUDIENCE.format(n=n) for n in range(audiences)]
    documents += [SYNC.format(n=n, audience=n % audiences) for n in range(syncs)]
    (folder / "pyproject.toml").write_text(
        '[tool.dg]\ndirectory_type = "project"\n[tool.dg.project]\nroot_module = "many"\n'
    )
    package = folder / "many"
    _document(package / "__init__.py", "")
    _document(package / "defs" / "connections" / "defs.yaml", CONNECTION)
    for first in range(0, len(documents), 100):
        _document(package / "defs" / f"part_{first}" / "defs.yaml", "---".join(documents[first : first + 100]))
    return package


def _document(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def imported(folder: Path, size: int) -> Work:
    """Only import Dagster."""

    def work() -> None:
        import dagster

        assert dagster.__version__

    return work


def many(folder: Path, size: int) -> None:
    """Write the project that is loaded."""
    _project(folder, size)


def loaded(folder: Path, size: int) -> Work:
    """Load *size* syncs, as a run's process does before it begins."""

    def work() -> None:
        import dagster as dg

        from zeotap_pipelines.project import load

        enter(Place(folder).environment("http://127.0.0.1:1"))
        sys.path.insert(0, str(folder))
        project = load(folder / "many")
        assert len(list(project.resolve_all_asset_specs())) >= 2 * size
        assert project.get_repository_def()
        assert dg.__version__

    return work


def chain(folder: Path, size: int) -> Work:
    """Run snapshot, diff and sync of *size* members, in a process of its own."""
    root = Path(mkdtemp(dir=folder))
    place = Place(root)
    package = _project(root, 1)
    with duckdb.connect(str(place.warehouse)) as connection:
        connection.execute(
            "CREATE TABLE people AS SELECT 'm' || i AS id, 'm' || i || '@example.com' AS email, 0 AS segment "
            f"FROM range({size}) t(i)"
        )
    place.home.mkdir()
    return _alone("run_chain", str(package), place.environment(_sandbox(place)))


def empty(folder: Path, size: int) -> Work:
    """Import Dagster and run one asset that does nothing, in a process of its own."""
    home = Path(mkdtemp(dir=folder))
    return _alone("run_nothing", str(home), {"DAGSTER_HOME": str(home), "DAGSTER_DISABLE_TELEMETRY": "1"})


def _sandbox(place: Place) -> str:
    """Start the sandbox; it ends with this process, so that its CPU doesn't count."""
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(place.sandbox())


def _alone(function: str, argument: str, environment: Mapping[str, str]) -> Work:
    command = [sys.executable, "-c", f"from {HERE} import {function}; {function}({argument!r})"]

    def work() -> None:
        subprocess.run(command, check=True, env={**os.environ, **environment}, stdout=sys.stderr)

    return work


def run_nothing(home: str) -> None:
    """Run an asset that does nothing."""
    import dagster as dg

    @dg.asset
    def nothing() -> None:
        return None

    with dg.DagsterInstance.get() as instance:
        assert dg.materialize([nothing], instance=instance).success


def run_chain(package: str) -> None:
    """Run the chain of the only sync of the project at *package*."""
    import dagster as dg

    from zeotap_pipelines.project import load

    sys.path.insert(0, str(Path(package).parent))
    job = load(Path(package)).resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.get() as instance:
        assert job.execute_in_process(instance=instance, partition_key="1997-01-01").success


def year(folder: Path, size: int) -> Work:
    """Deliver *size* days of the real audience at once to a group that is empty, in one run of Dagster's."""
    from zeotap_pipelines.demo.stage import Stage

    place = Place(Path(mkdtemp(dir=folder)))
    place.prepare()
    base = _sandbox(place)
    enter(place.environment(base))
    stage, days = Stage(), _days(size)

    def work() -> None:
        [line] = stage.run(days, ["active_members"], [KOGNITIV])
        wanted = Truth(place.warehouse).active(days[-1])
        assert kognitiv_group(holds(base)) == wanted
        assert line.entered == len(wanted), "exactly the net difference"

    return work


def year_bare(folder: Path, size: int) -> Work:
    """Take the same snapshots and make one plan, and let Dagster note that three assets have these partitions."""
    import dagster as dg

    from zeotap_pipelines import pipeline, snapshot
    from zeotap_pipelines.clock import SystemClock
    from zeotap_pipelines.demo.stage import Stage
    from zeotap_pipelines.engines.duckdb import DuckDBSource
    from zeotap_pipelines.model import Partition
    from zeotap_pipelines.state import State

    place = Place(Path(mkdtemp(dir=folder)))
    place.prepare()
    enter(place.environment("http://127.0.0.1:1"))
    sync, days = Stage().sync(KOGNITIV), _days(size)
    state, source, now = State(place.root / "state"), DuckDBSource(place.warehouse), SystemClock().now()
    daily = dg.DailyPartitionsDefinition("1997-01-01", end_date="1998-07-01")

    def noted(name: str) -> dg.AssetsDefinition:
        @dg.asset(name=name, partitions_def=daily, backfill_policy=dg.BackfillPolicy.single_run())
        def asset(context):  # type: ignore[no-untyped-def]  # Dagster can't read a text naming what is imported here.
            for key in context.partition_keys:
                context.add_asset_metadata({"rows": 1}, partition_key=key)
            return dg.MaterializeResult()

        return asset

    span = {
        "dagster/asset_partition_range_start": days[0].isoformat(),
        "dagster/asset_partition_range_end": days[-1].isoformat(),
    }

    def work() -> None:
        for one in days:
            begin = dg.DailyPartitionsDefinition("1997-01-01").time_window_for_partition_key(one.isoformat())
            partition = Partition(begin.end, begin.start, one.isoformat())
            snapshot.take(sync.audience, partition, source, state, run="1", now=now)
        pipeline.plan(sync, partition, state, run="1")
        with dg.DagsterInstance.get() as instance:
            assert dg.materialize([noted(name) for name in ("a", "b", "c")], instance=instance, tags=span).success

    return work


def _days(size: int) -> list[date]:
    return [date(1997, 7, 1) + timedelta(days=n) for n in range(size)]


def _within(seconds: float) -> Callable[[str], Goal]:
    def goal(name: str) -> Goal:
        def met(found: Mapping[str, Measured]) -> bool:
            return found[name]["seconds"] <= seconds

        return Goal(f"≤ {seconds:g} s", met)

    return goal


MANY, CHAIN, EMPTY = "all of them loaded", "snapshot, diff and sync", "import dagster, empty run"
YEAR, YEAR_BARE = "every day in one run", "snapshots, one plan, Dagster's events"

FIGURES = (
    Figure(
        "loading",
        (1_000,),
        (Contender("import dagster", f"{HERE}:imported"), Contender(MANY, f"{HERE}:loaded")),
        "import dagster",
        {MANY: _within(6)(MANY)},
        stage=f"{HERE}:many",
        whole=True,
        unit="syncs",
    ),
    Figure(
        "a run",
        (1_000,),
        (Contender(EMPTY, f"{HERE}:empty"), Contender(CHAIN, f"{HERE}:chain")),
        EMPTY,
        {CHAIN: at_most(2, EMPTY)(CHAIN)},
    ),
    Figure(
        "backfill",
        (365,),
        (Contender(YEAR_BARE, f"{HERE}:year_bare"), Contender(YEAR, f"{HERE}:year")),
        YEAR_BARE,
        {YEAR: _within(60)(YEAR)},
        unit="days",
    ),
)
