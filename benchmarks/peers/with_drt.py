"""
drt: SQLite to `rest_api` with drt's own retries, an incremental sync and an idempotency key.

    python -m benchmarks.peers.with_drt credits|mirror FOLDER ADDRESS

A sync has one address for all of its rows, so the person stands in the body, and the
harness moves it to where the service wants it. The rate is raised from ten a second.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from pathlib import Path

from benchmarks.peers import rows

SYNC = """
name: people
description: everybody
model: "SELECT * FROM people ORDER BY number"
destination:
  type: rest_api
  url: "{url}"
  method: {method}
  headers:
    Content-Type: "application/json"
  {more}
sync:
  mode: {mode}
  {cursor}
  rate_limit:
    requests_per_second: 1000
  on_error: fail
"""

CREDIT = """native_idempotency_key: "{{ row.event_id }}"
  body_template: '{"activity_id": "{{ row.activity_id }}", "num_points": {{ row.num_points }},
    "extra_data": {"event_id": "{{ row.event_id }}"}, "user_id": "{{ row.email }}"}'"""

MEMBER = """auth:
    type: bearer
    token_env: KOGNITIV_TOKEN
  body_template: '{"member": "{{ row.member }}"}'"""


def project(folder: Path, columns: str, people: list[tuple[object, ...]], sync: str) -> None:
    """Write a project: a warehouse, a profile and one sync."""
    warehouse = folder / "warehouse.sqlite"
    warehouse.unlink(missing_ok=True)
    with sqlite3.connect(warehouse) as connection:
        connection.execute(f"CREATE TABLE people ({columns})")
        connection.executemany(f"INSERT INTO people VALUES ({', '.join('?' * len(columns.split(',')))})", people)
    root = folder / "state"
    (root / ".drt").mkdir(exist_ok=True)
    (root / ".drt" / "profiles.yml").write_text(f"peers:\n  type: sqlite\n  database: {warehouse}\n")
    (root / "drt_project.yml").write_text('name: peers\nversion: "0.1"\nprofile: peers\n')
    (root / "syncs").mkdir(exist_ok=True)
    (root / "syncs" / "people.yml").write_text(sync)
    os.environ |= {"HOME": str(root), "DRT_TELEMETRY": "0", "DO_NOT_TRACK": "1"}
    os.chdir(root)


def run() -> int:
    """Return drt's status."""
    from drt.cli.main import app

    try:
        app(["run"])
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def credits(folder: Path, address: str) -> int:
    url = f"{address}/crowdtwist/v2/users/-/activities?id_type=email&api_key=${{{rows.KEY}}}"
    columns = "number INTEGER, event_id TEXT, email TEXT, activity_id TEXT, num_points INTEGER"
    cursor = "cursor_field: number"
    sync = SYNC.format(url=url, method="POST", more=CREDIT, mode="incremental", cursor=cursor)
    project(folder, columns, [tuple(row.values()) for row in rows.read(folder / "credits.jsonl")], sync)
    return run()


def mirror(folder: Path, address: str) -> int:
    """drt refuses `mode: mirror` for an address of REST; `full` is what is left."""
    people = [tuple(row.values()) for row in rows.read(folder / "members.jsonl")]
    url = f"{address}/kognitiv/api/groups/promotionalMember/{rows.GROUP}/members/-"
    ended = 0
    for mode in ("mirror", "full"):
        sync = SYNC.format(url=url, method="PUT", more=MEMBER, mode=mode, cursor="batch_size: 100")
        project(folder, "number INTEGER, member TEXT", people, sync)
        ended = run()
        if ended == 0:
            break
    return ended


if __name__ == "__main__":
    what, where, service = sys.argv[1:]
    sys.exit({"credits": credits, "mirror": mirror}[what](Path(where), service))
