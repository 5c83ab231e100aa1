"""Our part of the second run as a run of Dagster's: the same snapshot, plan and first request."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp

from .first_request import listen

DEFINITIONS = """
type: zeotap_pipelines.AgillicConnection
attributes:
  name: agillic
  account: bench
  base_url: "{{ env('AGILLIC_BASE_URL') }}"
  developer_key: bench-key
  developer_secret: AGILLIC_DEVELOPER_SECRET
---
type: zeotap_pipelines.DuckDBWarehouse
attributes:
  name: warehouse
  database: "{{ env('ZEOTAP_WAREHOUSE') }}"
---
type: zeotap_pipelines.Audience
attributes:
  name: people
  source: warehouse
  key: [id]
  partitions: daily
  start: "2026-01-01"
  query: |
    SELECT * FROM people
---
type: zeotap_pipelines.AgillicRecipientSync
attributes:
  name: profiles
  audience: people
  connection: agillic
  stream: profiles
  mode: upsert
  mapping:
    EMAIL: email
    FIRSTNAME: first_name
    LASTNAME: last_name
    SPEND: spend
"""

FIELDS = ("EMAIL", "FIRSTNAME", "LASTNAME", "SPEND")


def stage(folder: Path, size: int) -> None:
    """Write the project; what the target was told is a copy of what was staged for the run without Dagster."""
    package = folder / "project" / "second"
    (package / "defs").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "defs" / "defs.yaml").write_text(DEFINITIONS)
    settings = '[tool.dg]\ndirectory_type = "project"\n[tool.dg.project]\nroot_module = "second"\n'
    (folder / "project" / "pyproject.toml").write_text(settings)
    shutil.copytree(folder / "changed", folder / "in-dagster")


def work(folder: Path, size: int) -> Callable[[], None]:
    """Run the chain; the first request that would change something ends it."""
    answers = {
        "GET": {"fields": [{"name": name} for name in FIELDS]},
        "POST": {"access_token": "t", "expires_in": 3600},
    }
    for journal in (folder / "in-dagster").rglob("journal.jsonl"):
        journal.unlink()  # It was never folded.
    shutil.rmtree(folder / "in-dagster" / "diffs", ignore_errors=True)  # The run before was this one.
    os.environ |= {
        "DAGSTER_HOME": mkdtemp(dir=folder),
        "DAGSTER_DISABLE_TELEMETRY": "1",
        "ZEOTAP_STATE": str(folder / "in-dagster"),
        "ZEOTAP_WAREHOUSE": str(folder / "warehouse.duckdb"),
        "AGILLIC_BASE_URL": listen("upsert", answers),
        "AGILLIC_DEVELOPER_SECRET": "bench-secret",
    }

    def run() -> None:
        import dagster as dg

        from zeotap_pipelines.project import load

        sys.path.insert(0, str(folder / "project"))
        job = load(folder / "project" / "second").resolve_implicit_global_asset_job_def()
        with dg.DagsterInstance.get() as instance:
            job.execute_in_process(instance=instance, partition_key="2026-01-03")

    return run
