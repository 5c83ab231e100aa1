"""
A worked example of every target in every mode: the laws of `test_conformance` hold for each of them.

People go by names: "ann" is somebody as she is first, "ann!2" as she is later, and
"bad" is whom the service refuses. `held` speaks of the service's holdings in the same names.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zeotap_pipelines.destinations.agillic import Agillic
from zeotap_pipelines.destinations.agillic_groups import AgillicTargetGroup
from zeotap_pipelines.destinations.agillic_recipients import AgillicRecipients
from zeotap_pipelines.destinations.agillic_tables import AgillicTable
from zeotap_pipelines.destinations.base import Target
from zeotap_pipelines.destinations.crowdtwist import CrowdTwist, UserProfile
from zeotap_pipelines.destinations.crowdtwist_activities import ActivityCredit
from zeotap_pipelines.destinations.kognitiv import PromotionalMemberGroup
from zeotap_pipelines.destinations.moengage import Cohort, MoEngage
from zeotap_pipelines.mapping import Field
from zeotap_pipelines.model import Mode
from zeotap_pipelines.sandbox import (
    AGILLIC_KEY,
    AGILLIC_SECRET,
    BASE_URL,
    CROWDTWIST_API_KEY,
    CROWDTWIST_PRIVATE_KEY,
    CROWDTWIST_PUBLIC_KEY,
    MOENGAGE_APP_ID,
    MOENGAGE_SECRET,
    Sandbox,
)
from zeotap_pipelines_tests.world import Clock, Specimen, kognitiv

PEOPLE = ("ann", "bob", "cid", "dot", "eve")
CROWD = (*PEOPLE, *(f"{who}{day}" for day in range(40) for who in "xyz"))
"""Everybody who is at the service before, where a mode needs them to be."""

COHORT = "C-1"
GROUP = "Active 90 days"
AWKWARD = ("a+b", "50%", "x/y", "with space", "zoë ü", 'say "hi"', "who@home", "%2F", "q?x=1&y#z", "semi;colon")
"""Identities that a path, a signature or a JSON text could be broken by."""


@dataclass(frozen=True)
class Example(Specimen):
    """
    A specimen that can be asked what its service should hold.

    *begins* is held before anything was sent; *refused* is somebody whom the service
    refuses; *mend* makes it take him; *doubled* is what was done twice.
    """

    begins: frozenset[str] = frozenset()
    refused: str | None = "bad"
    doubled: Callable[[Sandbox], Mapping[Any, int]] = lambda sandbox: {}
    label: str = ""

    @property
    def name(self) -> str:
        return f"{self.label or type(self.target).__name__}-{self.mode}"

    def ends(self, history: Iterable[Collection[str]]) -> set[str]:
        """What the service holds after these audiences were delivered, one after the other."""
        held = {bare(name): name for name in self.begins}
        for people in history:
            told = {bare(name): self.shown(name) for name in people}
            match self.mode:
                case Mode.MIRROR:
                    held = told
                case Mode.REMOVE:
                    held = {who: name for who, name in held.items() if who not in told}
                case Mode.INSERT:
                    held = told | held
                case _:
                    held |= told
        return set(held.values())

    def shown(self, name: str) -> str:
        """How the service shows somebody: without a version where it holds no attributes."""
        return name if self.target.carries_attributes else bare(name)


def bare(name: str) -> str:
    return name.partition("!")[0]


def version(name: str) -> str:
    return name.partition("!")[2] or "1"


def named(who: str, number: object) -> str:
    return who if str(number) == "1" else f"{who}!{number}"


def group(mode: Mode) -> Example:
    def sandbox(clock: Clock) -> Sandbox:
        made = Sandbox(clock=clock.unix)
        if mode is Mode.REMOVE:
            made.kognitiv.put_members("ACTIVE-90D", *CROWD)
        return made

    return Example(
        target=PromotionalMemberGroup("ACTIVE-90D"),
        connection=kognitiv(),
        mode=mode,
        mapping={"member_internal_id": "customer"},
        person=lambda name: {"customer": {"bad": "stranger"}.get(name, bare(name))},
        held=lambda sandbox: sandbox.kognitiv.members(),
        sandbox=sandbox,
        begins=frozenset(CROWD) if mode is Mode.REMOVE else frozenset(),
        refused=None if mode is Mode.REMOVE else "bad",  # Who does not exist is in no group.
    )


def moengage(**settings: Any) -> MoEngage:
    given = {"account": "demo", "base_url": f"{BASE_URL}/moengage", "app_id": MOENGAGE_APP_ID}
    return MoEngage(**{**given, "secret_key": MOENGAGE_SECRET, **settings})


def cohort(mode: Mode, both: bool = False, **settings: Any) -> Example:
    def sandbox(clock: Clock) -> Sandbox:
        made = Sandbox(clock=clock.unix)
        if mode is Mode.REMOVE:
            made.moengage.put_members(COHORT, *CROWD)
        return made

    def person(name: str) -> dict[str, str | None]:
        who = bare(name)
        if both:  # Who is called "dot" never registered.
            return {"uid": None if who == "dot" and mode is not Mode.REMOVE else uid(who), "device": device(name)}
        return {"uid": uid(who)}

    def uid(who: str) -> str:
        return who + "x" * 130_000 if who == "bad" else who

    def device(name: str) -> str:
        return f"device of {bare(name)}"

    return Example(
        target=Cohort(COHORT, "Active members", **settings),
        connection=moengage(),
        mode=mode,
        mapping={"uid": "uid", "anonymous_id": "device"} if both else {"uid": "uid"},
        person=person,
        held=lambda sandbox: {who.removeprefix("device of ") for who in sandbox.moengage.members(COHORT)},
        sandbox=sandbox,
        asks="/cohortsync",
        begins=frozenset(CROWD) if mode is Mode.REMOVE else frozenset(),
        label="Cohort-both" if both else "Cohort-once" if settings else "",
    )


def crowdtwist(**settings: Any) -> CrowdTwist:
    given = {"account": "demo", "base_url": f"{BASE_URL}/crowdtwist", "api_key": CROWDTWIST_API_KEY}
    return CrowdTwist(**{**given, **settings})


def signed(**settings: Any) -> CrowdTwist:
    """A connection that signs."""
    keys = {"public_key": CROWDTWIST_PUBLIC_KEY, "private_key": CROWDTWIST_PRIVATE_KEY}
    return crowdtwist(api_key=None, authentication="hmac", **keys, **settings)


def seconds(connection: CrowdTwist, clock: Clock) -> Callable[[], float]:
    """What tells the service the time: signatures are made by this machine's own clock."""
    return time.time if connection.authentication == "hmac" else clock.unix


def profile(mode: Mode, id_type: str = "email", connection: CrowdTwist | None = None) -> Example:
    speaking = connection or crowdtwist(id_type=id_type)
    holds = {"email": "email_address"}.get(id_type, id_type)

    def identity(who: str) -> str:
        return f"{who}@example.com" if id_type == "email" else who

    def person(name: str) -> dict[str, str | None]:
        return {
            "who": identity(bare(name)),
            "first": "Given",
            "last": version(name),
            "zip": None if bare(name) == "bad" else "10001",
            "mail": f"{bare(name).encode().hex()}@example.com",
        }

    def sandbox(clock: Clock) -> Sandbox:
        made = Sandbox(clock=seconds(speaking, clock))
        if mode is Mode.UPDATE:
            for who in (*CROWD, *AWKWARD):
                made.crowdtwist.put_user(**{holds: identity(who), "first_name": "Given", "last_name": "before"})
        return made

    def held(sandbox: Sandbox) -> set[str]:
        users = [user for user in sandbox.crowdtwist.users() if user["last_name"] != "before"]
        return {named(user[holds].removesuffix("@example.com"), user["last_name"]) for user in users}

    mapping = {"user_id": "who", "first_name": "first", "last_name": "last", "postal_code": "zip", "segment": "last"}
    return Example(
        target=UserProfile("loyalty", id_type),
        connection=speaking,
        mode=mode,
        mapping=mapping if id_type == "email" else mapping | {"email_address": "mail"},
        person=person,
        held=held,
        sandbox=sandbox,
        asks="/v2/users",
    )


def credit(mode: Mode = Mode.INSERT, connection: CrowdTwist | None = None, **settings: Any) -> Example:
    """Purchases of two members, each credited once."""
    speaking = connection or crowdtwist()

    def person(name: str) -> dict[str, str | None]:
        who = bare(name)
        member = "nobody" if who == "bad" else "one" if len(who) % 2 else "two"
        return {"event": who, "member": f"{member}@example.com", "points": f"1{version(name)}"}

    def sandbox(clock: Clock) -> Sandbox:
        made = Sandbox(clock=seconds(speaking, clock))
        for member in ("one", "two"):
            made.crowdtwist.put_user(email_address=f"{member}@example.com", first_name="A", last_name="B")
        return made

    return Example(
        target=ActivityCredit("purchases", **settings),
        connection=speaking,
        mode=mode,
        mapping={
            "event_id": "event",
            "user_id": "member",
            "activity_id": Field(constant="1001"),  # type: ignore[dict-item]
            "num_points": "points",
            "extra_data.event_id": "event",
        },
        person=person,
        held=lambda sandbox: {
            named(one.extra_data["event_id"], str(one.num_points)[1:]) for one in sandbox.crowdtwist.credits()
        },
        sandbox=sandbox,
        asks="/v2/users",
        doubled=lambda sandbox: sandbox.crowdtwist.doubles("event_id"),
    )


def agillic(**settings: Any) -> Agillic:
    given = {"account": "demo", "base_url": f"{BASE_URL}/agillic", "developer_key": AGILLIC_KEY}
    return Agillic(**{**given, "developer_secret": AGILLIC_SECRET, **settings})


def recipient(name: str) -> dict[str, str | None]:
    return {"mail": f"{bare(name)}@example.com", "given": version(name)}


def recipients(mode: Mode) -> Example:
    def sandbox(clock: Clock) -> Sandbox:
        made = Sandbox(clock=clock.unix)
        if mode is Mode.UPDATE:
            everybody = (*CROWD, *AWKWARD)
            made.agillic.put_recipients(*({"EMAIL": f"{who}@example.com", "FIRSTNAME": "before"} for who in everybody))
        return made

    return Example(
        target=AgillicRecipients("profiles"),
        connection=agillic(),
        mode=mode,
        mapping={"EMAIL": "mail", "FIRSTNAME": "given"},
        person=recipient,
        held=lambda sandbox: {
            named(who.removesuffix("@example.com"), given["FIRSTNAME"])
            for who, given in sandbox.agillic.recipients().items()
            if given["FIRSTNAME"] != "before"
        },
        sandbox=sandbox,
        asks="/recipients",
    )


def target_group(mode: Mode) -> Example:
    def sandbox(clock: Clock) -> Sandbox:
        made = Sandbox(clock=clock.unix)
        if mode is Mode.REMOVE:
            made.agillic.put_recipients(*({"EMAIL": f"{who}@example.com", "FIRSTNAME": "1"} for who in CROWD))
            made.agillic.put_members(GROUP, *(f"{who}@example.com" for who in CROWD))
        return made

    def held(sandbox: Sandbox) -> set[str]:
        known = sandbox.agillic.recipients()
        members = sandbox.agillic.group(GROUP)
        return {named(who.removesuffix("@example.com"), known[who]["FIRSTNAME"]) for who in members}

    return Example(
        target=AgillicTargetGroup(GROUP),
        connection=agillic(),
        mode=mode,
        mapping={"EMAIL": "mail", "FIRSTNAME": "given"},
        person=recipient,
        held=held,
        sandbox=sandbox,
        asks="/recipients",
        begins=frozenset(CROWD) if mode is Mode.REMOVE else frozenset(),
        refused=None if mode is Mode.REMOVE else "bad",  # Who does not exist is in no group.
    )


def table(mode: Mode = Mode.UPSERT) -> Example:
    """Purchases of two recipients."""

    def person(name: str) -> dict[str, str | None]:
        who = bare(name)
        owner = "one" if len(who) % 2 else "two"
        return {
            "mail": f"{owner}@example.com",
            "purchase": who,
            "dollars": "a lot" if who == "bad" else version(name),
        }

    def sandbox(clock: Clock) -> Sandbox:
        made = Sandbox(clock=clock.unix)
        made.agillic.put_recipients({"EMAIL": "one@example.com"}, {"EMAIL": "two@example.com"})
        return made

    return Example(
        target=AgillicTable("PURCHASES", "PURCHASE_ID", "web"),
        connection=agillic(),
        mode=mode,
        mapping={"EMAIL": "mail", "PURCHASE_ID": "purchase", "DOLLARS": "dollars"},
        person=person,
        held=lambda sandbox: {named(row["PURCHASE_ID"], row["DOLLARS"]) for row in sandbox.agillic.rows("PURCHASES")},
        sandbox=sandbox,
        asks="/recipients",
    )


MADE: Mapping[type[Target], Sequence[Callable[[Mode], Example]]] = {
    PromotionalMemberGroup: (group,),
    Cohort: (cohort, lambda mode: cohort(mode, both=True)),
    UserProfile: (profile,),
    ActivityCredit: (credit,),
    AgillicRecipients: (recipients,),
    AgillicTargetGroup: (target_group,),
    AgillicTable: (table,),
}
"""Who makes the examples of a target, for each mode that it has."""

EXAMPLES = [make(mode) for target, makers in MADE.items() for make in makers for mode in target.modes()]
EXAMPLES.append(cohort(Mode.ADD, sync_type="one_time"))

MAIN = [
    group(Mode.MIRROR),
    cohort(Mode.MIRROR, both=True),
    profile(Mode.UPSERT),
    credit(),
    recipients(Mode.UPSERT),
    recipients(Mode.UPDATE),
    target_group(Mode.MIRROR),
    table(),
]
"""One example of each way of asking: for laws that don't depend on the mode."""
