"""
Connections and sources as components: each becomes a Dagster resource of its name.

The attributes of a connection are the settings of the service's connection class,
so that the two can't differ. A secret is declared by the name of the environment
variable that holds it, and read when a sync speaks to the service: Dagster never
holds it, and a run that doesn't need it doesn't miss it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args, get_origin
from urllib.parse import urlsplit

import dagster as dg
import duckdb
import pydantic
from dagster_duckdb import DuckDBResource
from pydantic import Field, SecretStr, ValidationError

from ..destinations.base import Connection, Limits
from ..engines.duckdb import opened
from ..errors import FixConnection
from .declaration import Declaration, DeclarationError, catalog, message, place, reason
from .scaffolding import Example

VARIABLE = "^[A-Z_][A-Z0-9_]*$"

Name = Annotated[
    str,
    dg.Resolver.default(
        description="A name of your own: letters, digits, underscores", json_schema_extra={"pattern": "^[A-Za-z0-9_]+$"}
    ),
]


def _variable(context: dg.ResolutionContext, value: str) -> str:
    if not re.fullmatch(VARIABLE, value):  # The value itself is never repeated: it may be a secret pasted by mistake.
        where = place(context.source_position_tree, context.path)
        raise DeclarationError(
            f"{where}: {context.path[-1]} takes the name of an environment variable (such as MY_CLIENT_SECRET), "
            "not the secret itself"
        )
    return value


def secret_of(description: str) -> Any:
    """Return the attribute type of a secret: the name of the environment variable that holds it."""
    says = f"Name of the environment variable that holds it. {description}"
    schema = {"pattern": VARIABLE}
    resolver = dg.Resolver(
        _variable, model_field_type=str, inject_before_resolve=False, description=says, json_schema_extra=schema
    )
    return Annotated[str, resolver]


class ConnectionResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """One account at one service, as a resource. Of a secret it knows the variable's name only."""

    connection_type: ClassVar[type[Connection]]

    def connection(self) -> Connection:
        """Return the connection with its secrets; raise FixConnection where a variable isn't set."""
        settings = {name: getattr(self, name) for name in self.connection_type.model_fields}
        for name in secret_settings(self.connection_type):
            if (variable := settings[name]) is None:
                continue
            settings[name] = os.environ.get(variable)
            if not settings[name]:
                raise FixConnection(
                    f"the environment variable {variable}, which holds {name} of account {settings['account']} "
                    f"at {self.connection_type.service}, is not set"
                )
        try:
            return self.connection_type(**settings)
        except ValidationError as invalid:
            raise FixConnection(reason(invalid)) from None


class Reachable(Declaration):
    """Base of what a run reaches as a Dagster resource of its name: connections and sources."""


class ConnectionDeclaration(Reachable):
    """Base of the connections: one account at one service."""

    model_config = {"arbitrary_types_allowed": True}
    connection_type: ClassVar[type[Connection]]
    resource_type: ClassVar[type[ConnectionResource]]

    name: Name
    account: str

    @property
    def service(self) -> str:
        """The service's name."""
        return self.connection_type.service

    def settings(self) -> dict[str, Any]:
        """Return the declared settings; of a secret, the name of its variable."""
        return {name: getattr(self, name) for name in self.connection_type.model_fields}

    def limits(self) -> Limits:
        """Return what the account allows; raise DeclarationError where a setting is wrong."""
        return self._judged().limits()

    def same_account(self, other: ConnectionDeclaration) -> str | None:
        """Return the setting by which *other* speaks to this very account at the service; None where it doesn't."""
        if other.service != self.service or other._host() != self._host():
            return None
        mine, theirs = self.settings(), other.settings()
        shared = (name for name in self.connection_type.credentials if mine[name] and mine[name] == theirs[name])
        return next(shared, None)

    def check_account(self, others: Iterable[ConnectionDeclaration]) -> None:
        """Raise DeclarationError where one of *others* calls this account by another name, or in other letters."""
        for other in others:
            if other.service != self.service or other.account == self.account:
                continue
            if other.account.lower() == self.account.lower():
                says = f"account {self.account!r} and {other.account!r} ({other.place('account')}) differ in case only"
                raise self.error("account", says=f"{says}: write it the same, or another name")
            try:
                shared = self.same_account(other)
            except DeclarationError:
                continue  # It is said where that one is built.
            if shared:
                raise self.error(
                    "account",
                    says=f"account {self.account!r} is called {other.account!r} at {other.place('account')}, with the "
                    f"same base_url and {shared}: what was delivered is remembered by one name, give both the same",
                )

    def _host(self) -> tuple[str | None, int | None]:
        address = urlsplit(self._judged().base_url)
        return address.hostname, address.port or {"https": 443, "http": 80}[address.scheme]

    def _judged(self) -> Connection:
        hidden = secret_settings(self.connection_type)
        plain: dict[str, Any] = {n: "?" if n in hidden and value else value for n, value in self.settings().items()}
        try:
            return self.connection_type(**plain)
        except ValidationError as invalid:
            first = invalid.errors()[0]
            where = first["loc"] or ("name",)
            raise self.error(*where, says=f"{where[0]}: {message(first)}") from None

    def definitions(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Return the resource. Settings that can be judged without the secrets are judged now."""
        catalog(context, Reachable)  # type: ignore[type-abstract]
        self.limits()
        self.check_account(catalog(context, ConnectionDeclaration).values())
        return dg.Definitions(resources={self.name: self.resource_type(**self.settings())})


def secret_settings(connection: type[Connection]) -> frozenset[str]:
    """Return the names of the settings that are secret."""
    kinds = {name: get_args(info.annotation) or (info.annotation,) for name, info in connection.model_fields.items()}
    return frozenset(name for name, kind in kinds.items() if SecretStr in kind)


def _choices(annotation: Any) -> list[Any]:
    """Return the values that a setting may take, where it is one of a few (or none)."""
    kinds = get_args(annotation) if type(None) in get_args(annotation) else (annotation,)
    found = [value for kind in kinds if get_origin(kind) is Literal for value in get_args(kind)]
    return [*found, None] if found and type(None) in kinds else found


def declared(connection: type[Connection]) -> type[ConnectionDeclaration]:
    """Return the component of a service's connection class, with its settings as attributes."""
    annotations: dict[str, Any] = {"name": Name}
    defaults: dict[str, Any] = {}
    resource: dict[str, Any] = {}
    hidden = secret_settings(connection)
    for field, info in connection.model_fields.items():
        description = info.description or ""
        default = ... if info.is_required() else info.get_default(call_default_factory=True)
        if field in hidden:
            secret, text = (
                (secret_of(description), str) if default is ... else (secret_of(description) | None, str | None)
            )
            annotations[field] = secret
            resource[field] = (text, Field(default, description=f"Environment variable of: {description}"))
        else:
            choices = _choices(info.annotation)
            schema = {"enum": choices} if choices else None
            resolver = dg.Resolver.default(description=description, json_schema_extra=schema)
            annotations[field] = Annotated[info.annotation, resolver]
            plain: Any = info.annotation
            if choices:  # Dagster's own settings know no choice; the connection class judges it.
                plain = str | None if None in choices else str
            resource[field] = (plain, Field(default, description=description))
        if default is not ...:
            defaults[field] = default
    name = connection.__name__
    made: Any = pydantic.create_model(f"{name}Resource", __base__=ConnectionResource, __module__=__name__, **resource)
    made.connection_type = connection
    namespace = {
        "__annotations__": annotations,
        "__doc__": connection.__doc__,
        "__module__": "zeotap_pipelines.components",
        "connection_type": connection,
        "resource_type": made,
        **defaults,
    }
    return type(f"{name}Connection", (ConnectionDeclaration,), namespace)


class WarehouseResource(DuckDBResource):
    """A DuckDB file, opened read-only for as long as a query runs, and closed whatever happens."""

    wait_for_writer: float = Field(60.0, ge=0, description="Seconds to wait while another process writes to the file")

    @contextmanager
    def get_connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open the file; raise TryAgainLater where a writer holds it for too long."""
        with opened(Path(self.database), read_only=True, wait=self.wait_for_writer) as connection:
            yield connection


class _WarehouseExample(Example):
    text = """\
        type: {type}
        attributes:
          # Letters, digits and underscores; audiences name it as their source.
          name: {name}
          # Relative to the project's root.
          database: warehouse.duckdb
        """


@dg.scaffold_with(_WarehouseExample)
class DuckDBWarehouse(Reachable):
    """A DuckDB database that audiences are queried from, opened read-only and only while a query runs."""

    name: Name
    database: Annotated[str, dg.Resolver.default(description="Path of the file; relative to the project's root")]
    wait_for_writer: Annotated[
        float, dg.Resolver.default(description="Seconds to wait while another process writes to the file")
    ] = 60.0

    def definitions(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Return the resource."""
        catalog(context, Reachable)  # type: ignore[type-abstract]
        path = (context.project_root / self.database).resolve()
        return dg.Definitions(
            resources={self.name: WarehouseResource(database=str(path), wait_for_writer=self.wait_for_writer)}
        )
