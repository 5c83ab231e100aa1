"""
What an account allows, kept by its one speaker and remembered for the next.

A known rate is paced, a little below the limit; an unknown one is found: free
until the first refusal, then as much as was taken in the time that this lasted (or in
the pause that was asked for, where that is longer), then creeping up, and down at each
refusal. Whoever is late catches up, as far as no second holds more than its share: a
second of the service, which may have seen a request later than it was sent. A pause that
the service asks for holds for everybody at once. The day's calls are counted in blocks
that are written down before they are used, so that a crash can waste calls but never
exceed the budget; near midnight they count for both days.
"""

from __future__ import annotations

import json
import math
from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from ..clock import Clock
from ..destinations.base import Limits
from ..errors import ContinueLater, RepairState
from ..state import write_text

CAREFUL = 0.985
"""The share of a known limit that is used: clocks differ, and a refusal costs more than that."""

SECOND = 1.005
"""What is taken for the second that a service counts in."""

FEW = 50
"""The fastest of so many answers tells how long an answer takes that nothing has delayed."""

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

STEP_DOWN = 0.97
"""What is left at most of a rate that was refused."""

CREEP = 0.0001
"""So much of a rate is added for each request and each second since the last refusal: twice as late, twice as fast."""

PATIENCE = 60.0
"""A pause longer than this many seconds ends the run, which goes on later, rather than hold its slot."""


@dataclass
class Turn:
    """A request's turn: when the service has counted it at the latest, as far as is known, and how many were before."""

    at: float
    before: int = 0


class Pacer:
    """Gives each request its turn. Only the holder of the account's lock may have one."""

    def __init__(self, limits: Limits, path: Path, clock: Clock) -> None:
        self._limits, self._path, self._clock = limits, path, clock
        rates = [limits.per_second, limits.per_minute and limits.per_minute / 60]
        self._known = min((rate for rate in rates if rate), default=None)
        self._rate = self._known and self._known * CAREFUL
        self._turns: deque[Turn] = deque()  # As many as a second may hold.
        self._fastest, self._answers = [math.inf, math.inf], 0  # Of these few answers, and of the few before.
        self._next = self._since = clock.monotonic()
        self._asked = 0  # Calls since then.
        self._creep = 0.0
        self._days, self._paused_until = self._read()
        self._today: tuple[str, ...] = ()
        self._reserved = 0
        self.calls = 0

    async def turn(self) -> Turn:
        """Wait until a request may be sent, and return its turn. Raises ContinueLater when that isn't soon."""
        while wait := self._spend():
            await self._clock.sleep(wait)
        while True:
            while pause := self._pause():
                await self._clock.sleep(pause)
            turns, turn = self._turns, self._slot()
            if (wait := turn.at - self._clock.monotonic()) > 0:
                await self._clock.sleep(wait)
                turn.at = self._clock.monotonic()
            if turns is self._turns:  # A pause that began while waiting holds here too, and a place before it is none.
                break
        turn.before = self._asked
        self.calls += 1
        self._asked += 1
        return turn

    def answered(self, turn: Turn) -> None:
        """
        Take note that the request of *turn* was answered just now.

        The service counted it before it began with the answer, which takes as long as the fastest ones:
        what was longer may have been the way there.
        """
        now = self._clock.monotonic()
        self._fastest[0] = min(self._fastest[0], now - turn.at)
        turn.at = max(turn.at, now - min(self._fastest))
        self._answers += 1
        if self._answers % FEW == 0:
            self._fastest = [math.inf, self._fastest[0]]

    def _pause(self) -> float:
        """Return the seconds until the service listens again; raises ContinueLater where they are too many."""
        if self._paused_until is None:
            return 0.0
        pause = (self._paused_until - self._clock.now()).total_seconds()
        if not 0 < pause <= LONGEST_PAUSE:  # Nobody may ask for longer: the clock was wrong when it was written down.
            self._paused_until = None
            return 0.0
        if pause > PATIENCE:
            self._unspend()
            until = f"{self._paused_until:%Y-%m-%d %H:%M:%S} UTC"
            raise ContinueLater(f"the service asks to wait until {until}", self._paused_until)
        return pause

    def _slot(self) -> Turn:
        """Take the next place in the row."""
        now = self._clock.monotonic()
        if not self._rate:
            return Turn(now)
        most = math.ceil(self._known or self._rate)  # In any second, those who catch up included.
        mine = max(self._next, now - (most - 1) / self._rate)
        self._next = mine + 1 / self._rate
        if not self._known:
            self._rate *= 1 + min(self._creep * (mine - self._since), 0.03) / self._rate
        while len(self._turns) > most:
            self._turns.popleft()
        free = self._turns.popleft().at + SECOND if len(self._turns) == most else 0.0
        turn = Turn(max(mine, now, free))
        self._turns.append(turn)
        return turn

    def refused(self, turn: Turn, wait: float) -> None:
        """Take note of a 429 to *turn*: everybody waits *wait* seconds, and an unknown limit is known to be near."""
        heard = self._paused_until is not None and self._paused_until > self._clock.now()
        self.pause(wait)
        if self._known or heard:  # Whatever was under way is refused with the first.
            return
        lasted = max(self._clock.monotonic() - self._since, 0.01)
        if self._rate is None:
            # What left before it was taken; where others had used the limit up, that says little.
            rate = STEP_DOWN * max(turn.before, self._asked / 2) / max(lasted, wait)
            self._creep = CREEP if turn.before > self._asked / 2 else 100 * CREEP
        else:
            # A rate that holds for half of the pause is about twice what is allowed.
            rate = self._rate * STEP_DOWN * min(max(0.5, lasted / wait if wait else 1.0), 1.0)
            # Where pauses are long, refusals must be rare.
            self._creep = CREEP / max(1.0, wait) ** 2
        self._rate = max(0.2, rate)
        self._since = self._next
        self._asked = 0

    def pause(self, seconds: float) -> None:
        """Let everybody wait *seconds*, and the next run too when this one ends before they are over."""
        until = self._clock.now() + timedelta(seconds=seconds)
        if self._paused_until is None or until > self._paused_until:
            self._paused_until = until
            self._write()
        now = self._clock.monotonic()
        self._turns = deque(turn for turn in self._turns if turn.at <= now)
        self._next = now + seconds

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
