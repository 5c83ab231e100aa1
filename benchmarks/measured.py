"""
One contender in this process: prints what its work took, as JSON.

    python -m benchmarks.measured MODULE:FUNCTION FOLDER SIZE BEGAN

BEGAN is when the process was started, in seconds since 1970, or 0 to measure the
work alone. Uses nothing but the standard library: contenders have their own.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path


def cpu() -> float:
    """Return the CPU seconds of this process and of the children that have ended."""
    return time.process_time() + sum(os.times()[2:4])


def report(seconds: float, cpu_seconds: float, more: Mapping[str, float] | None = None) -> None:
    """
    Print what the work took, the most memory that this process has held, and what *more* the work says.

    What it says of CPU *elsewhere*, in a server that works for it, is added to its own.
    """
    said = dict(more or {})
    cpu_seconds += said.pop("elsewhere", 0)
    peak = max(_high_water(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
    took = {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_mb": peak * 1024 / 1e6}
    print(json.dumps({**said, **took}), flush=True)


def _high_water() -> int:
    """Return the most KiB that were resident: not getrusage's, which counts the parent before it became us."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def _forget_high_water() -> None:
    """Let what was resident before count no more, where the system can."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def main() -> None:
    name, folder, size, began = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    module, _, function = name.partition(":")
    work = getattr(importlib.import_module(module), function)(folder, size)
    if work is None:
        return
    if not began:
        _forget_high_water()
    used, started = (0.0, time.time() - began) if began else (cpu(), 0.0)
    clock = time.monotonic()
    more = work()
    report(started + time.monotonic() - clock, cpu() - used, more)


if __name__ == "__main__":
    main()
