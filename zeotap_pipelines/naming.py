"""Names for files, columns and SQL text that no input can break out of."""

from __future__ import annotations

import hashlib
import re
from urllib.parse import quote

NAME = re.compile(r"[A-Za-z0-9_]{1,100}")
"""What audiences, syncs, connections and accounts may be called (Dagster's own rule for asset names)."""


def segment(text: str) -> str:
    """
    Return *text* as one percent-encoded path segment of a URL.

    Raises ValueError for "." and "..", which lead to another path however they are
    encoded: whoever takes identities from rows refuses them before.
    """
    if text in (".", ".."):
        raise ValueError("a path segment of dots leads elsewhere")
    return quote(text, safe="")


def filename(text: str) -> str:
    """
    Return a file name for *text*: readable, safe on every file system, and never the same for two texts.

    Letters may differ in case only, names may be long or consist of dots: a short
    digest keeps them apart.
    """
    if re.fullmatch(r"[a-z0-9_-]{1,80}", text):
        return text
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", text)[:60].strip("-")
    return f"{readable}~{hashlib.sha256(text.encode()).hexdigest()[:10]}"


def identifier(name: str) -> str:
    """Return *name* quoted as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return *text* quoted as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def said(text: str | None) -> bool:
    """Return whether *text* says anything: spaces and signs alone name nobody, and are no reason."""
    return text is not None and any(sign.isalnum() for sign in text)


def masked(key: str) -> str:
    """Return *key* with its middle hidden, as previews show it."""
    return "…" if len(key) <= 4 else f"{key[:2]}…{key[-1:]}"
