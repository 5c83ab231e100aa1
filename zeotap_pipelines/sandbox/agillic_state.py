"""What one Agillic instance holds: recipients, target groups, rows of one-to-many tables, calls of the day."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from zeotap_pipelines.sandbox.agillic_bodies import Given, identity
from zeotap_pipelines.sandbox.agillic_settings import EMAIL, AgillicField, AgillicSettings, DateFormat
from zeotap_pipelines.sandbox.service import Holding
from zeotap_pipelines.sandbox.store import Store

STATE_TABLES = ("agillic_recipient", "agillic_group", "agillic_member", "agillic_row", "agillic_calls")
STATE_SCHEMA = """
CREATE TABLE IF NOT EXISTS agillic_recipient (instance TEXT, id TEXT, given TEXT NOT NULL, PRIMARY KEY (instance, id))
WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS agillic_group (
    instance TEXT, name TEXT, description TEXT NOT NULL, static INTEGER NOT NULL, PRIMARY KEY (instance, name));
CREATE TABLE IF NOT EXISTS agillic_member (
    instance TEXT, name TEXT, recipient TEXT, PRIMARY KEY (instance, name, recipient)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS agillic_row (
    instance TEXT, name TEXT, recipient TEXT, key TEXT, given TEXT NOT NULL,
    PRIMARY KEY (instance, name, recipient, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS agillic_calls (instance TEXT, day TEXT, number INTEGER NOT NULL, PRIMARY KEY (instance, day))
WITHOUT ROWID;
"""
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")


class Rejected(Exception):
    """One recipient's person data or rows that Agillic refuses; the text is what it says."""


class Instance:
    """The state of one instance. What it does belongs to the caller's transaction."""

    def __init__(self, store: Store, name: str, settings: AgillicSettings) -> None:
        self.name = name
        self._store = store
        self._settings = settings
        self._date_format = DateFormat(settings.date_format)

    def seed(self) -> None:
        """The groups that are there from the start."""
        for group in self._settings.groups:
            self.create_group(group.name, group.description, group.static)

    def recipients(self) -> dict[str, Given]:
        """The person data of every recipient, by id."""
        found = self._store.execute("SELECT id, given FROM agillic_recipient WHERE instance = ? ORDER BY id", self.name)
        return {str(one): json.loads(str(given)) for one, given in found}

    def recipient(self, recipient: str) -> Given | None:
        """The person data of one recipient, None where there is no such recipient."""
        found = self._store.column(
            "SELECT given FROM agillic_recipient WHERE instance = ? AND id = ?", self.name, recipient
        )
        return json.loads(found[0]) if found else None

    def write(self, recipient: str, given: Mapping[str, Any]) -> bool:
        """Update a recipient or create one (True); an included empty value erases a field."""
        self._judge(given, self._settings.fields)
        if not self._settings.accepts(recipient):
            raise Rejected("The recipient could not be saved")
        known = self.recipient(recipient)
        merged = _merged({self._settings.id_field: recipient, **(known or {})}, given)
        if EMAIL not in merged:
            raise Rejected(f"{EMAIL} is required")
        self.put(merged)
        return known is None

    def put(self, given: Mapping[str, Any]) -> None:
        """Let a recipient be there with exactly this person data."""
        recipient = identity(given, self._settings.id_field)
        self._store.execute(
            "INSERT OR REPLACE INTO agillic_recipient VALUES (?, ?, ?)", self.name, recipient, json.dumps(given)
        )

    def delete_recipient(self, recipient: str) -> None:
        """Delete a recipient, who leaves every group and loses every row."""
        self._store.execute("DELETE FROM agillic_recipient WHERE instance = ? AND id = ?", self.name, recipient)
        for table in ("agillic_member", "agillic_row"):
            self._store.execute(f"DELETE FROM {table} WHERE instance = ? AND recipient = ?", self.name, recipient)

    def missing(self, recipients: Sequence[str]) -> list[str]:
        """Those of `recipients` who don't exist, in order."""
        known = set(
            self._store.column(
                "SELECT id FROM agillic_recipient WHERE instance = ? AND id IN (SELECT value FROM json_each(?))",
                self.name,
                json.dumps(recipients),
            )
        )
        return [recipient for recipient in recipients if recipient not in known]

    def groups(self) -> list[tuple[str, str, bool]]:
        """Name, description and whether it is static, of every group."""
        found = self._store.execute(
            "SELECT name, description, static FROM agillic_group WHERE instance = ? ORDER BY rowid", self.name
        )
        return [(str(name), str(description), bool(static)) for name, description, static in found]

    def create_group(self, name: str, description: str, static: bool) -> None:
        """Create a target group."""
        self._store.execute("INSERT INTO agillic_group VALUES (?, ?, ?, ?)", self.name, name, description, static)

    def delete_group(self, name: str) -> None:
        """Delete a target group with its members."""
        for table in ("agillic_group", "agillic_member"):
            self._store.execute(f"DELETE FROM {table} WHERE instance = ? AND name = ?", self.name, name)

    def members(self, name: str) -> set[str]:
        """The recipient ids in a group."""
        return set(
            self._store.column("SELECT recipient FROM agillic_member WHERE instance = ? AND name = ?", self.name, name)
        )

    def add(self, name: str, recipients: Iterable[str]) -> None:
        """Put recipients into a group."""
        for one in recipients:
            self._store.execute("INSERT OR IGNORE INTO agillic_member VALUES (?, ?, ?)", self.name, name, one)

    def remove(self, name: str, recipients: Iterable[str]) -> None:
        """Take recipients out of a group."""
        for one in recipients:
            self._store.execute(
                "DELETE FROM agillic_member WHERE instance = ? AND name = ? AND recipient = ?", self.name, name, one
            )

    def rows(self, table: str, recipient: str | None = None) -> list[Given]:
        """The rows of a table in the order of their keys: one recipient's, or everyone's."""
        return [
            json.loads(given)
            for given in self._store.column(
                "SELECT given FROM agillic_row WHERE instance = ?1 AND name = ?2 AND (?3 IS NULL OR recipient = ?3)"
                " ORDER BY recipient, key",
                self.name,
                table,
                recipient,
            )
        ]

    def write_rows(self, table: str, recipient: str, records: Sequence[Mapping[str, Any]]) -> None:
        """Update or create the rows of one recipient: all of them, or none where one is refused."""
        shape = self._settings.table(table)
        if shape is None:
            raise Rejected("The table does not exist")
        if self.recipient(recipient) is None:
            raise Rejected("Recipient not found")
        for record in records:
            self._judge(record, shape.fields)
            if record.get(shape.key) in (None, ""):
                raise Rejected(f"{shape.key} is required")
        for record in records:
            at = (self.name, table, recipient, str(record[shape.key]))
            known = self._store.column(
                "SELECT given FROM agillic_row WHERE instance = ? AND name = ? AND recipient = ? AND key = ?", *at
            )
            merged = _merged(json.loads(known[0]) if known else {}, record)
            self._store.execute("INSERT OR REPLACE INTO agillic_row VALUES (?, ?, ?, ?, ?)", *at, json.dumps(merged))

    def holdings(self, suffix: str) -> list[Holding]:
        """Recipients, groups and tables, in short; `suffix` goes to their names."""
        held = [self._holding("recipients" + suffix, "id FROM agillic_recipient WHERE instance = ?")]
        for name, _, _ in self.groups():
            sql = "recipient FROM agillic_member WHERE instance = ? AND name = ?"
            held.append(self._holding(name + suffix, sql, name))
        for table in self._settings.tables:
            sql = "key FROM agillic_row WHERE instance = ? AND name = ?"
            held.append(self._holding(table.name + suffix, sql, table.name))
        return held

    def _holding(self, shown: str, sql: str, *values: str) -> Holding:
        number = self._store.count(f"SELECT count(*) FROM (SELECT {sql})", self.name, *values)
        return Holding(shown, number, tuple(self._store.column(f"SELECT {sql} LIMIT 8", self.name, *values)))

    def calls(self, now: float) -> int:
        """How many calls counted on the day of `now`, UTC."""
        found = self._store.column(
            "SELECT number FROM agillic_calls WHERE instance = ? AND day = ?", self.name, _day(now)
        )
        return int(found[0]) if found else 0

    def count_call(self, now: float) -> None:
        """Count one call."""
        self._store.execute(
            "INSERT INTO agillic_calls VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET number = number + 1",
            self.name,
            _day(now),
        )

    def _judge(self, given: Mapping[str, Any], fields: Sequence[AgillicField]) -> None:
        types = {field.name: field.type for field in fields}
        for name, value in given.items():
            if name not in types:
                raise Rejected(f"Unknown field {name}")
            if value in (None, ""):
                continue
            if types[name] == "NUMBER" and not _is_number(value):
                raise Rejected(f"{name} is not a number")
            if types[name] == "DATE" and not (isinstance(value, str) and self._date_format.fits(value)):
                raise Rejected(f"{name} is not a date of the form {self._settings.date_format}")


def _merged(known: Mapping[str, Any], given: Mapping[str, Any]) -> Given:
    return {name: value for name, value in {**known, **given}.items() if value not in (None, "")}


def _is_number(value: object) -> bool:
    if isinstance(value, str):
        return _NUMBER.fullmatch(value) is not None
    return not isinstance(value, bool)


def _day(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).date().isoformat()
