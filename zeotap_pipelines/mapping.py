"""
What a row becomes at the destination, as SQL text: computed in the engine, before anything is compared.

Every mapped value has two forms. Its *canonical* text is what digests and keys
are made of, so it must not depend on the engine's habits (1.50 is 1.5, true is
true). Its *rendered* form is the JSON that travels, of the kind that the
destination expects.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from .errors import FixDeclaration
from .naming import identifier, literal


class Kind(StrEnum):
    """The JSON type that a destination field wants."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    UNIX = "unix"  # A date or time as whole seconds since 1970, UTC.
    FLAG = "flag"  # A boolean as 1 or 0.
    JSON = "json"  # An object or array, passed on as it is.


@dataclass(frozen=True)
class Field:
    """
    Where the value of one destination field comes from: a column, a constant or a template.

    A template names columns in braces: ``"{first_name} {last_name}"``; it is null
    where one of them is. *date_format* is written with ``yyyy MM dd HH mm ss``.
    Null values are left out of the payload unless *send_nulls*.
    """

    column: str | None = None
    constant: str | None = None
    template: str | None = None
    trim: bool = False
    case: str | None = None
    hash: str | None = None
    date_format: str | None = None
    send_nulls: bool = False

    def __post_init__(self) -> None:
        if sum(x is not None for x in (self.column, self.constant, self.template)) != 1:
            raise FixDeclaration("a mapped field takes exactly one of column, constant and template")
        if self.case not in (None, "lower", "upper"):
            raise FixDeclaration(f"case is lower or upper, not {self.case!r}")
        if self.hash not in (None, "sha256"):
            raise FixDeclaration(f"hash is sha256, not {self.hash!r}")

    @classmethod
    def of(cls, value: str | Mapping[str, object] | Field) -> Field:
        """Return the field that *value* declares: a column's name, or its settings by name."""
        if isinstance(value, Field):
            return value
        if isinstance(value, str):
            return cls(column=value)
        known = cls.__dataclass_fields__
        if unknown := [name for name in value if name not in known]:
            raise FixDeclaration(f"a mapped field has no setting {unknown[0]!r}; it has {', '.join(known)}")
        return cls(**dict(value))  # type: ignore[arg-type]

    @property
    def columns(self) -> tuple[str, ...]:
        """The audience columns that the value is made of."""
        if self.column is not None:
            return (self.column,)
        return tuple(re.findall(r"\{([^{}]+)\}", self.template or ""))

    def describe(self) -> str:
        """Return one line that names the origin and what is done to it."""
        origin = self.column or (f"constant {self.constant!r}" if self.constant is not None else repr(self.template))
        steps = [s for s in ("trim" * self.trim, self.case, self.date_format, self.hash) if s]
        return " → ".join([origin, *steps])

    def canonical(self, types: Mapping[str, str], date_format: str | None = None) -> str:
        """
        Return the SQL expression of the canonical text, given the columns' SQL *types*.

        *date_format* is how the destination writes dates where the mapping doesn't say.
        """
        if self.constant is not None:
            text = literal(self.constant)
        elif self.column is not None:
            text = self._column(self.column, types, date_format)
        else:
            parts = re.split(r"\{([^{}]+)\}", self.template or "")
            # Even parts are literal text, odd parts are columns; || is null where one of them is.
            pieces = [
                self._column(part, types, date_format) if number % 2 else literal(part)
                for number, part in enumerate(parts)
                if number % 2 or part
            ]
            text = " || ".join(pieces)
            text = f"({text or literal('')})"
        if self.trim:
            text = f"trim({text})"
        if self.case:
            text = f"{self.case}({text})"
        return f"sha256({text})" if self.hash else text

    def _column(self, name: str, types: Mapping[str, str], date_format: str | None) -> str:
        if name not in types:
            raise FixDeclaration(f"the mapping names column {name!r}; the audience has {', '.join(types)}")
        if types[name].upper() == "DATE" or types[name].upper().startswith("TIMESTAMP"):
            pattern = self.date_format or date_format
        else:
            pattern = self.date_format
        if pattern:
            moment = f"try_cast({identifier(name)} AS TIMESTAMP)"
            return f"strftime({moment}, {literal(strftime(pattern))})"
        return canonical(identifier(name), types[name])


def canonical(column: str, sql_type: str) -> str:
    """Return the SQL expression that turns *column* into text in the same way on every engine and release."""
    kind = sql_type.upper()
    text = f"CAST({column} AS VARCHAR)"
    if kind == "VARCHAR":
        return column
    if kind.startswith("DECIMAL"):
        return f"CASE WHEN contains({text}, '.') THEN rtrim(rtrim({text}, '0'), '.') ELSE {text} END"
    if kind in ("DOUBLE", "FLOAT", "REAL"):
        # Whole numbers lose their ".0"; the others keep the shortest text that reads back the same.
        whole = f"isfinite({column}) AND {column} = trunc({column}) AND abs({column}) < 1e15"
        return (
            f"CASE WHEN {whole} THEN CAST(CAST({column} AS BIGINT) AS VARCHAR) WHEN isfinite({column}) THEN {text} END"
        )
    if kind == "TIMESTAMP WITH TIME ZONE":
        return f"strftime({column} AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%S.%fZ')"
    if kind.startswith("TIMESTAMP"):
        return f"strftime({column}, '%Y-%m-%dT%H:%M:%S.%f')"
    if kind.endswith("]") or kind.startswith(("STRUCT", "MAP", "JSON")):
        return f"CAST(to_json({column}) AS VARCHAR)"
    if kind == "BLOB":
        return f"hex({column})"
    return text


def trimmed(text: str) -> str:
    """
    Return the SQL of *text* without spaces at its ends.

    A column of plain characters without a space is as it should be, and to see that
    takes a third of the time of trimming. An expression would be computed four times.
    """
    if "(" in text:
        return f"trim({text})"
    return f"CASE WHEN contains({text}, ' ') OR strlen({text}) <> length({text}) THEN trim({text}) ELSE {text} END"


def rendered(text: str, kind: Kind) -> str:
    """Return the SQL expression of the JSON value of kind *kind*, null where there is none, for a canonical *text*."""
    match kind:
        case Kind.TEXT:
            return f"CAST(to_json({text}) AS VARCHAR)"
        case Kind.INTEGER:
            # Through a decimal, so that "12.0" is an integer and "12.5" is not silently rounded.
            number = f"try_cast({text} AS DECIMAL(38, 9))"
            return f"CASE WHEN {number} = trunc({number}) THEN CAST(CAST({number} AS HUGEINT) AS VARCHAR) END"
        case Kind.NUMBER:
            return f"CASE WHEN try_cast({text} AS DOUBLE) IS NOT NULL THEN {text} END"
        case Kind.UNIX:
            moment = f"CAST(epoch(try_cast({text} AS TIMESTAMPTZ)) AS BIGINT)"
            return f"CAST(coalesce(try_cast({text} AS BIGINT), {moment}) AS VARCHAR)"
        case Kind.FLAG:
            return f"CAST(CAST(try_cast({text} AS BOOLEAN) AS INTEGER) AS VARCHAR)"
        case Kind.JSON:
            return f"CASE WHEN json_valid({text}) THEN {text} ELSE CAST(to_json({text}) AS VARCHAR) END"


STRING = r'"(\\.|[^"\\])*"'

COMMA = r",\s*[]}]"
"""A comma before a bracket, which the engine takes for JSON and nobody else does."""


def json_object(text: str) -> str:
    """Return the SQL of whether *text* is a JSON object for everybody, not for the engine alone."""
    begins = f"(starts_with({text}, '{{') OR regexp_matches({text}, '^\\s*[{{]'))"
    # Most texts show at a glance that nothing is odd about them, and of most others it is a string that looks so.
    words = " OR ".join(f"contains({text}, '{word}')" for word in ("NaN", "nan", "Inf", "inf"))
    bare = f"regexp_replace({text}, {literal(STRING)}, '', 'g')"
    strict = f"NOT regexp_matches({bare}, '(?i){COMMA}|nan|inf')"
    return (
        f"CASE WHEN json_valid({text}) AND {begins} THEN"
        f" CASE WHEN regexp_matches({text}, '{COMMA}') OR {words} THEN {strict} ELSE true END ELSE false END"
    )


TOKENS = {"yyyy": "%Y", "MM": "%m", "dd": "%d", "HH": "%H", "mm": "%M", "ss": "%S"}


def strftime(pattern: str) -> str:
    """Return the strftime form of a date *pattern* written with ``yyyy MM dd HH mm ss``."""
    found = re.sub("yyyy|MM|dd|HH|mm|ss", lambda match: TOKENS[match.group()], pattern.replace("%", "%%"))
    if "%" not in found.replace("%%", "") or re.search(r"(?<!%)[A-Za-z]{2,}", found.replace("%%", "")):
        raise FixDeclaration(f"date_format {pattern!r} is written with yyyy, MM, dd, HH, mm and ss")
    return found
