"""A Delta table that holds what was told, and a merge that brings it up to date."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
from deltalake import DeltaTable, write_deltalake

COLUMNS = ["email", "first_name", "last_name", "spend"]


def work(folder: Path, size: int) -> Callable[[], None]:
    files = [folder / "profiles/changed/snapshots/people" / f"2026-01-0{number}.parquet" for number in (2, 1)]
    table = folder / "delta"
    shutil.rmtree(table, ignore_errors=True)
    write_deltalake(str(table), pq.read_table(files[1], columns=COLUMNS))

    def merge() -> None:
        differ = " OR ".join(f"s.{name} <> t.{name}" for name in COLUMNS[1:])
        wanted = pq.read_table(files[0], columns=COLUMNS)
        found = (
            DeltaTable(str(table))
            .merge(wanted, "s.email = t.email", source_alias="s", target_alias="t")
            .when_matched_update_all(predicate=differ)
            .when_not_matched_insert_all()
            .when_not_matched_by_source_delete()
            .execute()
        )
        assert found["num_target_rows_inserted"] == size // 100

    return merge
