"""One speaker per account: a lock that the operating system lets go when its holder dies."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import WaitForAccount
from ..state import folder, unwritable


@contextmanager
def speaking(
    account: Path,
    *,
    run: str,
    sync: str,
    wait: float = 600.0,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[None]:
    """
    Hold the lock of the account whose folder is *account*, waiting up to *wait* seconds for it.

    Raises WaitForAccount, naming the holder's run and sync. No stale lock is ever
    left behind: the lock is the kernel's, the file's content only says who holds it.
    """
    path = folder(account) / "account.lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        deadline = monotonic() + wait
        while not _try(descriptor):
            if monotonic() >= deadline:
                raise WaitForAccount(f"{_holder(path)} speaks to this account; waited {wait:g} s for it to end")
            sleep(0.1)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps({"run": run, "sync": sync, "pid": os.getpid()}).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def may_speak(account: Path, run: str) -> bool:
    """Return whether *run* holds the lock of the account whose folder is *account*, as far as anybody can tell."""
    path = account / "account.lock"
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        # Shared, and for an instant: whoever looks keeps nobody from looking.
        return not _try(descriptor, fcntl.LOCK_SH) and _said(path).get("run", run) == run
    finally:
        os.close(descriptor)


def _try(descriptor: int, how: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(path: Path) -> str:
    holder = _said(path)
    if not {"run", "sync", "pid"} <= holder.keys():
        return "another run"
    return f"sync {holder['sync']} (run {holder['run']}, process {holder['pid']})"


def _said(path: Path) -> Mapping[str, Any]:
    """Return what the holder wrote; nothing where he is about to."""
    try:
        said = json.loads(path.read_text())
    except (ValueError, OSError):
        return {}
    return said if isinstance(said, dict) else {}
