"""What the services should hold, by queries of its own straight from the purchases, against what they do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..engines.duckdb import opened, rows

EMAIL = "'customer' || customer_id || '@example.com'"


@dataclass(frozen=True)
class Truth:
    """The demo warehouse, asked directly; *lost_credits* are purchases whose points a service gave and then lost."""

    warehouse: Path
    lost_credits: frozenset[str] = frozenset()

    def active(self, day: date) -> set[str]:
        """The customers with a purchase in the 90 days up to *day*, as text."""
        return self._set("CAST(customer_id AS VARCHAR)", day - timedelta(days=89), day)

    def active_emails(self, day: date) -> set[str]:
        """Their addresses."""
        return self._set(EMAIL, day - timedelta(days=89), day)

    def members(self, day: date) -> set[str]:
        """The addresses of everybody who bought anything up to *day*."""
        return self._set(EMAIL, date(1997, 1, 1), day)

    def purchases(self, first: date, last: date) -> list[tuple[str, str, int]]:
        """The purchases between two days: id, address, points."""
        query = f"""
            SELECT CAST(purchase_id AS VARCHAR), {EMAIL}, CAST(floor(dollars) AS INTEGER) FROM purchases
            WHERE purchased_on BETWEEN ? AND ?
        """
        with opened(self.warehouse, read_only=True) as connection:
            return [(one, email, points) for one, email, points in rows(connection, query, [first, last])]

    def day_by_day(self, days: list[date]) -> int:
        """How many requests of one member each delivering every day after the first takes."""
        audiences = [self.active(day) for day in days]
        return sum(len(before ^ after) for before, after in pairwise(audiences))

    def _set(self, value: str, first: date, last: date) -> set[str]:
        query = f"SELECT DISTINCT {value} FROM purchases WHERE purchased_on BETWEEN ? AND ?"
        with opened(self.warehouse, read_only=True) as connection:
            return {one for (one,) in rows(connection, query, [first, last])}


def kognitiv_group(held: Mapping[str, Any]) -> set[str]:
    """The members of the group at Kognitiv."""
    [members] = [group["members"] for group in held["kognitiv"]["groups"] if group["ref"] == "ACTIVE-90D"]
    return set(members)


def moengage_cohort(held: Mapping[str, Any]) -> set[str]:
    """The members of the cohort at MoEngage."""
    found = [cohort["members"] for cohort in held["moengage"]["cohorts"] if cohort["id"] == "active-90d"]
    return set(found[0]) if found else set()


def differences(
    held: Mapping[str, Any], truth: Truth, day: date, week: tuple[date, date] | None
) -> Iterator[tuple[str, int, int, int]]:
    """
    Yield for each target what it is, how much it holds, how much of that is too much, and how much is missing.

    *day* is the last one that the active members were delivered for, *week* the first
    and the last of the members and the purchases.
    """
    agillic = held["agillic"]["production"]
    yield _compared("Kognitiv group", kognitiv_group(held), truth.active(day))
    yield _compared("MoEngage cohort", moengage_cohort(held), truth.active(day))
    yield _compared("Agillic target group", set(agillic["groups"]["Active 90 days"]), truth.active_emails(day))
    if week is None:
        return
    users = {user["email_address"]: user["points"] for user in held["crowdtwist"]["users"]}
    members, purchases = truth.members(week[1]), truth.purchases(*week)
    points: dict[str, int] = dict.fromkeys(members, 0)
    for purchase, email, more in purchases:
        points[email] += 0 if purchase in truth.lost_credits else more
    yield _compared("CrowdTwist profiles", set(users), members)
    yield _compared("CrowdTwist points", set(users.items()), set(points.items()))
    named = {email for email, person in agillic["recipients"].items() if person.get("FIRSTNAME") == "Customer"}
    yield _compared("Agillic recipients", named, members)
    lines = {(line["PURCHASE_ID"], email) for email, found in agillic["tables"]["PURCHASES"].items() for line in found}
    yield _compared("Agillic purchases", lines, {(one, email) for one, email, _ in purchases})


def _compared(what: str, held: set[Any], wanted: set[Any]) -> tuple[str, int, int, int]:
    return what, len(held), len(held - wanted), len(wanted - held)
