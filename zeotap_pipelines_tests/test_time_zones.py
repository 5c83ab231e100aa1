"""An audience's query runs by the clock of the audience's time zone, whatever its columns and the machine know."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb
import pytest

from zeotap_pipelines import snapshot as snapshots
from zeotap_pipelines.audience import Audience
from zeotap_pipelines.components.audience import partitions
from zeotap_pipelines.engines.duckdb import DuckDBSource, memory, rows
from zeotap_pipelines.errors import FixQuery
from zeotap_pipelines.mapping import Field
from zeotap_pipelines.model import Partition
from zeotap_pipelines.state import State
from zeotap_pipelines_tests.project import Project

VIENNA, NEW_YORK, HAVANA, AUCKLAND = "Europe/Vienna", "America/New_York", "America/Havana", "Pacific/Auckland"
SEASONS = {
    (VIENNA, "winter"): datetime(2026, 1, 14, 23, tzinfo=UTC),
    (VIENNA, "forward"): datetime(2026, 3, 29, 1, tzinfo=UTC),
    (VIENNA, "back"): datetime(2026, 10, 25, 1, tzinfo=UTC),
    (NEW_YORK, "summer"): datetime(2026, 7, 15, 4, tzinfo=UTC),
    (NEW_YORK, "forward"): datetime(2026, 3, 8, 7, tzinfo=UTC),
    (NEW_YORK, "back"): datetime(2026, 11, 1, 6, tzinfo=UTC),
    (HAVANA, "back"): datetime(2026, 11, 1, 5, tzinfo=UTC),  # Midnight comes twice.
    (HAVANA, "forward"): datetime(2026, 3, 8, 5, tzinfo=UTC),  # And in spring it is left out.
    (AUCKLAND, "back"): datetime(2026, 4, 4, 14, tzinfo=UTC),
}
"""Moments by zone and by what the clock does at them."""

WINDOW = "SELECT id FROM events WHERE happened >= $start AND happened < $end"


class Events:
    """A table of events at every quarter of an hour for some days around a moment, and the windows of an audience."""

    def __init__(self, root: Path, zone: str, cadence: str, around: datetime, column: str) -> None:
        self.zone, self._state = ZoneInfo(zone), State(root / "state")
        self._file = root / "warehouse.duckdb"
        quarters = range(-12, 13) if cadence == "hourly" else range(-200, 201)
        self.happened = {n: around + timedelta(minutes=15 * n + 7) for n in quarters}
        with duckdb.connect(str(self._file)) as connection:
            connection.execute(f"CREATE TABLE events (id INTEGER, happened {column})")
            # What the clock shows, as it is written in a column that knows no zone.
            shown = [[n, m if "TZ" in column else m.astimezone(self.zone).replace(tzinfo=None)] for n, m in self]
            connection.executemany("INSERT INTO events VALUES (?, ?)", shown)
        start = (around - timedelta(days=4)).strftime("%Y-%m-%d-00:00" if cadence == "hourly" else "%Y-%m-%d")
        cut = partitions(cadence, start, None, zone, 0)
        assert cut is not None
        margin = timedelta(hours=2) if cadence == "hourly" else timedelta(days=1)
        self.windows = []
        for key in cut.get_partition_keys(current_time=around + timedelta(days=3)):
            window = cut.time_window_for_partition_key(key)
            if window.end > around - margin and window.start < around + margin:
                self.windows.append(Partition(window.end.astimezone(UTC), window.start.astimezone(UTC), key))

    def __iter__(self) -> Iterator[tuple[int, datetime]]:
        return iter(self.happened.items())

    def take(self, window: Partition, query: str) -> snapshots.Snapshot:
        audience = Audience("events", query, ("id",), timezone=str(self.zone))
        return snapshots.take(audience, window, DuckDBSource(self._file), self._state, run=query, now=window.end)

    def frozen(self, window: Partition, query: str = WINDOW) -> set[int]:
        """Return which events are in the snapshot of *window*."""
        taken = self.take(window, query)
        with memory() as connection:
            return {number for (number,) in rows(connection, f"SELECT id FROM '{taken.path}'")}

    def of(self, window: Partition) -> set[int]:
        """Return which events happened in *window*."""
        return {number for number, moment in self if window.start <= moment < window.end}

    def comes_twice(self, number: int) -> bool:
        shown = self.happened[number].astimezone(self.zone)
        return shown.replace(fold=0).utcoffset() != shown.replace(fold=1).utcoffset()


@pytest.mark.parametrize("cadence", ["hourly", "daily"])
@pytest.mark.parametrize(("zone", "season"), SEASONS)
def test_a_moment_is_in_the_snapshot_of_the_window_in_which_it_happened(
    tmp_path: Path, zone: str, season: str, cadence: str
) -> None:
    events = Events(tmp_path, zone, cadence, SEASONS[zone, season], "TIMESTAMPTZ")
    assert len(events.windows) >= 2
    for window in events.windows:
        assert events.of(window)
        assert events.frozen(window) == events.of(window), window


@pytest.mark.parametrize("cadence", ["hourly", "daily"])
@pytest.mark.parametrize(("zone", "season"), SEASONS)
def test_what_the_clock_showed_is_in_one_snapshot_and_of_no_window_that_was_over_before(
    tmp_path: Path, zone: str, season: str, cadence: str
) -> None:
    """A column without a time zone can't say which of two equal hours it means: it is taken for the second."""
    events = Events(tmp_path, zone, cadence, SEASONS[zone, season], "TIMESTAMP")
    frozen = {window: events.frozen(window) for window in events.windows}
    whole = {number for window in events.windows for number in events.of(window)}
    assert sorted(number for numbers in frozen.values() for number in numbers) == sorted(whole)
    for window, numbers in frozen.items():
        assert all(events.happened[number] < window.end for number in numbers)
        differ = numbers ^ events.of(window)
        assert all(events.comes_twice(number) for number in differ), window


@pytest.mark.parametrize("column", ["TIMESTAMPTZ", "TIMESTAMP"])
def test_the_hour_that_comes_twice_has_two_windows_and_no_event_is_in_neither(tmp_path: Path, column: str) -> None:
    events = Events(tmp_path, VIENNA, "hourly", SEASONS[VIENNA, "back"], column)
    first, second = [window for window in events.windows if "-02:00" in window.key]
    assert first.end == second.start == datetime(2026, 10, 25, 1, tzinfo=UTC)
    both = events.of(first) | events.of(second)
    assert events.frozen(first) | events.frozen(second) == both
    # Where the column knows no zone, everything of both hours is in the second: the first is not over twice.
    assert events.frozen(second) == (events.of(second) if column == "TIMESTAMPTZ" else both)


@pytest.mark.parametrize("column", ["TIMESTAMPTZ", "TIMESTAMP"])
def test_the_bounds_as_instants_cut_as_the_bounds_by_the_clock_do(tmp_path: Path, column: str) -> None:
    events = Events(tmp_path, VIENNA, "hourly", SEASONS[VIENNA, "back"], column)
    for window in events.windows:
        by_instant = events.frozen(window, WINDOW.replace("$start", "$start_utc").replace("$end", "$end_utc"))
        assert by_instant == events.frozen(window, WINDOW)


@pytest.mark.parametrize("zone", [VIENNA, NEW_YORK])
def test_a_column_that_holds_utc_without_saying_so_is_an_instant_by_a_cast(tmp_path: Path, zone: str) -> None:
    events = Events(tmp_path, zone, "hourly", SEASONS[zone, "back"], "TIMESTAMPTZ")
    hidden = "SELECT id, happened AT TIME ZONE 'UTC' AS happened FROM events"
    bounds = "happened AT TIME ZONE 'UTC' >= $start AND happened AT TIME ZONE 'UTC' < $end"
    for window in events.windows:
        assert events.frozen(window, f"SELECT id FROM ({hidden}) WHERE {bounds}") == events.of(window)


def test_a_mapped_moment_is_written_as_utc_has_it_and_by_the_audiences_clock_after_a_cast(tmp_path: Path) -> None:
    moment = "TIMESTAMPTZ '2026-01-14 23:30:00+00'"
    field = Field.of({"column": "happened", "date_format": "dd.MM.yyyy"})
    for cast, kind, shown in (
        ("", "TIMESTAMP WITH TIME ZONE", "14.01.2026"),
        ("::TIMESTAMP", "TIMESTAMP", "15.01.2026"),
    ):
        [(found,)] = read(tmp_path, f"SELECT 1 AS id, {moment}{cast} AS happened")
        assert found is not None
        path = next((tmp_path / "state").rglob("*.parquet"))
        with memory() as connection:
            text = field.canonical({"happened": kind})
            assert rows(connection, f"SELECT {text} FROM '{path}'") == [(shown,)]


def read(root: Path, query: str, zone: str = VIENNA) -> list[tuple[object, ...]]:
    """Return what a query without a table gives for 15 January 2026 in *zone*."""
    file = root / "warehouse.duckdb"
    if not file.exists():
        duckdb.connect(str(file)).close()
    begin = datetime(2026, 1, 15, tzinfo=ZoneInfo(zone)).astimezone(UTC)
    window = Partition(begin + timedelta(days=1), begin, "2026-01-15")
    audience = Audience("events", query, ("id",), timezone=zone)
    taken = snapshots.take(audience, window, DuckDBSource(file), State(root / "state"), run=query, now=window.end)
    with memory() as connection:
        return rows(connection, f"SELECT * EXCLUDE (id) FROM '{taken.path}'")


@pytest.mark.parametrize(("zone", "shown"), [(VIENNA, "2026-01-15 00:30"), (NEW_YORK, "2026-01-14 18:30")])
def test_a_query_reads_a_moments_date_hour_and_text_by_the_audiences_clock(
    tmp_path: Path, zone: str, shown: str
) -> None:
    moment = "TIMESTAMPTZ '2026-01-14 23:30:00+00'"
    query = f"SELECT 1 AS id, {moment}::DATE::VARCHAR, extract(hour FROM {moment}), {moment}::VARCHAR"
    [(day, hour, text)] = read(tmp_path, query, zone)
    assert (day, hour) == (shown[:10], int(shown[11:13]))
    assert str(text).startswith(shown)


def test_a_bound_by_the_clock_has_no_time_zone(tmp_path: Path) -> None:
    query = "SELECT 1 AS id, typeof($start), $start::VARCHAR, $end::DATE::VARCHAR, epoch($start_utc)::BIGINT"
    begin = int(datetime(2026, 1, 14, 23, tzinfo=UTC).timestamp())
    assert read(tmp_path, query) == [("TIMESTAMP", "2026-01-15 00:00:00", "2026-01-16", begin)]


def test_a_zone_that_the_source_does_not_know_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(FixQuery, match=r"audience events, partition 2026-01-15: .*Unknown TimeZone 'localtime'"):
        read(tmp_path, "SELECT 1 AS id, 2 AS n", "localtime")


ELSEWHERE = """
import sys
from pathlib import Path
from zeotap_pipelines_tests.test_time_zones import SEASONS, VIENNA, WINDOW, Events
events = Events(Path(sys.argv[1]), VIENNA, "daily", SEASONS[VIENNA, "back"], "TIMESTAMPTZ")
query = WINDOW.replace("id", "id, happened, happened::VARCHAR AS shown")
for window in events.windows:
    taken = events.take(window, query)
    print(taken.rows, taken.digest)
"""


def test_a_snapshot_is_the_same_whatever_the_machines_time_zone(tmp_path: Path) -> None:
    said = []
    for number, zone in enumerate(("UTC", "Asia/Tokyo")):
        root = tmp_path / str(number)
        root.mkdir()
        command = [sys.executable, "-c", ELSEWHERE, str(root)]
        ran = subprocess.run(command, env={**os.environ, "TZ": zone}, capture_output=True, text=True, check=True)
        said.append(ran.stdout)
    assert said[0].strip()
    assert said[0] == said[1]


def test_the_day_of_an_audience_in_vienna_is_viennas_day(project: Project) -> None:
    project.change(
        "people",
        ("partitions: daily", "partitions: daily\n  timezone: Europe/Vienna"),
        ("from seen where day", "from moments where happened"),
        ("and day", "and happened"),
    )
    with duckdb.connect(project.warehouse) as connection:
        connection.execute("CREATE TABLE moments (person VARCHAR, happened TIMESTAMPTZ)")
        connection.execute("""
            INSERT INTO moments VALUES ('before', '2026-01-01 22:59:59+00'), ('first', '2026-01-01 23:00:00+00'),
                ('last', '2026-01-02 22:59:59+00'), ('after', '2026-01-02 23:00:00+00')
        """)
    assert project.run(("snapshots", "people"), day="2026-01-02").succeeded
    [path] = (project.root / "state" / "snapshots" / "people").glob("2026-01-02*.parquet")
    with memory() as connection:
        assert rows(connection, f"SELECT person FROM '{path}' ORDER BY ALL") == [("first",), ("last",)]
