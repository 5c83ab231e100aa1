"""
Who a row is about, as SQL conditions: a person named by one key, in any field or in a given one.

An e-mail address is compared without regard to case and found in any field; any other
key is compared as it is, trimmed, and only with what identifies a person: "7" may as
well be a number of points, or the id of somebody else's event. Where a target takes
ids for numbers, it is compared as the target does it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..destinations.base import Target
from ..mapping import Field, canonical
from ..naming import identifier, literal
from ..rendering import normalised
from ..sync import Sync

EVENT_PERSON = "user_id"
"""Whom an event happens to: its own identity names the event."""


@dataclass(frozen=True)
class Who:
    """A person: *key*, and the destination field (or audience column) that it is a value of, where that is said."""

    key: str
    field: str | None = None

    @property
    def _email(self) -> bool:
        return "@" in self.key and self.field is None

    def same(self, text: str) -> str:
        """Return the SQL condition that *text* is the key."""
        if "@" in self.key:
            return f"coalesce(lower(trim({text})) = lower(trim({literal(self.key)})), false)"
        return f"coalesce(trim({text}) = trim({literal(self.key)}), false)"

    def number(self, target: Target, name: str, text: str) -> str:
        """Return the SQL condition that *text*, an identity called *name* at *target*, is the key's number."""
        return f"coalesce({normalised(target, name, text)} = {normalised(target, name, literal(self.key))}, false)"

    def among(self, texts: str) -> str:
        """Return the SQL condition that the list *texts* holds the key."""
        return f"len(list_filter({texts}, lambda x: {self.same('x')})) > 0"

    def told(self, target: Target) -> str:
        """Return the condition on a row of a ledger or plan: its name, value and others."""
        if target.composite:
            # Besides the recipient, a composite identity names a record, which is nobody.
            field = self.field or target.identity[0]
            if field not in target.identity:
                return "false"
            return self.same(f"json_extract_string(value, '$[{target.identity.index(field)}]')")
        if target.event and self.field not in target.identity:
            return "false"
        named = "true" if self.field is None else f"name = {literal(self.field)}"
        others = "coalesce(others, [])"
        if self.field is not None:
            others = f"list_filter({others}, lambda x: starts_with(x, {literal(self.field + '=')}))"
        values = f"list_transform({others}, lambda x: substr(x, strpos(x, '=') + 1))"
        mine = [self.same("value")]
        mine += [f"name = {literal(name)} AND {self.number(target, name, 'value')}" for name in sorted(target.numbers)]
        return f"(({named} AND ({' OR '.join(mine)})) OR {self.among(values)})"

    def planned(self, target: Target) -> str:
        """Return the condition on a row of a plan, whose body may say who it is about."""
        if self._email:
            return f"({self.told(target)} OR {self.among(_body_texts())})"
        field = self.field or (EVENT_PERSON if target.event else None)
        if field is None:
            return self.told(target)
        pointer = "/" + field.replace("~", "~0").replace("/", "~1")
        return f"({self.told(target)} OR {self.same(f'json_extract_string(body, {literal(pointer)})')})"

    def snapshot(self, syncs: Iterable[Sync], key: Iterable[str], types: Mapping[str, str]) -> str:
        """Return the condition on a row of a snapshot, given the *syncs* that use it and its *key* columns."""
        texts = [canonical(identifier(name), kind) for name, kind in types.items()]
        if self._email:
            return f"({' OR '.join(self.same(text) for text in texts)})"
        chosen: list[str] = []
        numbers: list[str] = []
        used = list(syncs)
        for sync in used:
            for name, origin in _persons(sync, self.field):
                if not set(origin.columns) <= set(types):
                    continue  # A snapshot from before the column was there.
                chosen.append(origin.canonical(types, sync.target.date_format))
                if name in sync.target.numbers:
                    numbers.append(self.number(sync.target, name, chosen[-1]))
                if origin.column is not None and self.field in (None, name, origin.column):
                    chosen.append(canonical(identifier(origin.column), types[origin.column]))
        if self.field is not None and self.field in types:
            chosen.append(canonical(identifier(self.field), types[self.field]))
        elif not used and self.field is None:
            chosen += [canonical(identifier(name), types[name]) for name in key if name in types]
        conditions = [*(self.same(text) for text in dict.fromkeys(chosen)), *dict.fromkeys(numbers)]
        return f"({' OR '.join(conditions) or 'false'})"


def _persons(sync: Sync, field: str | None) -> Iterable[tuple[str, Field]]:
    """Return the mapped fields of *sync* that say who a row is about."""
    target = sync.target
    if field is not None:
        names = [field]
    elif target.event:
        names = [EVENT_PERSON]
    else:
        names = [target.identity[0]] if target.composite else list(target.identity)
    found = [(name, sync.mapping[name]) for name in names if name in sync.mapping]
    if field is not None:
        found += [(name, origin) for name, origin in sync.mapping.items() if origin.column == field]
    return found


def _body_texts() -> str:
    return "json_extract_string(body, '$.*')"
