"""What an audience may say of when its chain runs, and how fresh it has to be."""

from __future__ import annotations

import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import dagster as dg
from dagster._utils.schedules import cron_string_iterator

from ..engines.watching import Watch

Enabled = Annotated[
    bool, dg.Resolver.default(description="false: shown in Dagster, and stopped until somebody turns it on")
]

HOURS = {"hourly": 1.0, "daily": 24.0, "weekly": 168.0, "monthly": 744.0}
"""How long a window of each cadence is, at most."""


class Schedule(dg.Model, dg.Resolvable):
    """The chain at certain times, by the clock of the audience's time zone."""

    cron: Annotated[str, dg.Resolver.default(description="Minute, hour, day, month, weekday: 0 6 * * * is 6 o'clock")]
    enabled: Enabled = True


class WatchSettings(dg.Model, dg.Resolvable):
    """The chain when its source has changed."""

    row_count: Annotated[str | None, dg.Resolver.default(description="A table whose number of rows is watched")] = None
    max_of: Annotated[str | None, dg.Resolver.default(description="table.column, whose greatest value is watched")] = (
        None
    )
    version: Annotated[
        str | None, dg.Resolver.default(description="A query for one value, such as the version of a table")
    ] = None
    file: Annotated[
        str | None, dg.Resolver.default(description="A file; relative to the project's root. Its size and time count")
    ] = None
    digest: Annotated[bool, dg.Resolver.default(description="The file's content counts, not its time")] = False
    every: Annotated[int, dg.Resolver.default(description="Seconds between two looks")] = 60
    enabled: Enabled = True

    def wrong(self) -> tuple[str, str] | None:
        """Return the field that is wrong and what is wrong with it; the field is "" where it is the whole."""
        if self.row_count is self.max_of is self.version is self.file is None:
            return "", "say what is watched: row_count, max_of, version or file"
        if self.max_of is not None and not all(self.max_of.rpartition(".")):
            return "max_of", f"max_of {self.max_of!r} names no column: write table.column"
        if self.digest and self.file is None:
            return "digest", "digest is of a file: name it as file"
        if self.every < 1:
            return "every", f"every {self.every} is out of range: 1 second or more"
        return None

    def watch(self, root: Path) -> Watch:
        """Return what is watched in the project that lies in *root*."""
        file = (root / self.file).resolve() if self.file is not None else None
        return Watch(self.row_count, self.max_of, self.version, file, self.digest)


class Freshness(dg.Model, dg.Resolvable):
    """How long ago the audience may have been delivered."""

    fail_after_hours: Annotated[
        float | None, dg.Resolver.default(description="Unset: two windows of the partitions")
    ] = None
    warn_after_hours: Annotated[
        float | None, dg.Resolver.default(description="Unset: three quarters of fail_after_hours")
    ] = None
    enabled: Annotated[bool, dg.Resolver.default(description="false: there is no policy")] = True

    def hours(self, cadence: str) -> tuple[float | None, float]:
        """Return after how many hours it fails (None: unsaid) and warns, for an audience of *cadence*."""
        fail = self.fail_after_hours
        if fail is None and cadence in HOURS:
            fail = 2 * HOURS[cadence]
        return fail, self.warn_after_hours if self.warn_after_hours is not None else 0.75 * (fail or 0)

    def wrong(self, cadence: str) -> tuple[str, str] | None:
        """Return the field that is wrong and what is wrong with it; the field is "" where it is the whole."""
        fail, warn = self.hours(cadence)
        if fail is None:
            return "", "an audience without partitions has no window: say fail_after_hours"
        if fail < 0.1:
            return "fail_after_hours", f"fail_after_hours {fail:g} is out of range: 0.1 or more"
        if not 0.05 <= warn < fail:
            return "warn_after_hours", f"warn_after_hours {warn:g} is out of range: 0.05 or more, and below {fail:g}"
        return None

    def policy(self, cadence: str) -> dg.FreshnessPolicy | None:
        """Return the policy for an audience of *cadence*; None where it is off."""
        fail, warn = self.hours(cadence)
        if not self.enabled or fail is None:
            return None
        return dg.FreshnessPolicy.time_window(timedelta(hours=fail), timedelta(hours=warn))


def wrong_cron(cron: str, timezone: str) -> str | None:
    """Return what is wrong with *cron*; None where nothing is."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            dg.ScheduleDefinition(job_name="any", cron_schedule=cron, execution_timezone=timezone)
        except dg.DagsterInvalidDefinitionError:
            return f"cron {cron!r} is not minute, hour, day, month and weekday, such as 0 6 * * *"
    if warned:
        return f"cron {cron!r} has a step beyond its range, so that it comes more often than it says"
    try:
        next(cron_string_iterator(datetime.now(UTC).timestamp(), cron, timezone))
    except ValueError:
        return f"cron {cron!r} never comes"
    return None
