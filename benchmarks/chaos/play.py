"""One play: a service, its scenes, its weather, and the comparison with the truth."""

from __future__ import annotations

import os
import random
import shutil
import signal
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet

from benchmarks.chaos import windows
from benchmarks.chaos.scenes import SPEAKERS, Credits, Scene
from benchmarks.chaos.weather import Watched, faults, watch
from benchmarks.chaos.worker import Hurried, Nursery, nursery
from zeotap_pipelines.engines.duckdb import rows
from zeotap_pipelines.ledger.ledger import Ledger
from zeotap_pipelines.ledger.lock import speaking
from zeotap_pipelines.sandbox import AgillicSettings, CrowdTwistSettings, Fault, Sandbox, running
from zeotap_pipelines.state import State
from zeotap_pipelines.upkeep.doubts import Decision, decide, doubts

STOPPED = 143
"""How a worker ends that was stopped by SIGTERM."""

PATIENCE = 120.0
"""Seconds after which a worker is taken for hung."""


class Defect(Exception):
    """The promise is broken."""


@dataclass
class Tally:
    """What is printed for one scene."""

    rounds: int = 0
    kills: int = 0
    faults: int = 0
    rows: int = 0
    lost: int = 0
    doubled: int = 0
    in_doubt: int = 0
    unheard: int = 0  # Of those in doubt: the answer was lost on its way.
    largest_window: int = 0  # Events open at one kill.
    violations: int = 0
    checks: int = 0
    defects: list[str] = field(default_factory=list)


@dataclass
class _Round:
    scene: Scene
    number: int
    worker: int
    said: str
    end_at: float | None = None
    end_with: signal.Signals = signal.SIGKILL


class Play:
    """Scenes at one service, with a state and a sandbox of their own."""

    def __init__(self, scenes: Sequence[Scene], seed: int, root: Path, *, kill: bool = True) -> None:
        self.scenes, self.seed, self.root, self._kill = scenes, seed, root, kill
        self.service = scenes[0].service
        self.tallies = {scene.name: Tally() for scene in scenes}
        self.trace: deque[str] = deque(maxlen=60)
        self._chance = random.Random(f"{seed}/{self.service}")
        self._clock = Hurried(time.time())
        self._steps: dict[str, Counter[str]] = {scene.name: Counter() for scene in scenes}
        self._day = -1
        self._settled = -1  # Up to this day everything was seen to be delivered.
        self._runs = 0
        self._running: dict[int, str] = {}  # The run of each worker.
        self._killed: set[str] = set()
        self._stopped: set[str] = set()
        self._open: set[str] = set()  # Events whose answer was owed to a run when it was killed or stopped.
        self._decided: dict[str, Decision] = {}
        self._watched: Watched | None = None

    @property
    def kills(self) -> int:
        return sum(tally.kills for tally in self.tallies.values())

    @property
    def defects(self) -> list[str]:
        return [f"{name}: {what}" for name, tally in self.tallies.items() for what in tally.defects]

    def run(self, more: Callable[[], bool]) -> None:
        """Play act after act while *more*, then let the weather calm down once more. A defect ends the play."""
        with self._staged():
            try:
                acts = 0
                while more():
                    self._act()
                    acts += 1
                    if acts % 5 == 0:
                        self._calm()
                self._calm()
                self._decide()
            except Defect:
                pass  # It is in the tally, and the trace says how it came about.
            except Exception:  # What breaks the harness is no proof of anything.
                self.tallies[self.scenes[0].name].defects.append(traceback.format_exc())
            finally:
                self._count()

    @contextmanager
    def _staged(self) -> Iterator[None]:
        with ExitStack() as stack:
            self._sandbox = stack.enter_context(Sandbox(clock=self._clock.unix, seed=self.seed, **_settings()))
            if self.service == "crowdtwist":
                self._watched = watch(self._sandbox)
            self._address = stack.enter_context(running(self._sandbox))
            self._nursery: Nursery = stack.enter_context(nursery())
            for scene in self.scenes:
                scene.prepare(self._sandbox, self.seed)
            yield

    def _act(self) -> None:
        """A day begins; workers deliver it, or an earlier one, in bad weather, and some are killed."""
        self._begin_day()
        chance = self._chance
        for _ in range(chance.randint(1, 4)):
            self._sandbox.faults.clear()
            self._sandbox.faults.add(*faults(chance, self.service))
            together = chance.sample(self.scenes, 2 if len(self.scenes) > 1 and chance.random() < 0.3 else 1)
            if chance.random() < 0.15:
                together = [together[0], together[0]]
            if together[1:] == together[:1] and chance.random() < 0.5:
                self._rounds(self._met(together[0]))
                continue
            # The second comes a little later: while the first plans, delivers or folds.
            self._rounds([self._started(scene, chance.uniform(0.0, 0.5) * n) for n, scene in enumerate(together)])

    def _met(self, scene: Scene) -> list[_Round]:
        """Two deliveries of one sync, the second planned when the first has had some answers."""
        self._sandbox.faults.add(Fault(kind="delay", seconds=0.1))  # So that there is a middle of it.
        mark = str(self.root / f"mark-{self.service}-{self._runs}")
        answers = self._chance.randint(1, 4)
        return [self._started(scene, 0.0, mark=mark, answers=answers), self._started(scene, 0.0, meets=mark)]

    def _begin_day(self) -> None:
        self._day += 1
        for scene in self.scenes:
            scene.opened(self._sandbox, self.seed, self._day)

    def _started(self, scene: Scene, late: float, **more: Any) -> _Round:
        chance = self._chance
        number = self._day if chance.random() < 0.9 else chance.randint(0, self._day)
        task: dict[str, Any] = {"at": time.time() + late, **more}
        end_at, end_with, said = None, signal.SIGKILL, "to the end"
        way, known = chance.random(), self._steps[scene.name]
        moment = time.monotonic() + late + chance.uniform(0.01, 0.7)
        if way < 0.05:
            end_at, end_with, said = moment, signal.SIGTERM, "stopped at a random moment"
        elif way < 0.4 and self._kill:
            end_at, said = moment, "killed at a random moment"
        elif way < 0.85 and self._kill:
            # Any step, or one of a kind that is rare.
            kind = chance.choice(["", *sorted(known)])
            most = known[kind] if kind else known.total()
            task["die"] = [kind, chance.randint(1, max(1, most))]
            said = f"dies after step {task['die'][1]} {kind}"
        return _Round(scene, number, self._start(scene, number, **task), said, end_at, end_with)

    def _start(self, scene: Scene, number: int, **task: Any) -> int:
        given = {"scene": scene.name, "seed": self.seed, "day": number, "today": self._day}
        given |= {"address": self._address, "epoch": self._clock.epoch, "state": str(self._state.root)}
        self._runs += 1
        given |= {"run": f"run-{self._runs}", "journals": str(self._journals(scene))}
        worker = self._nursery.start(**given, **task)
        self._running[worker] = given["run"]
        return worker

    @property
    def _state(self) -> State:
        return State(self.root / self.service)

    def _journals(self, scene: Scene) -> Path:
        return self.root / "journals" / scene.name

    def _rounds(self, started: list[_Round]) -> None:
        for one in sorted(started, key=lambda one: one.end_at or 0.0):
            if one.end_at is not None:
                time.sleep(max(0.0, one.end_at - time.monotonic()))
                os.kill(one.worker, one.end_with)
        for one in started:
            self._ended(one)

    def _ended(self, one: _Round) -> dict[str, Any] | None:
        hung = threading.Timer(PATIENCE, os.kill, (one.worker, signal.SIGABRT))
        hung.start()
        code, result = self._nursery.wait(one.worker)
        hung.cancel()
        tally = self.tallies[one.scene.name]
        tally.rounds += 1
        tally.kills += code == -signal.SIGKILL
        run = self._running.pop(one.worker)
        if code == -signal.SIGKILL:
            self._killed.add(run)
        elif code == STOPPED:
            self._stopped.add(run)
        told = "killed" if result is None else {name: result[name] for name in ("asked", "complete", "error", "said")}
        self.trace.append(f"{one.scene.name} day {one.number} {one.said}: {code} {told}")
        if code not in (0, -signal.SIGKILL, STOPPED, -signal.SIGTERM):
            self._defect(one.scene, f"a worker ended with {code}" + " (hung)" * (code == -signal.SIGABRT))
        if result is None:
            return None
        if result["error"] == "crash":
            self._defect(one.scene, f"a worker raised\n{result['said']}")
        if result["complete"] and result["asked"]:
            self._steps[one.scene.name] |= Counter(result["steps"])
        return result

    # What is compared.

    def _calm(self) -> None:
        """No faults, no kills: deliver everything, and compare with the truth."""
        self._sandbox.faults.clear()
        self.trace.append("calm")
        for scene in self.scenes:
            # Events of the last settled day may have come late.
            days = range(max(0, self._settled), self._day + 1) if scene.event else [self._day]
            for number in days:
                self._deliver(scene, number)
        self._settled = self._day
        for scene in self.scenes:
            self._look_at_windows(scene)
            self.tallies[scene.name].checks += 1
            if isinstance(scene, Credits):
                self._compare_credits(scene)
            else:
                self._compare(scene)
        if found := self._sandbox.violations:
            self._defect(self.scenes[0], f"{len(found)} violations, the first: {found[0]}")
        self.trace.append("as wanted")

    def _deliver(self, scene: Scene, number: int) -> None:
        for _ in range(10):
            worker = self._start(scene, number)
            result = self._ended(_Round(scene, number, worker, "in calm weather"))
            if result is None:
                continue
            if result["complete"] and (not result["asked"] or number < self._day):
                return
            if result["error"] == "ContinueLater":
                time.sleep(0.5)
            elif result["error"] and not scene.event:
                self._defect(
                    scene, f"day {number} is not delivered in calm weather: {result['error']}: {result['said']}"
                )
        self._defect(scene, f"day {number} is never done: {result}")

    def _compare(self, scene: Scene) -> None:
        wanted, held = scene.wanted(self.seed, self._day), scene.held(self._sandbox)
        tally = self.tallies[scene.name]
        missing = sorted(who for who, what in wanted.items() if who not in held or held[who] != what)
        beyond = sorted(held.keys() - wanted.keys() - scene.may_stay(self.seed, self._day))
        tally.lost, tally.doubled = len(missing), len(beyond)
        if missing or beyond:
            told = self._told(scene, "name, value, state, unsettled, refused_verb, partition, plan")
            shown = [row for row in told if row[1] in [*missing, *beyond]]
            differ = {who: (wanted[who], held.get(who)) for who in missing}
            self._defect(scene, f"day {self._day}: lost {differ}, beyond {beyond}; told {shown}")

    def _compare_credits(self, scene: Credits) -> None:
        assert self._watched is not None
        tally = self.tallies[scene.name]
        credited = self._credited()
        told = dict(self._told(scene, "value, state"))
        doubtful = {event for event, state in told.items() if state == "doubt"}
        lost_answers = {asked.event for asked in self._watched.asked if asked.lost} - self._decided.keys()
        tally.in_doubt, tally.unheard, tally.lost = len(doubtful), len(doubtful & lost_answers), 0
        tally.doubled = sum(times - 1 for times in credited.values())
        if tally.doubled:
            self._defect(scene, f"credited twice: {[event for event, times in credited.items() if times > 1]}")
        for number in range(self._day + 1):
            for row in scene.rows(self.seed, number, self._day):
                event = row["event"]
                if event in credited or event in doubtful or event in self._decided or not scene.possible(row):
                    continue
                tally.lost += 1
                self._defect(scene, f"{event} is neither credited nor in doubt; told {told.get(event)}")
        if hidden := lost_answers - doubtful:
            self._defect(scene, f"the answer was lost, and nobody is told: {_shown(hidden, told)}")
        if needless := doubtful - lost_answers - self._open:
            self._defect(scene, f"in doubt, though answered and no window was open: {_shown(needless, told)}")
        if false := {event for event, state in told.items() if state == "in"} - credited.keys() - self._decided.keys():
            self._defect(scene, f"told in, and not credited: {sorted(false)}")

    def _decide(self) -> None:
        """A person, who knows the truth, decides about every row in doubt: then each event is credited once."""
        for scene in self.scenes:
            if not isinstance(scene, Credits):
                continue
            ledger = self._ledger(scene)
            listed = doubts(ledger)
            order = "WHERE state = 'doubt' ORDER BY moment, value"
            events = [event for (event,) in self._told(scene, "value", order)]
            credited = self._credited()
            for decision, wrong in ((Decision.WAS_SENT, False), (Decision.RESEND, True)):
                ids = [one.id for one, event in zip(listed, events, strict=True) if (event not in credited) is wrong]
                with speaking(self._state.account(ledger.address), run="person", sync="none", wait=10):
                    decide(ledger, ids, decision, by="chaos", reason="knows the truth", now=self._clock.now())
            self._decided |= dict.fromkeys(events, Decision.RESEND)
            self._deliver(scene, self._day)
            credited = self._credited()
            twice = [event for event, times in credited.items() if times > 1]
            every = [row for number in range(self._day + 1) for row in scene.rows(self.seed, number, self._day)]
            possible = {row["event"] for row in every if scene.possible(row)}
            if twice or possible - credited.keys():
                self._defect(scene, f"after every doubt was decided: twice {twice}, not {possible - credited.keys()}")

    def _credited(self) -> Counter[str]:
        return Counter(str(credit.extra_data["event_id"]) for credit in self._sandbox.crowdtwist.credits())

    def _look_at_windows(self, scene: Scene) -> None:
        """Whoever ended by himself has left nothing open; of the others the events that may be in doubt are noted."""
        for window in windows.left(self._journals(scene), self._ledger(scene).journal_file):
            if window.open and window.run not in self._killed:
                self._defect(
                    scene, f"{window.run} was not killed, and left {sorted(window.open)} of {window.plan} open"
                )
            if window.cut_off and window.run not in self._stopped | self._killed:
                self._defect(scene, f"{window.run} was not stopped, and cut {sorted(window.cut_off)} off")
            if not isinstance(scene, Credits):
                continue
            tally = self.tallies[scene.name]
            tally.largest_window = max(tally.largest_window, len(window.open))
            if len(window.open) > 2 * SPEAKERS or len(window.cut_off) > SPEAKERS:
                self._defect(scene, f"{window.run} left too much: {window}")
            file = self._state.find_plan(window.plan)
            assert file is not None
            values = pyarrow.parquet.read_table(file, columns=["row", "value"]).to_pylist()
            self._open |= {row["value"] for row in values if row["row"] in window.open | window.cut_off}

    def _ledger(self, scene: Scene) -> Ledger:
        sync = scene.sync()
        return Ledger(self._state, sync.target, sync.address)

    def _told(self, scene: Scene, columns: str, rest: str = "ORDER BY value") -> list[tuple[Any, ...]]:
        with self._ledger(scene).reading() as connection:
            return rows(connection, f"SELECT {columns} FROM told {rest}")

    def _count(self) -> None:
        for scene in self.scenes:
            tally = self.tallies[scene.name]
            log = [entry for entry in self._sandbox.log if scene.owns(entry)]
            tally.faults = sum("fault: " in entry.note for entry in log)
            tally.violations = sum(entry.violation is not None for entry in log)
            with self._ledger(scene).reading() as connection:
                query = "SELECT coalesce(sum(accepted + rejected + deferred + in_doubt), 0) FROM movements"
                [(asked,)] = rows(connection, query)
            tally.rows = int(asked)
        if not self.defects:
            shutil.rmtree(self._state.root)

    def _defect(self, scene: Scene, what: str) -> None:
        self.tallies[scene.name].defects.append(what)
        raise Defect(what)


def _shown(events: set[str], told: dict[str, str]) -> list[tuple[str, str | None]]:
    return [(event, told.get(event)) for event in sorted(events)]


def _settings() -> dict[str, Any]:
    return {
        "crowdtwist": CrowdTwistSettings(max_in_flight=SPEAKERS),
        # Tasks end in the order in which they were taken, as those of a queue do.
        "agillic": AgillicSettings(task_polls=None, task_seconds=3.0),
    }
