"""
The SQL that turns a snapshot's rows into what the destination would be told: identity, key, digest, body.

Column names: ``f.<field>`` is a field's canonical text; ``key`` is the normalised
identity, computed anew on both sides of every comparison and never stored.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping

import duckdb

from .destinations.base import Target
from .mapping import Kind, rendered, trimmed
from .naming import identifier, literal
from .sync import Sync

DIGEST_VERSION = 1
"""The version of `digest` that new plans are written with. Old versions are kept, never changed."""

UNKNOWN_DIGEST = -1
"""The digest of an adopted row: it equals none, so that attributes are sent once."""

NO_ATTRIBUTES = "CAST(0 AS BIGINT)"
"""The digest of a row that holds nothing but its identity: it can't change."""


def field(name: str) -> str:
    """Return the quoted column that holds the canonical text of the destination field *name*."""
    return identifier(f"f.{name}")


def mapped(sync: Sync, scan: str, types: Mapping[str, str]) -> str:
    """Return a SELECT of the canonical text of every mapped field, and the row's number in its file as ``src``."""
    fields = []
    for name, origin in sync.mapping.items():
        text = origin.canonical(types, sync.target.date_format)
        if name in sync.target.identity or name in sync.target.aliases:
            # An identity of nothing but spaces is no identity.
            text = f"nullif({text if name in sync.target.exact else trimmed(text)}, '')"
        fields.append(f"{text} AS {field(name)}")
    return f"SELECT file_row_number AS src, {', '.join(fields)} FROM {scan}"


def normalised(target: Target, name: str, text: str) -> str:
    """Return the SQL of the form in which identities called *name* are compared."""
    if name in target.exact:
        return text
    if name in target.numbers:
        return _number(text)
    return f"lower({trimmed(text)})" if name in target.email else trimmed(text)


def _number(text: str) -> str:
    """
    Return the SQL of *text* without spaces at its ends, and of a whole number without a plus and zeros before it.

    Only what comes before "1" is looked at: that is what begins with a plus or a zero.
    """

    def plain(text: str) -> str:
        return f"regexp_replace({text}, '^[+]?0*([0-9]+)$', '\\1')"

    if "(" in text:
        return plain(f"trim({text})")
    spaced = f"contains({text}, ' ') OR strlen({text}) <> length({text})"
    return f"CASE WHEN {spaced} THEN {plain(f'trim({text})')} WHEN {text} < '1' THEN {plain(text)} ELSE {text} END"


def key(target: Target, identity: tuple[str, ...], name: str, value: str) -> str:
    """
    Return the SQL of the join key of an identity stored as (*name*, *value*).

    It carries the identifier's name where there are several: uid "7" is not anonymous_id "7".
    """
    if target.composite:
        parts = [f"json_extract_string({value}, '$[{n}]')" for n in range(len(target.identity))]
        forms = [normalised(target, field, part) for field, part in zip(target.identity, parts, strict=True)]
        return f"CASE WHEN {value} IS NOT NULL THEN CAST(to_json([{', '.join(forms)}]) AS VARCHAR) END"
    if len(target.identity) == 1:
        return normalised(target, target.identity[0], value)
    branches = " ".join(
        f"WHEN {literal(n)} THEN {literal(n + '=')} || {normalised(target, n, value)}" for n in target.identity
    )
    return f"CASE {name} {branches} END"


def same_form(target: Target, text: str) -> str:
    """
    Return the SQL of the form in which identifiers written as ``name=value`` are compared.

    Null for a name that the target doesn't identify by.
    """
    value = f"substr({text}, strpos({text}, '=') + 1)"
    if len(target.identity) == 1:
        return normalised(target, target.identity[0], value)
    branches = " ".join(
        f"WHEN starts_with({text}, {literal(n + '=')}) THEN {literal(n + '=')} || {normalised(target, n, value)}"
        for n in target.identity
    )
    return f"CASE {branches} END"


def primary(sync: Sync) -> tuple[str, str]:
    """
    Return the SQL of the name and of the value of a mapped row's identity: the first that it has.

    A composite one has no name, and all its values as a JSON array.
    """
    values = [field(name) for name in sync.identity]
    if sync.target.composite:
        present = " AND ".join(f"{value} IS NOT NULL" for value in values)
        return "'row'", f"CASE WHEN {present} THEN CAST(to_json([{', '.join(values)}]) AS VARCHAR) END"
    if len(values) == 1:
        return literal(sync.identity[0]), values[0]
    names = " ".join(f"WHEN {field(name)} IS NOT NULL THEN {literal(name)}" for name in sync.identity)
    return f"CASE {names} END", f"coalesce({', '.join(values)})"


def digest(sync: Sync, version: int = DIGEST_VERSION) -> str:
    """
    Return the SQL of the digest of a mapped row: 63 bits of md5 over every field that is not its key.

    Values are prefixed by their length, so that no two rows can be run together
    into the same text; the names of the fields are part of it, so that a changed
    mapping is a change.
    """
    assert version == 1
    salt, texts = _told_fields(sync)
    if not texts and not sync.target.namespace:
        return NO_ATTRIBUTES
    values = [f"coalesce(strlen({text}) || ':' || {text}, '-')" for text in texts]
    return f"CAST(md5_number_lower({' || '.join([literal(salt), *values])}) >> 1 AS BIGINT)"


def stamp(sync: Sync) -> str:
    """
    Return the SQL of the engine's own hash of what the digest of a mapped row is made of.

    It costs a tenth of the digest, and changes with the engine's release, which is
    part of it: equal stamps are equal rows, and different ones say nothing.
    """
    salt, texts = _told_fields(sync)
    return f"hash({', '.join([literal(f'duckdb {duckdb.__version__} {salt}'), *texts])})"


def _told_fields(sync: Sync) -> tuple[str, list[str]]:
    """Return a name for the fields that are not the key of a row, and the SQL of their values."""
    whole = sync.target.composite or len(sync.target.identity) == 1
    names = [n for n in sorted(sync.mapping) if not (whole and n in sync.target.identity)]
    said = [f"{n}{'!' * sync.mapping[n].send_nulls}" for n in names]
    said += [f"\x1e{sync.target.namespace}"] if sync.target.namespace else []
    salt = hashlib.sha256("\x1f".join(said).encode()).hexdigest()[:8]
    texts = [normalised(sync.target, n, field(n)) if n in sync.target.identity else field(n) for n in names]
    return salt, texts


def others(sync: Sync) -> str:
    """Return the SQL of the identifiers that a mapped row has besides its primary one, each as ``name=value``."""
    parts = [f"CASE WHEN name <> {literal(n)} THEN {literal(n + '=')} || {field(n)} END" for n in sync.identity]
    return f"list_filter([{', '.join(parts)}], lambda x: x IS NOT NULL)"


def body(sync: Sync) -> str:
    """Return the SQL of a mapped row's payload: one JSON object as text, nulls left out unless asked for."""
    parts = []
    for name, origin in sync.mapping.items():
        value = rendered(field(name), sync.target.kinds.get(name, Kind.TEXT))
        label = literal(_json_name(name))
        parts.append(f"{label} || coalesce({value}, 'null')" if origin.send_nulls else f"{label} || {value}")
    return f"'{{' || concat_ws(',', {', '.join(parts)}) || '}}'"


def identity_body(pairs: Mapping[str, str]) -> str:
    """Return the SQL of a payload that holds identities only: *pairs* maps field names to SQL of their values."""
    parts = [f"{literal(_json_name(name))} || CAST(to_json({value}) AS VARCHAR)" for name, value in pairs.items()]
    return f"'{{' || concat_ws(',', {', '.join(parts)}) || '}}'"


def unfit(sync: Sync, rules: list[tuple[str, str]]) -> str:
    """Return the SQL of the first reason in *rules* that holds for a mapped row, or null."""
    branches = []
    for reason, condition in rules:
        names = re.findall(r"\{(\w+)\}", condition)
        if all(name in sync.mapping for name in names):
            text = re.sub(r"\{(\w+)\}", lambda match: field(match.group(1)), condition)
            branches.append(f"WHEN {text} THEN {literal(reason)}")
    return f"CASE {' '.join(branches)} END" if branches else "CAST(NULL AS VARCHAR)"


def convertible(sync: Sync) -> list[tuple[str, str]]:
    """Return the rules that refuse values which can't become the JSON type that their field wants."""
    rules = []
    for name, kind in sync.target.kinds.items():
        if name in sync.mapping and kind in (Kind.INTEGER, Kind.NUMBER, Kind.UNIX, Kind.FLAG):
            value = rendered(field(name), kind)
            rules.append((f"{name} can't be read as {kind.value}", f"({{{name}}} IS NOT NULL AND ({value}) IS NULL)"))
    return rules


def _json_name(name: str) -> str:
    return f"{json.dumps(name, ensure_ascii=False)}:"
