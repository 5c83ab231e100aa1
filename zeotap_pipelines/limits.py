"""
What an account allows, kept by its one speaker and remembered for the next.

A known rate is paced, a little below the limit; an unknown one is found: free
until the first refusal, then as much as was taken in the time that this lasted (or in
the pause that was asked for, where that is longer), then creeping up, and down at each
refusal. A pause that the service asks for holds for everybody at once. The day's calls are counted
in blocks that are written down before they are used, so that a crash can waste
calls but never exceed the budget; near midnight they count for both days.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

from .clock import Clock
from .destinations.base import Limits
from .errors import ContinueLater, RepairState
from .state import write_text

CAREFUL = 0.98
"""The share of a known limit that is used: clocks differ, and a refusal costs more than two percent."""

BLOCK = 20
"""So many calls of the day's budget are reserved at once, and fewer of a small one: a crash wastes them."""

BLOCKS = 50
"""A budget is reserved in so many blocks at least."""

EDGE = timedelta(minutes=1)
"""A call so near to midnight counts for both days: clocks differ, and it may arrive a little later."""

DAYS = 7
"""So many days are remembered, for a clock that goes back."""

LONGEST_PAUSE = 86_400.0
"""A service that asks to wait for longer is asked again after so many seconds."""

STEP_DOWN = 0.95
"""What is left at most of a rate that was refused."""

PATIENCE = 60.0
"""A pause longer than this many seconds ends the run, which goes on later, rather than hold its slot."""


class Pacer:
    """Gives each request its turn. Only the holder of the account's lock may have one."""

    def __init__(self, limits: Limits, path: Path, clock: Clock) -> None:
        self._limits, self._path, self._clock = limits, path, clock
        rates = [limits.per_second, limits.per_minute and limits.per_minute / 60]
        known = [rate for rate in rates if rate]
        self._rate = min(known) * CAREFUL if known else None
        self._known = bool(known)
        self._next = self._since = clock.monotonic()
        self._asked = 0  # Calls since then.
        self._creep = 0.0
        self._days, self._paused_until = self._read()
        self._today: tuple[str, ...] = ()
        self._reserved = 0
        self.calls = 0

    async def turn(self) -> None:
        """Wait until a request may be sent. Raises ContinueLater when that isn't soon."""
        while wait := self._spend():
            await self._clock.sleep(wait)
        while True:
            while pause := self._pause():
                await self._clock.sleep(pause)
            since, wait = self._since, self._slot()
            if wait:
                await self._clock.sleep(wait)
            # A pause that began while waiting for the slot holds here too, and a slot of an old rate is none.
            if not (wait and self._pause()) and since == self._since:
                break
        self.calls += 1
        self._asked += 1

    def _pause(self) -> float:
        """Return the seconds until the service listens again; raises ContinueLater where they are too many."""
        if self._paused_until is None:
            return 0.0
        pause = (self._paused_until - self._clock.now()).total_seconds()
        if pause > LONGEST_PAUSE:  # Nobody may ask for so long: the clock was wrong when this was written down.
            self._paused_until = None
            return 0.0
        if pause > PATIENCE:
            self._unspend()
            until = f"{self._paused_until:%Y-%m-%d %H:%M:%S} UTC"
            raise ContinueLater(f"the service asks to wait until {until}", self._paused_until)
        if pause <= 0:
            self._paused_until = None
        return max(pause, 0.0)

    def _slot(self) -> float:
        """Take the next place in the row, and return the seconds until it comes."""
        if not self._rate:
            return 0.0
        now = self._clock.monotonic()
        mine = max(self._next, now)
        self._next = mine + 1 / self._rate
        if not self._known:
            self._rate *= 1 + min(self._creep * (mine - self._since), 0.03) / self._rate
        return mine - now

    def refused(self, wait: float) -> None:
        """Take note of a 429: everybody waits *wait* seconds, and an unknown limit is now known to be near."""
        heard = self._paused_until is not None and self._paused_until > self._clock.now()
        self.pause(wait)
        if self._known or heard:  # Whatever was under way is refused with the first.
            return
        lasted = max(self._clock.monotonic() - self._since, 0.01)
        if self._rate is None:
            # What was under way at the end was not taken.
            taken = max(self._asked - self._limits.concurrency, self._asked / 2)
            rate = STEP_DOWN * taken / max(lasted, wait)
            self._creep = 0.01  # By so much a second and second: this was a guess.
        else:
            # A rate that holds for half of the pause is about twice what is allowed.
            rate = self._rate * STEP_DOWN * min(max(0.5, lasted / wait if wait else 1.0), 1.0)
            # Where pauses are long, refusals must be rare.
            self._creep = 1 / (4000 * max(1.0, wait) ** 2)
        self._rate = max(0.2, rate)
        self._next = self._since = self._clock.monotonic() + wait
        self._asked = 0

    def pause(self, seconds: float) -> None:
        """Let everybody wait *seconds*, and the next run too when this one ends before they are over."""
        until = self._clock.now() + timedelta(seconds=seconds)
        if self._paused_until is None or until > self._paused_until:
            self._paused_until = until
            self._write()

    def close(self) -> None:
        """Remember what the next speaker must know."""
        self._give_back(self._reserved)
        self._reserved = 0
        self._write()

    def _spend(self) -> float:
        """Take a call of the day's budget and return 0, or the seconds until there is one, where they are few."""
        budget = self._limits.per_day
        if budget is None:
            return 0.0
        now = self._clock.now()
        today = _days_of(now)
        if today != self._today:
            self._give_back(self._reserved)
            self._today, self._reserved = today, 0
        if self._reserved == 0:
            # A clock that went back must not renew the budget: what later days used counts too.
            later = sum(calls for day, calls in self._days.items() if today[-1] < day <= self._horizon())
            used = max(self._days.get(day, 0) for day in today) + later
            self._reserved = max(0, min(BLOCK, max(1, budget // BLOCKS), budget - used))
            if self._reserved == 0:
                midnight = (now - EDGE).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
                renewed = midnight + EDGE
                if (wait := (renewed - now).total_seconds()) <= PATIENCE:
                    return wait
                raise ContinueLater(
                    f"the day's budget of {budget:,} calls is used up; it is renewed at midnight UTC", renewed
                )
            for day in today:
                self._days[day] = self._days.get(day, 0) + self._reserved
            self._write()
        self._reserved -= 1
        return 0.0

    def _horizon(self) -> str:
        """Return the last day that counts: what a clock far ahead wrote down must not hold for the year until then."""
        return (self._clock.now() + timedelta(days=DAYS)).date().isoformat()

    def _unspend(self) -> None:
        if self._limits.per_day is not None:
            self._reserved += 1

    def _give_back(self, calls: int) -> None:
        """Take *calls* that were written down as used, and weren't, off the day's count."""
        if calls:
            for day in self._today:
                self._days[day] -= calls

    def _read(self) -> tuple[dict[str, int], datetime | None]:
        if not self._path.exists():
            return {}, None
        try:
            kept = json.loads(self._path.read_text())
            days = {str(day): int(calls) for day, calls in kept["days"].items()}
            return days, datetime.fromisoformat(kept["paused_until"]) if kept["paused_until"] else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            # To start at nothing would renew the day's budget.
            raise RepairState(
                f"{self._path} is damaged and nobody knows what is left of today's calls: delete it to start anew"
            ) from error

    def _write(self) -> None:
        kept = {
            "days": dict([day for day in sorted(self._days.items()) if day[0] <= self._horizon()][-2 * DAYS :]),
            "paused_until": self._paused_until.isoformat() if self._paused_until else None,
        }
        write_text(self._path, json.dumps(kept))


def _days_of(now: datetime) -> tuple[str, ...]:
    """Return the day of *now*, or the two that it may belong to, in order."""
    return tuple(sorted({moment.date().isoformat() for moment in (now - EDGE, now + EDGE)}))


def per_minute(limits: Limits) -> float | None:
    """Return how many requests a minute the limits allow, or None where they are unknown."""
    rates = [limits.per_second and limits.per_second * 60, limits.per_minute]
    return min((rate for rate in rates if rate), default=None)
