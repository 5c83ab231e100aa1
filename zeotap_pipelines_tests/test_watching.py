"""A watch starts the chain when its source has changed, and at no other time."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest

from zeotap_pipelines.engines.duckdb import opened
from zeotap_pipelines.engines.watching import Watch, changed, look
from zeotap_pipelines.errors import FixQuery, TryAgainLater
from zeotap_pipelines_tests.project import DAYS, Project

ONE, TWO, THREE, *_ = DAYS
DAILY = "partitions: daily\n"
PURCHASES = Watch(row_count="purchases")


@pytest.fixture
def warehouse(tmp_path: Path) -> Path:
    path = tmp_path / "source.duckdb"
    write(
        path, "create table purchases (person varchar, day date)", "insert into purchases values ('ada', '2026-01-01')"
    )
    return path


def write(path: Path, *statements: str) -> None:
    with duckdb.connect(path) as connection:
        for statement in statements:
            connection.execute(statement).fetchall()


MORE = "insert into purchases values ('bea', '2026-01-02')"
OLDER = "insert into purchases values ('bea', '2025-01-02')"


@pytest.mark.parametrize(
    ("watch", "news", "no_news"),
    [
        (PURCHASES, MORE, "update purchases set person = 'eve'"),
        (Watch(row_count="main.purchases"), MORE, "update purchases set person = 'eve'"),
        (Watch(max_of="purchases.day"), MORE, OLDER),
        (Watch(max_of="main.purchases.day"), "delete from purchases", "update purchases set person = 'eve'"),
        (Watch(version="select min(day) from purchases"), OLDER, MORE),
    ],
)
def test_a_database_has_changed_when_what_is_watched_has(
    warehouse: Path, watch: Watch, news: str, no_news: str
) -> None:
    first = look(watch, warehouse, {})
    assert len(changed({}, first)) == 1, "what was never seen counts as changed"
    write(warehouse, no_news)
    assert changed(first, look(watch, warehouse, first)) == []
    write(warehouse, news)
    assert changed(first, look(watch, warehouse, first)) == list(first)


def test_a_number_that_comes_back_was_news_both_times(warehouse: Path) -> None:
    first = look(PURCHASES, warehouse, {})
    write(warehouse, MORE)
    second = look(PURCHASES, warehouse, first)
    write(warehouse, "delete from purchases where person = 'bea'")
    third = look(PURCHASES, warehouse, second)
    assert third == first and changed(first, second) == changed(second, third) == ["row_count"]


def test_a_file_has_changed_when_its_size_or_its_time_has(tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text("ada")
    watch = Watch(file=file)
    first = look(watch, tmp_path, {})
    assert changed(first, look(watch, tmp_path, first)) == []
    file.write_text("adam")
    second = look(watch, tmp_path, first)
    assert changed(first, second) == ["file"]
    later(file)
    assert changed(second, look(watch, tmp_path, second)) == ["file"]


def test_with_digest_only_another_content_is_a_change(tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text("ada")
    watch = Watch(file=file, digest=True)
    first = look(watch, tmp_path, {})
    later(file)
    second = look(watch, tmp_path, first)
    assert first != second and changed(first, second) == []
    file.write_text("eve")
    later(file)
    assert changed(second, look(watch, tmp_path, second)) == ["file"]


def test_a_file_whose_size_and_time_stay_is_not_read_again(tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text("ada")
    watch = Watch(file=file, digest=True)
    first = look(watch, tmp_path, {})
    time = file.stat().st_mtime_ns
    file.write_text("eve")  # As long as before; with its old time it can't be told from the old one without reading.
    os.utime(file, ns=(time, time))
    assert look(watch, tmp_path, first) == first


def later(file: Path) -> None:
    time = file.stat().st_mtime_ns + 1_000_000_000
    os.utime(file, ns=(time, time))


def test_no_value_of_a_row_is_in_what_was_seen(warehouse: Path) -> None:
    watch = Watch(max_of="purchases.person", version="select min(person) from purchases")
    assert "ada" not in str(look(watch, warehouse, {}))


@pytest.mark.parametrize(
    "watch",
    [
        Watch(row_count="nothing"),
        Watch(max_of="purchases.nothing"),
        Watch(version="select"),
        Watch(version="delete from purchases"),
        Watch(version="select 1; select 2"),
        Watch(version="select 1, 2"),
        Watch(version="select person from purchases where false"),
        Watch(version="select cast(person as integer) from purchases"),
    ],
)
def test_what_can_not_be_watched_is_an_error_of_the_declaration_and_not_of_the_source(
    warehouse: Path, watch: Watch
) -> None:
    with pytest.raises(FixQuery):
        look(watch, warehouse, {})


def test_a_table_of_any_name_is_counted(warehouse: Path) -> None:
    write(warehouse, 'create table "select; --" as select 1 as "a "" b"')
    assert look(Watch(row_count="select; --"), warehouse, {}) == {"row_count": "1"}
    assert look(Watch(max_of='select; --.a " b'), warehouse, {})


@pytest.mark.parametrize("watch", [PURCHASES, Watch(file=Path("nowhere")), Watch(file=Path("nowhere"), digest=True)])
def test_a_source_that_is_gone_is_down(tmp_path: Path, watch: Watch) -> None:
    with pytest.raises(TryAgainLater, match=r"does not exist|can't be read"):
        look(watch, tmp_path / "gone.duckdb", {})


# The sensor.


def watched(project: Project, watch: str = "{row_count: seen}", **more: str) -> Project:
    said = "".join(f"  {name}: {value}\n" for name, value in more.items())
    project.change("people", (DAILY, f"{DAILY}  watch: {watch}\n{said}"))
    return project


def tick(project: Project, cursor: str | None) -> Any:
    """Evaluate the sensor once."""
    definitions = project.load()
    sensor = definitions.get_repository_def().get_sensor_def("people_watch")
    resources = {name: (definitions.resources or {})[name] for name in sensor.required_resource_keys}
    with dg.build_sensor_context(
        instance=project.instance, cursor=cursor, definitions=definitions, resources=resources
    ) as context:
        return sensor.evaluate_tick(context)


def test_the_chain_starts_when_the_source_has_changed_and_only_then(project: Project) -> None:
    watched(project, end='"2026-01-03"')
    project.seen({ONE: ["1"]})
    first = tick(project, None)
    assert [request.partition_key for request in first.run_requests] == [TWO]
    assert first.run_requests[0].tags["zeotap/started_by"] == "watch"
    again = tick(project, first.cursor)
    assert not again.run_requests and again.skip_message == "the source has not changed"
    project.seen({ONE: ["1", "2"]})
    news = tick(project, again.cursor or first.cursor)
    assert len(news.run_requests) == 1
    assert not tick(project, news.cursor).run_requests


def test_the_newest_partition_that_is_over_is_asked_for(project: Project) -> None:
    watched(project)
    yesterday = {(datetime.now(UTC) - timedelta(days=1)).date().isoformat()}
    [request] = tick(project, None).run_requests
    yesterday.add((datetime.now(UTC) - timedelta(days=1)).date().isoformat())
    assert request.partition_key in yesterday


def test_a_source_that_is_down_is_a_reason_to_skip_and_what_changed_meanwhile_is_seen(project: Project) -> None:
    watched(project)
    cursor = tick(project, None).cursor
    aside = shutil.move(project.warehouse, project.root / "aside")
    down = tick(project, cursor)
    assert not down.run_requests
    assert down.skip_message.startswith("the source is down: the warehouse ")
    assert down.skip_message.endswith(" does not exist")
    assert down.cursor in (None, cursor)
    shutil.move(aside, project.warehouse)
    project.seen({ONE: ["1"]})
    assert len(tick(project, cursor).run_requests) == 1


def test_a_damaged_source_is_down(project: Project) -> None:
    watched(project)
    project.warehouse.write_bytes(b"this is no database" * 1000)
    assert tick(project, None).skip_message.startswith("the source is down: ")


def test_a_table_that_does_not_exist_fails_the_look_with_file_and_line(project: Project) -> None:
    watched(project, "{row_count: sen}")
    with pytest.raises(Exception, match=r"people/defs\.yaml:8: .*sen does not exist") as found:
        tick(project, None)
    assert "FixQuery" in str(found.value)


def test_what_changes_while_a_run_is_under_way_is_seen_when_it_has_ended(project: Project) -> None:
    watched(project, end='"2026-01-03"')
    job = project.load().resolve_job_def("people_chain")
    run = project.instance.create_run_for_job(job, tags={"dagster/partition": TWO}, status=dg.DagsterRunStatus.STARTED)
    waits = tick(project, None)
    assert not waits.run_requests and waits.cursor is None
    assert waits.skip_message == f"run {run.run_id[:8]} is under way; the source is looked at when it has ended"
    project.instance.report_run_failed(run)
    assert len(tick(project, waits.cursor).run_requests) == 1


def test_before_the_first_partition_is_over_a_change_waits(project: Project) -> None:
    watched(project)
    project.change("people", ('start: "2026-01-01"', 'start: "2999-01-01"'))
    early = tick(project, None)
    assert not early.run_requests and "2999-01-01, is not over yet" in early.skip_message
    assert early.cursor is None


def test_a_watched_file_is_looked_for_in_the_project(project: Project) -> None:
    watched(project, "{file: people.csv}")
    (project.root / "people.csv").write_text("ada")
    first = tick(project, None)
    assert len(first.run_requests) == 1
    assert tick(project, first.cursor).skip_message == "the source has not changed"
    (project.root / "people.csv").unlink()
    assert "can't be read: No such file" in tick(project, first.cursor).skip_message


def test_a_cursor_that_somebody_wrote_by_hand_counts_as_none(project: Project) -> None:
    watched(project)
    for cursor in ("anything", "[]", "7", ""):
        assert len(tick(project, cursor).run_requests) == 1


def test_looking_leaves_the_warehouse_to_its_writer(project: Project) -> None:
    watched(project)
    tick(project, None)
    with opened(project.warehouse, read_only=False, wait=0):
        pass


@pytest.mark.parametrize(("enabled", "status"), [("true", "RUNNING"), ("false", "STOPPED")])
def test_one_field_says_whether_it_looks_from_the_start(project: Project, enabled: str, status: str) -> None:
    watched(project, f"{{row_count: seen, enabled: {enabled}, every: 7}}")
    sensor = project.load().get_repository_def().get_sensor_def("people_watch")
    assert (sensor.default_status.value, sensor.minimum_interval_seconds) == (status, 7)
