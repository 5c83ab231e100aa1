"""An audience as a component: the asset ``snapshots/<name>``."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

import dagster as dg
from pydantic import BaseModel, PrivateAttr

from .. import audience as core
from ..assets.assets import snapshot_asset
from ..engines.watching import Watch
from ..errors import FixDeclaration
from .automation import Freshness, Schedule, WatchSettings, wrong_cron
from .connection import DuckDBWarehouse, Name
from .declaration import Declaration, catalog, refer
from .scaffolding import Example

CADENCES = ("hourly", "daily", "weekly", "monthly", "none")
HISTORIES = [history.value for history in core.History]


@cache
def partitions(
    cadence: str, start: str, end: str | None, timezone: str, offset: int
) -> dg.TimeWindowPartitionsDefinition | None:
    """Return the one partitions definition that all audiences of the same cadence share; None for ``none``."""
    if cadence == "none":
        return None
    kinds: dict[str, type[dg.TimeWindowPartitionsDefinition]] = {
        "hourly": dg.HourlyPartitionsDefinition,
        "daily": dg.DailyPartitionsDefinition,
        "weekly": dg.WeeklyPartitionsDefinition,
        "monthly": dg.MonthlyPartitionsDefinition,
    }
    return kinds[cadence](  # type: ignore[call-arg]
        start_date=start, end_date=end, timezone=timezone, end_offset=offset
    )


class _AudienceExample(Example):
    text = """\
        type: {type}
        attributes:
          # Letters, digits and underscores.
          name: {name}
          # A DuckDBWarehouse by its name.
          source: warehouse
          # The columns that identify a row.
          key: [customer_id]
          partitions: daily
          start: "1997-01-01"
          # $start and $end are the partition's window; the end is not part of it.
          query: |
            select customer_id
            from purchases
            where purchased_on >= $start - interval 89 days and purchased_on < $end
            group by customer_id
          # Each is on unless it says enabled: false, and the audience runs by hand where none is given.
          # schedule:
          #   cron: "0 6 * * *"
          # watch:
          #   row_count: purchases
          # freshness:
          #   fail_after_hours: 48
          # follow: true
        """


@dg.scaffold_with(_AudienceExample)
class Audience(Declaration):
    """A named query over a source, frozen per partition as the asset snapshots/<name>."""

    name: Name
    source: Annotated[str, dg.Resolver.default(description="Name of a DuckDBWarehouse")]
    query: Annotated[
        str,
        dg.Resolver.default(
            description="One SELECT; may use $start, $end (local), $start_utc, $end_utc and $partition as parameters"
        ),
    ]
    key: Annotated[list[str], dg.Resolver.default(description="The columns that identify a row")]
    partitions: Annotated[
        Literal["hourly", "daily", "weekly", "monthly", "none"],
        dg.Resolver.default(description="How time is cut", json_schema_extra={"enum": list(CADENCES)}),
    ] = "daily"
    start: Annotated[str, dg.Resolver.default(description="The first partition, for example 2026-01-01")] = "2026-01-01"
    end: Annotated[
        str | None, dg.Resolver.default(description="Where the partitions end, if they do; not part of them")
    ] = None
    timezone: Annotated[
        str, dg.Resolver.default(description="Whose clock cuts the partitions, such as Europe/Vienna")
    ] = "UTC"
    history: Annotated[
        Literal["as_of", "current"],
        dg.Resolver.default(
            description="as_of: the query uses the window; current: it knows only today, past partitions are refused",
            json_schema_extra={"enum": HISTORIES},
        ),
    ] = "as_of"
    schedule: Annotated[
        Schedule | None, dg.Resolver.default(description="Runs the chain for the newest partition at certain times")
    ] = None
    watch: Annotated[
        WatchSettings | None, dg.Resolver.default(description="Runs the chain when the source has changed")
    ] = None
    follow: Annotated[bool, dg.Resolver.default(description="Diffs and syncs follow the snapshot, whoever made it")] = (
        False
    )
    freshness: Annotated[
        Freshness | None, dg.Resolver.default(description="How long ago it may have been delivered")
    ] = None
    description: Annotated[str | None, dg.Resolver.default(description="What the assets' pages say first")] = None
    owners: Annotated[list[str], dg.Resolver.default(description="E-mail addresses or team:name")] = []

    _root: Path = PrivateAttr(default=Path())

    def definition(self) -> core.Audience:
        """Return the audience as the core knows it."""
        try:
            return core.Audience(self.name, self.query, tuple(self.key), core.History(self.history), self.timezone)
        except FixDeclaration as error:
            raise self.error("name", says=str(error)) from None

    @property
    def cut(self) -> str:
        """How time is cut: audiences that say the same here have the same windows."""
        until = f" until {self.end}" if self.end else ""
        return f"{self.partitions} by {self.timezone} ({self.history}) from {self.start}{until}"

    def partitioning(self) -> dg.TimeWindowPartitionsDefinition | None:
        """Return how the audience is cut into partitions; raise DeclarationError where start, end or zone are wrong."""
        try:
            ZoneInfo(self.timezone)
        except (ValueError, LookupError, OSError):
            says = f"there is no time zone {self.timezone!r}; write it as Europe/Vienna or UTC"
            raise self.error("timezone", says=says) from None
        under_way = int(self.history == "current")  # Today's truth belongs to the window that isn't over.
        try:
            found = partitions(self.partitions, self.start, self.end, self.timezone, under_way)
        except ValueError as error:
            field, value = ("end", self.end) if self.end and repr(self.end) in str(error) else ("start", self.start)
            example = "2026-01-01-00:00" if self.partitions == "hourly" else "2026-01-01"
            raise self.error(field, says=f"{field} {value!r} is not a time such as {example}") from None
        if found and found.end and found.end <= found.start:
            raise self.error("end", says=f"end {self.end} is not after start {self.start}")
        return found

    def watched(self) -> tuple[WatchSettings, Watch]:
        """Return what is watched of the source, and how."""
        assert self.watch is not None
        return self.watch, self.watch.watch(self._root)

    def freshness_policy(self) -> dg.FreshnessPolicy | None:
        """Return how fresh the snapshot and the syncs have to be; None where it is unsaid."""
        return self.freshness.policy(self.partitions) if self.freshness else None

    def check_automation(self) -> None:
        """Raise DeclarationError, naming the line, for a schedule, a watch or a freshness that can't be."""
        if self.schedule and (says := wrong_cron(self.schedule.cron, self.timezone)):
            raise self.error("schedule", "cron", says=says)
        found = {
            "watch": self.watch.wrong() if self.watch else None,
            "freshness": self.freshness.wrong(self.partitions) if self.freshness else None,
        }
        for block, wrong in found.items():
            if wrong:
                field, says = wrong
                raise self.error(*filter(None, (block, field)), says=f"{block}: {says}")

    def definitions(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Return the snapshot asset."""
        catalog(context, Audience)
        refer(self, "source", catalog(context, DuckDBWarehouse))
        self.partitioning()
        self.check_automation()
        return dg.Definitions(assets=[snapshot_asset(self)])

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Self:
        """Return the audience, knowing the project that it is declared in."""
        self = super().load(attributes, context)
        self._root = context.project_root
        return self
