"""Every line of the source documents is proven, or the user reads why it can't be."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from dagster.components.scaffold.scaffold import get_scaffolder

import zeotap_pipelines
from zeotap_pipelines import components
from zeotap_pipelines.components.scaffolding import Example
from zeotap_pipelines.components.sync import Sync
from zeotap_pipelines.destinations.agillic import MAX_BYTES, RECORDS, Agillic
from zeotap_pipelines.destinations.base import Connection
from zeotap_pipelines.destinations.crowdtwist import CrowdTwist
from zeotap_pipelines.destinations.kognitiv import Kognitiv
from zeotap_pipelines.destinations.moengage import MoEngage
from zeotap_pipelines_tests.documents import (
    DEFAULT_FIELDS,
    DEFAULTS,
    HEADINGS,
    MODES,
    OBJECT_TYPES,
    PLACES,
    REQUIRED,
    TROUBLES,
)

PACKAGE = Path(zeotap_pipelines.__file__).parent
TESTS = Path(__file__).parent
DOCS = PACKAGE.parent / "docs"
NO_SIGNAL = "no signal in the API: "
CONNECTIONS: list[type[Connection]] = [Kognitiv, MoEngage, CrowdTwist, Agillic]
SYNCS: list[type[Sync]] = list(MODES)


def page(service: str) -> str:
    return (DOCS / f"{service.lower()}.md").read_text(encoding="utf-8")


def tables(text: str) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """The tables of a page, each with the heading that it stands under; a row is its cells by their column's name."""
    heading, header, found = "", [], []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            if not header:
                header = cells
            elif not re.fullmatch(r"[-:]+", cells[0]):
                found.append(dict(zip(header, cells, strict=True)))
            continue
        if header:
            yield heading, found
            header, found = [], []
        if line.startswith("#"):
            heading = line.strip("# ")


def named(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def settings(service: str, section: str) -> list[dict[str, str]]:
    """The rows of the tables of settings whose heading begins with *section*."""
    return [
        row
        for heading, rows in tables(page(service))
        if heading.startswith(section)
        for row in rows
        if "setting" in row
    ]


# Every line of the documents.


@dataclass(frozen=True)
class Line:
    service: str
    heading: str
    says: str
    proof: str

    @property
    def tests(self) -> list[str]:
        return named(self.proof)

    @property
    def notes(self) -> list[tuple[str, str]]:
        return re.findall(r"no signal in the API: (\w+) “([^”]+)”", self.proof)


@cache
def lines() -> list[Line]:
    found: list[Line] = []
    text = (DOCS / "coverage.md").read_text(encoding="utf-8")
    for part in re.split(r"^## ", text, flags=re.M)[1:]:
        service = part.splitlines()[0]
        found += [
            Line(service, heading, row["line"], row["proven by"]) for heading, rows in tables(part) for row in rows
        ]
    return found


@cache
def laws(file: str) -> dict[str, ast.FunctionDef]:
    """The tests of a file by name, parametrized ones too."""
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}


def law(test: str) -> ast.FunctionDef:
    file, _, name = test.partition("::")
    assert (TESTS / file).is_file(), f"{test}: there is no such file"
    assert name in laws(file), f"{test}: there is no such test"
    return laws(file)[name]


@cache
def words() -> str:
    """Every text in the package's code."""
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in sorted(PACKAGE.rglob("*.py"))]
    texts = [node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    return "\n".join(text for text in texts if isinstance(text, str))


def test_the_page_of_coverage_has_every_heading_of_the_documents() -> None:
    for service, headings in HEADINGS.items():
        shown = list(dict.fromkeys(line.heading for line in lines() if line.service == service))
        assert shown == headings.split(", ")
    assert {line.service for line in lines()} == set(HEADINGS)
    assert len(lines()) == len({(line.service, line.heading, line.says) for line in lines()})


def test_every_line_of_the_documents_has_a_test_or_words_that_the_user_reads() -> None:
    for line in lines():
        assert line.tests or line.notes, f"{line.service}, {line.heading}: {line.says}"
        for test in line.tests:
            assert law(test).name.startswith("test_")
        for place, quoted in line.notes:
            assert quoted in read(place, line.service), f"{place} of {line.service} does not say {quoted!r}"


def read(place: str, service: str) -> str:
    """What the user reads at a place."""
    if place == "page":
        return page(service)
    assert place == "summary", f"{place!r} is no place that a user reads"
    return "\n".join(note for sync in SYNCS if of(sync) == service.lower() for note in sync.target_type.notes)


def of(sync: type[Sync]) -> str:
    return sync.target_type.service


@pytest.mark.parametrize(("entry", "remedy", "test"), TROUBLES)
def test_every_trouble_of_the_documents_has_its_remedy_in_the_code_and_a_test_that_runs_into_it(
    entry: str, remedy: str, test: str
) -> None:
    assert remedy in words(), "no code says so"
    constants = [node.value for node in ast.walk(law(test)) if isinstance(node, ast.Constant)]
    said = [text.replace("\\", "") for text in constants if isinstance(text, str) and len(text) > 8]
    assert any(text in remedy or remedy in text for text in said), "the test doesn't look at the remedy"


def test_every_trouble_of_the_page_of_coverage_is_a_trouble_with_a_remedy() -> None:
    told = [f"{line.service}: {line.says}" for line in lines() if line.heading == "Troubleshooting"]
    known = {entry for entry, _, _ in TROUBLES}
    for entry in told:
        assert any(entry.startswith(trouble) for trouble in known), entry
    for trouble in known:
        assert any(entry.startswith(trouble) for entry in told), trouble


# Modes, objects, fields, settings: as the documents' tables say.


@pytest.mark.parametrize("sync", SYNCS)
def test_the_modes_of_code_and_pages_are_those_of_the_documents(sync: type[Sync]) -> None:
    wanted = {mode for mode, yes in MODES[sync].items() if yes}
    assert {mode.value for mode in sync.target_type.modes()} == wanted
    [rows] = [rows for _, rows in tables(page(of(sync))) if rows and "mode" in rows[0]]
    column = next((name for name in rows[0] if sync.__name__ in name), "supported")
    assert [row["mode"] for row in rows] == list(MODES[sync])
    assert {row["mode"] for row in rows if row[column].startswith("yes")} == wanted
    assert {row[column].split(",")[0] for row in rows} <= {"yes", "no"}


def test_every_object_type_of_the_documents_is_a_sync() -> None:
    kinds = {sync.target_type.kind.replace("_", " ") for sync in SYNCS}
    for name, sync in OBJECT_TYPES.items():
        assert sync.target_type.kind.replace("_", " ") == name.lower().replace("-", " ")
    # The documents' other objects: a cohort, and the group of an audience sync.
    assert kinds - {name.lower().replace("-", " ") for name in OBJECT_TYPES} == {"cohort", "static target group"}


@pytest.mark.parametrize("sync", SYNCS)
def test_the_documents_default_fields_are_in_code_schema_scaffold_and_page(sync: type[Sync]) -> None:
    fields = [name for name in DEFAULT_FIELDS[sync].split(", ") if name]
    # What tells two credits apart is not in the document.
    assert [name for name in sync.target_type.default_fields if name != "event_id"] == fields
    assert list(sync.get_model_cls().model_json_schema()["properties"]["mapping"]["properties"]) == list(
        sync.target_type.default_fields
    ), "what an editor offers"
    example = get_scaffolder(sync)
    assert isinstance(example, Example)
    for name in fields:
        assert re.search(rf"\b{name}\b", example.text), f"the scaffold lacks {name}"
        assert name in named(page(of(sync))), f"the page lacks {name}"


@pytest.mark.parametrize("kind", REQUIRED)
def test_what_the_documents_require_is_required(kind: Any) -> None:
    for name in REQUIRED[kind]:
        assert kind.model_fields[name].is_required(), name


@pytest.mark.parametrize(("kind", "name", "default"), DEFAULTS)
def test_what_the_documents_leave_out_has_its_default(kind: Any, name: str, default: str) -> None:
    assert kind.model_fields[name].default == default


def test_a_group_or_cohort_is_mirrored_unless_it_is_told_otherwise() -> None:
    for sync in (components.KognitivGroupSync, components.MoEngageCohortSync, components.AgillicTargetGroupSync):
        assert sync.model_fields["mode"].default == "mirror"


@pytest.mark.parametrize(("connection", "setting", "says"), PLACES)
def test_settings_say_where_the_documents_find_their_values(
    connection: type[Connection], setting: str, says: str
) -> None:
    assert says in (connection.model_fields[setting].description or "")
    [row] = [row for row in settings(connection.service, "Connection") if setting in named(row["setting"])]
    assert says.removeprefix("https://") in row["meaning"]


def test_a_batch_stays_below_twenty_megabytes() -> None:
    """The rows, and what is written around each of them."""
    around = len('{"recipientId":"","records":[]},') + len('{"personData":},')
    assert MAX_BYTES + RECORDS * around + 1_000 < 20_000_000
