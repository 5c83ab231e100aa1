"""
What a billion members cost, computed from what was measured and from what each target takes.

Costs of a member are those of the largest size that was measured, and are taken to grow with the members.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

from pydantic import SecretStr

from zeotap_pipelines.destinations.agillic import Agillic
from zeotap_pipelines.destinations.agillic_groups import MEMBERS, AgillicTargetGroup
from zeotap_pipelines.destinations.agillic_recipients import AgillicRecipients
from zeotap_pipelines.destinations.agillic_tables import AgillicTable
from zeotap_pipelines.destinations.base import Connection, Target
from zeotap_pipelines.destinations.crowdtwist import CrowdTwist, UserProfile
from zeotap_pipelines.destinations.crowdtwist_activities import ActivityCredit
from zeotap_pipelines.destinations.kognitiv import Kognitiv, PromotionalMemberGroup
from zeotap_pipelines.destinations.moengage import Cohort, MoEngage
from zeotap_pipelines.model import Verb

from .report import number

BILLION = 1_000_000_000
CAME = WENT = 1 / 100
CHANGED = 2 / 100
"""What is in step, but for these shares of the members each day."""

ANSWER = 0.05
"""Seconds that a service is taken to answer in, where it says no rate."""

CORES = 2

Report = Mapping[str, Any]


class Unmeasured(Exception):
    """A cost that the page rests on wasn't measured."""


def blocks(report: Report) -> dict[str, str]:
    """Return the tables of the page, by their marks; where a cost is missing they say so."""
    made = {"services": _services(report)}
    for name, table in {"constants": _constants, "machine": _machine, "ends": _ends}.items():
        try:
            made[name] = table(report)
        except Unmeasured as error:
            made[name] = f"Not computed: {error} was not measured."
    return made


@dataclass(frozen=True)
class Constant:
    """What one member costs in one respect: measured *at* so many."""

    name: str
    value: float
    unit: str
    at: int
    figure: str


def constants(report: Report) -> dict[str, Constant]:
    """Return the measured costs of a member. Raises Unmeasured."""
    found = {}
    for key, (name, figure, contender, value, per, unit, scale) in MEASURED.items():
        rows = [
            row
            for row in report["results"]
            if row["figure"] in figure and row["contender"] == contender and row.get(value) is not None
        ]
        if not rows:
            raise Unmeasured(name)
        row = max(rows, key=lambda row: row["n"])
        found[key] = Constant(name, scale * row[value] / row[per], unit, row["n"], row["figure"])
    return found


DIFFS = ("diff", "diff of a hundred million")
PLAN, SNAPSHOT, DELIVERY = "complete plan", "snapshot of the same members", "delivery"
MEASURED = {
    "snapshot": ("snapshot from DuckDB", DIFFS, SNAPSHOT, "cpu_seconds", "n", "µs CPU a member", 1e6),
    "plan": ("complete plan", DIFFS, PLAN, "cpu_seconds", "n", "µs CPU a member", 1e6),
    "snapshot_bytes": ("snapshot's file", DIFFS, PLAN, "snapshot_bytes", "n", "bytes a member", 1),
    "ledger_bytes": ("ledger's file", DIFFS, PLAN, "ledger_bytes", "n", "bytes a member", 1),
    "plan_bytes": ("plan's file", DIFFS, PLAN, "plan_bytes", "operations", "bytes an operation", 1),
    "batched": ("delivery in batches, ledger and all", ("batches",), DELIVERY, "cpu_seconds", "n", "µs CPU a row", 1e6),
    "one": (
        "delivery one by one, ledger and all",
        ("one request per row",),
        DELIVERY,
        "cpu_seconds",
        "n",
        "µs CPU a row",
        1e6,
    ),
}


def _constants(report: Report) -> str:
    rows = [
        (one.name, f"{number(one.value)} {one.unit}", f"{one.figure}, {one.at:,}") for one in constants(report).values()
    ]
    return _table(("what", "measured", "in the figure, at"), rows)


def _machine(report: Report) -> str:
    """Return what one target with a billion members costs beside its service."""
    of = {name: one.value for name, one in constants(report).items()}
    daily = (CAME + WENT + CHANGED) * BILLION

    def hours(microseconds: float, rows: float) -> str:
        spent = microseconds * rows / 1e6 / 3600
        return f"{number(spent)} CPU hours, {number(spent / CORES)} hours on {CORES} cores"

    def gigabytes(size: float, rows: float) -> str:
        return f"{number(size * rows / 1e9)} GB"

    rows = [
        ("snapshot", "every day", hours(of["snapshot"], BILLION)),
        ("complete plan", "every day", hours(of["plan"], BILLION)),
        ("delivery in batches, our part", "the first time", hours(of["batched"], BILLION)),
        ("delivery in batches, our part", "every day", hours(of["batched"], daily)),
        ("delivery one by one, our part", "the first time", hours(of["one"], BILLION)),
        ("delivery one by one, our part", "every day", hours(of["one"], daily)),
        ("ledger", "once a target", gigabytes(of["ledger_bytes"], BILLION)),
        ("snapshot", "every day that is kept", gigabytes(of["snapshot_bytes"], BILLION)),
        ("plan", "the first time", gigabytes(of["plan_bytes"], BILLION)),
        ("plan", "every day that is kept", gigabytes(of["plan_bytes"], daily)),
    ]
    return _table(("what", "when", "1,000,000,000 members"), rows)


@dataclass(frozen=True)
class Kind:
    """A kind of target: how many rows one request of a verb takes, and how many requests go with it."""

    name: str
    connection: Connection
    target: Target
    add: Verb
    remove: Verb | None
    body: str
    """The body of one row, as long as a row's usually is."""
    polls: int = 0
    """Requests for every batch beside the one that carries it: how its task stands, at best once."""

    @property
    def changed(self) -> float:
        """The share of the members who are told that they changed: what happened is told once, and a group has none."""
        return CHANGED if self.target.carries_attributes and not self.target.event else 0.0

    def rows(self, verb: Verb) -> int:
        """Return how many rows a batch of *verb* takes, by items and by bytes."""
        fits = self.target.max_bytes // (len(self.body) + 1) if self.target.max_bytes else BILLION
        return min(self.target.batch_items(verb), fits)

    def requests(self, verb: Verb, rows: float) -> int:
        """Return how many requests so many *rows* take at least."""
        batches = ceil(rows / self.rows(verb))
        if isinstance(self.target, AgillicTargetGroup) and verb is Verb.ADD:
            return batches * (1 + self.polls) + ceil(rows / MEMBERS)
        return batches * (1 + self.polls if verb is not Verb.REMOVE else 1)

    def rate(self) -> tuple[float, str]:
        """Return how many requests a second are possible, and why."""
        limits = self.connection.limits()
        if limits.per_minute:
            return limits.per_minute / 60, f"{limits.per_minute:,.0f} a minute"
        return limits.concurrency / ANSWER, f"{limits.concurrency} at a time, {1000 * ANSWER:.0f} ms each"


def kinds() -> tuple[Kind, ...]:
    """Return every kind of target with its connection at the settings that are its default."""
    secret, url = SecretStr("unused-secret"), "https://service.example"
    kognitiv = Kognitiv(account="a", base_url=url, client_id="a", client_secret=secret)
    moengage = MoEngage(account="a", base_url=url, app_id="a", secret_key=secret)
    crowdtwist = CrowdTwist(account="a", base_url=url, api_key=secret)
    agillic = Agillic(account="a", base_url=url, developer_key="a", developer_secret=secret)
    profile = '{"recipientId":"m999999999@example.com","personData":{"FIRSTNAME":"First19999","LASTNAME":"Last199999"}}'
    member = '{"uid":"m999999999@example.com"}'
    add, remove, upsert, insert = Verb.ADD, Verb.REMOVE, Verb.UPSERT, Verb.INSERT
    return (
        Kind("Kognitiv promotional group", kognitiv, PromotionalMemberGroup("G"), add, remove, ""),
        Kind("MoEngage cohort", moengage, Cohort("c", "C"), add, remove, member),
        Kind("CrowdTwist profiles", crowdtwist, UserProfile("s"), upsert, None, profile),
        Kind("CrowdTwist activity credits", crowdtwist, ActivityCredit("s"), insert, None, profile),
        Kind("Agillic recipients", agillic, AgillicRecipients("s"), upsert, None, profile, polls=1),
        Kind("Agillic target group", agillic, AgillicTargetGroup("G"), add, remove, profile, polls=1),
        Kind("Agillic one-to-many table", agillic, AgillicTable("T", "ID", "s"), upsert, None, profile, polls=1),
    )


def _services(report: Report) -> str:
    rows = []
    for kind in kinds():
        rate, why = kind.rate()
        first = kind.requests(kind.add, BILLION)
        daily = kind.requests(kind.add, (CAME + kind.changed) * BILLION)
        daily += kind.requests(kind.remove, WENT * BILLION) if kind.remove else 0
        rows.append((kind.name, f"{kind.rows(kind.add):,}", why, *_time(first, rate), *_time(daily, rate)))
    header = ("target", "rows a request", "rate", "first delivery: requests", "it takes", "a day: requests", "it takes")
    return _table(header, rows)


def _time(requests: int, rate: float) -> tuple[str, str]:
    hours = requests / rate / 3600
    if hours >= 24:
        return f"{requests:,}", f"{number(hours / 24)} days"
    return f"{requests:,}", f"{number(hours)} hours" if hours >= 1 else f"{number(60 * hours)} minutes"


def _ends(report: Report) -> str:
    """Return how many members fit into what one machine has."""
    of = {name: one.value for name, one in constants(report).items()}
    state = of["ledger_bytes"] + 7 * of["snapshot_bytes"]
    rows = [
        (f"an hour on {CORES} cores for snapshot and plan", 3600 * CORES * 1e6 / (of["snapshot"] + of["plan"])),
        ("1 TB of disk for a ledger and a week of snapshots", 1e12 / state),
    ]
    for kind in kinds():
        share = CAME + kind.changed + (WENT if kind.remove else 0)
        asked = kind.requests(kind.add, BILLION) / BILLION
        rows.append((f"a day's changes within a day: {kind.name}", kind.rate()[0] * 86_400 / (share * asked)))
    rows.sort(key=lambda row: row[1])
    return _table(("what holds", "members, at most"), [(name, f"{_round(value):,}") for name, value in rows])


def _round(value: float) -> int:
    return int(float(f"{value:.2g}"))


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, ("---",) * len(header), *rows))
