"""What differs from what was sent last time, by EXCEPT ALL, to its first request; nothing is remembered."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb
import httpx


def work(folder: Path, size: int) -> Callable[[], None]:
    """Compare both ways, and make the first request."""

    def compare() -> None:
        with duckdb.connect(str(folder / "warehouse.duckdb"), read_only=True) as connection:
            query = "SELECT * FROM people EXCEPT ALL SELECT * FROM sent"
            changed = connection.execute(query).fetchall()
            query = "SELECT id FROM sent EXCEPT ALL SELECT id FROM people"
            gone = connection.execute(query).fetchall()
        assert len(changed) == size // 100 and not gone
        with httpx.Client() as client:
            body = [dict(zip(("id", "email", "first", "last", "spend"), row, strict=True)) for row in changed[:1000]]
            client.build_request("POST", "http://127.0.0.1:1", json=body)

    return compare
