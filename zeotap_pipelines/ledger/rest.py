"""An account at rest: nobody speaks to it, and what the journal said is folded, so that its ledger may be changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..destinations.base import Target
from ..model import Address
from ..state import State
from .ledger import Ledger
from .lock import speaking


@contextmanager
def at_rest(
    state: State,
    target: Target,
    address: Address,
    *,
    run: str,
    what: str,
    wait: float = 60.0,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Ledger]:
    """
    Hold the account of *address* for *what*, and give the folded ledger.

    Raises WaitForAccount, naming who speaks to the account, after *wait* seconds.
    """
    with speaking(state.account(address), run=run, sync=what, wait=wait, sleep=sleep):
        ledger = Ledger(state, target, address)
        fold_rest(ledger)
        yield ledger


def fold_rest(ledger: Ledger) -> None:
    """Fold what an interrupted run left in the journal. The account's lock must be held."""
    if ledger.journal_file.exists():
        with ledger.journal() as journal:
            ledger.fold(journal)
