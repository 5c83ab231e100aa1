"""Agillic's asynchronous tasks: what was accepted is applied when its task completes, and not before."""

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zeotap_pipelines.sandbox.agillic_settings import AgillicSettings, Ending
from zeotap_pipelines.sandbox.agillic_state import Instance, Rejected
from zeotap_pipelines.sandbox.store import Store

TASK_TABLES = ("agillic_task", "agillic_awaited")
# A recipient is awaited from being upserted until the newest upsert has succeeded.
TASK_SCHEMA = """
CREATE TABLE IF NOT EXISTS agillic_task (
    number INTEGER PRIMARY KEY, id TEXT UNIQUE NOT NULL, instance TEXT NOT NULL, one_to_many TEXT, given TEXT NOT NULL,
    polled INTEGER NOT NULL, accepted_at REAL NOT NULL, held_until REAL NOT NULL, ending TEXT NOT NULL, failed TEXT);
CREATE INDEX IF NOT EXISTS agillic_open ON agillic_task (number) WHERE failed IS NULL AND ending <> 'lost';
CREATE TABLE IF NOT EXISTS agillic_awaited (
    instance TEXT, recipient TEXT, task INTEGER NOT NULL, PRIMARY KEY (instance, recipient)) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class AgillicTask:
    """One task: its id, the one-to-many table it writes to (None: recipients), its status, and who failed why."""

    id: str
    table: str | None
    status: str
    failed: tuple[tuple[str, str], ...]


class Tasks:
    """The tasks of all instances. What they do belongs to the caller's transaction."""

    def __init__(
        self, store: Store, instances: Mapping[str, Instance], settings: AgillicSettings, clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._instances = instances
        self._settings = settings
        self._clock = clock

    def accept(
        self, instance: str, table: str | None, given: Mapping[str, Any], *, ending: Ending | None, held: float
    ) -> AgillicTask:
        """Queue what is given per recipient; `ending` overrides the settings', nothing moves for `held` seconds."""
        now = self._clock()
        number = self._store.count("SELECT coalesce(max(number), 0) + 1 FROM agillic_task")
        self._store.execute(
            "INSERT INTO agillic_task VALUES (?, ?, ?, ?, ?, 0, ?, ?, ?, NULL)",
            number,
            identity := secrets.token_hex(8),
            instance,
            table,
            json.dumps(given),
            now,
            now + held,
            ending or self._settings.task_ending(number),
        )
        if table is None:
            self._store.execute(
                "INSERT OR REPLACE INTO agillic_awaited SELECT ?, value, ? FROM json_each(?)",
                instance,
                number,
                json.dumps(list(given)),
            )
        return AgillicTask(identity, table, self._settings.task_words[0], ())

    def poll(self, instance: str, identity: str) -> AgillicTask | None:
        """One task after another poll, None where nobody knows it."""
        self._store.execute(
            "UPDATE agillic_task SET polled = polled + 1 WHERE instance = ? AND id = ? AND held_until <= ?",
            instance,
            identity,
            self._clock(),
        )
        self.settle()
        return next((task for task in self._read(instance, identity) if task.status != "lost"), None)

    def all(self, instance: str) -> list[AgillicTask]:
        """The tasks of one instance, oldest first; a lost one has the status `lost`."""
        return self._read(instance, None)

    def settle(self) -> None:
        """Apply every task that is done by now."""
        now = self._clock()
        polls, seconds = self._settings.task_polls, self._settings.task_seconds
        done = self._store.execute(
            "SELECT number, instance, one_to_many, given, ending FROM agillic_task"
            " WHERE failed IS NULL AND ending <> 'lost' AND held_until <= ?1"
            " AND ((?2 IS NOT NULL AND polled > ?2) OR (?3 IS NOT NULL AND accepted_at + ?3 <= ?1)) ORDER BY number",
            now,
            polls,
            seconds,
        )
        for number, instance, table, given, ending in done:
            failed = (
                self._apply(self._instances[str(instance)], table, json.loads(str(given)))
                if ending == "completed"
                else []
            )
            self._store.execute(
                "UPDATE agillic_task SET given = '{}', failed = ? WHERE number = ?", json.dumps(failed), number
            )
            if ending == "completed":
                self._store.execute(
                    "DELETE FROM agillic_awaited WHERE task = ? AND recipient NOT IN (SELECT value FROM json_each(?))",
                    number,
                    json.dumps([recipient for recipient, _ in failed]),
                )

    def lose(self, instance: str, identity: str) -> None:
        """Make an unfinished task one that nobody knows; nothing of it is applied."""
        self._store.execute(
            "UPDATE agillic_task SET ending = 'lost' WHERE instance = ? AND id = ? AND failed IS NULL",
            instance,
            identity,
        )

    def awaited(self, instance: str, recipients: Sequence[str]) -> int:
        """How many of `recipients` were upserted by a task that is not completed, or that failed for them."""
        return self._store.count(
            "SELECT count(*) FROM agillic_awaited WHERE instance = ? AND recipient IN (SELECT value FROM json_each(?))",
            instance,
            json.dumps(recipients),
        )

    def _apply(self, instance: Instance, table: object, given: Mapping[str, Any]) -> list[tuple[str, str]]:
        failed = []
        for recipient, one in given.items():
            try:
                if table is None:
                    instance.write(recipient, one)
                else:
                    instance.write_rows(str(table), recipient, one)
            except Rejected as refused:
                failed.append((recipient, str(refused)))
        return failed

    def _read(self, instance: str, identity: str | None) -> list[AgillicTask]:
        words = self._settings.task_words
        found = self._store.execute(
            "SELECT id, one_to_many, polled, ending, failed FROM agillic_task"
            " WHERE instance = ?1 AND (?2 IS NULL OR id = ?2) ORDER BY number",
            instance,
            identity,
        )
        return [
            AgillicTask(
                str(one),
                None if table is None else str(table),
                str(ending) if failed is not None or ending == "lost" else words[min(int(str(polled)), len(words) - 1)],
                tuple((recipient, error) for recipient, error in json.loads(str(failed or "[]"))),
            )
            for one, table, polled, ending, failed in found
        ]
