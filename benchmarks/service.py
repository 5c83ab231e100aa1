"""The service of the figures in a process of its own; nothing but the standard library, for every contender's sake."""

from __future__ import annotations

import atexit
import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


class Service:
    """A `benchmarks.server` that ends with this process."""

    def __init__(self, delay: float = 0.0, allowed: int | None = None, seconds: float = 1.0) -> None:
        ours = ROOT / ".venv" / "bin" / "python"  # The same for everybody.
        command = [str(ours) if ours.exists() else sys.executable, "-m", "benchmarks.server", "--delay", str(delay)]
        if allowed:
            command += ["--allowed", str(allowed), "--seconds", str(seconds)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self._process.stdout is not None
        self.address = self._process.stdout.readline().strip()
        atexit.register(self.end)

    def counted(self, expected: int | None = None) -> dict[str, Any]:
        """Return what the service has seen; fails where it isn't as many requests as *expected*."""
        with urllib.request.urlopen(f"{self.address}/counted") as answer:
            seen: dict[str, Any] = json.load(answer)
        if expected is not None and seen["requests"] != expected:
            raise RuntimeError(f"{seen['admitted']} requests arrived, and not {expected}")
        return seen

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)


def credit(number: int) -> tuple[str, dict[str, object]]:
    """Return the path and the body of one activity credit."""
    path = f"/v2/users/m{number}%40example.com/activities?id_type=email&api_key=benchmark-key"
    return path, {"activity_id": "1", "num_points": number % 1000}


def member(number: int) -> dict[str, str]:
    """Return one member of a cohort."""
    return {"uid": f"m{number}@example.com"}


MEMBERS = 3_800
"""So many members are certain to fit into 120,000 bytes, for whoever can't count bytes."""
