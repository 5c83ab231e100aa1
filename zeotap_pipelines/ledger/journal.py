"""
The ledger's append-only tail: one line per thing asked or answered, durable before more is asked.

    {"n": 0, "kind": "journal", "id": …, "follows": …}            the first line; which journal was folded before
    {"n": 1, "kind": "begin", "plan": …, "partition": …, …}       a run begins to ask for a plan, or for a "part" of it
    {"n": 2, "kind": "asked", "plan": …, "rows": [[0, 49]], …}    about to be asked
    {"n": 3, "kind": "answered", "plan": …, "rows": [[0, 0]], "fate": …, "except": […]}
    {"n": 4, "kind": "task", "plan": …, "rows": [[1, 9]], "task": …}
    {"n": 5, "kind": "in_step", "partition": …, …}                nothing was owed
    {"n": 6, "kind": "replaced", "plan": …, "identity": …}        all that a new identity mapping adds is in
    {"n": 7, "kind": "filled", "plan": …, "partition": …}         a target that is filled once was

Rows are numbers of a plan's rows, as ranges: no person's data is in here. A line
without its newline is one that a crash cut off, and never was.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from ..errors import RepairState
from ..model import Batch, Outcome, Receipt
from ..state import folder, write_text

COLUMNS = {
    "n": "BIGINT",
    "kind": "VARCHAR",
    "id": "VARCHAR",
    "plan": "VARCHAR",
    "rows": "BIGINT[][]",
    "fate": "VARCHAR",
    "reason": "VARCHAR",
    "status": "SMALLINT",
    "untouched": "BOOLEAN",
    "final": "BOOLEAN",
    "request": "VARCHAR",
    "unsure": "BOOLEAN",
    "except": """STRUCT(
        "row" BIGINT, fate VARCHAR, reason VARCHAR, status SMALLINT, untouched BOOLEAN, final BOOLEAN, request VARCHAR
    )[]""",
    "moment": "VARCHAR",
    "run": "VARCHAR",
    "sync": "VARCHAR",
    "partition": "VARCHAR",
    "end": "VARCHAR",
    "identity": "VARCHAR",
    "task": "VARCHAR",
    "part": "BOOLEAN",
}
"""The fields of a line, as DuckDB reads them."""


class Journal:
    """
    An open journal. Only the holder of the account's lock may have one.

    Appending makes lines survive this process; `flush` makes them survive the machine.
    """

    def __init__(self, path: Path, witness: Callable[[str], None] = lambda step: None) -> None:
        self._witness = witness
        folder(path.parent)
        if not path.exists():
            _start(path)
        self.path = path
        try:
            self.id, self._next = _recover(path)
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND)
        except OSError as error:
            raise self._unwritable(error) from error

    @property
    def lines(self) -> int:
        """How many lines it has, the first one too."""
        return self._next

    @property
    def empty(self) -> bool:
        """Whether nothing was written since the journal was started."""
        return self._next == 1

    def append(self, kind: str, **values: Any) -> None:
        """Write one line."""
        line = json.dumps({"n": self._next, "kind": kind, **values}, ensure_ascii=False, separators=(",", ":"))
        data = line.encode() + b"\n"
        try:
            written = os.write(self._file, data)
            if written != len(data):
                # A full disk may take a part: cut it off, so that the next line starts on a line of its own.
                os.ftruncate(self._file, os.fstat(self._file).st_size - written)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise self._unwritable(error) from error
        self._next += 1
        self._witness(kind)

    def flush(self) -> None:
        """Make every line durable."""
        self.sync()
        self.synced()

    def sync(self) -> None:
        """Make every line durable that is there; any thread may, and lines may be appended meanwhile."""
        try:
            os.fdatasync(self._file)
        except OSError as error:
            raise self._unwritable(error) from error

    def synced(self) -> None:
        """Tell the witness."""
        self._witness("flushed")

    def _unwritable(self, error: OSError) -> RepairState:
        return RepairState(f"the journal {self.path} can't be written, nothing more is asked: {error.strerror}")

    def asked(self, plan: str, rows: Iterable[int], moment: str) -> None:
        """Write that *rows* of *plan* are about to be asked: nobody may ask before it was made durable."""
        self.append("asked", plan=plan, rows=spans(rows), moment=moment)

    def answered(self, plan: str, batch: Batch, receipt: Receipt, moment: str, *, unsure: bool = False) -> None:
        """Write what became of every operation of *batch*; *unsure*: an earlier attempt may have been applied."""
        exceptions = [{"row": row, **_outcome(outcome)} for row, outcome in receipt.except_for.items()]
        values = {"rows": spans(batch.rows), **_outcome(receipt.everyone), "moment": moment}
        if unsure:
            values["unsure"] = True
        self.append("answered", plan=plan, **values, **({"except": exceptions} if exceptions else {}))

    def restart(self) -> None:
        """Begin anew, after everything was folded."""
        _start(self.path, follows=self.id)
        # A signal may end the run between any two of these lines: there is a file to close after each.
        folded, self._file = self._file, os.open(self.path, os.O_WRONLY | os.O_APPEND)
        os.close(folded)
        self.id, self._next = _recover(self.path)
        self._witness("restarted")

    def close(self) -> None:
        """Close the file; what was appended stays."""
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def spans(rows: Iterable[int]) -> list[list[int]]:
    """Return ascending *rows* as a list of [first, last] ranges."""
    rows = list(rows)
    if rows and rows[-1] - rows[0] == len(rows) - 1:
        return [[rows[0], rows[-1]]]
    found: list[list[int]] = []
    for row in rows:
        if found and row == found[-1][1] + 1:
            found[-1][1] = row
        else:
            found.append([row, row])
    return found


class Header(NamedTuple):
    """A journal's first line: its *id*, and the id of the one that was folded before it, if any was."""

    id: str
    follows: str | None


def header(line: bytes, path: Path) -> Header:
    """Return what *line*, the first one of the journal at *path*, says; raise RepairState where it is none."""
    try:
        said: Mapping[str, Any] = json.loads(line)
        if said["kind"] == "journal":
            return Header(str(said["id"]), said.get("follows"))
    except (ValueError, KeyError, TypeError):
        pass
    raise RepairState(f"{path} is not a journal: its first line names none")


def read_header(path: Path) -> Header | None:
    """Return the header of the journal at *path*, or None where there is none."""
    if not path.exists():
        return None
    with path.open("rb") as file:
        return header(file.readline(), path)


def read_id(path: Path) -> str | None:
    """Return the id of the journal at *path*, or None where there is none."""
    found = read_header(path)
    return found and found.id


def follows(path: Path) -> bool:
    """Return whether there is a journal at *path*, and one before it was folded: then there must be a ledger."""
    found = read_header(path)
    return found is not None and found.follows is not None


def plans_asked_for(path: Path) -> list[str]:
    """Return the plans that something was asked for, by the journal at *path*; none where there is no journal."""
    if not path.exists():
        return []
    with path.open("rb") as file:
        header(file.readline(), path)
        try:
            lines = [json.loads(line) for line in file if line.endswith(b"\n")]
            return list(dict.fromkeys(str(line["plan"]) for line in lines if line["kind"] == "asked"))
        except (ValueError, KeyError, TypeError) as error:
            raise RepairState(f"the journal {path} is damaged") from error


def _start(path: Path, follows: str | None = None) -> None:
    line = {"n": 0, "kind": "journal", "id": os.urandom(16).hex()} | ({"follows": follows} if follows else {})
    write_text(path, json.dumps(line) + "\n")


def _recover(path: Path) -> tuple[str, int]:
    """Cut off a line that a crash left unfinished; return the journal's id and the next line's number."""
    with path.open("r+b") as file:
        journal = header(file.readline(), path).id
        size = file.seek(0, os.SEEK_END)
        end, tail = size, b""
        while end > 0 and b"\n" not in tail:
            start = max(0, end - 65536)
            file.seek(start)
            tail = file.read(end - start) + tail
            end = start
        whole = tail.rfind(b"\n") + 1
        if whole != len(tail):
            file.truncate(size - (len(tail) - whole))
            os.fsync(file.fileno())
        last = tail[:whole].rstrip(b"\n").rsplit(b"\n", 1)[-1]
        # The last line may be longer than the tail that was read: then read the file from its start.
        if b"\n" not in tail[:whole].rstrip(b"\n") and end > 0:
            file.seek(0)
            last = file.read().rstrip(b"\n").rsplit(b"\n", 1)[-1]
    try:
        return journal, int(json.loads(last)["n"]) + 1
    except (ValueError, KeyError, TypeError) as error:
        raise RepairState(f"the journal {path} is damaged in its last line") from error


def _outcome(outcome: Outcome) -> dict[str, Any]:
    values: dict[str, Any] = {"fate": outcome.fate.value}
    optional: Sequence[tuple[str, Any]] = (
        ("reason", outcome.reason),
        ("status", outcome.status),
        ("untouched", outcome.untouched),
        ("final", outcome.final),
        ("request", outcome.request),
    )
    return values | {name: value for name, value in optional if value}
