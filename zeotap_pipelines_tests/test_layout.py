"""The layout shows the architecture: what a module imports lies in its own layer or in one before it."""

import ast
import graphlib
import re
from pathlib import Path

import pytest

import zeotap_pipelines

PACKAGE = Path(zeotap_pipelines.__file__).parent
README = PACKAGE.parent / "README.md"
CORE = (
    {"errors", "naming", "clock", "hours", "stopping", "exchange", "model"},
    {"state", "mapping", "audience"},
    {"engines"},
    {"destinations"},
    {"wire"},
    {"sync", "snapshot", "rendering"},
    {"ledger"},
    {"diff"},
    {"delivery"},
    {"pipeline", "upkeep"},
)
"""Without Dagster: all of this can be called from a REPL."""

AROUND = (
    {"components", "assets", "automation", "declared"},
    {"jobs", "project", "definitions"},
    {"sandbox"},
    {"demo"},
    {"commands"},
    {"cli"},
)
"""What Dagster loads and what a person types."""

LAYERS = {room: height for height, layer in enumerate((*CORE, *AROUND)) for room in layer}
MODULES = {file.relative_to(PACKAGE).with_suffix("").parts: file for file in sorted(PACKAGE.rglob("*.py"))}
MODULES = {parts: file for parts, file in MODULES.items() if parts[0] not in ("__init__", "defs")}


def imported(parts: tuple[str, ...]) -> set[tuple[str, ...]]:
    """The package's own modules that the module *parts* imports, wherever it does."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[parts].read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = (*parts[: len(parts) - node.level], *filter(None, (node.module or "").split(".")))
        for alias in node.names:
            found |= {one for one in ((*base, alias.name), base, (*base, "__init__")) if one in MODULES}
    return found


def test_every_module_has_its_layer() -> None:
    assert {parts[0] for parts in MODULES} == set(LAYERS)


@pytest.mark.parametrize("parts", MODULES, ids=".".join)
def test_a_module_imports_only_from_its_own_layer_and_those_before_it(parts: tuple[str, ...]) -> None:
    above = {one for one in imported(parts) if LAYERS[one[0]] > LAYERS[parts[0]]}
    assert not above, f"{'.'.join(parts)} imports {above}"


@pytest.mark.parametrize("parts", [one for one in MODULES if LAYERS[one[0]] < len(CORE)], ids=".".join)
def test_the_core_imports_no_dagster(parts: tuple[str, ...]) -> None:
    for node in ast.walk(ast.parse(MODULES[parts].read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not any(name.split(".")[0].startswith("dagster") for name in names), MODULES[parts]


@pytest.mark.parametrize("parts", [one for one in MODULES if one[0] == "sandbox"], ids=".".join)
def test_the_sandbox_knows_its_contracts_and_nothing_of_the_code_that_it_judges(parts: tuple[str, ...]) -> None:
    assert {one[0] for one in imported(parts)} <= {"sandbox"}


def test_imports_are_seen_however_they_are_written() -> None:
    assert {("diff", "plan"), ("ledger", "ledger"), ("model",)} <= imported(("delivery", "delivery"))
    assert {("snapshot",), ("errors",), ("upkeep", "retention")} <= imported(("pipeline",)) | imported(("jobs",))


def test_the_readme_shows_the_folders_in_their_order_and_in_their_own_words() -> None:
    rows = re.findall(r"^\| \[`(\w+)`\]\(zeotap_pipelines/\w+\) \| (.+) \|$", README.read_text(encoding="utf-8"), re.M)
    folders = {one.parent.name for one in PACKAGE.glob("*/__init__.py")}
    assert {folder for folder, _ in rows} == folders
    assert [LAYERS[folder] for folder, _ in rows] == sorted(LAYERS[folder] for folder in folders)
    for folder, said in rows:
        text = (PACKAGE / folder / "__init__.py").read_text(encoding="utf-8")
        assert str(ast.get_docstring(ast.parse(text))).splitlines()[0].replace("``", "`") == said


def test_no_two_modules_of_the_core_import_one_another() -> None:
    core = {one: imported(one) for one in MODULES if LAYERS[one[0]] < len(CORE)}
    assert len(list(graphlib.TopologicalSorter(core).static_order())) >= len(core)
