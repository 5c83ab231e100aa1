"""Where what is noted of a sync lies: by its target, so that a sync which is renamed keeps it."""

from __future__ import annotations

from pathlib import Path

from ..model import Address, Mode
from ..naming import filename
from ..state import State, folder, unwritable
from ..sync import Sync

OWED, PAUSES = "owed", "pauses"
"""The kinds of notes, each a folder of the state: what is owed, and who paused it."""


def place(state: State, kind: str, sync: Sync) -> Path:
    """
    Return the file of the note of that *kind* on *sync*.

    Two syncs may share a target, of which one removes. What earlier versions noted
    under the sync's name is moved here, so that it outlives the name.
    """
    path = _path(state, kind, sync.address, removes=sync.mode is Mode.REMOVE)
    by_name = state.root / kind / f"{filename(sync.name)}.json"
    if by_name.exists() and not path.exists():
        folder(path.parent)
        try:
            by_name.replace(path)
        except FileNotFoundError:  # Somebody else has just moved it.
            pass
        except OSError as error:
            raise unwritable(path, error) from error
    return path


def forget(state: State, address: Address) -> None:
    """Delete every note on what speaks to *address*."""
    for kind in (OWED, PAUSES):
        for removes in (False, True):
            _path(state, kind, address, removes=removes).unlink(missing_ok=True)


def _path(state: State, kind: str, address: Address, *, removes: bool) -> Path:
    above = (filename(part) for part in (address.service, address.account, address.kind))
    name = f"{filename(address.name)}{'.remove' if removes else ''}.json"
    return state.root.joinpath(kind, *above, name)
