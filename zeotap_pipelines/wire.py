"""
Hold conversations over HTTP: the only module that sends, waits or repeats.

What is safe to repeat is repeated: anything for a state target; for an event only
what certainly did not happen (a 429, or a failure before any byte was sent).
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy

import httpx

from .clock import Clock
from .destinations.base import TRANSIENT, Connection
from .discretion import secrets, without
from .errors import ContinueLater, FixConnection, TryAgainLater, ZeotapError
from .limits import PATIENCE, Pacer
from .model import Call, Conversation, Fate, Halt, Outcome, Question, Receipt, Task, Unanswered
from .tasks import Begun
from .transport import Lanes

UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)
"""Failures before any byte of the request was sent."""

FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0
"""Seconds of the exponential backoff, before jitter."""

LONGEST_PAUSE = 86_400.0
"""A service that asks to wait for longer is asked again after so many seconds."""

THROTTLED_FOR = 300.0
"""A call that was told 429 for so many seconds ends the run, which goes on later."""


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

    def __init__(self, client: httpx.AsyncClient, connection: Connection, pacer: Pacer, clock: Clock) -> None:
        self._client, self._connection, self._pacer, self._clock = client, connection, pacer, clock
        self._token_url = getattr(client.auth, "token_url", None)
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
                    response = await self._answer(step, event, starting)
                except asyncio.CancelledError:
                    lost = Outcome(Fate.IN_DOUBT if event else Fate.DEFERRED, "stopped before the answer came")
                    raise Interrupted(_closed(conversation, lost)) from None
                except _Lost as lost_call:
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
                    response = await self._answer(call, event=False)
                except _Lost as lost:
                    raise lost.halt or TryAgainLater(
                        f"{_host(self._connection)} can't be asked: {lost.outcome.reason}"
                    ) from None
                call = question.send(without(response, self._secrets))
        except StopIteration:
            return

    async def _answer(self, call: Call, event: bool, starting: Begun | None = None) -> httpx.Response:
        """
        Send *call*, repeating it where that is safe and may help; raises _Lost when no usable answer came.

        *starting* is told before every attempt, since each may start a task.
        """
        if call.after:
            await self._clock.sleep(call.after)
        trial = _Trial(event)
        while True:
            try:
                await self._pacer.turn()
            except ContinueLater as later:
                raise trial.lost(str(later), later) from None
            if starting:
                starting.asking()
            response = await self._attempt(call, trial)
            if response is None or await self._again(response, trial):
                continue
            response.extensions["repeated"] = trial.repeated
            return response

    async def _attempt(self, call: Call, trial: _Trial) -> httpx.Response | None:
        """Send *call* once; return None when it got no answer and is to be sent again."""
        request = self._client.build_request(
            call.method,
            f"{self._connection.base_url}{call.path}",
            json=call.json,
            content=call.content,
            params=dict(call.params) or None,
            headers=dict(call.headers),
        )
        trial.repeated = trial.unsure
        try:
            async with asyncio.timeout(self._connection.timeout):
                return await self._client.send(request)
        except ZeotapError as error:  # The token could not be had: this call was not sent.
            trial.failures += 1
            if not error.retryable or trial.failures > self._connection.retries:
                raise trial.lost(str(error), error) from None
        except (httpx.TransportError, httpx.DecodingError, TimeoutError) as error:
            unsent = self._unsent(error)
            trial.unsure = trial.unsure or not unsent
            trial.failures += 1
            if trial.failures > self._connection.retries or (trial.event and not unsent):
                raise trial.lost(_reason(error)) from None
        await self._clock.sleep(_backoff(trial.failures))
        return None

    async def _again(self, response: httpx.Response, trial: _Trial) -> bool:
        """Return whether what was answered says to ask again, after waiting as long as that takes."""
        status, asked = response.status_code, retry_after(response, self._clock)
        if status == httpx.codes.UNAUTHORIZED:
            refused = (
                f"{_host(self._connection)} refuses the credentials (HTTP 401): check the settings of this connection"
            )
            raise trial.lost("HTTP 401", FixConnection(refused))
        if 300 <= status < 400:
            trial.unsure = trial.unsure or trial.event  # Whoever sends on may have taken it first.
            redirect = f"{_host(self._connection)} answers with a redirect (HTTP {status}), which is not followed"
            raise trial.lost(f"HTTP {status}", FixConnection(f"{redirect}: check base_url"))
        if status == httpx.codes.TOO_MANY_REQUESTS:  # Nothing was done: this costs no retry.
            wait = asked if asked is not None else _backoff(1 + trial.refusals)
            trial.refusals += 1
            trial.throttled += wait
            self._pacer.refused(wait)  # Too long a wait ends the run at the next turn.
            if wait <= PATIENCE and trial.throttled > THROTTLED_FOR:
                until = self._clock.now() + timedelta(seconds=PATIENCE)
                says = f"{_host(self._connection)} has answered 429 for minutes: space out the schedules"
                later = ContinueLater(says, until)
                raise trial.lost("HTTP 429", later)
            return True
        if status not in TRANSIENT:
            return False
        trial.unsure = True
        trial.failures += 1
        if asked is not None:
            self._pacer.pause(asked)
        if trial.event or trial.failures > self._connection.retries:
            return False
        if asked is None:
            await self._clock.sleep(_backoff(trial.failures))
        return True

    def _unsent(self, error: Exception) -> bool:
        if isinstance(error, UNSENT):
            return True
        # A failure to fetch a token is a failure before the call itself was sent.
        request = getattr(error, "_request", None)
        return request is not None and self._token_url is not None and str(request.url) == self._token_url


@dataclass
class _Trial:
    """The attempts at one call: how many failed, for how long it was throttled, whether one may have been applied."""

    event: bool
    failures: int = 0
    refusals: int = 0
    throttled: float = 0.0
    unsure: bool = False
    repeated: bool = False

    def lost(self, reason: str, halt: Exception | None = None) -> _Lost:
        """Return what to raise when the attempts are over."""
        if self.event and self.unsure:
            return _Lost(Outcome(Fate.IN_DOUBT, reason), halt)
        return _Lost(Outcome(Fate.DEFERRED, reason, untouched=not self.unsure), halt)


class _Lost(Exception):
    """No usable answer came: *outcome* holds for what was asked, *halt* ends the run."""

    def __init__(self, outcome: Outcome, halt: Exception | None = None) -> None:
        super().__init__(outcome.reason)
        self.outcome, self.halt = outcome, halt


@asynccontextmanager
async def connect(
    connection: Connection, pacer: Pacer, clock: Clock, transport: httpx.AsyncBaseTransport | None = None
) -> AsyncIterator[Wire]:
    """
    Open a wire: one client, no cookies kept, no redirect followed, no proxy taken from the environment.

    *transport* is the one seam below httpx: tests give one that calls the sandbox in process.
    """
    client = httpx.AsyncClient(
        auth=connection.auth(),
        headers={"User-Agent": "zeotap_pipelines", "Accept": "application/json", "Accept-Encoding": "identity"}
        | dict(connection.headers()),
        transport=Lanes((lambda: transport) if transport else None),
        timeout=connection.timeout,
        follow_redirects=False,
        trust_env=False,
    )
    for library in ("httpx", "httpcore"):  # They log URLs and headers, which name people and hold credentials.
        logging.getLogger(library).setLevel(logging.WARNING)
    client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    async with client:
        yield Wire(client, connection, pacer, clock)


def retry_after(response: httpx.Response, clock: Clock) -> float | None:
    """Return the seconds that *response* asks to wait, from a number or an HTTP date; None where it doesn't say."""
    asked = response.headers.get("Retry-After", "").strip()
    try:
        if re.fullmatch(r"\d{1,9}(\.\d+)?", asked, re.ASCII):
            seconds = float(asked)
        else:
            seconds = (parsedate_to_datetime(asked) - clock.now()).total_seconds()
    except (ValueError, TypeError):
        return None
    return min(max(0.0, seconds), LONGEST_PAUSE)


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


def _backoff(failures: int) -> float:
    """Return the seconds to wait after so many failures: exponential, with full jitter above a half."""
    wait: float = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (failures - 1))
    return wait * random.uniform(0.5, 1.0)


def _reason(error: Exception) -> str:
    """Return what failed without any text that a server or a URL could have put in."""
    kind = type(error).__name__
    known = {
        "ConnectError": "the connection could not be made: check base_url, and that the network lets HTTPS out to it",
        "ConnectTimeout": "the connection could not be made in time",
        "ReadTimeout": "the answer did not come in time",
        "TimeoutError": "the answer did not come in time",
        "ReadError": "the connection broke before the answer came",
        "RemoteProtocolError": "the connection broke before the answer came",
        "WriteError": "the connection broke while sending",
    }
    return known.get(kind, kind)


def _host(connection: Connection) -> str:
    return f"{connection.service} ({httpx.URL(connection.base_url).host})"
