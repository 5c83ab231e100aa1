"""What all syncs share: one class per target kind derives from this one."""

from __future__ import annotations

import math
from abc import abstractmethod
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, ClassVar, Self
from weakref import WeakKeyDictionary

import dagster as dg
import pydantic

from .. import sync as core
from ..assets.assets import diff_asset
from ..assets.delivering import sync_asset
from ..delivery.pauses import Closed, closed
from ..destinations.base import Target
from ..errors import FixDeclaration
from ..hours import Hours
from ..mapping import Field, strftime
from ..model import Address, Mode
from ..state import State
from .audience import Audience
from .connection import ConnectionDeclaration, Name
from .declaration import Declaration, catalog, refer

MAPPING = (
    "Destination field: a column, or one of column, constant, template with trim, case, hash, date_format, send_nulls"
)
Mapping = Annotated[dict[str, Any], dg.Resolver.default(description=MAPPING)]


def mode_of(target: type[Target]) -> Any:
    """Return the attribute type of the modes that *target* supports."""
    modes = [mode.value for mode in target.modes()]
    return Annotated[
        str, dg.Resolver.default(description=f"One of {', '.join(modes)}", json_schema_extra={"enum": modes})
    ]


def mapping_of(target: type[Target]) -> Any:
    """Return the attribute type of a mapping to *target*: an editor offers the fields that its document lists."""
    fields = {name: {"title": name} for name in target.default_fields}
    return Annotated[dict[str, Any], dg.Resolver.default(description=MAPPING, json_schema_extra={"properties": fields})]


SHARES = ("max_removed_percent", "max_set_aside_percent")
"""The guards that are a share of what is there: 100 percent at most."""


class GuardSettings(dg.Model, dg.Resolvable):
    """What stops a plan before the first request."""

    max_removed_percent: Annotated[
        float | None,
        dg.Resolver.default(description="Of the members last told; unset: 30, and 50 for fewer than 100 members"),
    ] = None
    max_removed: Annotated[int | None, dg.Resolver.default(description="Members removed; unset: any number")] = None
    max_added_percent: Annotated[
        float | None, dg.Resolver.default(description="Rows sent, of the members last told; unset: any share")
    ] = None
    max_set_aside_percent: Annotated[
        float, dg.Resolver.default(description="Of the snapshot's rows: invalid or in conflict, so left alone")
    ] = 10.0
    allow_empty: Annotated[bool, dg.Resolver.default(description="An empty audience may empty the target")] = False
    stale_after_hours: Annotated[
        float | None, dg.Resolver.default(description="Age from which a snapshot is not sent any more; unset: any age")
    ] = None

    @pydantic.model_validator(mode="after")
    def _in_range(self) -> Self:
        for name, value in self:
            if isinstance(value, float | int) and not 0 <= value <= (100 if name in SHARES else math.inf):
                raise ValueError(f"{name} {value:g} is out of range")
        return self

    def guards(self) -> core.Guards:
        """Return the guards as the core knows them."""
        return core.Guards(**self.model_dump())


class DeliveryHours(dg.Model, dg.Resolvable):
    """When a sync may speak to its service."""

    hours: Annotated[str, dg.Resolver.default(description="From one time to another: 08:00-20:00, or 22:00-06:00")]
    weekdays: Annotated[list[str], dg.Resolver.default(description="mon, tue, …; none named: every day")] = []
    timezone: Annotated[
        str | None, dg.Resolver.default(description="Whose clock, such as Europe/Vienna; unset: the audience's")
    ] = None


class Sync(Declaration):
    """Base of the syncs: what goes where, as the assets diffs/<name> and syncs/<name>."""

    target_type: ClassVar[type[Target]]

    name: Name
    audience: Annotated[str, dg.Resolver.default(description="Name of an audience")]
    connection: Annotated[str, dg.Resolver.default(description="Name of a connection")]
    mapping: Mapping
    mode: str
    guards: Annotated[GuardSettings, dg.Resolver.default(description="What stops a plan before the first request")] = (
        GuardSettings()
    )
    reassert_after_hours: Annotated[
        float | None, dg.Resolver.default(description="Tell members again that were told so many hours ago")
    ] = None
    wait_for_account: Annotated[
        float, dg.Resolver.default(description="Seconds to wait while another sync speaks to the same account")
    ] = 600.0
    automatic: Annotated[
        bool, dg.Resolver.default(description="false: only by hand, whatever starts the audience's chain")
    ] = True
    go_on: Annotated[
        bool, dg.Resolver.default(description="What was put off, deferred or cut off is asked again as soon as it may")
    ] = True
    paused: Annotated[bool, dg.Resolver.default(description="Nothing is sent until this is taken out")] = False
    deliver_between: Annotated[
        DeliveryHours | None, dg.Resolver.default(description="The hours within which it may send; unset: any")
    ] = None
    description: Annotated[str | None, dg.Resolver.default(description="What the assets' pages say first")] = None
    owners: Annotated[list[str], dg.Resolver.default(description="E-mail addresses or team:name")] = []

    @abstractmethod
    def target(self, connection: ConnectionDeclaration) -> Target:
        """Return the target at *connection* that rows go to. Raises FixDeclaration where it can't be."""

    def definition(self, audience: Audience, connection: ConnectionDeclaration) -> core.Sync:
        """Return the sync as the core knows it; raise DeclarationError naming the place of what is wrong."""
        mapping: dict[str, Field] = {}
        for name, value in self.mapping.items():
            try:
                mapping[name] = _field(value)
            except FixDeclaration as error:
                raise self.error("mapping", name, says=f"mapping of {name}: {error}") from None
        modes = self.target_type.modes()
        if self.mode not in [mode.value for mode in modes]:
            raise self.error("mode", says=f"{type(self).__name__} has no mode {self.mode!r}; it has {', '.join(modes)}")
        try:
            return core.Sync(
                name=self.name,
                audience=audience.definition(),
                target=self.target(connection),
                account=connection.account,
                mode=Mode(self.mode),
                mapping=mapping,
                guards=self.guards.guards(),
                reassert_after_hours=self.reassert_after_hours,
            )
        except FixDeclaration as error:
            raise self.error("mapping" if "map" in str(error) else "name", says=str(error)) from None

    def hours(self, audience: Audience) -> Hours | None:
        """Return within which hours it may send; None: at any. Raises DeclarationError where they can't be."""
        given = self.deliver_between
        if given is None:
            return None
        try:
            return Hours.of(given.hours, given.weekdays, given.timezone or audience.timezone)
        except FixDeclaration as error:
            raise self.error("deliver_between", says=f"deliver_between: {error}") from None

    def closed(self, definition: core.Sync, audience: Audience, state: State, now: datetime) -> Closed | None:
        """Return why nothing may be sent *now*; None where it may. *definition* is the sync as the core knows it."""
        if self.paused:
            return Closed(f"paused by its declaration, {self.place('paused')}", None)
        return closed(definition, state, self.hours(audience), now)

    def definitions(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Return the diff asset and the sync asset."""
        audience = refer(self, "audience", catalog(context, Audience))
        connection = _connection(self, context)
        if connection.service != self.target_type.service:
            says = f"{connection.name!r} is a connection to {connection.service}, not to {self.target_type.service}"
            raise self.error("connection", says=says)
        self._refuse_spaces()
        definition = self.definition(audience, connection)
        self.hours(audience)
        for twin in _writers(context).get(definition.address, ()):
            if twin.name != self.name:
                its = refer(twin, "audience", catalog(context, Audience))
                self._refuse_twin(twin, definition.address, audience, its)
                definition = self._opposed(definition, twin.definition(its, _connection(twin, context)))
        declared = (self, definition, audience, connection)
        return dg.Definitions(assets=[diff_asset(*declared), sync_asset(*declared)])

    def _opposed(self, definition: core.Sync, opposite: core.Sync) -> core.Sync:
        """Return *definition* knowing its opposite; raise DeclarationError where they name people differently."""
        try:
            return replace(definition, opposite=opposite)
        except FixDeclaration as error:
            raise self.error("mapping", says=str(error)) from None

    def _refuse_twin(self, twin: Sync, address: Address, audience: Audience, its: Audience) -> None:
        """Raise DeclarationError where *twin*, a sync of the audience *its*, can't share the target at *address*."""
        both = f"{self.name} and {twin.name} ({twin.place()}) both write to {address}"
        if {twin.mode, self.mode} != {"add", "remove"}:
            raise self.error("name", says=both)
        # Of one target there is one mark: what one of them asked would supersede windows of the other's. And a plan of
        # the one looks at the snapshot of the other for the same partition.
        if its.cut != audience.cut or "none" in (its.partitions, audience.partitions):
            says = f"{audience.name} is cut {audience.cut}, {its.name} {its.cut}"
            remedy = "give their audiences the same partitions (not none), start, end, timezone and history"
            raise self.error("audience", says=f"{both}, and {says}: {remedy}")

    def _refuse_spaces(self) -> None:
        """Raise DeclarationError where a target's setting is another's but for spaces around it."""
        for name in type(self).model_fields.keys() - Sync.model_fields.keys():
            value = getattr(self, name)
            if isinstance(value, str) and value != value.strip():
                raise self.error(name, says=f"{name} {value!r} begins or ends with a space: take it out")


def _connection(sync: Sync, context: dg.ComponentLoadContext) -> ConnectionDeclaration:
    return refer(sync, "connection", catalog(context, ConnectionDeclaration))


def _field(value: Any) -> Field:
    if not isinstance(value, str | dict):
        raise FixDeclaration("write a column's name, or settings such as {column: customer_id, trim: true}")
    found = Field.of(value)
    texts: dict[str, Any] = {"column": found.column, "constant": found.constant, "template": found.template}
    if wrong := [name for name, text in texts.items() if not isinstance(text, str | None)]:
        raise FixDeclaration(f"{wrong[0]} is a text: write it in quotes")
    if found.date_format is not None:
        strftime(found.date_format)
    return found


def opposites(context: dg.ComponentLoadContext) -> dict[str, Sync]:
    """Return, by its name, for each sync that shares its target the one that does the opposite there."""
    pairs = [pair for pair in _writers(context).values() if len(pair) == 2]
    return {one.name: other for pair in pairs for one, other in (pair, reversed(pair))}


_addresses: WeakKeyDictionary[Any, dict[Address, list[Sync]]] = WeakKeyDictionary()


def _writers(context: dg.ComponentLoadContext) -> dict[Address, list[Sync]]:
    """Return the syncs by the address that they write to."""
    tree = context.component_tree.state_tracker
    if tree not in _addresses:
        found: dict[Address, list[Sync]] = {}
        connections = catalog(context, ConnectionDeclaration)
        for sync in catalog(context, Sync).values():  # type: ignore[type-abstract]
            # What is wrong with a sync is said where that sync itself is built.
            with suppress(FixDeclaration, KeyError):
                connection = connections[sync.connection]
                if connection.service != sync.target_type.service:
                    continue
                found.setdefault(sync.target(connection).address(connection.account), []).append(sync)
        _addresses[tree] = found
    return _addresses[tree]
