"""CrowdTwist's activities and what was credited for them."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from zeotap_pipelines.sandbox.crowdtwist_users import Refused, unix_seconds, whole
from zeotap_pipelines.sandbox.messages import Undocumented
from zeotap_pipelines.sandbox.store import Store

CREDIT_SCHEMA = """
CREATE TABLE IF NOT EXISTS crowdtwist_credit (
    seq INTEGER PRIMARY KEY, at REAL NOT NULL, user INTEGER NOT NULL, activity_id TEXT NOT NULL, num_points INTEGER,
    activity_date INTEGER, extra_data TEXT NOT NULL, awarded INTEGER NOT NULL, points INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS crowdtwist_credits_of ON crowdtwist_credit (user, activity_id, at);
"""
_FIELDS = frozenset({"activity_id", "num_points", "activity_date", "extra_data"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Cap:
    """At most `awards` to one user in any `seconds`; what goes beyond is not awarded."""

    awards: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """An activity that is set up at the service; `points` are those of a credit that names none."""

    id: str
    name: str
    points: int
    cap: Cap | None = None


@dataclass(frozen=True, slots=True)
class Credit:
    """One credit as it was accepted at `at` (Unix seconds); `user` is CrowdTwist's id, `points` is what it brought."""

    seq: int
    at: float
    user: int
    activity_id: str
    num_points: int | None
    activity_date: int | None
    extra_data: dict[str, Any]
    awarded: bool
    points: int


class Credits:
    """What the users of one account were credited.

    With a `repeat_window`, in seconds, a credit that equals one accepted less than that ago is refused.
    """

    def __init__(self, store: Store, activities: tuple[Activity, ...], repeat_window: float | None) -> None:
        self._store = store
        self._activities = {activity.id: activity for activity in activities}
        self._repeat_window = repeat_window

    def all(self, user: int | None = None) -> list[Credit]:
        """Every credit, or those of one user, oldest first."""
        rows = self._store.execute("SELECT * FROM crowdtwist_credit WHERE ?1 IS NULL OR user = ?1 ORDER BY seq", user)
        return [_credit(row) for row in rows]

    def doubles(self, event_id: str | None) -> Counter[object]:
        """The events that were credited more than once, and how often."""
        events: Counter[object] = Counter()
        for credit in self.all():
            if event_id is None:
                events[credit.user, credit.activity_id, credit.activity_date, credit.num_points] += 1
            elif event_id in credit.extra_data:
                events[credit.extra_data[event_id]] += 1
        return Counter({event: times for event, times in events.items() if times > 1})

    def add(self, user: int, given: Mapping[str, Any], now: float) -> bool:
        """Credit a user; whether it was awarded."""
        activity = self._activities.get(given["activity_id"])
        if activity is None:
            # Generic, as the source document has it: the message doesn't say that the activity is the trouble.
            raise Refused("An error has occurred")
        row = (
            user,
            activity.id,
            given.get("num_points"),
            given.get("activity_date"),
            json.dumps(given.get("extra_data", {}), sort_keys=True),
        )
        if self._repeats(row, now):
            raise Refused("Event already processed")
        awarded = activity.cap is None or self._awarded(user, activity.id, now - activity.cap.seconds) < (
            activity.cap.awards
        )
        points = given.get("num_points", activity.points) if awarded else 0
        self._store.execute(
            "INSERT INTO crowdtwist_credit VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?)", now, *row, awarded, points
        )
        return awarded

    def _repeats(self, row: tuple[object, ...], now: float) -> bool:
        if self._repeat_window is None:
            return False
        same = self._store.execute(
            "SELECT 1 FROM crowdtwist_credit WHERE user IS ? AND activity_id IS ? AND num_points IS ?"
            " AND activity_date IS ? AND extra_data IS ? AND at > ? LIMIT 1",
            *row,
            now - self._repeat_window,
        )
        return bool(same)

    def _awarded(self, user: int, activity_id: str, since: float) -> int:
        return self._store.count(
            "SELECT count(*) FROM crowdtwist_credit WHERE user = ? AND activity_id = ? AND at > ? AND awarded",
            user,
            activity_id,
            since,
        )


def read_credit(body: object) -> Mapping[str, Any]:
    """The fields of a credit; a body of another shape is undocumented (400)."""
    if not isinstance(body, dict):
        raise Undocumented(400, "the body is not an object")
    unknown = sorted(set(body) - _FIELDS)
    if unknown:
        raise Undocumented(400, f"unknown fields: {', '.join(unknown)[:60]}")
    if not isinstance(body.get("activity_id"), str) or not body["activity_id"]:
        raise Undocumented(400, "activity_id is not a text, or empty")
    if "num_points" in body and not whole(body["num_points"]):
        raise Undocumented(400, "num_points is not an integer")
    if "activity_date" in body and not unix_seconds(body["activity_date"]):
        raise Undocumented(400, "activity_date is not a number of Unix seconds")
    if "extra_data" in body and not isinstance(body["extra_data"], dict):
        raise Undocumented(400, "extra_data is not an object")
    return body


def _credit(row: tuple[Any, ...]) -> Credit:
    seq, at, user, activity_id, num_points, activity_date, extra_data, awarded, points = row
    return Credit(seq, at, user, activity_id, num_points, activity_date, json.loads(extra_data), bool(awarded), points)
