"""
The scenes: for each target its audience at every partition, and what the service must hold in the end.

An audience is a function of seed and day. People enter, leave, come back and
change; some ids need encoding in a path; some people the service refuses.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
from pydantic import SecretStr

from zeotap_pipelines import sandbox as stand_ins
from zeotap_pipelines.audience import Audience
from zeotap_pipelines.destinations.agillic import Agillic
from zeotap_pipelines.destinations.agillic_groups import AgillicTargetGroup
from zeotap_pipelines.destinations.agillic_recipients import AgillicRecipients
from zeotap_pipelines.destinations.agillic_tables import AgillicTable
from zeotap_pipelines.destinations.base import Connection, Target
from zeotap_pipelines.destinations.crowdtwist import CrowdTwist, UserProfile
from zeotap_pipelines.destinations.crowdtwist_activities import ActivityCredit
from zeotap_pipelines.destinations.kognitiv import Kognitiv, PromotionalMemberGroup
from zeotap_pipelines.destinations.moengage import Cohort, MoEngage
from zeotap_pipelines.mapping import Field
from zeotap_pipelines.model import Mode, Partition
from zeotap_pipelines.sandbox import Entry, Sandbox
from zeotap_pipelines.sync import Guards, Sync

TIMEOUT = 10.0
"""Seconds that a worker waits for an answer."""

TASKS = 5.0
"""Seconds that Agillic's tasks may take: more than the stand-in's do."""

SPEAKERS = 4
"""Requests at once, where the service allows several."""

PEOPLE = range(48)
GROUP = "Active 90 days"
ANYTHING_GOES = Guards(max_removed_percent=100, max_set_aside_percent=100, allow_empty=True)

Row = Mapping[str, Any]
Wanted = dict[str, Any]
"""Who (or which record) must be there, and with what."""


@dataclass(frozen=True)
class Rows:
    """A source that gives the rows it was made with, whatever the query."""

    rows: Sequence[Row]
    schema: pyarrow.Schema

    def write(
        self, query: str, parameters: Mapping[str, object], path: Path, metadata: Mapping[str, str], zone: str
    ) -> None:
        table = pyarrow.Table.from_pylist(list(self.rows), schema=self.schema)
        pyarrow.parquet.write_table(table.replace_schema_metadata(dict(metadata)), path)


def day(number: int) -> Partition:
    """The partition of the day so many days after the first."""
    start = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number)
    return Partition(start + timedelta(days=1), start, start.date().isoformat())


def wave(seed: int, what: str, who: object, number: int, length: int) -> float:
    """A number in [0, 1) that stays the same for so many days in a row."""
    return random.Random(f"{seed}/{what}/{who}/{number // length}").random()


def members(seed: int, number: int) -> list[int]:
    """Who is in the audience on a day; on some days nobody is."""
    if number % 17 == 16:
        return []
    return [who for who in PEOPLE if wave(seed, "in", who, number + who, 2) < 0.6]


def version(seed: int, who: int, number: int) -> int:
    """What changes about somebody."""
    return int(wave(seed, "version", who, number + who, 3) * 1000)


class Scene(ABC):
    """One target with its audience."""

    name: str
    service: str
    mode: Mode
    target: Target
    mapping: Mapping[str, str]
    schema: pyarrow.Schema
    event = False

    def sync(self, stream: str = "") -> Sync:
        """The sync; another *stream* is another sync to another target of the same kind."""
        mapping = {name: Field.of(value) for name, value in self.mapping.items()}
        audience = Audience(self.name, "SELECT", (self.schema.names[0],))
        target = self.streamed(stream) if stream else self.target
        return Sync(self.name + stream, audience, target, "demo", self.mode, mapping, ANYTHING_GOES)

    def streamed(self, stream: str) -> Target:
        raise NotImplementedError

    @abstractmethod
    def connection(self, address: str) -> Connection:
        """The account at the sandbox."""

    @abstractmethod
    def rows(self, seed: int, number: int, today: int | None = None) -> Iterable[Row]:
        """The audience on a day, as it is known *today*."""

    def audience(self, seed: int, number: int, today: int) -> Rows:
        return Rows(list(self.rows(seed, number, today)), self.schema)

    def prepare(self, sandbox: Sandbox, seed: int) -> None:
        """What is there before anybody asks."""
        return

    def opened(self, sandbox: Sandbox, seed: int, number: int) -> None:
        """What happens at the service itself when a day begins."""
        return

    def wanted(self, seed: int, number: int) -> Wanted:
        """What must be there when the day is delivered."""
        raise NotImplementedError

    def held(self, sandbox: Sandbox) -> Wanted:
        """What is there."""
        raise NotImplementedError

    def may_stay(self, seed: int, number: int) -> set[str]:
        """Who may be there though not wanted on this day."""
        return set()

    def owns(self, entry: Entry) -> bool:
        """Whether a request is one of this scene's, as far as the log tells."""
        return True


def _schema(**types: pyarrow.DataType) -> pyarrow.Schema:
    return pyarrow.schema(list(types.items()))


TEXT, NUMBER, DATE = pyarrow.string(), pyarrow.int64(), pyarrow.date32()


class Group(Scene):
    name, service, mode = "kognitiv_group", "kognitiv", Mode.MIRROR
    target = PromotionalMemberGroup("ACTIVE-90D")
    mapping = {"member_internal_id": "customer"}
    schema = _schema(customer=TEXT)

    def connection(self, address: str) -> Connection:
        return Kognitiv(
            account="demo",
            base_url=f"{address}/kognitiv",
            client_id=stand_ins.CLIENT_ID,
            client_secret=SecretStr(stand_ins.CLIENT_SECRET),
            concurrency=SPEAKERS,
            timeout=TIMEOUT,
        )

    def _id(self, who: int) -> str:
        if who % 12 == 11:
            return f"stranger{who}"
        return f"{who}/ü +%41" if who % 3 == 0 else str(who)

    def rows(self, seed: int, number: int, today: int | None = None) -> Iterable[Row]:
        return [{"customer": self._id(who)} for who in members(seed, number)]

    def wanted(self, seed: int, number: int) -> Wanted:
        return {self._id(who): None for who in members(seed, number) if who % 12 != 11}

    def held(self, sandbox: Sandbox) -> Wanted:
        return dict.fromkeys(sandbox.kognitiv.members())


class Segment(Scene):
    """People by uid; some are anonymous at first and register on a day of their own."""

    name, service, mode = "moengage_cohort", "moengage", Mode.MIRROR
    target = Cohort("active_90d", "Active 90 days")
    mapping = {"uid": "uid", "anonymous_id": "device"}
    schema = _schema(who=NUMBER, uid=TEXT, device=TEXT)

    def connection(self, address: str) -> Connection:
        return MoEngage(
            account="demo",
            base_url=f"{address}/moengage",
            app_id=stand_ins.MOENGAGE_APP_ID,
            secret_key=SecretStr(stand_ins.MOENGAGE_SECRET),
            timeout=TIMEOUT,
        )

    def _registers(self, who: int) -> int:
        return 0 if who % 2 else who * 2

    def _row(self, who: int, number: int) -> Row:
        anonymous = number < self._registers(who)
        # Who was anonymous keeps the device: without it nobody could know that the two are one.
        device = f"d{who}" if who % 2 == 0 or who % 3 else None
        return {"who": who, "uid": None if anonymous else f"u{who}", "device": device}

    def rows(self, seed: int, number: int, today: int | None = None) -> Iterable[Row]:
        return [self._row(who, number) for who in members(seed, number)]

    def opened(self, sandbox: Sandbox, seed: int, number: int) -> None:
        for who in PEOPLE:
            if number == self._registers(who):
                sandbox.moengage.link(f"d{who}", f"u{who}")

    def wanted(self, seed: int, number: int) -> Wanted:
        return {row["uid"] or row["device"]: None for row in self.rows(seed, number)}

    def held(self, sandbox: Sandbox) -> Wanted:
        return dict.fromkeys(sandbox.moengage.members("active_90d"))


def crowdtwist(address: str) -> Connection:
    return CrowdTwist(
        account="demo",
        base_url=f"{address}/crowdtwist",
        api_key=SecretStr(stand_ins.CROWDTWIST_API_KEY),
        concurrency=SPEAKERS,
        timeout=TIMEOUT,
    )


class Profiles(Scene):
    """Members' profiles; an e-mail address is written in small letters on some days and in large ones on others."""

    name, service, mode = "crowdtwist_profiles", "crowdtwist", Mode.UPSERT
    target = UserProfile("crm")
    mapping = {"user_id": "email", "first_name": "first", "last_name": "last", "postal_code": "zip"}
    schema = _schema(email=TEXT, first=TEXT, last=TEXT, zip=TEXT)

    def connection(self, address: str) -> Connection:
        return crowdtwist(address)

    def rows(self, seed: int, number: int, today: int | None = None) -> Iterable[Row]:
        for who in members(seed, number):
            email = f"p{who}+x/y@example.org"
            large = who % 5 == 0 and wave(seed, "case", who, number, 2) < 0.5
            changing = version(seed, who, number)
            # Without a postal code nobody can be created.
            place = None if who % 12 == 11 else f"{10000 + changing}"
            yield {"email": email.upper() if large else email, "first": f"F{changing}", "last": f"L{who}", "zip": place}

    def _shown(self, rows: Iterable[Row]) -> Wanted:
        return {row["email"].lower(): (row["first"], row["last"], row["zip"]) for row in rows if row["zip"]}

    def wanted(self, seed: int, number: int) -> Wanted:
        return self._shown(self.rows(seed, number))

    def held(self, sandbox: Sandbox) -> Wanted:
        found = [user for user in sandbox.crowdtwist.users() if user["email_address"].lower().startswith("p")]
        rows = [{"email": u["email_address"], "first": u["first_name"], "last": u["last_name"]} for u in found]
        return self._shown({**row, "zip": user["postal_code"]} for row, user in zip(rows, found, strict=True))

    def may_stay(self, seed: int, number: int) -> set[str]:
        return {name for earlier in range(number + 1) for name in self.wanted(seed, earlier)}

    def owns(self, entry: Entry) -> bool:
        return not entry.route.endswith("/activities")


class Credits(Scene):
    """Purchases: so many new ones every day, several of one customer among them; some are known a day later."""

    name, service, mode, event = "crowdtwist_credits", "crowdtwist", Mode.INSERT, True
    target = ActivityCredit("purchases")
    mapping = {
        "event_id": "event",
        "user_id": "email",
        "activity_id": "activity",
        "num_points": "points",
        "activity_date": "moment",
        "extra_data.event_id": "event",
    }
    schema = _schema(event=TEXT, email=TEXT, activity=TEXT, points=NUMBER, moment=NUMBER)

    def streamed(self, stream: str) -> Target:
        return ActivityCredit("purchases" + stream)

    def connection(self, address: str) -> Connection:
        return crowdtwist(address)

    def prepare(self, sandbox: Sandbox, seed: int) -> None:
        for who in range(7):
            sandbox.crowdtwist.put_user(email_address=f"c{who}@example.org", first_name="C", last_name=str(who))

    def rows(self, seed: int, number: int, today: int | None = None) -> Iterable[Row]:
        late = today is not None and today > number
        for n in range(14 if late else 11):
            chance = random.Random(f"{seed}/event/{number}/{n}")
            # One in thirty names an activity that isn't there, one in thirty somebody who isn't.
            activity = "9999" if chance.random() < 0.03 else chance.choice(["1001", "1002"])
            who = 99 if chance.random() < 0.03 else chance.randrange(7)
            yield {
                "event": f"E{number}-{n}",
                "email": f"c{who}@example.org",
                "activity": activity,
                "points": chance.randrange(1, 5),
                "moment": 1_790_000_000 + number,
            }
        if number % 3 == 1:  # Nobody's event, and one that is there twice.
            yield {"event": None, "email": "c0@example.org", "activity": "1001", "points": 1, "moment": 0}
            yield {"event": f"E{number}-twice", "email": "c1@example.org", "activity": "1001", "points": 1, "moment": 0}
            yield {"event": f"E{number}-twice", "email": "c1@example.org", "activity": "1001", "points": 1, "moment": 0}

    def possible(self, row: Row) -> bool:
        """Whether the service can credit an event."""
        return bool(row["event"] and row["activity"] != "9999" and row["email"] != "c99@example.org")

    def owns(self, entry: Entry) -> bool:
        return entry.route.endswith("/activities") and entry.method == "POST"


def agillic(address: str) -> Connection:
    return Agillic(
        account="demo",
        base_url=f"{address}/agillic",
        developer_key=stand_ins.AGILLIC_KEY,
        developer_secret=SecretStr(stand_ins.AGILLIC_SECRET),
        concurrency=SPEAKERS,
        timeout=TIMEOUT,
    )


class _AtAgillic(Scene):
    service = "agillic"

    def connection(self, address: str) -> Connection:
        return agillic(address)

    def prepare(self, sandbox: Sandbox, seed: int) -> None:
        sandbox.agillic.put_recipients(*({"EMAIL": self.email(who)} for who in PEOPLE if who % 4))

    def email(self, who: int) -> str:
        return f"{'bad' if who % 12 == 11 else 'r'}{who}@example.org"


class Recipients(_AtAgillic):
    name, mode = "agillic_recipients", Mode.UPSERT
    target = AgillicRecipients("crm", task_deadline=TASKS)
    mapping = {"EMAIL": "email", "LASTNAME": "last", "SPEND_90D": "spend", "LAST_PURCHASE": "bought"}
    schema = _schema(email=TEXT, last=TEXT, spend=NUMBER, bought=DATE)

    def rows(self, seed: int, number: int, today: int | None = None) -> Iterable[Row]:
        for who in members(seed, number):
            spend = version(seed, who, number)
            bought = date(2026, 1, 1) + timedelta(days=spend)
            yield {"email": self.email(who), "last": f"L{spend}", "spend": spend, "bought": bought}

    def wanted(self, seed: int, number: int) -> Wanted:
        good = [row for row in self.rows(seed, number) if not row["email"].startswith("bad")]
        return {row["email"]: (row["last"], str(row["spend"]), f"{row['bought']:%d.%m.%Y}") for row in good}

    def held(self, sandbox: Sandbox) -> Wanted:
        names = ("LASTNAME", "SPEND_90D", "LAST_PURCHASE")
        return {
            who: tuple(str(given.get(name)) for name in names) for who, given in sandbox.agillic.recipients().items()
        }

    def may_stay(self, seed: int, number: int) -> set[str]:
        return {self.email(who) for who in PEOPLE}  # The other targets write recipients too.

    def owns(self, entry: Entry) -> bool:
        return "TargetGroup" not in entry.route and "oneToMany" not in entry.route


class StaticGroup(_AtAgillic):
    name, mode = "agillic_group", Mode.MIRROR
    target = AgillicTargetGroup(GROUP, task_deadline=TASKS)
    mapping = {"EMAIL": "email", "FIRSTNAME": "first"}
    schema = _schema(email=TEXT, first=TEXT)

    def rows(self, seed: int, number: int, today: int | None = None) -> Iterable[Row]:
        for who in members(seed + 1, number):
            yield {"email": self.email(who), "first": f"F{version(seed + 1, who, number)}"}
            if self._torn(who, number):
                yield {"email": self.email(who), "first": "somebody else"}

    def _torn(self, who: int, number: int) -> bool:
        """Whether the audience contradicts itself about somebody, who is then neither added nor removed."""
        return (who + number) % 19 == 0

    def wanted(self, seed: int, number: int) -> Wanted:
        people = [who for who in members(seed + 1, number) if who % 12 != 11 and not self._torn(who, number)]
        return {self.email(who): f"F{version(seed + 1, who, number)}" for who in people}

    def may_stay(self, seed: int, number: int) -> set[str]:
        return {self.email(who) for who in members(seed + 1, number) if self._torn(who, number)}

    def held(self, sandbox: Sandbox) -> Wanted:
        everybody = sandbox.agillic.recipients()
        return {who: everybody[who].get("FIRSTNAME") for who in sandbox.agillic.group(GROUP)}

    def owns(self, entry: Entry) -> bool:
        return "TargetGroup" in entry.route


class Table(_AtAgillic):
    name, mode = "agillic_table", Mode.UPSERT
    target = AgillicTable("PURCHASES", "PURCHASE_ID", "shop", task_deadline=TASKS)
    mapping = {"EMAIL": "email", "PURCHASE_ID": "purchase", "CDS": "cds"}
    schema = _schema(email=TEXT, purchase=TEXT, cds=NUMBER)

    def prepare(self, sandbox: Sandbox, seed: int) -> None:
        sandbox.agillic.put_recipients(*({"EMAIL": self.email(who)} for who in PEOPLE))

    def rows(self, seed: int, number: int, today: int | None = None) -> Iterable[Row]:
        for who in members(seed + 2, number):
            for n in range(1 + who % 3):
                cds = version(seed + 2 + n, who, number)
                yield {"email": self.email(who), "purchase": f"P{who}-{n}", "cds": cds}

    def wanted(self, seed: int, number: int) -> Wanted:
        return {row["purchase"]: str(row["cds"]) for row in self.rows(seed, number)}

    def held(self, sandbox: Sandbox) -> Wanted:
        return {row["PURCHASE_ID"]: str(row["CDS"]) for row in sandbox.agillic.rows("PURCHASES")}

    def may_stay(self, seed: int, number: int) -> set[str]:
        return {name for earlier in range(number + 1) for name in self.wanted(seed, earlier)}

    def owns(self, entry: Entry) -> bool:
        return "oneToMany" in entry.route


SCENES: dict[str, Scene] = {
    scene.name: scene for scene in (Group(), Segment(), Profiles(), Credits(), Recipients(), StaticGroup(), Table())
}
