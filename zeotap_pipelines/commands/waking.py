"""End a command within seconds where Dagster sleeps until a retry."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

LOOKS = 0.5
"""Seconds between two looks."""

UNHEEDED = 3
"""After so many looks a signal that Dagster has noted counts as one that nobody acts on."""


@contextmanager
def woken_by_signals() -> Iterator[None]:
    """
    Raise KeyboardInterrupt for a signal that comes while Dagster sleeps between two attempts of a step.

    It acts on a signal in the middle of a step; between steps it only notes it, and its
    sleep goes on. The main thread is then woken by a signal that Dagster leaves alone.
    """
    from dagster._utils.interrupts import check_captured_interrupt

    main, over = threading.get_ident(), threading.Event()

    def watch() -> None:
        unheeded = 0
        while not over.wait(LOOKS):
            unheeded = unheeded + 1 if check_captured_interrupt() else 0
            if unheeded == UNHEEDED:
                signal.pthread_kill(main, signal.SIGUSR1)

    def wake(number: int, frame: FrameType | None) -> None:
        if not over.is_set():
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # No signal reaches it.
        yield
        return
    before = signal.signal(signal.SIGUSR1, wake)
    watching = threading.Thread(target=watch, name="waking", daemon=True)
    watching.start()
    try:
        yield
    finally:
        over.set()
        watching.join()
        signal.signal(signal.SIGUSR1, before)
