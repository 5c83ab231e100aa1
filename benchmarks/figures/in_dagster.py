"""What Dagster costs beside the work: loading a thousand syncs, and a small run in a process of its own."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import mkdtemp

import duckdb

from zeotap_pipelines.demo.place import Place, enter

from ..figure import Contender, Figure
from ..goal import CPU, SECONDS, Goal

Work = Callable[[], None]
HERE = "benchmarks.figures.in_dagster"
BARE = "benchmarks.bare_dagster"

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


def run_chain(package: str) -> None:
    """Run the chain of the only sync of the project at *package*."""
    import dagster as dg

    from zeotap_pipelines.project import load

    sys.path.insert(0, str(Path(package).parent))
    job = load(Path(package)).resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.get() as instance:
        assert job.execute_in_process(instance=instance, partition_key="1997-01-01").success


MANY, CHAIN, EMPTY = "all of them loaded", "snapshot, diff and sync", "import dagster, empty run"

FIGURES = (
    Figure(
        "loading",
        {1_000: 3},
        (Contender("import dagster", f"{BARE}:imported"), Contender(MANY, f"{HERE}:loaded")),
        "import dagster",
        (Goal("< 6 s", MANY, SECONDS, most=5.999),),
        stage=f"{HERE}:many",
        whole=True,
        unit="syncs",
        smoke=20,
    ),
    Figure(
        "a run",
        {1_000: 3},
        (Contender(EMPTY, f"{BARE}:empty"), Contender(CHAIN, f"{HERE}:chain")),
        EMPTY,
        (
            Goal("≤ 2 × the time of an import and an empty run", CHAIN, SECONDS, (EMPTY,), most=2),
            Goal("≤ 2 × the CPU of an import and an empty run", CHAIN, CPU, (EMPTY,), most=2),
        ),
        unit="members",
        smoke=1_000,
    ),
)
