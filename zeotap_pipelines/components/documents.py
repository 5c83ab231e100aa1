"""
What can be wrong with a ``defs.yaml`` before anything is made of it, and what Dagster says of it, as one sentence each.

Dagster draws the whole project where a document can't be used; the place and the
reason lie in the cause. Of a key that is given twice it silently takes the last. Of
a folder that declares something it reads one file, and looks into no folder below it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from .declaration import DeclarationError, from_root, message

PACKAGE = __name__.split(".")[0]

NAMES = ("defs.yaml", "defs.yml", "component.yaml")
"""The files that Dagster reads declarations from: of a folder, the first that is there."""

ENDS_HERE = "definitions.py"
"""A module that stands for its whole folder, where none of the above is beside it."""


def check(folder: Path, types: tuple[str, ...]) -> None:
    """Raise DeclarationError for the first document below *folder* that can't be read, or is of no type among ours."""
    for file in sorted(file for name in NAMES for file in folder.rglob(name)):
        if unread := _unread(file, folder):
            raise DeclarationError(f"{from_root(file)}:1: {unread}")
        try:
            nodes = list(yaml.compose_all(file.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = mark.line + 1 if mark else 1
            raise DeclarationError(f"{from_root(file)}:{line}: this is not YAML: {error.problem}") from None
        except (yaml.YAMLError, UnicodeError) as error:
            raise DeclarationError(f"{from_root(file)}:1: this is not YAML: {str(error).splitlines()[0]}") from None
        if not any(node is not None for node in nodes):
            raise DeclarationError(f"{from_root(file)}:1: the document is empty: declare something or delete it")
        for node in nodes:
            for line, says in _wrong(node, types):
                raise DeclarationError(f"{from_root(file)}:{line}: {says}")


def _unread(file: Path, folder: Path) -> str | None:
    """Return why Dagster would silently leave out *file*; None where it reads it."""
    first = next(name for name in NAMES if (file.parent / name).exists())
    if first != file.name:
        return f"Dagster reads {first} beside it, and not this file: put its documents there"
    within = file.relative_to(folder).parts[:-1]
    if any(part.startswith(".") for part in within):
        return None  # A folder that is hidden is so on purpose.
    if (folder / "defs").is_dir() and within[:1] != ("defs",):
        return f"Dagster reads what lies in {from_root(folder / 'defs')}, and not this file: move it there"
    for above in list(file.parents)[1 : len(within)]:
        if taken := next((above / name for name in NAMES if (above / name).exists()), None):
            if "DefsFolderComponent" in taken.read_text(encoding="utf-8", errors="replace"):
                continue  # It says something of the folders below, and has them read.
        elif (above / ENDS_HERE).exists() and not (above / "component.py").exists():
            taken = above / ENDS_HERE
        if taken:
            return (
                f"Dagster looks into no folder below {from_root(taken)}, so that this file is not read: "
                "move it into a folder beside that one, or its documents into that file"
            )
    return None


def explained(error: BaseException, types: dict[str, type[Any]]) -> DeclarationError | None:
    """Return what is wrong with an attribute, where that is why Dagster could not load a document; else None."""
    cause = error
    while not isinstance(cause, ValidationError):
        if cause.__cause__ is None:
            return None
        cause = cause.__cause__
    name = cause.title.removesuffix("Model")
    sentences = list(_sentences(cause, types.get(name)))
    return DeclarationError("\n".join(sentences)) if sentences else None


def _wrong(node: yaml.Node | None, types: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    if not isinstance(node, yaml.MappingNode):
        yield (node.start_mark.line + 1 if node else 1), "a document is a mapping with type and attributes"
        return
    yield from _keys(node)
    named = {key.value: value for key, value in node.value}
    if "type" not in named:
        yield node.start_mark.line + 1, f"the document has no type, for example {PACKAGE}.Audience"
        return
    declared = str(named["type"].value)
    package, _, name = declared.rpartition(".")
    if package == PACKAGE and name not in types:
        close = get_close_matches(name, types, 1) or sorted(types)
        hint = f"did you mean {PACKAGE}.{close[0]}?" if len(close) == 1 else f"there are: {', '.join(close)}"
        yield named["type"].start_mark.line + 1, f"there is no type {declared}; {hint}"


def _keys(node: yaml.Node) -> Iterator[tuple[int, str]]:
    """Find keys that are given twice, and templates that YAML takes for a mapping because they aren't quoted."""
    if isinstance(node, yaml.SequenceNode):
        for inner in node.value:
            yield from _keys(inner)
    if not isinstance(node, yaml.MappingNode):
        return
    seen: dict[str, int] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            yield line, 'put a template into quotes: "{{ … }}"'
        elif key.value in seen:
            yield line, f"{key.value} is given twice, first in line {seen[key.value]}"
        else:
            seen[key.value] = line
        yield from _keys(value)


def _sentences(invalid: ValidationError, component: type[Any] | None) -> Iterator[str]:
    found = invalid.errors(include_input=False, include_url=False)
    # A field may hold text instead, to be rendered: that alternative is never what was meant.
    proper = [error for error in found if str(error["loc"][-1]).split(" at ")[0].rpartition(".")[2] != "str"]
    for error in proper or found:
        path, _, place = ".".join(map(str, error["loc"])).partition(" at ")
        file, _, line = place.rpartition(":")
        where = f"{from_root(Path(file))}:{line}: " if file else ""
        parts = [part for part in path.split(".") if part not in ("attributes", "str")]
        inner = [part for part in parts if part.endswith("Model")]
        name = ".".join(part for part in parts if part not in inner)
        match error["type"]:
            case "extra_forbidden":
                known = _fields(component, parts)
                close = get_close_matches(parts[-1], known, 1)
                hint = f"did you mean {close[0]}?" if close else f"there are: {', '.join(known)}"
                yield f"{where}there is no {name}; {hint}"
            case "missing":
                yield f"{where}{name or 'type'} is missing"
            case _:
                yield f"{where}{name or 'attributes'}: {message(error)}"


def _fields(component: type[Any] | None, parts: list[str]) -> list[str]:
    """Return the attributes that are known where the unknown one was given."""
    if component is None:
        return []
    model: type[BaseModel] = component.model()
    for part in parts[:-1]:
        if part in model.model_fields:
            named = re.findall(r"\w+Model", " ".join(parts))
            kinds = getattr(model.model_fields[part].annotation, "__args__", ())
            model = next((kind for kind in kinds if getattr(kind, "__name__", "") in named), model)
    return list(model.model_fields)
