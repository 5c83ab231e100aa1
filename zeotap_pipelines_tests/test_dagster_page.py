"""The page on Dagster says what the code does: settings, checks, instance."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from zeotap_pipelines.assets.launchpad import SyncConfig
from zeotap_pipelines.assets.observability import GUARDS, OUTCOMES
from zeotap_pipelines.components import Audience, Notifier
from zeotap_pipelines.components.audience import CADENCES
from zeotap_pipelines.components.automation import Freshness, WatchSettings
from zeotap_pipelines_tests.project import DOCUMENTS, Project
from zeotap_pipelines_tests.test_coverage import DOCS, tables

TEXT = (DOCS / "dagster.md").read_text(encoding="utf-8")
PAGE = {heading: rows for heading, rows in tables(TEXT)}


def test_the_launchpad_s_settings_are_on_the_page_with_their_defaults() -> None:
    shown = {row["setting"].strip("`"): row["default"].strip("`") for row in PAGE["Launchpad"]}
    fields = SyncConfig.model_fields
    as_written = {"False": "false", "None": "none"}
    defaults = {name: str(field.default) for name, field in fields.items()}
    assert shown == {name: as_written.get(default, default) for name, default in defaults.items()}


def test_every_check_is_on_the_page_with_what_it_is_on() -> None:
    shown = {row["check"].strip("`"): row["on"] for row in PAGE["Guards and approval"]}
    assert shown == dict.fromkeys(GUARDS, "diff") | dict.fromkeys(OUTCOMES, "sync")


def test_every_cadence_is_on_the_page() -> None:
    [name] = [column for column in PAGE["Partitions and backfills"][0] if column.startswith("`partitions`")]
    assert [row[name].strip("`") for row in PAGE["Partitions and backfills"]] == list(CADENCES)


def test_the_instance_is_as_the_page_says() -> None:
    instance = yaml.safe_load((DOCS.parent / "dagster.yaml").read_text())
    for row in PAGE["Pools and dagster.yaml"]:
        value: Any = instance
        for part in row["in `dagster.yaml`"].strip("`").split("."):
            value = value[part]
        assert yaml.safe_load(row["value"]) == value


@pytest.mark.parametrize(
    ("heading", "model"), [("Watch", WatchSettings), ("Freshness", Freshness), ("Notifier", Notifier)]
)
def test_the_settings_of_what_is_automatic_are_on_the_page_with_their_defaults(heading: str, model: type[Any]) -> None:
    fields = model.model_fields
    assert [row["setting"].strip("`") for row in PAGE[heading]] == list(fields)
    for row in PAGE[heading]:
        field, shown = fields[row["setting"].strip("`")], row["default"]
        if field.is_required():
            assert shown == "–"
        elif field.default in (None, []):
            assert "`" not in shown and shown != "–"
        else:
            assert yaml.safe_load(shown.strip("`")) == field.default


def test_every_block_of_automation_is_on_the_page() -> None:
    shown = {row["block"].strip("`") for row in PAGE["Automation"]}
    assert shown == {"schedule", "watch", "follow", "freshness"} <= set(Audience.model_fields)


def test_what_the_page_declares_loads_and_makes_what_it_says(project: Project) -> None:
    audience, notifier = re.findall(r"```yaml\n(type: .*?)```", TEXT, flags=re.S)
    for name in DOCUMENTS.keys() - {"warehouse"}:
        project.file(name).unlink()
    project.declare("buyers", audience)
    project.declare("team", notifier)
    repository = project.load().get_repository_def()
    assert [schedule.name for schedule in repository.schedule_defs] == ["buyers_schedule"]
    made = {sensor.name for sensor in repository.sensor_defs}
    assert made == {"buyers_watch", "default_automation_condition_sensor", "team_notifier"}
