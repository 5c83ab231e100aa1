"""What `make chaos` and `make mutants` found untested or broken, each as a small law."""

import os
import signal
import threading
from pathlib import Path

import pytest

from zeotap_pipelines.destinations.agillic import Agillic
from zeotap_pipelines.destinations.agillic_recipients import AgillicRecipients
from zeotap_pipelines.engines.duckdb import memory, rows
from zeotap_pipelines.model import Mode
from zeotap_pipelines.sandbox import AGILLIC_KEY, AGILLIC_SECRET, BASE_URL, Fault
from zeotap_pipelines_tests.world import Specimen, World, day, nth


def test_a_signal_that_arrives_during_a_query_stops_the_run_and_is_no_error_of_the_query() -> None:
    def stop(*_: object) -> None:
        raise SystemExit(143)

    before = signal.signal(signal.SIGTERM, stop)
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    try:
        with pytest.raises((KeyboardInterrupt, SystemExit)), memory() as connection:
            rows(connection, "SET threads = 1")  # While other threads do all the work DuckDB looks for no signal.
            rows(connection, "SELECT count(*) FROM range(3000) AS a, range(1000000) AS b WHERE hash(a, b) % 7 = 3")
            raise AssertionError("the query went on to its end")
    finally:
        timer.cancel()
        signal.signal(signal.SIGTERM, before)


def test_a_task_that_a_killed_run_left_does_not_overtake_the_next_run(tmp_path: Path) -> None:
    recipients = Specimen(
        target=AgillicRecipients("crm"),
        connection=Agillic(
            account="demo",
            base_url=f"{BASE_URL}/agillic",
            developer_key=AGILLIC_KEY,
            developer_secret=AGILLIC_SECRET,
        ),
        mode=Mode.UPSERT,
        mapping={"EMAIL": "email", "FIRSTNAME": "first"},
        person=lambda who: {"email": "ann@example.org", "first": who},
        held=lambda sandbox: sandbox.agillic.recipients()["ann@example.org"]["FIRSTNAME"],
    )
    world = World(tmp_path, recipients)
    # The first task is slow: it is done long after the second would be.
    world.sandbox.faults.add(Fault(kind="propagation_delay", path=":upsert$", nth=1, seconds=120))
    with world.dying(nth(2, "before GET")) as steps:  # The first asks for Person Data, the second after the task.
        world.deliver(["Old"], day(0))
    assert [step for step in steps if "POST" in step] == ["before POST", "after POST"] * 2  # A token, and the upsert.
    assert world.deliver(["New"], day(1)).complete
    world.clock.pass_(600)
    assert world.held == "New"
