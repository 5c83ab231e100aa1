"""What one contender is put through, and what came of it."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zeotap_pipelines.sandbox import CLIENT_SECRET, CROWDTWIST_API_KEY

from ..running import ROOT
from . import rows
from .service import Stage, stage

PATIENCE = 600.0
"""Seconds for one run of a contender."""

MEMBERS, GONE = 50, 5
"""Members of the group on the first day, and those of them who are gone on the second; on the third nobody is there."""

Found = dict[str, Any]


@dataclass(frozen=True)
class Contender:
    """Who does the work: a program of this package, in an environment made from *packages* where they aren't ours."""

    name: str
    program: str
    packages: tuple[str, ...] = ()


@dataclass
class Run:
    """One process that ended: with which status (negative: by that signal), and what it printed."""

    status: int
    output: str

    @property
    def called(self) -> str:
        """What the contender called its result."""
        return {0: "success", 3: "in doubt"}.get(self.status, "failure")


class Player:
    """Runs one contender, in *folder*, with the interpreter that has its packages."""

    def __init__(self, contender: Contender, python: str, folder: Path) -> None:
        self.contender = contender
        self._python = python
        self._folder = folder
        self.printed = ""

    def place(self, name: str) -> Path:
        """Return a folder of its own for one scene; what the contender remembers lies below `state`."""
        place = self._folder / name
        (place / "state").mkdir(parents=True, exist_ok=True)
        return place

    def run(self, what: str, place: Path, on: Stage, kill_after: int | None = None) -> Run:
        """Let the contender work; with *kill_after* kill it once so many requests have come."""
        paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        variables = os.environ | {"PYTHONPATH": paths, rows.KEY: CROWDTWIST_API_KEY, rows.TOKEN: on.token()}
        command = [self._python, "-m", f"benchmarks.peers.{self.contender.program}", what, str(place), on.address]
        printed = place / "printed.txt"
        with printed.open("w") as out:
            process = subprocess.Popen(
                command, cwd=place, env=variables, stdout=out, stderr=out, stdin=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip
            began = time.monotonic()
            while process.poll() is None:
                enough = kill_after is not None and on.balancers["crowdtwist"].asked >= kill_after
                if enough or time.monotonic() - began > PATIENCE:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                time.sleep(0.002)
        run = Run(process.returncode, printed.read_text(errors="replace"))
        self.printed += run.output
        return run


def credits(player: Player, number: int, seed: int) -> Found:
    """Lost answers and errors: one run."""
    with stage() as on:
        place, people = player.place("weather"), on.people(number)
        drawn = on.weather(people, seed)
        rows.write(place / "credits.jsonl", people)
        run = player.run("credits", place, on)
        return {
            **_counted(people, on.given(), place),
            "answers_lost": drawn["lost"],
            "answers_500": drawn["failed"],
            "called": run.called,
            "said": said(run.output),
            "cookies": on.balancers["crowdtwist"].cookies,
            "violations": on.violations,
        }


def killed(player: Player, number: int, rounds: int, seed: int) -> Found:
    """`kill -9` once in every round, then a rerun; sums over the rounds."""
    total: Counter[str] = Counter()
    chance, called = random.Random(seed), Counter[str]()
    for turn in range(rounds):
        with stage() as on:
            place, people = player.place(f"killed-{turn}"), on.people(number)
            rows.write(place / "credits.jsonl", people)
            first = player.run("credits", place, on, chance.randint(number // 10, number * 9 // 10))
            second = player.run("credits", place, on)
            counted = _counted(people, on.given(), place)
            total.update({name: count or 0 for name, count in counted.items()})
            total["kills"] += first.status == -signal.SIGKILL
            total["rounds_with_doubles"] += bool(counted["twice"])
            called[second.called] += 1
    names = ("wanted", "once", "twice", "never", "in_doubt", "in_doubt_given", "lost", "kills", "rounds_with_doubles")
    found: Found = {name: total[name] for name in names}
    if player.contender.packages:
        found |= {"in_doubt": None, "in_doubt_given": None}
    return {**found, "rounds": rounds, "called": dict(called)}


def mirror(player: Player) -> Found:
    """A group on three days: it is filled, a few are gone, the source is empty."""
    with stage() as on:
        place = player.place("mirror")
        everybody = [{"number": n, "member": f"M{n}"} for n in range(MEMBERS)]
        held, said_of_empty, called = [], "", ""
        for people in (everybody, everybody[:-GONE], []):
            rows.write(place / "members.jsonl", people)
            run = player.run("mirror", place, on)
            held.append(len(on.members()))
            said_of_empty, called = said(run.output), run.called
        filled, less, after_empty = held
        return {
            "members": filled,
            "gone": GONE,
            "removed": filled - less,
            "left_when_empty": after_empty,
            "emptied": bool(filled) and after_empty == 0,
            "called_when_empty": called,
            "said_when_empty": said_of_empty,
            "cookies": on.balancers["kognitiv"].cookies,
            "violations": on.violations,
        }


def outage(player: Player) -> Found:
    """A service that fails for ever: what is printed of it, beside all that was printed before."""
    with stage() as on:
        place, people = player.place("outage"), on.people(2)
        on.outage()
        rows.write(place / "credits.jsonl", people)
        run = player.run("credits", place, on)
        secrets = (CROWDTWIST_API_KEY, CLIENT_SECRET)
        return {"called": run.called, "secrets_printed": any(secret in player.printed for secret in secrets)}


def _counted(people: list[rows.Row], given: Counter[str], place: Path) -> Found:
    wanted = {row["event_id"] for row in people}
    listed = place / "doubts.json"
    doubts = set(json.loads(listed.read_text())) if listed.exists() else set()
    never = {event for event in wanted if not given[event]}
    return {
        "wanted": len(wanted),
        "once": sum(1 for event in wanted if given[event] == 1),
        "twice": sum(1 for event in wanted if given[event] > 1),
        "never": len(never),
        "in_doubt": len(doubts) if listed.exists() else None,
        "in_doubt_given": sum(1 for event in doubts if given[event]) if listed.exists() else None,
        "lost": len(never - doubts),
    }


def said(output: str) -> str:
    """Return the last line that says something, without colours, addresses and keys."""
    plain = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", output)
    plain = re.sub(r"https?://\S+|/\S*/\S+", "…", plain).replace(CROWDTWIST_API_KEY, "***")
    lines = [line.strip() for line in plain.splitlines() if re.search(r"\w", line)]
    return lines[-1][:160] if lines else ""
