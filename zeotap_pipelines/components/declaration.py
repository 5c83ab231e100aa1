"""
What every declared thing shares: its place in the YAML, errors of one sentence, and how one finds another by name.

An error names file and line. It is a ComponentTreeException because Dagster lets
those through as they are, where it wraps any other in a drawing of the whole project.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, Self, TypeVar
from weakref import WeakKeyDictionary

import dagster as dg
from dagster.components.core.component_tree import ComponentTreeException, TestComponentTree
from dagster.components.resolved.base import _get_annotations, _get_resolver
from dagster.components.resolved.errors import ResolutionException
from dagster_shared.yaml_utils.source_position import SourcePositionTree
from pydantic import BaseModel, PrivateAttr, ValidationError

from ..errors import FixDeclaration
from .quickly import seed


class DeclarationError(ComponentTreeException, ResolutionException, FixDeclaration):
    """What is wrong in a declaration: where, what, and how to mend it."""


class Declaration(dg.Component, dg.Model, dg.Resolvable):
    """Base of everything that is declared."""

    _source: SourcePositionTree | None = PrivateAttr(default=None)

    name: str

    def place(self, *path: str | int) -> str:
        """Return ``file:line`` of an attribute, or of the whole declaration."""
        return place(self._source, ("attributes", *path) if path else ())

    def error(self, *path: str | int, says: str) -> DeclarationError:
        """Return the error that says what is wrong at an attribute."""
        return DeclarationError(f"{self.place(*path)}: {says}")

    @abstractmethod
    def definitions(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Return what Dagster is to know. Refuses references to what doesn't exist."""

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Return the definitions; raise DeclarationError, naming the place, for whatever Dagster refuses in them."""
        try:
            return self.definitions(context)
        except DeclarationError:
            raise
        except (FixDeclaration, dg.DagsterError, ValueError, LookupError) as error:
            raise self.error(says=str(error).strip().splitlines()[0]) from error

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Self:
        """Return the declaration, knowing its place; raise DeclarationError where an attribute can't be used."""
        seed(context.component_tree)
        source = context.resolution_context.source_position_tree
        if attributes is None:
            raise DeclarationError(f"{place(source, ())}: attributes are missing")
        try:
            self = super().load(attributes, context)
        except ValidationError as invalid:
            places = ((place(source, ("attributes", *e["loc"])), e) for e in invalid.errors())
            sentences = [f"{where}: {'.'.join(map(str, e['loc']))}: {message(e)}" for where, e in places]
            raise DeclarationError("\n".join(sentences)) from None
        self._source = source
        return self

    @classmethod
    def resolve_from_model(cls, context: dg.ResolutionContext, model: BaseModel) -> Self:
        """
        Return the declaration with its templates rendered.

        Plain text stays as it is: rendering it costs a millisecond each, and turns a
        group called "7" into a number.
        """
        values: dict[str, Any] = {}
        for name, resolver in _resolvers(cls):
            field = resolver.model_field_name or name
            if field not in model.model_fields_set:
                continue
            value = getattr(model, field)
            if resolver.is_default and not _templated(value):
                values[name] = value
                continue
            try:
                values[name] = resolver.execute(context=context, model=model, field_name=name)
            except DeclarationError:
                raise
            except ResolutionException as error:
                where = place(context.source_position_tree, (*context.path, field))
                if isinstance(invalid := error.__cause__ or error.__context__, ValidationError):
                    raise DeclarationError(f"{where}: {field}: {reason(invalid)}") from None
                if isinstance(value, str) and "has no attribute 'model_dump'" in str(error):
                    raise DeclarationError(f"{where}: {field} takes settings, one a line, and not a text") from None
                raise DeclarationError(f"{where}: {str(error).strip().splitlines()[-1].strip()}") from None
        return cls(**values)


D = TypeVar("D", bound=Declaration)

_catalogs: WeakKeyDictionary[Any, dict[type, dict[str, Any]]] = WeakKeyDictionary()


def catalog(context: dg.ComponentLoadContext, kind: type[D]) -> dict[str, D]:
    """Return all declarations of a kind in the project, by name. Two of one name are refused."""
    tree = context.component_tree
    if isinstance(tree, TestComponentTree):
        return {}
    found = _catalogs.setdefault(tree.state_tracker, {})
    if kind not in found:
        named: dict[str, D] = {}
        for one in tree.get_all_components(of_type=kind):
            if one.name in named:
                first = named[one.name].place("name")
                raise one.error("name", says=f"{one.name!r} is declared twice, first at {first}")
            named[one.name] = one
        found[kind] = named
    return found[kind]


def refer(user: Declaration, field: str, known: dict[str, D]) -> D:
    """Return the declaration that the attribute *field* of *user* names; raise DeclarationError where there is none."""
    return refer_to(user, (field,), field, getattr(user, field), known)


def refer_to(user: Declaration, path: tuple[str | int, ...], kind: str, name: str, known: dict[str, D]) -> D:
    """Return the declaration called *name*, which *user* names at *path* as a *kind* of thing."""
    if name in known:
        return known[name]
    close = get_close_matches(name, known, 1)
    hint = f"did you mean {close[0]!r}?" if close else f"declared are: {', '.join(sorted(known)) or 'none'}"
    raise user.error(*path, says=f"{kind} {name!r} does not exist; {hint}")


def place(tree: SourcePositionTree | None, path: Iterable[str | int]) -> str:
    """Return ``file:line`` of what lies at *path* in a document."""
    if tree is None:
        return "(made in Python)"
    position, _ = tree.lookup_closest_and_path(list(path), None)
    return f"{from_root(Path(position.filename))}:{position.start.line}"


def from_root(file: Path) -> Path:
    """Return *file* as it is called from the root of its project."""
    root = _root(file.parent)
    return file.relative_to(root) if root else file


@cache
def _root(folder: Path) -> Path | None:
    found = (
        one for one in (folder, *folder.parents) if (one / "pyproject.toml").exists() or (one / "dg.toml").exists()
    )
    return next(found, None)


def reason(invalid: ValidationError) -> str:
    """Return what pydantic found wrong, without any value."""
    found = invalid.errors(include_input=False, include_url=False)
    return "; ".join(": ".join(filter(None, [".".join(map(str, e["loc"])), message(e)])) for e in found)


def message(error: Any) -> str:
    """Return one finding of pydantic's, as a sentence."""
    return str(error["msg"]).removeprefix("Value error, ")


@cache
def _resolvers(cls: type) -> tuple[tuple[str, dg.Resolver], ...]:
    return tuple((name, _get_resolver(info.type, name)) for name, info in _get_annotations(cls).items())


def _templated(value: Any) -> bool:
    if isinstance(value, str):
        return "{{" in value or "{%" in value or "{#" in value
    if isinstance(value, dict):
        return any(map(_templated, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_templated, value))
    if isinstance(value, BaseModel):
        return any(_templated(getattr(value, field)) for field in value.model_fields_set)
    return False
