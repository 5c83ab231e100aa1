"""Every setting and every assumption is on its service's page, and nothing else is."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest

from zeotap_pipelines import components
from zeotap_pipelines.components.sync import GuardSettings, Sync
from zeotap_pipelines.destinations.base import Connection
from zeotap_pipelines.destinations.kognitiv import REGIONS
from zeotap_pipelines.mapping import Field
from zeotap_pipelines_tests.test_coverage import CONNECTIONS, PACKAGE, SYNCS, named, of, page, settings, tables

SHARED = set(Sync.model_fields)
OF = {
    "recipients": components.AgillicRecipientSync,
    "target groups": components.AgillicTargetGroupSync,
    "tables": components.AgillicTableSync,
}
"""What Agillic's page calls its syncs in the column "of"."""


@pytest.mark.parametrize("connection", CONNECTIONS)
def test_every_setting_of_a_connection_is_on_its_page_with_its_default(connection: type[Connection]) -> None:
    rows = settings(connection.service, "Connection")
    assert sorted(name for row in rows for name in named(row["setting"])) == sorted(connection.model_fields)
    for row in rows:
        [name] = named(row["setting"])
        agrees(row["default"], connection.model_fields[name])
        assert row["meaning"]
    assert connection.unverified in page(connection.service), "the page says what a test leaves unverified"


@pytest.mark.parametrize("sync", SYNCS)
def test_every_attribute_of_a_sync_is_on_its_page_with_its_default(sync: type[Sync]) -> None:
    rows = [row for row in settings(of(sync), "Target") if sync in belongs(row.get("of", "all"), sync)]
    own = (set(sync.model_fields) - SHARED) | {"mode"}
    shown = Counter(name for row in rows for name in named(row["setting"]))
    assert set(shown) - {"mapping"} == own and max(shown.values()) == 1
    for row in rows:
        [name] = named(row["setting"])
        agrees(row["default"], sync.model_fields[name])
    assert "(syncs.md)" in page(of(sync)) and f"zeotap_pipelines.{sync.__name__}" in page(of(sync))


def belongs(cell: str, sync: type[Sync]) -> list[type[Sync]]:
    """The syncs that a row is about."""
    if cell in ("all", "both"):
        return SYNCS
    if given := named(cell):
        return [getattr(components, name) for name in given]
    return [OF[name] for name in cell.split(", ")]


def agrees(shown: str, field: Any) -> None:
    """A default in backticks, or a number, is the code's; a dash is no default at all."""
    if field.is_required():
        assert shown == "–"
        return
    default = field.get_default(call_default_factory=True)
    if default in (None, "", [], {}):
        assert not re.fullmatch(r"\d.*|true|false", shown), f"there is no default {shown}"
        return
    text = shown.strip("`")
    wanted = str(default).lower() if isinstance(default, bool) else default
    wanted = f"{wanted:g}" if isinstance(wanted, int | float) else wanted
    assert REGIONS.get(text, text) == wanted


def test_what_every_sync_can_be_told_is_on_the_page_of_syncs() -> None:
    [shared, guards, mapping] = [rows for _, rows in tables(page("syncs"))]
    assert {name for row in shared for name in named(row["setting"])} == SHARED
    assert {name for row in guards for name in named(row["guard"])} == set(GuardSettings.model_fields)
    assert {name for row in mapping for name in named(row["mapping"])} == set(Field.__dataclass_fields__)


@pytest.mark.parametrize("connection", CONNECTIONS)
def test_every_assumption_in_the_code_is_on_its_services_page_under_the_same_tag(connection: type[Connection]) -> None:
    service = connection.service
    files = sorted((PACKAGE / "destinations").glob(f"{service}*.py"))
    if service in ("kognitiv", "agillic"):  # Those with OAuth.
        files.append(PACKAGE / "destinations" / "auth.py")
    code = "\n".join(file.read_text(encoding="utf-8") for file in files)
    tagged = re.findall(r"Assumption \(([a-z-]+)\): \S", code)
    assert len(tagged) == len(re.findall("assumption", code, re.I)), "an assumption is written: Assumption (tag): …"
    assert max(Counter(tagged).values()) == 1, "an assumption stands in one place"
    [rows] = [rows for heading, rows in tables(page(service)) if heading == "Assumptions"]
    assert Counter(tag for row in rows for tag in named(row["tag"])) == Counter(tagged)
    known = {*connection.model_fields, *(name for sync in SYNCS if of(sync) == service for name in sync.model_fields)}
    for row in rows:
        assert row["assumption"]
        assert set(named(row.get("setting", ""))) <= known | set(Field.__dataclass_fields__)
