"""
Send a call, and send it again where that is safe and may help: the only module that sends, waits or repeats.

What is safe to repeat is repeated: anything for a state target; for an event only
what certainly did not happen (a 429, or a failure before any byte was sent).
"""

from __future__ import annotations

import asyncio
import random
import re
import ssl
from dataclasses import dataclass
from datetime import timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import urlencode

import httpx

from ..clock import Clock
from ..destinations.base import TRANSIENT, Connection
from ..errors import ContinueLater, FixConnection, ZeotapError
from ..exchange import at
from ..model import Call, Fate, Outcome
from .limits import LONGEST_PAUSE, PATIENCE, Pacer, Turn
from .tasks import Begun
from .transport import Capped

UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)
"""Failures before any byte of the request was sent."""

FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0
"""Seconds of the exponential backoff, before jitter."""

THROTTLED_FOR = 300.0
"""A call that was told 429 for so many seconds ends the run, which goes on later."""


class Caller:
    """
    Carries calls to one connection: signed, no cookie kept, no redirect followed.

    httpx's client would do the same at four times the cost: what it adds to a
    transport (cookies, redirects, hooks, merged addresses) is what isn't wanted here.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport, connection: Connection, pacer: Pacer, clock: Clock) -> None:
        self._transport, self._connection, self._pacer, self._clock = transport, connection, pacer, clock
        self._auth = connection.auth()
        self._base = httpx.URL(connection.base_url)
        self._prefix = self._base.raw_path.decode("ascii").rstrip("/")
        own = {
            "Host": self._base.netloc.decode("ascii"),
            "User-Agent": "zeotap_pipelines",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
        }
        self._headers = httpx.Headers(own | dict(connection.headers()))
        # Connecting gets half of the time: past it, nothing was sent for certain.
        patience = httpx.Timeout(connection.timeout, connect=connection.timeout / 2)
        self._patience = {"timeout": patience.as_dict()}

    async def answer(self, call: Call, *, event: bool, starting: Begun | None = None) -> httpx.Response:
        """
        Send *call*, repeating it where that is safe and may help; raises Lost when no usable answer came.

        *starting* is told before every attempt, since each may start a task.
        """
        if call.after:
            await self._clock.sleep(call.after)
        trial = _Trial(event)
        while True:
            try:
                turn = await self._pacer.turn()
            except ContinueLater as later:
                raise trial.lost(str(later), later) from None
            if starting:
                starting.asking()
            response = await self._attempt(call, trial)
            if response is None:
                continue
            self._pacer.answered(turn)
            if await self._again(response, trial, turn):
                continue
            response.extensions["repeated"] = trial.repeated
            return response

    async def _attempt(self, call: Call, trial: _Trial) -> httpx.Response | None:
        """Send *call* once; return None when it got no answer and is to be sent again."""
        request = self._request(call)
        trial.repeated = trial.unsure
        try:
            async with asyncio.timeout(self._connection.timeout):
                return await self._signed(request, trial)
        except ZeotapError as error:  # The token could not be had: this call was not sent.
            trial.failures += 1
            if not error.retryable or trial.failures > self._connection.retries:
                raise trial.lost(str(error), error) from None
        except (httpx.TransportError, httpx.DecodingError, TimeoutError) as error:
            unsent = isinstance(error, UNSENT) or not trial.sent
            trial.unsure = trial.unsure or not unsent
            trial.failures += 1
            if trial.failures > self._connection.retries or (trial.event and not unsent):
                raise trial.lost(_reason(error)) from None
        await self._clock.sleep(_backoff(trial.failures))
        return None

    def _request(self, call: Call) -> httpx.Request:
        """Return *call* as a request; its path is percent-encoded already."""
        query = f"?{urlencode(call.params)}" if call.params else ""
        request = httpx.Request(
            call.method,
            at(self._base, f"{self._prefix}{call.path}{query}"),
            headers=self._headers,
            stream=httpx.ByteStream(call.content or b""),
            extensions=self._patience,
        )
        size = len(request.read())
        if size or call.method in ("POST", "PUT", "PATCH"):
            request.headers["Content-Length"] = str(size)
        for name, value in call.headers.items():
            request.headers[name] = value
        return request

    async def _signed(self, call: httpx.Request, trial: _Trial) -> httpx.Response:
        """Send *call* as the connection's auth flow has it, and what that flow asks for on the way."""
        flow = self._auth.async_auth_flow(call)
        try:
            request = await anext(flow)
            while True:
                trial.sent = request is call  # A failure to fetch a token is one before the call itself was sent.
                request.extensions.setdefault("timeout", self._patience["timeout"])
                response = await self._transport.handle_async_request(request)
                response.request = request
                if not response.is_closed:
                    await _read(response)
                try:
                    request = await flow.asend(response)
                except StopAsyncIteration:
                    return response
        finally:
            await flow.aclose()

    async def _again(self, response: httpx.Response, trial: _Trial, turn: Turn) -> bool:
        """Return whether what was answered says to ask again, after waiting as long as that takes."""
        status = response.status_code
        if response.is_success:
            return False
        asked = retry_after(response, self._clock)
        if status == httpx.codes.UNAUTHORIZED:
            refused = (
                f"{host(self._connection)} refuses the credentials (HTTP 401): check the settings of this connection"
            )
            raise trial.lost("HTTP 401", FixConnection(refused))
        if 300 <= status < 400:
            trial.unsure = trial.unsure or trial.event  # Whoever sends on may have taken it first.
            redirect = f"{host(self._connection)} answers with a redirect (HTTP {status}), which is not followed"
            raise trial.lost(f"HTTP {status}", FixConnection(f"{redirect}: check base_url"))
        if status == httpx.codes.TOO_MANY_REQUESTS:  # Nothing was done: this costs no retry.
            wait = asked if asked is not None else _backoff(1 + trial.refusals)
            trial.refusals += 1
            trial.throttled += wait
            self._pacer.refused(turn, wait)  # Too long a wait ends the run at the next turn.
            if wait <= PATIENCE and trial.throttled > THROTTLED_FOR:
                until = self._clock.now() + timedelta(seconds=PATIENCE)
                says = f"{host(self._connection)} has answered 429 for minutes: space out the schedules"
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


@dataclass
class _Trial:
    """The attempts at one call: how many failed, for how long it was throttled, whether one may have been applied."""

    event: bool
    sent: bool = False
    failures: int = 0
    refusals: int = 0
    throttled: float = 0.0
    unsure: bool = False
    repeated: bool = False

    def lost(self, reason: str, halt: Exception | None = None) -> Lost:
        """Return what to raise when the attempts are over."""
        if self.event and self.unsure:
            return Lost(Outcome(Fate.IN_DOUBT, reason), halt)
        return Lost(Outcome(Fate.DEFERRED, reason, untouched=not self.unsure), halt)


class Lost(Exception):
    """No usable answer came: *outcome* holds for what was asked, *halt* ends the run."""

    def __init__(self, outcome: Outcome, halt: Exception | None = None) -> None:
        super().__init__(outcome.reason)
        self.outcome, self.halt = outcome, halt


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


async def _read(response: httpx.Response) -> None:
    """Read the body of an answer that another transport gave, up to what is wanted of it."""
    assert isinstance(response.stream, httpx.AsyncByteStream)
    response.stream = Capped(response.stream)
    try:
        await response.aread()
    except BaseException:
        await response.aclose()
        raise


def _backoff(failures: int) -> float:
    """Return the seconds to wait after so many failures: exponential, with full jitter above a half."""
    wait: float = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (failures - 1))
    return wait * random.uniform(0.5, 1.0)


def _reason(error: Exception) -> str:
    """Return what failed without any text that a server or a URL could have put in."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return "the host's certificate is not valid for it: check base_url, and what stands between here and there"
        if isinstance(cause, ssl.SSLError):
            return "the host speaks no TLS that can be agreed on: check base_url"
        cause = cause.__cause__ or cause.__context__
    kind = type(error).__name__
    known = {
        "ConnectError": "the connection could not be made: check base_url, and that the network lets HTTPS out to it",
        "Untrusted": "its certificate is not one of an authority that is known here: check base_url, or name your "
        "own authorities' file in SSL_CERT_FILE",
        "ConnectTimeout": "the connection could not be made in time",
        "ReadTimeout": "the answer did not come in time",
        "TimeoutError": "the answer did not come in time",
        "ReadError": "the connection broke before the answer came",
        "RemoteProtocolError": "the connection broke before the answer came",
        "WriteError": "the connection broke while sending",
    }
    return known.get(kind, kind)


def host(connection: Connection) -> str:
    """Return the service and its host, for a person."""
    return f"{connection.service} ({httpx.URL(connection.base_url).host})"
