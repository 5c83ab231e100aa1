"""What one writes with pandas: an outer merge on the key, and a comparison of every column."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

COLUMNS = ["email", "first_name", "last_name", "spend"]


def work(folder: Path, size: int) -> Callable[[], None]:
    files = [folder / "profiles/changed/snapshots/people" / f"2026-01-0{number}.parquet" for number in (2, 1)]

    def compare() -> None:
        wanted, told = (pd.read_parquet(file, columns=COLUMNS) for file in files)
        both = wanted.merge(told, on="email", how="outer", suffixes=("", "_told"), indicator=True)
        differ = both["_merge"] != "both"
        for name in COLUMNS[1:]:
            differ |= both[name] != both[f"{name}_told"]
        assert differ.sum() == 2 * (size // 100) + len(range(0, size, 50)) - len(range(0, size // 100, 50))

    return compare
