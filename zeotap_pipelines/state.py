"""
Where everything lies: one root folder, private to its owner.

    snapshots/<audience>/<partition>.parquet
    diffs/<sync>/<partition>/<plan>.parquet and <plan>.json
    outcomes/<sync>/<partition>/<run>.<fold>.parquet
    owed/<service>/<account>/<kind>/<name>.json, pauses/… the same
    ledger/<service>/<account>/account.lock, limits.json
    ledger/<service>/<account>/<kind>/<name>/ledger.duckdb, journal.jsonl
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from .errors import RepairState
from .model import Address
from .naming import filename

FULL = frozenset({errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EROFS})
"""What a disk says that takes no more."""


def _unwatched(step: str) -> None:
    pass


@dataclass(frozen=True)
class State:
    """
    The state's root folder.

    *witness* is told of every step right after it was written: whoever wants to
    know what a crash there leaves dies in it.
    """

    root: Path
    witness: Callable[[str], None] = field(default=_unwatched, repr=False, compare=False)

    def snapshot(self, audience: str, partition: str) -> Path:
        """The frozen rows of an audience at one partition."""
        return self.root / "snapshots" / filename(audience) / f"{filename(partition)}.parquet"

    def plans(self, sync: str, partition: str) -> Path:
        """The folder of the plans that a sync made at one partition."""
        return self.root / "diffs" / filename(sync) / filename(partition)

    def outcomes(self, sync: str, partition: str) -> Path:
        """The folder of what became of every operation of a sync at one partition."""
        return self.root / "outcomes" / filename(sync) / filename(partition)

    def account(self, address: Address) -> Path:
        """The folder of an account: its lock, its limits, its targets."""
        return self.root / "ledger" / filename(address.service) / filename(address.account)

    def target(self, address: Address) -> Path:
        """The folder of a target's ledger and journal."""
        return self.account(address) / filename(address.kind) / filename(address.name)

    def find_plan(self, plan: str) -> Path | None:
        """The file of the plan with that id, wherever it was made; None if it is gone."""
        return next((self.root / "diffs").glob(f"*/*/{filename(plan)}.parquet"), None)


def folder(path: Path) -> Path:
    """Make *path* and what leads to it, readable by the owner only, and return it."""
    try:
        for missing in reversed([each for each in (path, *path.parents) if not each.exists()]):
            missing.mkdir(exist_ok=True, mode=0o700)  # With parents=True only the last one would get the mode.
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise RepairState(f"the state folder {path} can't be made: {error.strerror}") from error
    return path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """
    Give a temporary path beside *path*; what was written there takes its place, whole and durable, or not at all.

    A file that is there is complete: a crash in between leaves the old file, or none.
    Raises RepairState where the disk takes no more.
    """
    draft = folder(path.parent) / f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.tmp"
    if not os.access(draft.parent, os.W_OK):
        raise unwritable(path, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))
    try:
        yield draft
        try:
            draft.chmod(0o600)
            _sync(draft)
            draft.replace(path)
            _sync(path.parent)
        except OSError as error:
            raise unwritable(path, error) from error
    except OSError as error:
        if error.errno in FULL:
            raise unwritable(path, error) from error
        raise
    finally:
        draft.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Replace the file at *path* by *text*, whole or not at all."""
    with replacing(path) as draft:
        try:
            draft.write_text(text, encoding="utf-8")
        except OSError as error:
            raise unwritable(path, error) from error


def content_digest(path: Path) -> str:
    """Return the digest that names a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


def unwritable(path: Path, error: OSError) -> RepairState:
    """Return what to raise where *path* can't be written."""
    return RepairState(f"{path} can't be written: {error.strerror}")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
