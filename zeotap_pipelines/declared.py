"""What a project declares, by name: for the commands and jobs beside the assets."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import dagster as dg
from dagster.components.core.component_tree import ComponentTree, ComponentTreeException
from pydantic import ValidationError

from . import components
from . import sync as core
from .components import documents
from .components.audience import Audience
from .components.connection import ConnectionDeclaration
from .components.declaration import Declaration, DeclarationError, catalog, refer
from .components.sync import Sync, opposites
from .destinations.base import Connection
from .errors import FixDeclaration
from .model import Address

D = TypeVar("D", bound=Declaration)
T = TypeVar("T")


@dataclass(frozen=True)
class Declared:
    """A project's connections and syncs."""

    tree: ComponentTree

    @classmethod
    def at(cls, folder: Path) -> Declared:
        """Return what the project around *folder* declares. Raises FixDeclaration where there is none."""
        for root in (folder.resolve(), *folder.resolve().parents):
            if (root / "pyproject.toml").exists() or (root / "dg.toml").exists():
                break
        else:
            raise FixDeclaration(
                f"{folder} lies in no project (a folder with a pyproject.toml): "
                "go to its folder, or name it with --project"
            )
        for place in (root / "src", root):
            if place.is_dir() and str(place) not in sys.path:
                sys.path.insert(0, str(place))
        try:
            tree = ComponentTree.for_project(root)
        except (dg.DagsterError, ImportError) as error:
            raise FixDeclaration(f"the project in {root} can't be loaded: {str(error).splitlines()[0]}") from error
        documents.check(tree.defs_module_path.parent, tuple(components.__all__))
        return cls(tree)

    @cached_property
    def connections(self) -> dict[str, ConnectionDeclaration]:
        """The connections by name."""
        return self._all(ConnectionDeclaration)

    @cached_property
    def audiences(self) -> dict[str, Audience]:
        """The audiences by name."""
        return self._all(Audience)

    @cached_property
    def declarations(self) -> dict[str, Sync]:
        """The syncs by name, as they are declared."""
        return self._all(Sync)  # type: ignore[type-abstract]

    @cached_property
    def opposites(self) -> dict[str, Sync]:
        """By its name, for each sync that shares its target, the one that does the opposite there, as declared."""
        return opposites(self.tree.load_context)

    @cached_property
    def syncs(self) -> dict[str, core.Sync]:
        """The syncs by name."""
        made = [
            one.definition(refer(one, "audience", self.audiences), refer(one, "connection", self.connections))
            for one in self.declarations.values()
        ]
        return {sync.name: sync for sync in core.paired(made)}

    def sync(self, name: str) -> core.Sync:
        """Return the sync called *name*."""
        return _named("sync", name, self.syncs)

    def connection(self, name: str) -> Connection:
        """Return the connection called *name*, with its secrets from the environment."""
        declared = _named("connection", name, self.connections)
        resource = declared.resource_type(**declared.settings())
        return resource.connection()

    def of(self, connection: str) -> list[core.Sync]:
        """Return the syncs that use the connection called *connection*."""
        return [sync for name, sync in self.syncs.items() if self.declarations[name].connection == connection]

    def to(self, address: Address) -> Connection:
        """Return a connection to the account of *address*. Raises FixDeclaration where none is declared."""
        for name, one in self.connections.items():
            if (one.service, one.account) == (address.service, address.account):
                return self.connection(name)
        raise FixDeclaration(f"no connection to account {address.account} at {address.service} is declared: declare it")

    def _all(self, kind: type[D]) -> dict[str, D]:
        try:
            return catalog(self.tree.load_context, kind)
        except DeclarationError:
            raise
        except (ComponentTreeException, ValidationError) as error:
            types = {name: getattr(components, name) for name in components.__all__}
            first = str(error).strip().splitlines()[0]
            raise documents.explained(error, types) or FixDeclaration(first) from None


def _named(kind: str, name: str, known: dict[str, T]) -> T:
    if name in known:
        return known[name]
    close = get_close_matches(name, known, 1)
    hint = f"did you mean {close[0]!r}?" if close else f"declared are: {', '.join(sorted(known)) or 'none'}"
    raise FixDeclaration(f"{kind} {name!r} does not exist; {hint}")
