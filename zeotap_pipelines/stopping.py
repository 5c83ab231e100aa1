"""Run what takes long in a thread of its own, and end it in good order when the run is stopped."""

from __future__ import annotations

import _thread
import asyncio
import gc
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

T = TypeVar("T")

STOPPED = "the run was stopped; what is left is owed"

GRACE = 3.0
"""Seconds that the conversations under way get to end when a run is stopped."""


class Flag:
    """
    Set once, by any thread.

    threading.Event guards its own by a lock. A signal that interrupts whoever has the lock leaves it
    held, or lets go of somebody else's: then the other thread fails, or waits for ever.
    """

    def __init__(self) -> None:
        self._set = False

    def set(self) -> None:
        """Set the flag."""
        self._set = True

    def is_set(self) -> bool:
        """Whether it was set."""
        return self._set


async def unless(stop: Flag, work: Coroutine[Any, Any, None]) -> bool:
    """Do *work*, which changes nothing, and return True; give it up and return False when the run is stopped."""
    task = asyncio.create_task(work)
    watch = asyncio.create_task(cancel_when(stop, [task], grace=0.0))
    try:
        await task
    except asyncio.CancelledError:
        if not stop.is_set():
            raise
        return False
    finally:
        watch.cancel()
    return True


async def cancel_when(stop: Flag, tasks: list[asyncio.Task[None]], grace: float = GRACE) -> None:
    """When the run is stopped, give the conversations under way a moment, then cancel them."""
    while not stop.is_set():
        await asyncio.sleep(0.1)
    await asyncio.sleep(grace)
    for task in tasks:
        task.cancel()


def in_thread(work: Coroutine[Any, Any, T], stop: Flag) -> T:
    """
    Run *work* in an event loop of its own thread and return its result.

    Signals interrupt the calling thread only: the journal is never cut off in mid
    line, and a notebook's own loop is not in the way. An interruption sets *stop*
    and is raised again when the work has ended.
    """

    def body() -> T:
        with _few_collections(), asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(work)

    return attended(body, stop.set)


def attended(work: Callable[[], T], stop: Callable[[], object]) -> T:
    """
    Run *work* in a thread of its own and return its result, while this thread listens to signals.

    What a signal raises here calls *stop*, again and again until the work has ended
    (it may not have begun when it is first called), and is then raised.
    """
    result: Future[T] = Future()
    begun, given_up, done = Flag(), Flag(), Flag()
    ended = _thread.allocate_lock()
    ended.acquire()

    def body() -> None:
        begun.set()
        try:
            if not given_up.is_set():
                result.set_result(work())
        except BaseException as error:
            result.set_exception(error)
        finally:
            done.set()
            ended.release()

    try:
        # Neither threading.Thread, whose start and join a signal may interrupt with their locks held, nor an Event.
        _thread.start_new_thread(body, ())
        while not done.is_set():
            ended.acquire(timeout=0.2)
    except BaseException:
        given_up.set()  # Either the thread sees this, or it is seen here that it has begun.
        while begun.is_set() and not done.is_set():  # A second signal must not leave the journal to two writers.
            with suppress(BaseException):
                stop()
                ended.acquire(timeout=0.05)
        raise
    return result.result()


@contextmanager
def _few_collections() -> Iterator[None]:
    """
    Let Python look for cycles after 50,000 new objects, not 700.

    Operations come by the thousand and hold no cycles; looking through them, and now
    and then through all of Dagster, costs as much again as making them.
    """
    before = gc.get_threshold()
    gc.set_threshold(50_000, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's event loops where there are any: they cost half of the standard ones."""
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
