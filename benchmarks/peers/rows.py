"""Where a contender finds its input; nothing but the standard library, for every contender's sake."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

KEY = "CROWDTWIST_API_KEY"
"""The variable of the environment that holds CrowdTwist's key."""

TOKEN = "KOGNITIV_TOKEN"
"""The variable of the environment that holds a token for Kognitiv."""

GROUP = "ACTIVE-90D"

Row = Mapping[str, Any]


def write(path: Path, rows: Sequence[Row]) -> None:
    """Write *rows* as lines of JSON."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def read(path: Path) -> list[Row]:
    """Return the rows of a file that `write` wrote."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def credit(row: Row, key: str | None = None) -> tuple[str, dict[str, str], dict[str, Any]]:
    """Return path, query and body of the request for one credit."""
    path = f"/v2/users/{row['email'].replace('@', '%40')}/activities"
    body = {
        "activity_id": row["activity_id"],
        "num_points": row["num_points"],
        "extra_data": {"event_id": row["event_id"]},
    }
    return path, {"id_type": "email", "api_key": key or os.environ[KEY]}, body


def member(row: Row) -> str:
    """Return the path of one member of the group, for PUT and DELETE."""
    return f"/api/groups/promotionalMember/{GROUP}/members/{row['member']}"


def bearer() -> dict[str, str]:
    """Return the headers that Kognitiv wants."""
    return {"Authorization": f"Bearer {os.environ[TOKEN]}"}
