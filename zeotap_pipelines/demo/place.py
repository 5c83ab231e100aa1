"""Where a demonstration lives: a warehouse, a sandbox of its own, an instance, and the environment that leads there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from ..errors import FixConnection
from ..sandbox import (
    AGILLIC_KEY,
    AGILLIC_SECRET,
    CLIENT_ID,
    CLIENT_SECRET,
    CROWDTWIST_PRIVATE_KEY,
    CROWDTWIST_PUBLIC_KEY,
    MOENGAGE_APP_ID,
    MOENGAGE_SECRET,
)
from ..state import folder, write_text
from .warehouse import build, purchase_log


@dataclass(frozen=True)
class Place:
    """A folder that holds everything of one demonstration, and may be deleted as a whole."""

    root: Path

    @property
    def warehouse(self) -> Path:
        """The demo warehouse."""
        return self.root / "warehouse.duckdb"

    @property
    def sandbox_state(self) -> Path:
        """Where the sandbox keeps what the services hold."""
        return self.root / "sandbox"

    @property
    def home(self) -> Path:
        """Dagster's home: runs, events, schedules."""
        return self.root / "dagster"

    @property
    def note(self) -> dict[str, Any]:
        """What an earlier demonstration noted of itself; empty where there was none."""
        try:
            noted: dict[str, Any] = json.loads((self.root / "demo.json").read_text())
        except (OSError, ValueError):
            return {}
        return noted

    def write_note(self, **values: Any) -> None:
        """Note how far the demonstration is."""
        write_text(self.root / "demo.json", json.dumps(self.note | values))

    def clear(self) -> None:
        """Begin anew."""
        shutil.rmtree(self.root, ignore_errors=True)

    def prepare(self) -> None:
        """Make the warehouse and Dagster's home where they are missing."""
        folder(self.root)
        folder(self.home)
        settings = Path("dagster.yaml")
        if settings.exists():
            shutil.copyfile(settings, self.home / "dagster.yaml")
        if not self.warehouse.exists():
            build(purchase_log(), self.warehouse)

    def environment(self, sandbox: str) -> Mapping[str, str]:
        """Return the environment in which the shipped definitions lead to *sandbox*, an address."""
        return {
            "ZEOTAP_STATE": str(self.root / "state"),
            "ZEOTAP_WAREHOUSE": str(self.warehouse),
            "DAGSTER_HOME": str(self.home),
            "DAGSTER_DISABLE_TELEMETRY": "1",
            "KOGNITIV_BASE_URL": f"{sandbox}/kognitiv",
            "KOGNITIV_CLIENT_ID": CLIENT_ID,
            "KOGNITIV_CLIENT_SECRET": CLIENT_SECRET,
            "MOENGAGE_BASE_URL": f"{sandbox}/moengage",
            "MOENGAGE_APP_ID": MOENGAGE_APP_ID,
            "MOENGAGE_SECRET_KEY": MOENGAGE_SECRET,
            "CROWDTWIST_BASE_URL": f"{sandbox}/crowdtwist",
            "CROWDTWIST_PUBLIC_KEY": CROWDTWIST_PUBLIC_KEY,
            "CROWDTWIST_PRIVATE_KEY": CROWDTWIST_PRIVATE_KEY,
            "AGILLIC_BASE_URL": f"{sandbox}/agillic",
            "AGILLIC_DEVELOPER_KEY": AGILLIC_KEY,
            "AGILLIC_DEVELOPER_SECRET": AGILLIC_SECRET,
        }

    @contextmanager
    def sandbox(self, port: int = 0) -> Iterator[str]:
        """Run the sandbox as a process that ends with this one, and give its address."""
        command = [sys.executable, "-m", "zeotap_pipelines.sandbox", "--attached", "--port", str(port)]
        command += ["--state", str(self.sandbox_state)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line.startswith("sandbox ready at "):
                raise FixConnection(f"the sandbox did not start; is another one running in {self.sandbox_state}?")
            yield line.removeprefix("sandbox ready at ").strip()
        finally:
            process.terminate()
            process.wait(10)


def here(name: str) -> Place:
    """Return the place of the demonstration called *name*, in the working directory."""
    return Place((Path("data") / "state" / name).resolve())


def enter(environment: Mapping[str, str]) -> None:
    """Make *environment* this process's own: the definitions read it when they load."""
    os.environ.update(environment)


def holds(sandbox: str) -> dict[str, Any]:
    """Return what each service of the sandbox holds."""
    state: dict[str, Any] = httpx.get(f"{sandbox}/_sandbox/state", timeout=30).json()
    return state


def violations(sandbox: str) -> list[Any]:
    """Return what the sandbox found that no contract allows."""
    found: list[Any] = httpx.get(f"{sandbox}/_sandbox/violations", timeout=30).json()
    return found
