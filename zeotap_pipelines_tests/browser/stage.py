"""`zeotap dev` as a process, with the shipped definitions, its sandbox, and every fiftieth customer of the log."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pytest

from zeotap_pipelines.demo.warehouse import HEADER, build, purchase_log
from zeotap_pipelines_tests.served import ASSETS, Asset, Served

ROOT = Path(__file__).resolve().parents[2]
SOME = 50
BOUGHT = "select distinct customer_id from purchases where purchased_on between ?::date - 89 and ?::date"


@dataclass(frozen=True)
class Stage:
    """A running `zeotap dev`: the UI's address, the sandbox's, the warehouse, and Dagster's GraphQL."""

    ui: str
    sandbox: str
    warehouse: Path
    served: Served

    def held(self) -> dict[str, Any]:
        """Return what the services hold."""
        found: dict[str, Any] = httpx.get(f"{self.sandbox}/_sandbox/state", timeout=60).json()
        return found

    def faulty(self, fault: dict[str, Any], service: str = "kognitiv") -> None:
        """Let a service behave as *fault* says."""
        faults = [{**fault, "service": service}]
        httpx.post(f"{self.sandbox}/_sandbox/faults", json=faults).raise_for_status()

    def members(self) -> set[str]:
        """Return who is in the group at Kognitiv."""
        return {member for group in self.held()["kognitiv"]["groups"] for member in group["members"]}

    def cohort(self) -> set[str]:
        """Return who is in the cohort at MoEngage."""
        return {member for cohort in self.held()["moengage"]["cohorts"] for member in cohort["members"]}

    def audience(self, day: str) -> set[str]:
        """Return who bought anything in the 90 days up to *day*."""
        return {str(one) for (one,) in self.query(BOUGHT, day, day)}

    def query(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Ask the warehouse, as runs may do meanwhile."""
        with duckdb.connect(self.warehouse, read_only=True) as warehouse:
            return warehouse.execute(query, list(values)).fetchall()

    def buy(self, customers: str, day: str) -> None:
        """Let the *customers* of a query buy something on a day, while no run reads."""
        query = f"insert into purchases select 1000000 + customer_id, customer_id, ?::date, 1, 10 from ({customers})"
        with duckdb.connect(self.warehouse) as warehouse:
            warehouse.execute(query, [day]).fetchall()

    def deliver(self, audience: str, sync: str, day: str) -> str:
        """Materialize a chain without clicks, and return the run's id when it is over."""
        return self.served.launch(ASSETS, *chain(audience, sync), day=day)


def chain(audience: str, sync: str) -> tuple[Asset, Asset, Asset]:
    return ("snapshots", audience), ("diffs", sync), ("syncs", sync)


@contextmanager
def developing(folder: Path) -> Iterator[Stage]:
    """Run `zeotap dev` in *folder*; runs leave the queue at once."""
    shutil.copy(ROOT / "workspace.yaml", folder)
    queue = "  class: QueuedRunCoordinator\n"
    settings = (ROOT / "dagster.yaml").read_text(encoding="utf-8")
    assert queue in settings
    at_once = settings.replace(queue, f"{queue}  config:\n    dequeue_interval_seconds: 1\n")
    (folder / "dagster.yaml").write_text(at_once, encoding="utf-8")
    warehouse = folder / "data" / "state" / "dev" / "warehouse.duckdb"
    with purchase_log().open(encoding="utf-8") as lines:
        chosen = [line for line in lines if line.split(",")[0].isdigit() and int(line.split(",")[0]) % SOME == 0]
    (folder / "purchases.csv").write_text(HEADER + "\n" + "".join(chosen), encoding="utf-8")
    build(folder / "purchases.csv", warehouse)

    apart = {k: v for k, v in os.environ.items() if k not in ("DAGSTER_HOME", "ZEOTAP_STATE")}
    command = [sys.executable, "-m", "zeotap_pipelines.cli", "dev", "--port", "0"]
    process = subprocess.Popen(
        command, cwd=folder, env=apart, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdout is not None
    try:
        ui, sandbox = re.findall(r"http://\S+", process.stdout.readline()) or pytest.fail(process.stdout.read())
        log = folder / "dev.log"
        # What else it says must not fill the pipe.
        threading.Thread(target=_written, args=(process.stdout, log), daemon=True).start()
        served = Served(int(ui.rsplit(":", 1)[1]), "zeotap_pipelines", log)
        served.until(lambda: process.poll() is not None or served.answers())
        assert process.poll() is None, log.read_text()[-5000:]
        yield Stage(ui, sandbox, warehouse, served)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _written(lines: Iterator[str], log: Path) -> None:
    with log.open("w", encoding="utf-8", buffering=1) as file:
        file.writelines(lines)
