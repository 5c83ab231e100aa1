"""Runs the contenders of a figure in turn, each in a process and an environment of its own."""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .figure import Contender, Figure
from .goal import Measured

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 1_800
"""Seconds after which a contender is given up."""

VERSIONS = "import importlib.metadata as m, json; print(json.dumps({d.name: d.version for d in m.distributions()}))"


class Failed(Exception):
    """A contender did not do its work; its argument is what it said."""


def run(
    figure: Figure, size: int, folder: Path, *, runs: int | None = None, ours: bool = False
) -> list[dict[str, Any]]:
    """
    Measure *figure* at *size*, the contenders in turn *runs* times, and return a row for each: medians.

    *ours* leaves out those that need packages of their own. Whoever fails is said to have, and the others go on.
    """
    runs, load = runs or figure.sizes.get(size, 1), round(os.getloadavg()[0], 1)
    pythons: dict[str, str] = {}
    missing = dict(_left_out(figure, size, ours=ours))
    taken: dict[str, list[Measured]] = {}
    try:
        if figure.stage:
            _process(sys.executable, figure.stage, folder, size)
    except Failed as error:
        missing = {contender.name: f"failed: what all work on: {error}" for contender in figure.contenders}
    for contender in figure.contenders:
        if contender.name not in missing:
            try:
                pythons[contender.name] = environment(contender.packages)
                if contender.stage:
                    _process(pythons[contender.name], contender.stage, folder, size)
            except subprocess.CalledProcessError as error:
                missing[contender.name] = f"missing: {_last_line(error.stderr)}"
            except Failed as error:
                missing[contender.name] = str(error)
    for number in range(runs):
        for contender in figure.contenders:
            if contender.name in missing or number >= (contender.runs or runs):
                continue
            try:
                measured = _play(pythons[contender.name], contender.work, folder, size, whole=figure.whole)
            except Failed as error:
                missing[contender.name] = str(error)
            else:
                taken.setdefault(contender.name, []).append(measured)
    found = {name: _medians(several) for name, several in taken.items() if name not in missing}
    against = found.get(figure.against)
    rows, ended = [], datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    for contender in figure.contenders:
        row: dict[str, Any] = {"figure": figure.name, "contender": contender.name, "n": size}
        row |= {"measured": ended, "load": load}
        measured = found.get(contender.name, {})
        row["runs"] = len(taken.get(contender.name, ())) if measured else 0
        for kind in ("seconds", "cpu_seconds", "peak_mb", *measured):
            row[kind] = measured.get(kind)
        base = against["cpu_seconds"] if against else 0
        row["ratio"] = round(row["cpu_seconds"] / base, 3) if measured and base else None
        rows.append(row | ({"missing": missing[contender.name]} if contender.name in missing else {}))
    return rows


def _left_out(figure: Figure, size: int, *, ours: bool) -> Mapping[str, str]:
    """Return who isn't asked at all, and why."""
    reasons = {}
    for one in figure.contenders:
        if one.none:
            reasons[one.name] = f"none: {one.none}"
        elif ours and one.packages:
            reasons[one.name] = "left out: only ours were asked for"
        elif one.largest is not None and size > one.largest:
            reasons[one.name] = f"left out above {one.largest:,} {figure.unit}, to keep `make bench` short"
    return reasons


def _medians(several: list[Measured]) -> dict[str, float]:
    return {kind: round(statistics.median(one[kind] for one in several), 4) for kind in several[0]}


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


def versions(contenders: tuple[Contender, ...], ours: Mapping[str, str]) -> dict[str, str]:
    """
    Return the version of every package that the contenders whose environments are there were made from.

    A package of *ours* counts where theirs is another version; it is called theirs.
    """
    found: dict[str, str] = {}
    for packages in {one.packages for one in contenders if one.packages}:
        names = {name.split("[")[0] for name in packages}
        home = ROOT / ".venv" / "contenders" / "-".join(sorted(names))
        if (home / "made").exists():
            ran = subprocess.run([home / "bin" / "python", "-c", VERSIONS], capture_output=True, text=True)
            there = json.loads(ran.stdout) if ran.returncode == 0 else {}
            found |= {name: there[name] for name in names - set(ours) if name in there}
            found |= {f"{name} (theirs)": there[name] for name in ours if there.get(name, ours[name]) != ours[name]}
    return dict(sorted(found.items()))


def _play(python: str, work: str, folder: Path, size: int, *, whole: bool) -> Measured:
    """Return what the part of *work* that counts took. Raises Failed."""
    said = _process(python, work, folder, size, time.time() if whole else 0)
    measured: Measured = json.loads(said.splitlines()[-1])
    return measured


def _process(python: str, work: str, folder: Path, size: int, began: float = 0) -> str:
    """Run *work* in a process of its own, and return what it printed. Raises Failed."""
    command = [python, "-m", "benchmarks.measured", work, str(folder), str(size), str(began)]
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    more = {"cwd": folder, "env": {**os.environ, "PYTHONPATH": paths}, "stdin": subprocess.DEVNULL}
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, **more)  # type: ignore[call-overload]
    except subprocess.TimeoutExpired:
        raise Failed(f"failed: not done after {PATIENCE} seconds") from None
    if ran.returncode:
        print(ran.stderr[-3_000:], file=sys.stderr)
        words = _last_line(ran.stderr)
        raise Failed(words if words.startswith("missing: ") else f"failed: {words}")
    return str(ran.stdout)


def _last_line(text: str) -> str:
    """Return what was said last; the folders of this machine say nothing to others."""
    lines = [line for line in text.splitlines() if line.strip()]
    return re.sub(r"(?<![\w.])/[^\s'\"]*/", "…/", lines[-1])[:200] if lines else "no reason given"
