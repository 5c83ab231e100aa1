"""Whether a sync may deliver now: somebody may have paused it, and its delivery window may be over."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime

from ..errors import FixSettings, RepairState
from ..hours import Hours
from ..naming import said
from ..state import State, write_text
from ..sync import Sync
from .notes import PAUSES, place


@dataclass(frozen=True)
class Pause:
    """Who paused a sync, why and since when."""

    by: str
    reason: str
    since: str


@dataclass(frozen=True)
class Closed:
    """Why nothing is sent, and until when; None: until somebody resumes it."""

    why: str
    until: datetime | None

    @property
    def goes_on(self) -> str:
        """When it goes on, for a person."""
        return f"{self.until:%Y-%m-%d %H:%M} UTC" if self.until else "when it is resumed"


def pause(sync: Sync, state: State, *, by: str, reason: str, now: datetime) -> str:
    """Pause *sync* until somebody resumes it, and say so. What it is sending at the moment is sent."""
    if not (said(by) and said(reason)):
        raise FixSettings("a pause carries who pauses and why")
    note = json.dumps(asdict(Pause(by, reason, now.isoformat())), ensure_ascii=False)
    write_text(place(state, PAUSES, sync), note + "\n")
    return f"{sync.name} is paused: nothing is sent until it is resumed"


def resume(sync: Sync, state: State) -> str:
    """Let *sync* deliver again, and say so."""
    if paused(sync, state) is None:
        return f"{sync.name} was not paused"
    place(state, PAUSES, sync).unlink(missing_ok=True)
    return f"{sync.name} may deliver again"


def paused(sync: Sync, state: State) -> Pause | None:
    """Return the pause of *sync*; None where it isn't paused."""
    path = place(state, PAUSES, sync)
    try:
        return Pause(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise RepairState(f"{path} is damaged: pause the sync again, or delete it") from error


def closed(sync: Sync, state: State, hours: Hours | None, now: datetime) -> Closed | None:
    """Return why *sync* may not deliver *now*; None where it may."""
    if found := paused(sync, state):
        return Closed(f"paused by {found.by} since {found.since[:16]}: {found.reason}", None)
    opens = hours.opens(now) if hours else None
    return Closed("outside its delivery window", opens) if opens else None
