"""A sync: an audience, a target, and how the one is kept in step with the other."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from .audience import Audience
from .destinations.base import Target
from .errors import FixDeclaration
from .mapping import Field
from .model import Address, Change, Mode, Verb
from .naming import NAME


@dataclass(frozen=True)
class Guards:
    """
    What stops a plan before the first request.

    *max_removed_percent* is of the members that the target was last told; left
    unset, it is 30, and 50 for fewer than 100 members. Unset limits don't apply.
    """

    max_removed_percent: float | None = None
    max_removed: int | None = None
    max_added_percent: float | None = None
    max_set_aside_percent: float = 10.0
    allow_empty: bool = False
    stale_after_hours: float | None = None


@dataclass(frozen=True)
class Sync:
    """
    An audience, a target at an account, a mode and a mapping.

    *opposite* is the sync that removes where this one adds, or the other way round:
    who is in the audiences of both is set aside by both.

    Raises FixDeclaration, naming the sync and the thing to fix, when the target
    doesn't speak the mode or the mapping lacks a field that the target needs.
    """

    name: str
    audience: Audience
    target: Target
    account: str
    mode: Mode
    mapping: Mapping[str, Field]
    guards: Guards = field(default_factory=Guards)
    reassert_after_hours: float | None = None
    opposite: Sync | None = None

    def __post_init__(self) -> None:
        target = type(self.target).__name__
        if not NAME.fullmatch(self.name):
            raise FixDeclaration(f"sync name {self.name!r}: use letters, digits and underscores")
        if self.mode not in self.target.modes():
            raise FixDeclaration(
                f"sync {self.name}: {target} has no mode {self.mode.value!r}; it has {', '.join(self.target.modes())}"
            )
        try:
            self.target.check(self.mode, tuple(self.mapping))
        except FixDeclaration as error:
            raise FixDeclaration(f"sync {self.name}: {error}") from error
        if not set(self.target.identity) & set(self.mapping):
            wanted = " or ".join(self.target.identity)
            raise FixDeclaration(
                f"sync {self.name}: map a column to {wanted}, which identifies a row at the destination"
            )
        if missing := [name for name in self.target.required if name not in self.mapping]:
            raise FixDeclaration(f"sync {self.name}: map a column to {missing[0]}, which {target} needs")
        if not self.target.carries_attributes and (extra := sorted(set(self.mapping) - set(self.target.identity))):
            raise FixDeclaration(
                f"sync {self.name}: {target} holds {', '.join(self.target.identity)} and nothing else: "
                f"take {extra[0]} out of the mapping"
            )
        if self.opposite and not set(self.identity) & set(self.opposite.identity):
            raise FixDeclaration(
                f"sync {self.name} maps {', '.join(self.identity)}, and sync {self.opposite.name}, which does the "
                f"opposite at the same target, {', '.join(self.opposite.identity)}: nobody can tell who is in both "
                "audiences. Map one of them in both"
            )

    @property
    def address(self) -> Address:
        """What identifies the sync's target for ever."""
        return self.target.address(self.account)

    @property
    def declared(self) -> str:
        """A digest of what decides what is sent: a plan that was made for another declaration doesn't fit."""
        fields = {name: repr(origin) for name, origin in self.mapping.items()}
        text = repr((str(self.address), self.target, self.mode.value, sorted(fields.items()), self.guards))
        if self.opposite:  # Whom it wants: its name and its guards say nothing of that.
            text += repr([(name, self.opposite.mapping[name]) for name in self.opposite.identity])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def verbs(self) -> Mapping[Change, Verb]:
        """The verb that the mode makes of each change."""
        return self.target.modes()[self.mode]

    @property
    def identity(self) -> tuple[str, ...]:
        """The mapped identity fields, the primary one first."""
        return tuple(name for name in self.target.identity if name in self.mapping)


def paired(syncs: Iterable[Sync]) -> list[Sync]:
    """Return *syncs*, each knowing its opposite: of an addition and a removal at one address each is the other's."""
    listed, modes = list(syncs), {Mode.ADD, Mode.REMOVE}
    at: dict[Address, list[Sync]] = {}
    for sync in listed:
        at.setdefault(sync.address, []).append(sync)
    found = []
    for sync in listed:
        others = [other for other in at[sync.address] if {sync.mode, other.mode} == modes]
        found.append(replace(sync, opposite=others[0]) if others else sync)
    return found
