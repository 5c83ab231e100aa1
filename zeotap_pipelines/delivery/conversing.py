"""Hold the conversations of one plan, each written down before it begins and when it ends."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from weakref import WeakValueDictionary

from ..destinations.base import Visit
from ..diff.plan import Plan
from ..errors import ApprovePlan, ContinueLater, FixTarget, TryAgainLater, ZeotapError
from ..ledger.journal import Journal
from ..ledger.ledger import Standing
from ..model import Batch, Change, Fate, Outcome, Receipt, Verb
from ..stopping import STOPPED, Flag, cancel_when, unless
from ..sync import Sync
from ..wire.discretion import discreet, hush, secrets
from ..wire.limits import Pacer
from ..wire.tasks import Begun, OpenTask, OpenTasks
from ..wire.wire import Held, Interrupted, Wire, connect
from .feed import Feed
from .owed import SoFar, Trial, cut, owed
from .trip import Summary, Trip

WINDOW = 64
"""Operations of a one-by-one state target that are written down as asked at once."""

GIVE_UP_AFTER = 20
"""So many conversations in a row without a usable answer: the service is in trouble, not the rows."""

GIVE_UP_UNREACHED = 3
"""So many in a row that could not even be sent."""

HOPELESS = 20
"""So many rows refused alone, after their batches were, and none accepted: the request is at fault, not the rows."""


class Conversations:
    """One run's delivery of one plan."""

    def __init__(
        self,
        sync: Sync,
        plan: Plan,
        trip: Trip,
        journal: Journal,
        standing: Standing,
        so_far: SoFar,
        approved: bool,
        trial: Trial,
        summary: Summary,
    ) -> None:
        self._sync, self._target, self._plan, self._trip = sync, sync.target, plan, trip
        self._journal, self._standing, self._so_far, self._summary = journal, standing, so_far, summary
        self._approved = approved
        self._verb = next((verb for verb in sync.verbs.values() if verb is not Verb.REMOVE), Verb.REMOVE)
        self._trial = trial
        constants = {name: origin.constant for name, origin in sync.mapping.items() if origin.constant is not None}
        self._visit = Visit(fields=tuple(sync.mapping), constants=constants)
        self._apart: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._last_at = standing.last_at
        self._closes = trip.hours.closes(trip.clock.now()) if trip.hours else datetime.max.replace(tzinfo=UTC)
        self._secrets = secrets(trip.connection)
        self._halt: Exception | None = None
        self._silent = self._unreached = 0
        self._alone: list[tuple[Batch, bool]] = []  # Rows that were refused alone, after a batch was.
        self._tasks = OpenTasks(trip.state.account(sync.address) / "tasks.jsonl")

    async def run(self, stop: Flag) -> None:
        """Ask for what is owed until it is answered, the run is stopped or it must end; the summary tells."""
        clock, account = self._trip.clock, self._trip.state.account(self._sync.address)
        pacer = Pacer(self._trip.connection.limits(), account / "limits.json", clock)
        total = self._plan.operations - len(self._so_far.done)
        try:
            if not self._goes_on(stop):
                return
            async with connect(self._trip.connection, pacer, clock, self._trip.transport) as wire:
                if not await unless(stop, wire.ask(self._target.preflight(self._visit))):
                    raise TryAgainLater(STOPPED)
                for task in self._tasks.open():  # What it still does must not overtake what is asked now.
                    left = task.left(clock.now())
                    if not task.heard and left > 0 and task.plan == self._plan.id:
                        continue  # What is asked now is the same again.
                    if not await unless(stop, self._outlive(wire, task, left)):
                        raise TryAgainLater(STOPPED)
                    self._tasks.ended([task.name])
                whence = about(self._sync, self._plan, self._trip.run, self._standing)
                # What a trial leaves is as if nobody had begun; of events that no guard stopped it is gone on with.
                part = self._trial.part and bool(self._plan.stopped or not self._target.event)
                self._journal.append("begin", plan=self._plan.id, **whence, **({"part": True} if part else {}))
                for removing in (False, True):
                    if self._halt is None and self._removals_may_follow(removing):
                        await self._phase(wire, removing, stop)
        except ZeotapError as error:
            self._halt = error
        finally:
            pacer.close()
            self._summary.calls = pacer.calls
            self._summary.left = total - self._summary.asked - self._summary.withheld
            self._summary.error = self._halt
        if self._halt and not self._summary.asked and not isinstance(self._halt, TryAgainLater):
            raise self._halt

    async def _outlive(self, wire: Wire, task: OpenTask, left: float) -> None:
        """Wait until *task* is over; raises TryAgainLater where the service says that it still runs."""
        if not task.heard:
            await self._trip.clock.sleep(max(0.0, left))
        elif not task.forgotten(self._trip.clock.now()):
            await wire.ask(self._target.await_task(task.name))

    def _removals_may_follow(self, removing: bool) -> bool:
        if not removing:
            return True
        removals = self._plan.count(Verb.REMOVE)
        failed = sum(self._summary.fates[fate] for fate in Fate if fate is not Fate.ACCEPTED)
        failed += self._plan.refused_before + len(self._so_far.not_in)
        if removals and self._plan.withheld and not self._approved:
            reasons = "; ".join(verdict.message for verdict in self._plan.withheld)
            self._halt = ApprovePlan(f"{reasons}. To remove them all the same, approve {self._plan.id}")
        elif removals and self._plan.replacement and failed:
            self._halt = TryAgainLater(
                f"{failed:,} of the new members were not accepted: the old ones stay until they are"
            )
        elif self._plan.replacement and self._unasked_additions():
            return False  # A trial.
        else:
            if self._plan.replacement:
                self._journal.append("replaced", plan=self._plan.id, identity=self._plan.identity)
            return True
        self._summary.withheld = removals
        return False

    def _unasked_additions(self) -> int:
        """Return how many additions nobody has asked for, before any removal was: additions have the lower numbers."""
        additions = self._plan.operations - self._plan.count(Verb.REMOVE)
        return additions - sum(row < additions for row in self._so_far.done) - self._summary.asked

    async def _phase(self, wire: Wire, removing: bool, stop: Flag) -> None:
        """Deliver the operations that remove, or those that don't; all of them are answered when it returns."""
        feed, speakers = self._feed(removing)
        tasks = [asyncio.create_task(self._speak(wire, feed, stop)) for _ in range(speakers)]
        watch = asyncio.create_task(cancel_when(stop, tasks))
        try:
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            watch.cancel()
            for batch in await feed.close():  # Written down as asked, and never sent.
                self._answered(batch, Receipt(Outcome(Fate.DEFERRED, "not reached", untouched=True)), count=False)
        for task in tasks:
            if not task.cancelled() and (error := task.exception()) and not isinstance(error, asyncio.CancelledError):
                raise error
        if stop.is_set() and self._halt is None:
            self._halt = TryAgainLater(STOPPED)

    def _feed(self, removing: bool) -> tuple[Feed, int]:
        """Return the batches of a phase, and how many speakers share them."""
        speakers = self._trip.connection.limits().concurrency
        if self._target.ordered:
            speakers = window = 1
        elif self._target.event:
            window = max(2, speakers)  # A crash leaves so many more rows in doubt: small.
        else:
            window = max(speakers, WINDOW // self._target.batch_items(Verb.REMOVE if removing else self._verb), 1)
        runs = self._trial.of(owed(self._plan.file(self._trip.state), self._so_far, removing=removing))
        ahead = not self._target.ordered
        return Feed(cut(runs, self._target), self._moment, self._write, window, ahead=ahead), speakers

    async def _write(self, batches: Sequence[Batch]) -> None:
        """Write down durably that *batches* are about to be asked."""
        rows = (row for batch in batches for row in batch.rows)
        self._journal.asked(self._plan.id, rows, max(batch.at for batch in batches).isoformat())
        await self._trip.aside(self._journal.sync)
        self._journal.synced()

    async def _speak(self, wire: Wire, feed: Feed, stop: Flag) -> None:
        try:
            while self._halt is None and (batch := await feed.take()):
                async with self._by_itself(batch):
                    if not self._goes_on(stop):
                        return
                    feed.begun(batch)
                    await self._hold(wire, batch)
        except Exception as error:
            self._halt = self._halt or error  # Nobody else goes on asking.
            raise

    def _goes_on(self, stop: Flag) -> bool:
        """Return whether what is left may be asked. Where its window is over, the run ends, and goes on later."""
        hours, now = self._trip.hours, self._trip.clock.now()
        if self._halt is None and hours is not None and now >= self._closes:
            opens = hours.opens(now) or now
            self._halt = ContinueLater(f"the delivery window is over until {opens:%Y-%m-%d %H:%M} UTC", opens)
        return self._halt is None and not stop.is_set()

    def _by_itself(self, batch: Batch) -> AbstractAsyncContextManager[None]:
        """Keep *batch* from being in flight together with what the target wants apart from it."""
        name = self._target.apart(batch.operations[0])
        # A lock goes when nobody holds or awaits it.
        return nullcontext() if name is None else self._apart.setdefault(name, asyncio.Lock())

    async def _hold(self, wire: Wire, batch: Batch) -> None:
        """Hold the conversation of *batch*, in halves where the service refuses it as a whole."""
        waiting, alone = [(batch, False)], False
        while waiting:
            # Whoever was refused alone may have neighbours like him: what is largest tells more.
            place = max(range(len(waiting)), key=lambda n: len(waiting[n][0])) if alone else -1
            part, unsure = waiting.pop(place)
            if part is not batch and self._halt is not None:
                self._answered(part, Receipt(Outcome(Fate.DEFERRED, "not reached")), count=False)
                continue
            if part is not batch:
                part = Batch(part.operations, self._moment())
                await self._write([part])
            held = await self._converse(wire, part)
            unsure = unsure or held.unsure
            if held.receipt.split and len(part) > 1 and held.halt is None:
                middle = len(part) // 2
                halves = (part.operations[middle:], part.operations[:middle])
                waiting += [(Batch(half, part.at), unsure) for half in halves]
                alone = False
                continue
            self._answered(part, held.receipt, unsure=unsure)
            self._give_up(held)
            alone = len(part) == 1 < len(batch) and held.receipt.outcome(part.operations[0]).fate is Fate.REJECTED
            if alone:
                self._lose_hope(part, held.receipt, unsure)

    async def _converse(self, wire: Wire, batch: Batch) -> Held:
        """Hold one conversation, and remember the tasks that it leaves open."""
        begun = Begun(self._tasks, self._plan.id, self._trip.clock, self._target.task_life)
        try:
            held = await wire.hold(self._target.converse(batch, self._visit), event=self._target.event, begun=begun)
        except Interrupted as stopped:
            self._answered(batch, discreet(stopped.receipt, batch, self._secrets), unsure=True)
            raise
        if (receipt := discreet(held.receipt, batch, self._secrets)) is not held.receipt:
            held = replace(held, receipt=receipt)
        if held.halt is not None:
            hush(held.halt, batch, self._secrets)
        if held.receipt.split or held.receipt.everyone.fate in (Fate.ACCEPTED, Fate.REJECTED):
            begun.over()
        return held

    def _give_up(self, held: Held) -> None:
        """End the run where *held* says so, or where too many conversations ended like it."""
        if held.halt is not None:
            self._halt = self._halt or held.halt
        silent = held.receipt.everyone.fate in (Fate.DEFERRED, Fate.IN_DOUBT)
        self._silent = self._silent + 1 if silent else 0
        self._unreached = self._unreached + 1 if held.unreached else 0
        if self._halt is None and (self._silent >= GIVE_UP_AFTER or self._unreached >= GIVE_UP_UNREACHED):
            service = self._trip.connection.service
            self._halt = TryAgainLater(
                f"{service} gives no usable answer ({held.receipt.everyone.reason}): the rest waits"
            )

    def _lose_hope(self, batch: Batch, receipt: Receipt, unsure: bool) -> None:
        """
        End the run when row after row is refused alone and none is taken: the request is at fault.

        The rows are owed again, since they were never looked at.
        """
        self._alone.append((batch, unsure))
        if self._halt is not None or self._summary.fates[Fate.ACCEPTED] or len(self._alone) < HOPELESS:
            return
        service = self._trip.connection.service
        reason = receipt.outcome(batch.operations[0]).reason
        for refused, doubtful in self._alone:
            outcome = Outcome(Fate.DEFERRED, "refused like every other row", untouched=True)
            self._answered(refused, Receipt(outcome), unsure=doubtful, count=False)
        self._summary.fates += Counter({Fate.DEFERRED: len(self._alone), Fate.REJECTED: -len(self._alone)})
        self._halt = FixTarget(f"{service} refuses whatever {self._sync.name} asks, row by row: {reason}")

    def _answered(self, batch: Batch, receipt: Receipt, *, unsure: bool = False, count: bool = True) -> None:
        # Never before it was asked, even if the clock goes back.
        moment = max(self._trip.clock.now(), batch.at).isoformat()
        self._journal.answered(self._plan.id, batch, receipt, moment, unsure=unsure)
        if not count:
            return
        self._summary.take(batch, receipt)
        if self._trip.on_progress:
            self._trip.on_progress(self._summary, self._plan.operations - len(self._so_far.done))

    def _moment(self) -> datetime:
        """Return now, but later than any moment that was ever given for this target."""
        now = self._trip.clock.now()
        if self._last_at is not None:
            now = max(now, self._last_at + timedelta(milliseconds=1))
        self._last_at = now.replace(microsecond=now.microsecond // 1000 * 1000)
        return self._last_at


def about(sync: Sync, plan: Plan, run: str, standing: Standing) -> Mapping[str, str]:
    """Return what a line of the journal says of a plan and of the run that asks for it."""
    said = {"run": run, "sync": sync.name, "partition": plan.partition}
    if not plan.snapshot:  # A removal on request is of no partition: it moves no mark, and fills nothing.
        return said
    said["end"] = plan.partition_end
    # A changed identity mapping is the target's only when whoever it no longer names may be removed.
    if standing.identity is None or (Change.LEFT in sync.verbs and not plan.replacement):
        said["identity"] = plan.identity
    return said
