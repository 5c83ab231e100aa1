"""
What a run is asking at the moment: events without an answer in its journal, which are in doubt only if it dies.

They are kept in ``temp.asked`` of a connection in which a ledger and its journal are
read together. There they count as in doubt like any other, so that nobody asks for
them a second time; a person is not to be shown them, and decides nothing of them.
"""

from __future__ import annotations

from pathlib import Path

import duckdb

from ..destinations.base import Target
from ..engines.duckdb import rows
from ..naming import literal
from ..rendering import key
from .journal import read_id
from .lock import may_speak
from .words import NO_ANSWER, Begun


def prepare(connection: duckdb.DuckDBPyConnection) -> None:
    """Make ``asked``, of which nobody has said anything."""
    rows(connection, "CREATE TEMP TABLE asked (key VARCHAR, run VARCHAR)")


def note(connection: duckdb.DuckDBPyConnection, begun: Begun) -> None:
    """Add what has no answer among the ``words`` of a slice."""
    query = f"INSERT INTO temp.asked SELECT key, {literal(begun.run)} FROM words WHERE reason = {literal(NO_ANSWER)}"
    rows(connection, query)


def leave_the_dead(connection: duckdb.DuckDBPyConnection, account: Path, journal: Path, read: str) -> None:
    """
    Take out what runs asked that are over: *read* is the id of the *journal* that was read.

    One that came to its end meanwhile has started the journal anew, and answered what it asked.
    """
    for (run,) in rows(connection, "SELECT DISTINCT run FROM temp.asked"):
        if not may_speak(account, run) and read_id(journal) == read:
            rows(connection, "DELETE FROM temp.asked WHERE run = ?", [run])


def in_doubt(target: Target) -> str:
    """Return the SQL of which rows of ``told`` wait for a person, in a connection that reads a ledger."""
    told_key = key(target, target.identity, "name", "value")
    return f"(state = 'doubt' AND {told_key} NOT IN (SELECT key FROM temp.asked))"
