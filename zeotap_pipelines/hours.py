"""Delivery windows: at which hours of which days, by whose clock, a sync may speak to its service."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Self
from zoneinfo import ZoneInfo

from .errors import FixDeclaration

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True)
class Hours:
    """
    From *begin* to *end* on each of *weekdays*, by the clock of *zone*.

    An end that is not after the begin is on the next day; the weekday is the begin's.
    """

    begin: time
    end: time
    weekdays: frozenset[int]
    zone: ZoneInfo

    @classmethod
    def of(cls, hours: str, weekdays: Sequence[str], zone: str) -> Self:
        """Return the window that *hours*, such as 08:00-20:00, mean; none of *weekdays*: every day."""
        found = re.fullmatch(r"([01]\d|2[0-3]):([0-5]\d)\s*[-–]\s*(?:(?:([01]\d|2[0-3]):([0-5]\d))|24:00)", hours)
        if not found:
            raise FixDeclaration(f"hours {hours!r} are not from one time to another: write them as 08:00-20:00")
        if wrong := [day for day in weekdays if day not in WEEKDAYS]:
            raise FixDeclaration(f"{wrong[0]!r} is no weekday: write {', '.join(WEEKDAYS)}")
        try:
            clock = ZoneInfo(zone)
        except (ValueError, LookupError, OSError):
            raise FixDeclaration(f"there is no time zone {zone!r}; write it as Europe/Vienna or UTC") from None
        h, m, until_h, until_m = (int(part or 0) for part in found.groups())
        days = frozenset(WEEKDAYS.index(day) for day in weekdays or WEEKDAYS)
        return cls(time(h, m), time(until_h, until_m), days, clock)

    def opens(self, now: datetime) -> datetime | None:
        """Return when the next window begins, as a UTC instant; None where *now* is in one."""
        for begin, end in self._windows(now):
            if now < end:
                return begin if now < begin else None
        raise AssertionError("every week has a window")

    def closes(self, now: datetime) -> datetime:
        """Return when the window that *now* is in is over; *now*, where it is in none."""
        last = now
        for begin, end in self._windows(now):
            if begin > last:
                break
            last = max(last, end)  # Windows that meet are one.
        return last

    def _windows(self, now: datetime) -> Iterator[tuple[datetime, datetime]]:
        """Yield the windows from yesterday on, in order, as UTC instants."""
        today = now.astimezone(self.zone).date()
        for ahead in range(-1, 15):
            day = today + timedelta(days=ahead)
            if day.weekday() not in self.weekdays:
                continue
            over = day + timedelta(days=int(self.end <= self.begin))
            yield (
                datetime.combine(day, self.begin, self.zone).astimezone(UTC),
                datetime.combine(over, self.end, self.zone).astimezone(UTC),
            )
