"""Hold conversations over HTTP: a receipt for every batch, whatever happens on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import httpx

from ..clock import Clock
from ..destinations.base import TRANSIENT, Connection
from ..errors import TryAgainLater
from ..model import Conversation, Fate, Halt, Outcome, Question, Receipt, Task, Unanswered
from .calling import Caller, Lost, host
from .discretion import quiet_libraries, secrets, without
from .limits import Pacer
from .tasks import Begun
from .transport import Lanes


@dataclass(frozen=True)
class Held:
    """
    How a conversation ended: its receipt, and what ends the run with it.

    *unreached* says that the service was not there; *unsure* that some call had to
    be sent again although it may have been applied.
    """

    receipt: Receipt
    halt: Exception | None = None
    unreached: bool = False
    unsure: bool = False


class Interrupted(asyncio.CancelledError):
    """The run is being stopped; *receipt* says what is known of the batch under way."""

    def __init__(self, receipt: Receipt) -> None:
        super().__init__("stopped")
        self.receipt = receipt


class Wire:
    """Carries calls to one connection. Made by `connect`."""

    def __init__(self, caller: Caller, connection: Connection) -> None:
        self._caller, self._connection = caller, connection
        self._secrets = secrets(connection)

    async def hold(self, conversation: Conversation, *, event: bool = False, begun: Begun | None = None) -> Held:
        """Run *conversation* to its receipt, total whatever happens on the way; *begun* is told of its tasks."""
        halt: Exception | None = None
        unreached = unsure = changed = repeated = False
        try:
            step = next(conversation)
            while True:
                if isinstance(step, Task):
                    if begun:
                        begun.named(step.id, alone=not repeated)
                    step = next(conversation)
                    continue
                starting = begun if step.starts else None
                try:
                    response = await self._caller.answer(step, event=event, starting=starting)
                except asyncio.CancelledError:
                    lost = Outcome(Fate.IN_DOUBT if event else Fate.DEFERRED, "stopped before the answer came")
                    raise Interrupted(_closed(conversation, lost)) from None
                except Lost as lost_call:
                    halt, unreached = lost_call.halt, lost_call.outcome.untouched
                    unsure = unsure or not lost_call.outcome.untouched
                    if starting and lost_call.outcome.untouched:
                        starting.refused()
                    # What an earlier call of this conversation did can't be taken back.
                    outcome = replace(lost_call.outcome, untouched=lost_call.outcome.untouched and not changed)
                    step = conversation.throw(Unanswered(outcome))
                else:
                    repeated = response.extensions["repeated"]
                    unsure = unsure or repeated
                    if starting and not repeated and response.is_client_error and response.status_code not in TRANSIENT:
                        starting.refused()
                    changed = changed or (step.method != "GET" and response.is_success)
                    step = conversation.send(without(response, self._secrets))
        except StopIteration as end:
            receipt: Receipt = end.value
            return Held(receipt, halt, unreached, unsure)
        except Unanswered as error:
            return Held(Receipt(error.outcome), halt, unreached, unsure)
        except Halt as error:
            return Held(error.receipt, error.error, unsure=unsure)

    async def ask(self, question: Question) -> None:
        """Run *question* to its end; what must be fixed is raised."""
        try:
            call = next(question)
            while True:
                try:
                    response = await self._caller.answer(call, event=False)
                except Lost as lost:
                    raise lost.halt or TryAgainLater(
                        f"{host(self._connection)} can't be asked: {lost.outcome.reason}"
                    ) from None
                call = question.send(without(response, self._secrets))
        except StopIteration:
            return


@asynccontextmanager
async def connect(
    connection: Connection, pacer: Pacer, clock: Clock, transport: httpx.AsyncBaseTransport | None = None
) -> AsyncIterator[Wire]:
    """
    Open a wire: one way to sign, nothing kept but connections, no proxy taken from the environment.

    *transport* is the one seam below httpx: tests give one that calls the sandbox in process.
    """
    quiet_libraries()
    async with transport or Lanes() as below:
        yield Wire(Caller(below, connection, pacer, clock), connection)


def _closed(conversation: Conversation, outcome: Outcome) -> Receipt:
    """Cut *conversation* off with *outcome* and return what it knows."""
    try:
        conversation.throw(Unanswered(outcome))
    except StopIteration as end:
        receipt: Receipt = end.value
        return receipt
    except Unanswered as error:
        return Receipt(error.outcome)
    except Halt as halt:
        return halt.receipt
    conversation.close()
    return Receipt(outcome)
