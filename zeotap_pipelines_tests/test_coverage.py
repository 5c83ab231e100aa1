"""The pages tell the truth: every line of the source documents is proven, and every setting and assumption is there."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import zeotap_pipelines
from zeotap_pipelines import components
from zeotap_pipelines.components.scaffolding import Example
from zeotap_pipelines.components.sync import GuardSettings, Sync
from zeotap_pipelines.destinations.agillic import MAX_BYTES, RECORDS, Agillic
from zeotap_pipelines.destinations.base import Connection
from zeotap_pipelines.destinations.crowdtwist import CrowdTwist
from zeotap_pipelines.destinations.kognitiv import REGIONS, Kognitiv
from zeotap_pipelines.destinations.moengage import MoEngage
from zeotap_pipelines.mapping import Field
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
SHARED = set(Sync.model_fields)
OF = {
    "recipients": components.AgillicRecipientSync,
    "target groups": components.AgillicTargetGroupSync,
    "tables": components.AgillicTableSync,
}
"""What Agillic's page calls its syncs in the column "of"."""


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
def test_the_documents_default_fields_are_in_code_scaffold_and_page(sync: type[Sync]) -> None:
    fields = [name for name in DEFAULT_FIELDS[sync].split(", ") if name]
    # What tells two credits apart is not in the document.
    assert [name for name in sync.target_type.default_fields if name != "event_id"] == fields
    [example] = [one for one in Example.__subclasses__() if f"{one.__module__}.{one.__name__}" == scaffold(sync)]
    for name in fields:
        assert re.search(rf"\b{name}\b", example.text), f"the scaffold lacks {name}"
        assert name in named(page(of(sync))), f"the page lacks {name}"


def scaffold(sync: type[Sync]) -> str:
    import dagster.components.scaffold.scaffold as scaffolding

    made: Any = scaffolding.get_scaffolder(sync)
    return f"{made.__module__}.{made.__name__}"


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


# Every setting and every assumption is on its page, and nothing else is.


@pytest.mark.parametrize("connection", CONNECTIONS)
def test_every_setting_of_a_connection_is_on_its_page_with_its_default(connection: type[Connection]) -> None:
    rows = settings(connection.service, "Connection")
    assert Counter(name for row in rows for name in named(row["setting"])) == Counter(connection.model_fields)
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
        files.append(PACKAGE / "auth.py")
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
