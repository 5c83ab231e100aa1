"""
drt: its `incremental_strategy: diff` on Postgres, which copies the rows, joins them with the copy of last time
by the md5 of their texts and reads who came, changed and went; each row is written down as a line of JSON.

drt's own source is asked directly: what its engine does beside it is not counted, the server's CPU is.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psycopg2
import pyarrow.csv
import pyarrow.parquet as pq
from drt.config.credentials import PostgresProfile
from drt.sources.postgres import PostgresSource

from benchmarks.others.postgres import Postgres

COLUMNS = ["email", "first_name", "last_name", "spend"]


def _filled(server: Postgres, file: Path) -> None:
    with psycopg2.connect(host="127.0.0.1", port=server.port, user="bench", dbname="postgres") as connection:
        cursor = connection.cursor()
        cursor.execute("DROP TABLE IF EXISTS people")
        cursor.execute("CREATE TABLE people (email text PRIMARY KEY, first_name text, last_name text, spend bigint)")
        for batch in pq.ParquetFile(file).iter_batches(200_000, columns=COLUMNS):
            text = io.BytesIO()
            pyarrow.csv.write_csv(batch, text, pyarrow.csv.WriteOptions(include_header=False))
            text.seek(0)
            cursor.copy_expert("COPY people FROM STDIN WITH (FORMAT csv)", text)
        connection.commit()
        connection.autocommit = True
        cursor.execute("ANALYZE people")
    connection.close()


def _diff(server: Postgres) -> tuple[PostgresSource, PostgresProfile, Any]:
    profile = PostgresProfile(type="postgres", host="127.0.0.1", port=server.port, dbname="postgres", user="bench")
    source = PostgresSource()
    query = f"SELECT {', '.join(COLUMNS)} FROM people"
    found = source.extract_snapshot_diff(query, profile, sync_name="people", key_columns=["email"], hash_columns="all")
    return source, profile, found


def stage(folder: Path, size: int) -> None:
    """Let drt remember the members as a target was told of them, then let the table hold those of today."""
    server = Postgres(folder / "postgres")
    snapshots = folder / "profiles/changed/snapshots/people"
    _filled(server, snapshots / "2026-01-01.parquet")
    source, profile, found = _diff(server)
    assert found.is_first_run
    source.commit_snapshot_diff(profile, "people")
    _filled(server, snapshots / "2026-01-02.parquet")
    server.end()


def work(folder: Path, size: int) -> Callable[[], Mapping[str, float]]:
    server = Postgres(folder / "postgres")
    used = server.cpu()

    def compare() -> Mapping[str, float]:
        _, _, found = _diff(server)
        counts = {}
        with (folder / "drt-plan.jsonl").open("w") as plan:
            for kind in ("added", "changed", "removed_keys"):
                counts[kind] = 0
                for row in getattr(found, kind):
                    plan.write(json.dumps([kind, row]) + "\n")
                    counts[kind] += 1
        assert counts["added"] == counts["removed_keys"] == size // 100 < counts["changed"], counts
        return {"elsewhere": server.cpu() - used}

    return compare
