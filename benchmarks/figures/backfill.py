"""Backfill: a year of days in one run of Dagster's, the net difference told once."""

from __future__ import annotations

import atexit
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import date, timedelta
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import duckdb

from zeotap_pipelines.demo.place import Place, enter, holds
from zeotap_pipelines.demo.truth import Truth, kognitiv_group

from ..figure import Bars, Contender, Figure
from ..goal import REQUESTS, SECONDS, Goal, Quantity
from ..service import Service
from .in_dagster import CONNECTION

HERE = "benchmarks.figures.backfill"
KOGNITIV = "active_members_to_kognitiv"
FIRST = date(1997, 7, 1)
MEMBERS = 100_000
"""So many are in a generated audience every day; a thousand come and a thousand go each day."""

GENERATED = (
    CONNECTION
    + """
---
type: zeotap_pipelines.Audience
attributes:
  name: generated
  source: warehouse
  key: [id]
  partitions: daily
  start: "1997-07-01"
  end: "1998-07-01"
  query: |
    select 'm' || i as id from people
    where i >= 1000 * datediff('day', date '1997-07-01', cast($start as date))
      and i < 1000 * datediff('day', date '1997-07-01', cast($start as date)) + members
---
type: zeotap_pipelines.MoEngageCohortSync
attributes:
  name: generated_to_moengage
  audience: generated
  connection: moengage
  cohort_id: generated
  cohort_name: Generated
  mode: mirror
  mapping:
    uid: id
"""
).replace("members\n", f"{MEMBERS}\n", 1)


def cdnow(folder: Path, size: int) -> Callable[[], Mapping[str, float]]:
    """Deliver *size* days of the real audience at once to a group that is empty, in one run of Dagster's."""
    from zeotap_pipelines.demo.stage import Stage

    place, base = _place(folder)
    stage, days = Stage(), _days(size)

    def work() -> Mapping[str, float]:
        [line] = stage.run(days, ["active_members"], [KOGNITIV])
        wanted = Truth(place.warehouse).active(days[-1])
        assert kognitiv_group(holds(base)) == wanted
        assert line.entered == len(wanted), "exactly the net difference"
        return {"requests": line.requests, "difference": len(wanted)}

    return work


def cdnow_bare(folder: Path, size: int) -> Callable[[], None]:
    """Take the same snapshots and make one plan, and let Dagster note that three assets have these partitions."""
    from zeotap_pipelines.demo.stage import Stage

    place, _ = _place(folder)
    return _bare(place, Stage().sync(KOGNITIV), _days(size))


def cdnow_counted(folder: Path, size: int) -> Callable[[], Mapping[str, float]]:
    """Count, from the purchases, what delivering each day by itself asks for: the first whole, then what differs."""
    truth, days = Truth(_place(folder)[0].warehouse), _days(size)

    def work() -> Mapping[str, float]:
        return {"requests": len(truth.active(days[0])) + truth.day_by_day(days)}

    return work


def cdnow_everybody(folder: Path, size: int) -> Callable[[], Mapping[str, float]]:
    """Count what resending everybody each day asks for."""
    truth, days = Truth(_place(folder)[0].warehouse), _days(size)

    def work() -> Mapping[str, float]:
        return {"requests": sum(len(truth.active(day)) for day in days)}

    return work


def generated(folder: Path, size: int) -> Callable[[], Mapping[str, float]]:
    """Deliver *size* days of generated members at once to a cohort that is empty, in one run of Dagster's."""
    import dagster as dg

    from zeotap_pipelines.demo.stage import QUIET
    from zeotap_pipelines.project import load

    _, package, service = _generated(folder, size)
    job = load(package).resolve_implicit_global_asset_job_def()
    days = _days(size)

    def work() -> Mapping[str, float]:
        with dg.DagsterInstance.get() as instance:
            ran = job.execute_in_process(instance=instance, tags=_span(days), run_config=QUIET, raise_on_error=False)
        assert ran.success
        return service.counted()

    return work


def generated_bare(folder: Path, size: int) -> Callable[[], None]:
    """Take the same snapshots and make one plan, and let Dagster note that three assets have these partitions."""
    from zeotap_pipelines import components
    from zeotap_pipelines.components.connection import ConnectionDeclaration
    from zeotap_pipelines.components.sync import Sync as Declaration
    from zeotap_pipelines.project import load

    place, package, _ = _generated(folder, size)
    tree = load(package).component_tree
    assert tree is not None

    def only(kind: type[Any]) -> Any:
        [one] = tree.get_all_components(of_type=kind)
        return one

    sync = only(Declaration).definition(only(components.Audience), only(ConnectionDeclaration))
    return _bare(place, sync, _days(size))


def _bare(place: Place, sync: Any, days: Sequence[date]) -> Callable[[], None]:
    import dagster as dg

    from zeotap_pipelines import pipeline, snapshot
    from zeotap_pipelines.clock import SystemClock
    from zeotap_pipelines.demo.stage import QUIET
    from zeotap_pipelines.engines.duckdb import DuckDBSource
    from zeotap_pipelines.model import Partition
    from zeotap_pipelines.state import State

    state, source, now = State(place.root / "state"), DuckDBSource(place.warehouse), SystemClock().now()
    daily = dg.DailyPartitionsDefinition("1997-01-01", end_date="1998-07-01")

    def noted(name: str) -> dg.AssetsDefinition:
        @dg.asset(name=name, partitions_def=daily, backfill_policy=dg.BackfillPolicy.single_run())
        def asset(context):  # type: ignore[no-untyped-def]  # Dagster can't read a text naming what is imported here.
            for key in context.partition_keys:
                context.add_asset_metadata({"rows": 1}, partition_key=key)
            return dg.MaterializeResult()

        return asset

    def work() -> None:
        for one in days:
            window = daily.time_window_for_partition_key(one.isoformat())
            partition = Partition(window.end, window.start, one.isoformat())
            snapshot.take(sync.audience, partition, source, state, run="1", now=now)
        pipeline.plan(sync, partition, state, run="1")
        with dg.DagsterInstance.get() as instance:
            noting = [noted(name) for name in ("a", "b", "c")]
            assert dg.materialize(noting, instance=instance, tags=_span(days), run_config=QUIET).success

    return work


def _place(folder: Path) -> tuple[Place, str]:
    """Return a place with the real purchases and a sandbox that ends with this process."""
    place = Place(Path(mkdtemp(dir=folder)))
    place.prepare()
    stack = ExitStack()
    atexit.register(stack.close)
    base = stack.enter_context(place.sandbox())
    enter(place.environment(base))
    return place, base


def _generated(folder: Path, size: int) -> tuple[Place, Path, Service]:
    """Return a place whose warehouse has everybody who is in on any of *size* days, a project and a service."""
    place, service = Place(Path(mkdtemp(dir=folder))), Service()
    place.home.mkdir()
    package = place.root / "year"
    (package / "defs").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "defs" / "defs.yaml").write_text(GENERATED)
    settings = '[tool.dg]\ndirectory_type = "project"\n[tool.dg.project]\nroot_module = "year"\n'
    (place.root / "pyproject.toml").write_text(settings)
    with duckdb.connect(str(place.warehouse)) as connection:
        connection.execute(f"CREATE TABLE people AS SELECT i FROM range({MEMBERS + 1_000 * size}) AS r(i)")
    enter(place.environment(service.address) | {"MOENGAGE_BASE_URL": service.address})
    sys.path.insert(0, str(place.root))
    return place, package, service


def _span(days: Sequence[date]) -> dict[str, str]:
    return {
        "dagster/asset_partition_range_start": days[0].isoformat(),
        "dagster/asset_partition_range_end": days[-1].isoformat(),
    }


def _days(size: int) -> list[date]:
    return [FIRST + timedelta(days=n) for n in range(size)]


YEAR, BARE = "every day in one run", "snapshots, one plan, Dagster's events"
SINGLY, EVERYBODY = "day by day (counted)", "resending everybody each day (counted)"
DIFFERENCE = Quantity("requests beside the net difference", lambda one: one["requests"] - one["difference"])
COST = Goal("≤ 1.3 × snapshots, one plan and Dagster's own events", YEAR, SECONDS, (BARE,), most=1.3)

FIGURES = (
    Figure(
        "backfill",
        {365: 3},
        (
            Contender(BARE, f"{HERE}:cdnow_bare"),
            Contender(YEAR, f"{HERE}:cdnow"),
            Contender(SINGLY, f"{HERE}:cdnow_counted", runs=1),
            Contender(EVERYBODY, f"{HERE}:cdnow_everybody", runs=1),
        ),
        BARE,
        (
            Goal("exactly the net difference, and one request that looks the group up", YEAR, DIFFERENCE, most=1),
            Goal("fewer requests than day by day or everybody", YEAR, REQUESTS, (SINGLY, EVERYBODY), most=0.999),
            COST,
            Goal("≤ 60 s", YEAR, SECONDS, most=60),
        ),
        unit="days",
        smoke=2,
        bars=Bars("To an empty group, in one run and otherwise: requests", "requests", 365),
    ),
    Figure(
        "backfill, 100,000 members a day",
        {365: 1},
        (Contender(BARE, f"{HERE}:generated_bare"), Contender(YEAR, f"{HERE}:generated")),
        BARE,
        (COST,),
        unit="days",
        smoke=2,
    ),
)
