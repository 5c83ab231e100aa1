"""What a run is asking at the moment: it is left out of what is in doubt until it can only have died."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from zeotap_pipelines.engines.duckdb import memory, rows
from zeotap_pipelines.ledger import asking
from zeotap_pipelines.ledger.journal import Journal
from zeotap_pipelines.ledger.lock import speaking


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path / "journal.jsonl") as journal:
        yield journal


def left(tmp_path: Path, journal: Journal, read: str, *, speaks: str | None = None) -> list[str]:
    """Which of the runs a and z, each of which asked for something, may still be asking."""
    with memory(tmp_path / "spill") as connection, ExitStack() as stack:
        asking.prepare(connection)
        rows(connection, "INSERT INTO temp.asked VALUES ('k', 'a'), ('l', 'z')")
        if speaks:
            stack.enter_context(speaking(tmp_path / "account", run=speaks, sync="s"))
        asking.leave_the_dead(connection, tmp_path / "account", journal.path, read)
        return [run for (run,) in rows(connection, "SELECT run FROM temp.asked ORDER BY run")]


@pytest.mark.parametrize("speaks", ["a", "z"])
def test_who_speaks_is_asking_and_who_does_not_is_dead(tmp_path: Path, journal: Journal, speaks: str) -> None:
    assert left(tmp_path, journal, journal.id, speaks=speaks) == [speaks]
    assert left(tmp_path, journal, journal.id) == []


@pytest.mark.parametrize("read", ["0", "zzz"])
def test_who_has_begun_his_journal_anew_came_to_his_end(tmp_path: Path, journal: Journal, read: str) -> None:
    assert left(tmp_path, journal, read) == ["a", "z"], "what was read was answered since"
