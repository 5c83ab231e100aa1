"""State that must be there and is not: nothing is asked, and nobody is told that all is well."""

from __future__ import annotations

from ..diff.plan import load_file
from ..engines.duckdb import memory, rows
from ..errors import RepairState
from ..ledger.ledger import Ledger
from ..naming import literal
from ..sync import Sync


def refuse_lost(sync: Sync, ledger: Ledger) -> None:
    """
    Raise RepairState where the ledger of *sync* or its journal is lost, as far as what is left of the state shows it.

    Of events the outcomes remember as well: each of them would happen again.
    """
    ledger.check()
    if not sync.target.event or ledger.exists() or ledger.journal_file.exists():
        return
    state = ledger.state
    files = sorted(state.outcomes(sync.name, "").parent.glob("*/*.parquet"))
    if not files:
        return
    with memory() as connection:
        listed = ", ".join(literal(str(file)) for file in files)
        asked = rows(connection, f"SELECT DISTINCT plan FROM read_parquet([{listed}], union_by_name = true)")
    for (name,) in asked:
        path = state.find_plan(name)
        made = path and load_file(path.with_suffix(".json"))
        if made and made.address == str(sync.address):
            raise RepairState(
                f"the ledger {ledger.file} is missing, though {files[0].parent.parent} says that events were asked "
                f"for: put it back; if it is lost, list the events that happened (zeotap adopt {sync.name} "
                "--keys FILE.csv): what is not listed happens again"
            )
