"""The page on Dagster says what the code does: settings, checks, instance."""

from __future__ import annotations

from typing import Any

import yaml

from zeotap_pipelines.assets import SyncConfig
from zeotap_pipelines.components.audience import CADENCES
from zeotap_pipelines.observability import GUARDS, OUTCOMES
from zeotap_pipelines_tests.test_coverage import DOCS, tables

PAGE = {heading: rows for heading, rows in tables((DOCS / "dagster.md").read_text(encoding="utf-8"))}


def test_the_launchpad_s_settings_are_on_the_page_with_their_defaults() -> None:
    shown = {row["setting"].strip("`"): row["default"].strip("`") for row in PAGE["Launchpad"]}
    fields = SyncConfig.model_fields
    assert shown == {name: {False: "false", None: "none"}[field.default] for name, field in fields.items()}


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
