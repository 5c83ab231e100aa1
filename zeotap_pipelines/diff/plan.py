"""
The plan: every operation that would be asked, with counts and the guards' verdicts. A file a person can inspect.

A plan is immutable and named by its id, a digest of the target's address, the
partition, the ledger's generation and the operations. Its rows are numbered;
journal and ledger refer to rows by number.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from ..errors import FixSettings, RepairState
from ..model import Partition
from ..naming import filename
from ..state import State, content_digest, write_text


class Level(StrEnum):
    """How much a verdict weighs."""

    STOP = "stop"  # Nothing is sent before a person approves.
    WITHHOLD = "withhold"  # Removals wait until a person approves.
    WARN = "warn"


@dataclass(frozen=True)
class Verdict:
    """What a guard says of a plan."""

    guard: str
    level: Level
    message: str


@dataclass(frozen=True)
class Plan:
    """
    What would be sent to a target, and what a person should know of it before.

    *snapshot* is the digest of the audience's rows; a removal on request has none.
    *counts* maps each verb to its operations and each change to its rows; *why*
    counts the reasons; *set_aside* maps reasons to rows that are neither sent
    nor removed; *told* is how many rows the target was last told to hold;
    *kept_for* counts removals that would take out a wanted person and so aren't
    asked; *come_back* counts events that seem to have been asked for under another id;
    *content* is the digest of the file of operations. *opposing* is the digest of the
    snapshot of the sync's opposite, where it has one, and *opposed* counts the rows of
    *set_aside* that are in both.
    """

    id: str
    sync: str
    address: str
    mode: str
    partition: str
    partition_start: str
    partition_end: str
    generation: int
    snapshot: str
    audience: int
    told: int
    operations: int
    counts: Mapping[str, int]
    why: Mapping[str, int]
    set_aside: Mapping[str, int]
    odd: Mapping[str, int]
    null_keys: int
    kept_for: int
    refused_before: int
    changed_unsent: int
    come_back: int
    digest_version: int
    identity: str
    declared: str
    replacement: bool
    made_at: str
    content: str = ""
    opposing: str = ""
    opposed: int = 0
    verdicts: tuple[Verdict, ...] = field(default=())

    @property
    def stopped(self) -> tuple[Verdict, ...]:
        """The verdicts that stop the plan until a person approves."""
        return tuple(v for v in self.verdicts if v.level is Level.STOP)

    @property
    def withheld(self) -> tuple[Verdict, ...]:
        """The verdicts that hold back removals until a person approves."""
        return tuple(v for v in self.verdicts if v.level is Level.WITHHOLD)

    @property
    def window(self) -> Partition:
        """The partition that the plan is for."""
        start, end = (datetime.fromisoformat(moment) for moment in (self.partition_start, self.partition_end))
        return Partition(end, start, self.partition)

    def file(self, state: State) -> Path:
        """Return where the operations lie."""
        return state.plans(self.sync, self.partition) / f"{filename(self.id)}.parquet"

    def intact(self, state: State) -> bool:
        """Return whether the operations are there, and the very ones that the plan was made of."""
        try:
            found = content_digest(self.file(state))
        except OSError:
            return False
        return found == self.content or not self.content  # An earlier version wrote none down.

    def row_id(self, row: int) -> str:
        """Return a name for a row that says nothing of who it is, and that no other plan has."""
        return f"{self.id[:8]}-{row}"

    def rows(self, ids: Collection[str]) -> frozenset[int]:
        """Return the numbers of the rows with these *ids*. Raises FixSettings, naming one that is none of them."""
        found = set()
        for name in ids:
            of, _, number = name.partition("-")
            row = int(number) if number.isascii() and number.isdigit() and len(number) < 19 else self.operations
            if row >= self.operations or name != self.row_id(row):
                other = of != self.id[:8] and "it belongs to another plan; "
                raise FixSettings(
                    f"plan {self.id} of {self.sync} has no row {name!r}: {other or ''}take ids from this plan's page"
                )
            found.add(row)
        return frozenset(found)

    def count(self, name: str) -> int:
        """Return how many operations of a verb, or rows of a change, the plan holds."""
        return self.counts.get(name, 0)


def save(plan: Plan, state: State) -> None:
    """Write what is known of *plan* beside its operations; from then on the plan exists."""
    path = plan.file(state).with_suffix(".json")
    write_text(path, json.dumps(asdict(plan), indent=2, ensure_ascii=False) + "\n")
    # What a partition's newest plan is: a name, so that a plan is never overwritten.
    write_text(path.with_name("newest"), plan.id)


def load(state: State, sync: str, partition: str, plan: str | None = None) -> Plan | None:
    """Return a plan by its id, or the newest of the partition; None where there is none."""
    folder = state.plans(sync, partition)
    if plan is None:
        if not (folder / "newest").exists():
            return None
        plan = (folder / "newest").read_text(encoding="utf-8")
    return load_file(folder / f"{filename(plan)}.json")


def newest(state: State, sync: str, address: str) -> list[Plan]:
    """Return the newest plan of each partition of *sync* for the target at *address*; what is damaged is made again."""
    found = []
    for file in (state.root / "diffs" / filename(sync)).glob("*/newest"):
        with suppress(RepairState):
            made = load_file(file.with_name(f"{filename(file.read_text(encoding='utf-8'))}.json"))
            if made and made.address == address:
                found.append(made)
    return found


def load_file(path: Path) -> Plan | None:
    """Return the plan that is described at *path*; None where there is none."""
    if not path.exists():
        return None
    try:
        loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        verdicts = tuple(Verdict(v["guard"], Level(v["level"]), v["message"]) for v in loaded.pop("verdicts"))
        return Plan(**loaded, verdicts=verdicts)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise RepairState(f"the plan {path} can't be read, make it again: {type(error).__name__}") from error
