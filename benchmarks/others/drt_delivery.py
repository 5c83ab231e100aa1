"""
drt: SQLite to a REST endpoint; twenty syncs made by hand, each a twentieth of the rows, in twenty threads.

From DuckDB twenty threads fail now and then: they open one file at the same moment.
"""

from __future__ import annotations

import importlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp

from benchmarks.service import MEMBERS, Service

SYNC = """
name: part_{part}
description: one of {parts}
model: "SELECT * FROM people WHERE i % {parts} = {part}"
destination:
  type: rest_api
  url: "{url}"
  method: POST
  headers:
    Content-Type: "application/json"
{body}
sync:
  mode: full
  batch_size: {batch}
  rate_limit:
    requests_per_second: 1000000
  on_error: fail
"""

CREDIT = """  body_template: '{"activity_id": "1", "num_points": {{ row.points }}, "user_id": "{{ row.uid }}"}'"""
COHORT = (
    "  body_mode: batch\n"
    f"  max_records_per_request: {MEMBERS}\n"
    """  batch_template: '{"action": "add_members", "parameters": {"cohort_id": "c", "members": """
    """[{% for row in rows %}{"uid": "{{ row.uid }}"}{% if not loop.last %},{% endif %}{% endfor %}]}}'"""
)


def _project(folder: Path, size: int, url: str, body: str, parts: int, batch: int) -> list[str]:
    root = Path(mkdtemp(dir=folder))
    with sqlite3.connect(root / "warehouse.sqlite") as connection:
        connection.execute("CREATE TABLE people (i INTEGER, uid TEXT, points INTEGER)")
        rows = ((i, f"m{i}@example.com", i % 1000) for i in range(size))
        connection.executemany("INSERT INTO people VALUES (?, ?, ?)", rows)
    (root / ".drt").mkdir()
    (root / ".drt" / "profiles.yml").write_text(f"bench:\n  type: sqlite\n  database: {root}/warehouse.sqlite\n")
    (root / "drt_project.yml").write_text('name: bench\nversion: "0.1"\nprofile: bench\n')
    (root / "syncs").mkdir()
    for part in range(parts):
        text = SYNC.format(part=part, parts=parts, url=url, body=body, batch=batch)
        (root / "syncs" / f"part_{part}.yml").write_text(text)
    os.environ |= {"HOME": str(root), "DRT_TELEMETRY": "0", "DO_NOT_TRACK": "1"}
    os.chdir(root)
    importlib.import_module("drt.cli.main")  # Before the work: others have theirs imported by then.
    return [
        "run",
        "--threads",
        str(parts),
    ]


def _run(arguments: list[str]) -> None:
    from drt.cli.main import app

    try:
        app(arguments)
    except SystemExit as ended:
        if ended.code:
            raise RuntimeError(f"drt ended with {ended.code}") from None


def one_by_one(folder: Path, size: int, delay: float = 0.05) -> Callable[[], dict[str, float]]:
    service = Service(delay)
    url = f"{service.address}/v2/users/all/activities"
    arguments = _project(folder, size, url, CREDIT, 20, 1000)

    def work() -> dict[str, float]:
        _run(arguments)
        return service.counted(size)

    return work


def at_once(folder: Path, size: int) -> Callable[[], dict[str, float]]:
    return one_by_one(folder, size, 0.0)


def batches(folder: Path, size: int, delay: float = 0.02) -> Callable[[], dict[str, float]]:
    service = Service(delay)
    url = f"{service.address}/v1/integrations/cohortsync"
    arguments = _project(folder, size, url, COHORT, 1, MEMBERS)

    def work() -> dict[str, float]:
        _run(arguments)
        return service.counted()

    return work


def batches_at_once(folder: Path, size: int) -> Callable[[], dict[str, float]]:
    return batches(folder, size, 0.0)
