"""
What a figure is: contenders that do the same work in turn, each in a process of its own, and goals.

A contender is a function ``(folder, size) -> work``: what it does before it returns is
not measured, what the returned function does is, and what that returns is kept beside
it. Of a figure that is *whole*, the
process counts from its first instruction to the end of the work, imports and all.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

Measured = Mapping[str, float]
"""What one contender took: seconds, cpu_seconds and peak_mb, and what else its work says of itself."""


@dataclass(frozen=True)
class Contender:
    """
    Who does the work: a function as ``module:function``.

    One that needs *packages* which are not ours runs in an environment of its own,
    made from them; its module imports nothing else. One that takes too long for more
    than *largest* rows is left out of larger figures.
    """

    name: str
    work: str
    packages: tuple[str, ...] = ()
    largest: int | None = None


@dataclass(frozen=True)
class Goal:
    """What a contender should reach, in words, and whether it did, given what each measured."""

    text: str
    met: Callable[[Mapping[str, Measured]], bool]


@dataclass(frozen=True)
class Figure:
    """
    Contenders side by side at each of *sizes*.

    Ratios are of CPU seconds, to the contender that *against* names. *stage* makes,
    once per size, what all of them work on.
    """

    name: str
    sizes: tuple[int, ...]
    contenders: tuple[Contender, ...]
    against: str
    goals: Mapping[str, Goal]
    stage: str | None = None
    whole: bool = False
    unit: str = "rows"


def at_most(limit: float, against: str) -> Callable[[str], Goal]:
    """Return what makes the goal of a contender: at most *limit* times the CPU of *against*."""

    def goal(name: str) -> Goal:
        return Goal(f"≤ {limit:g} × {against}", lambda found: _cpu(found, name) <= limit * _cpu(found, against))

    return goal


def at_least(limit: float, against: str) -> Callable[[str], Goal]:
    """Return what makes the goal that *against* reaches beside a contender: *limit* times less CPU."""

    def goal(name: str) -> Goal:
        return Goal(f"≥ {limit:g} × {against}", lambda found: _cpu(found, name) >= limit * _cpu(found, against))

    return goal


def _cpu(found: Mapping[str, Measured], name: str) -> float:
    return found[name]["cpu_seconds"]


def run(figure: Figure, size: int, runs: int, folder: Path, *, ours: bool = False) -> list[dict[str, Any]]:
    """
    Measure *figure* at *size*, the contenders in turn *runs* times, and return a row for each: medians.

    *ours* leaves out those that need packages of their own.
    """
    if figure.stage:
        _play(sys.executable, figure.stage, folder, size, whole=False)
    taken: dict[str, list[Measured]] = {}
    missing: dict[str, str] = {}
    pythons = {}
    for contender in figure.contenders:
        if ours and contender.packages:
            missing[contender.name] = "left out"
        elif contender.largest is not None and size > contender.largest:
            missing[contender.name] = f"takes too long for more than {contender.largest:,} {figure.unit}"
        else:
            try:
                pythons[contender.name] = environment(contender.packages)
            except subprocess.CalledProcessError as error:
                missing[contender.name] = f"missing: {_last_line(error.stderr)}"
    for _ in range(runs):
        for contender in figure.contenders:
            if contender.name in missing:
                continue
            try:
                measured = _play(pythons[contender.name], contender.work, folder, size, whole=figure.whole)
            except Failed as error:
                if not contender.packages:
                    raise
                missing[contender.name] = f"failed: {_last_line(str(error))}"
            else:
                taken.setdefault(contender.name, []).append(measured)
    found = {
        name: {kind: statistics.median(one[kind] for one in several) for kind in several[0]}
        for name, several in taken.items()
        if name not in missing
    }
    return [_row(figure, contender.name, size, found, missing) for contender in figure.contenders]


def _row(
    figure: Figure, name: str, size: int, found: Mapping[str, Measured], missing: Mapping[str, str]
) -> dict[str, Any]:
    row: dict[str, Any] = {"figure": figure.name, "contender": name, "n": size}
    measured = found.get(name)
    goal = figure.goals.get(name)
    for kind in ("seconds", "cpu_seconds", "peak_mb", *(measured or ())):
        row[kind] = round(measured[kind], 3) if measured else None
    against = found.get(figure.against)
    row["ratio"] = round(measured["cpu_seconds"] / against["cpu_seconds"], 3) if measured and against else None
    row["goal"] = goal.text if goal else None
    try:
        row["met"] = goal.met(found) if goal and measured else None
    except KeyError:
        row["met"] = None  # The contender that it is measured by is missing.
    return row | ({"missing": missing[name]} if name in missing else {})


def environment(packages: tuple[str, ...]) -> str:
    """Return the interpreter that has *packages*: ours for none, else one of an environment made for them."""
    if not packages:
        return sys.executable
    home = ROOT / ".venv" / "contenders" / "-".join(sorted(name.split("[")[0] for name in packages))
    python = home / "bin" / "python"
    if not (home / "made").exists():
        # By venv's own interpreter: ours may be an environment already.
        quiet = {"check": True, "capture_output": True, "text": True}
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], **quiet)  # type: ignore[call-overload]
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *packages], **quiet)  # type: ignore[call-overload]
        (home / "made").touch()
    return str(python)


def _play(python: str, work: str, folder: Path, size: int, *, whole: bool) -> Measured:
    """Run one contender in a process of its own, and return what the part that counts took."""
    command = [python, "-m", "benchmarks.measured", work, str(folder), str(size), str(time.time() if whole else 0)]
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    ran = subprocess.run(command, capture_output=True, text=True, cwd=folder, env={**os.environ, "PYTHONPATH": paths})
    if ran.returncode:
        raise Failed(ran.stderr)
    measured: Measured = json.loads(ran.stdout.splitlines()[-1] if ran.stdout else "{}")
    return measured


class Failed(Exception):
    """A contender did not do its work; its argument is what it said."""


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "no reason given"
