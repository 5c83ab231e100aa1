"""What `make chaos` found, each as a small law."""

import os
import signal
import threading

import pytest

from zeotap_pipelines.engines.duckdb import memory, rows


def test_a_signal_that_arrives_during_a_query_stops_the_run_and_is_no_error_of_the_query() -> None:
    def stop(*_: object) -> None:
        raise SystemExit(143)

    before = signal.signal(signal.SIGTERM, stop)
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    try:
        with memory() as connection, pytest.raises((KeyboardInterrupt, SystemExit)):
            rows(connection, "SELECT count(*) FROM range(100000) AS a, range(1000000) AS b WHERE hash(a, b) % 7 = 3")
    finally:
        timer.cancel()
        signal.signal(signal.SIGTERM, before)
