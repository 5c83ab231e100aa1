"""
Tasks that a service goes on with after it answered, remembered per account until they are seen to end.

A run that was killed leaves its tasks running: the next one waits for them, or an
older upsert could overtake a newer one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class OpenTasks:
    """The file of an account's open tasks. Only the holder of the account's lock may use it."""

    path: Path

    def started(self, task: str) -> None:
        """Remember *task*, durably."""
        self._append([("started", task)])

    def ended(self, tasks: Iterable[str]) -> None:
        """Forget *tasks*; when none is left, the file goes."""
        self._append([("ended", task) for task in tasks])
        if self.path.exists() and not self.open():
            self.path.unlink()

    def open(self) -> list[str]:
        """Return the tasks that were not seen to end, in the order in which they were started."""
        if not self.path.exists():
            return []
        found: dict[str, None] = {}
        # A line that a crash cut off names a task that nobody was told of yet.
        for line in self.path.read_text(encoding="utf-8").split("\n")[:-1]:
            what, task = json.loads(line)
            if what == "started":
                found[task] = None
            else:
                found.pop(task, None)
        return list(found)

    def _append(self, lines: list[tuple[str, str]]) -> None:
        if not lines:
            return
        text = "".join(json.dumps(line) + "\n" for line in lines)
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, text.encode())
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
