"""
What is left of a forgotten person's events: a keyed hash each, so that none happens twice.

The key lies in the state's root, readable by its owner only. A hash is a row of the
ledger whose state is ``forgotten`` and whose value is the hash; it names nobody, and
without the key it can't be made from a guess.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Iterable

import duckdb

from ..engines.duckdb import rows
from ..errors import RepairState
from ..state import State, write_text

FILE = "forget.key"

BLOCK = 64
"""Bytes of a block of SHA-256, to which HMAC fills up its key."""


def marks(state: State, keys: Iterable[str]) -> tuple[str, list[str]]:
    """Return the name of the key, which is made where it is missing, and the keyed hashes of *keys*."""
    path = state.root / FILE
    if not path.exists():
        write_text(path, os.urandom(32).hex() + "\n")
    secret = _secret(state)
    return _name(secret), [hmac.new(secret, key.encode(), "sha256").hexdigest() for key in keys]


def happened(connection: duckdb.DuckDBPyConnection, state: State) -> tuple[str, dict[str, str]]:
    """
    Return the SQL of whether the event ``key`` was a forgotten person's, and its parameters.

    Such an event has happened. Raises RepairState where the key of the hashes is lost.
    """
    names = {name for (name,) in rows(connection, "SELECT DISTINCT name FROM told WHERE state = 'forgotten'")}
    if not names:
        return "false", {}
    secret = _secret(state)
    if names != {_name(secret)}:
        raise _lost(state)
    padded = secret.ljust(BLOCK, b"\0")
    inner, outer = (bytes(byte ^ pad for byte in padded).hex() for pad in (0x36, 0x5C))
    mark = "sha256(from_hex($outer) || from_hex(sha256(from_hex($inner) || encode(key))))"
    return f"{mark} IN (SELECT value FROM told WHERE state = 'forgotten')", {"inner": inner, "outer": outer}


def _secret(state: State) -> bytes:
    path = state.root / FILE
    found = path.read_bytes().strip() if path.exists() else b""
    if not re.fullmatch(b"[0-9a-f]{64}", found):
        raise _lost(state)
    return bytes.fromhex(found.decode())


def _name(secret: bytes) -> str:
    """Return what the hashes are filed under: a key that was lost and made anew is another one."""
    return f"forgotten {hashlib.sha256(secret).hexdigest()[:8]}"


def _lost(state: State) -> RepairState:
    return RepairState(
        f"{state.root / FILE} is not the key that events were forgotten with: without it they would happen again; "
        "restore it"
    )
