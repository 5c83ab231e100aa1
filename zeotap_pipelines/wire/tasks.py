"""
Tasks that a service goes on with after it answered, remembered per account until they are known to be over.

A run that was killed leaves its tasks running: the next one waits for them, or an
older upsert could overtake a newer one. A task whose name was never heard, because
the answer was lost, can't be asked for: it is given the time that it may take.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from ..clock import Clock
from ..errors import RepairState

LONGEST = 86_400.0
"""Seconds after which a task is taken for over, whatever the service says."""


@dataclass(frozen=True)
class OpenTask:
    """
    A task that may still change something: its name, and which plan asked for it when.

    *heard*: the service named it; *given* are the seconds within which it ends, by
    the settings of the target that asked for it.
    """

    name: str
    heard: bool
    plan: str
    at: datetime
    given: float

    def left(self, now: datetime) -> float:
        """Return the seconds until it is over by the clock; one that went back adds none."""
        return min(self.given, (self.at - now).total_seconds() + self.given)

    def forgotten(self, now: datetime) -> bool:
        """Whether it was asked for so long ago that it is over."""
        return now - self.at > timedelta(seconds=LONGEST)


@dataclass(frozen=True)
class OpenTasks:
    """The file of an account's open tasks. Only the holder of the account's lock may use it."""

    path: Path

    def begun(self, task: OpenTask, *, instead_of: str | None = None) -> None:
        """Remember *task* durably: before it is asked for, and by its name *instead_of* ours when there is one."""
        what = "started" if task.heard else "asking"
        over = [("ended", instead_of)] if instead_of else []
        self._append([(what, task.name, task.plan, task.at.isoformat(), task.given), *over])

    def ended(self, tasks: Iterable[str]) -> None:
        """Forget *tasks*; when none is left, the file goes."""
        self._append([("ended", task) for task in tasks])
        if self.path.exists() and not self.open():
            self.path.unlink()

    def open(self) -> list[OpenTask]:
        """Return the tasks that are not known to be over, in the order in which they were asked for."""
        if not self.path.exists():
            return []
        found: dict[str, OpenTask] = {}
        # A line that a crash cut off speaks of a task that was not asked for, or is known under our own name.
        try:
            for line in self.path.read_text(encoding="utf-8").split("\n")[:-1]:
                what, task, *when = json.loads(line)
                if what == "ended":
                    found.pop(task, None)
                else:
                    plan, at, given = when
                    found[task] = OpenTask(task, what == "started", plan, datetime.fromisoformat(at), float(given))
        except (ValueError, TypeError) as error:
            raise RepairState(
                f"{self.path} is damaged, and nobody knows which uploads still run: delete it when none does"
            ) from error
        return list(found.values())

    def _append(self, lines: list[tuple[str | float, ...]]) -> None:
        if not lines:
            return
        text = "".join(json.dumps(line) + "\n" for line in lines).encode()
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                whole = _whole(descriptor)
                os.ftruncate(descriptor, whole)
                if os.write(descriptor, text) != len(text):
                    os.ftruncate(descriptor, whole)
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fdatasync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise RepairState(f"{self.path} can't be written, nothing more is asked: {error.strerror}") from error


def _whole(descriptor: int) -> int:
    """Return the size of a file up to its last newline: what follows is a line that a crash cut off."""
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, size, 0).rfind(b"\n") + 1


class Begun:
    """The tasks of one conversation about *plan*. *given* is the seconds within which each of them ends."""

    def __init__(self, tasks: OpenTasks, plan: str, clock: Clock, given: float) -> None:
        self._tasks, self._plan, self._clock, self._given = tasks, plan, clock, given
        self._asking: str | None = None
        self._heard: list[str] = []

    def asking(self) -> None:
        """Remember, before a request leaves, that it may start a task; until it is named the name is ours."""
        self._asking = self._asking or f"unheard-{os.urandom(8).hex()}"
        self._tasks.begun(OpenTask(self._asking, False, self._plan, self._clock.now(), self._given))

    def refused(self) -> None:
        """Forget it: the request did certainly start nothing."""
        if self._asking:
            self._tasks.ended([self._asking])
        self._asking = None

    def named(self, task: str, *, alone: bool) -> None:
        """Remember *task* by its name; unless it is *alone*, an attempt before may have started another."""
        open_task = OpenTask(task, True, self._plan, self._clock.now(), self._given)
        self._tasks.begun(open_task, instead_of=self._asking if alone else None)
        self._asking = None
        self._heard.append(task)

    def over(self) -> None:
        """Forget the tasks that were named: they have ended."""
        if self._heard:
            self._tasks.ended(self._heard)
            self._heard.clear()
