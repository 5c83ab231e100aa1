"""What a plan says of itself, said whole: counts, reasons, who is set aside, and what it was made of."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from zeotap_pipelines.destinations.kognitiv import PromotionalMemberGroup
from zeotap_pipelines.diff.plan import Plan
from zeotap_pipelines.mapping import Field
from zeotap_pipelines.model import ACCEPTED, Conversation, Fate, Mode, Outcome, Question, Receipt, Verb
from zeotap_pipelines_tests.desk import Desk
from zeotap_pipelines_tests.world import Rows, World, day

UNHEARD = Outcome(Fate.DEFERRED, "no answer", 500)
REFUSED = Outcome(Fate.REJECTED, "refused", 400, untouched=True)


class Tiered(PromotionalMemberGroup):
    """A group whose members have a tier, answered at a desk of the class."""

    carries_attributes = True
    items = 100
    desk: Desk

    def invalid(self) -> Iterable[tuple[str, str]]:
        yield "there is no such tier", "{tier} NOT IN ('gold', 'silver')"

    def odd(self) -> Iterable[tuple[str, str]]:
        yield "silver", "{tier} = 'silver'"
        yield "not a number", "NOT regexp_full_match({member_internal_id}, '[0-9]+')"

    def preflight(self, visit: Any) -> Question:
        yield from ()

    def converse(self, batch: Any, visit: Any) -> Conversation:
        yield from ()
        return self.desk(batch)


@pytest.fixture
def desk() -> Desk:
    return Desk(lambda rows: Receipt(ACCEPTED))


@pytest.fixture
def tiered(tmp_path: Path, desk: Desk) -> World:
    kind = type("AtDesk", (Tiered,), {"desk": desk})
    mapping = {"member_internal_id": Field.of("customer"), "tier": Field.of("tier")}
    return World(tmp_path, target=kind("ACTIVE-90D"), mode=Mode.MIRROR, mapping=mapping)


def tiers(*people: tuple[str | None, str]) -> Rows:
    return Rows({"customer": [who for who, _ in people], "tier": [tier for _, tier in people]})


def said(plan: Plan) -> dict[str, Any]:
    """What differs from plan to plan, without the names of contents."""
    named = (
        "id",
        "sync",
        "address",
        "mode",
        "snapshot",
        "content",
        "declared",
        "digest_version",
        "made_at",
        "verdicts",
    )
    return {name: value for name, value in asdict(plan).items() if name not in named and value not in (0, {}, (), "")}


def operations(world: World, plan: Plan) -> list[tuple[Any, ...]]:
    columns = ["row", "verb", "change", "why", "value", "body", "repeated"]
    table = parquet.read_table(plan.file(world.state), columns=columns)
    return [tuple(row.values()) for row in table.to_pylist()]


ALWAYS = {
    "partition": day(2).key,
    "partition_start": day(2).start.isoformat(),
    "partition_end": day(2).end.isoformat(),
    "identity": "member_internal_id ← customer",
}


FIRST = tiers(
    *[(str(n), "gold") for n in range(10, 16)],
    *[(None, "gold"), (" ", "gold"), ("11", "silver"), ("12", "gold"), ("16", "lead"), ("ann", "gold")],
)


def test_a_first_plan_adds_whoever_is_fit_and_says_of_the_others_why_not(tiered: World) -> None:
    tiered.take(FIRST, day(2))
    plan = tiered.plan(day(2))
    assert re.fullmatch("[0-9a-f]{16}", plan.id)
    assert plan.made_at == tiered.clock.now().isoformat()
    assert said(plan) == {
        **ALWAYS,
        "audience": 6,
        "operations": 6,
        "counts": {"add": 6, "entered": 6},
        "why": {"never told": 6},
        "set_aside": {"conflicting rows for one identity": 2, "no identity": 2, "there is no such tier": 1},
        "odd": {"not a number": 1},
        "null_keys": 2,
    }
    people = ("10", "12", "13", "14", "15", "ann")
    bodies = [f'{{"member_internal_id":"{who}","tier":"gold"}}' for who in people]
    assert operations(tiered, plan) == [
        (row, "add", "entered", "never told", who, body, False)
        for row, (who, body) in enumerate(zip(people, bodies, strict=True))
    ]


def test_a_later_plan_says_of_everybody_why_he_is_asked_for(tiered: World, desk: Desk) -> None:
    tiered.take(FIRST, day(2))
    desk.answer = lambda rows: Receipt(ACCEPTED, {0: REFUSED, 1: UNHEARD, 2: UNHEARD})
    tiered.carry_out(day(2))
    # Refused: 10. Unheard: 12 and 13. Told: 14, 15, ann.
    again = tiers(("10", "gold"), ("12", "silver"), ("14", "silver"), ("15", "gold"), ("20", "gold"), ("11", "gold"))
    tiered.take(again, day(2))
    plan = tiered.plan(day(2))
    here = {"generation": 1, "told": 5, "audience": 6, "refused_before": 1}
    assert said(plan) == {
        **ALWAYS,
        **here,
        "operations": 6,
        "counts": {"add": 4, "entered": 3, "changed": 1, "remove": 2, "left": 2},
        "why": {"different": 1, "left": 1, "left, unsettled": 1, "never told": 2, "unsettled": 1},
        "odd": {"silver": 2},
    }
    assert [(verb, change, why, who, again) for _, verb, change, why, who, _, again in operations(tiered, plan)] == [
        ("add", "entered", "never told", "11", False),
        ("add", "entered", "unsettled", "12", True),
        ("add", "changed", "different", "14", False),
        ("add", "entered", "never told", "20", False),
        ("remove", "left", "left, unsettled", "13", False),
        ("remove", "left", "left", "ann", False),
    ]
    assert [body for *_, body, _ in operations(tiered, plan)][-2:] == [
        '{"member_internal_id":"13"}',
        '{"member_internal_id":"ann"}',
    ]
    tiered.take(again, day(3))
    later = tiered.plan(day(3))
    assert (later.refused_before, later.why["never told"]) == (0, 3), "of another day he is asked again"


def test_a_plan_counts_together_what_has_one_name(tiered: World, desk: Desk) -> None:
    tiered.deliver(tiers(("1", "gold"), ("2", "gold"), ("3", "gold")), day(1))
    desk.answer = lambda rows: Receipt(UNHEARD)
    tiered.deliver(tiers(("1", "silver"), ("2", "silver"), ("4", "gold")), day(2))
    tiered.take(tiers(("1", "gold"), ("4", "gold"), ("3", "gold"), ("5", "gold")), day(3))
    plan = tiered.plan(day(3))
    assert plan.why == {"left, unsettled": 1, "never told": 1, "unsettled": 3}
    assert plan.counts == {"add": 4, "entered": 4, "left": 1, "remove": 1}
    tiered.ledger.reassert(tiered.clock.now())
    desk.answer = lambda rows: Receipt(ACCEPTED)
    assert tiered.carry_out(day(3)).complete
    tiered.take(tiers(("1", "gold"), ("3", "silver"), ("6", "gold")), day(4))
    plan = tiered.plan(day(4))
    assert plan.counts == {"add": 2, "changed": 1, "entered": 1, "left": 2, "remove": 2}
    assert (plan.told, plan.audience) == (4, 3)


def test_equal_plans_have_one_id_and_other_ones_another(tiered: World) -> None:
    tiered.take(tiers(("1", "gold")), day(1))
    first = tiered.plan(day(1))
    assert tiered.plan(day(1)).id == first.id
    tiered.take(tiers(("1", "silver")), day(1))
    assert tiered.plan(day(1)).id != first.id
    tiered.take(tiers(("1", "gold")), day(2))
    assert tiered.plan(day(2)).id != first.id
    tiered.take(tiers(("1", "gold")), day(1))
    assert tiered.plan(day(1)).id == first.id


def test_a_plan_of_nobody_has_no_operations(tiered: World) -> None:
    tiered.take(tiers(), day(2))
    plan = tiered.plan(day(2))
    assert said(plan) == ALWAYS
    assert operations(tiered, plan) == []


def test_a_removal_names_who_was_told_and_anything_else_who_is_wanted(tmp_path: Path, desk: Desk) -> None:
    """0100 and 100 are one member of Kognitiv's."""
    kind = type("Upserting", (Tiered,), {"desk": desk, "verbs": frozenset({Verb.UPSERT, Verb.REMOVE})})
    mapping = {"member_internal_id": Field.of("customer"), "tier": Field.of("tier")}
    here = World(tmp_path, target=kind("ACTIVE-90D"), mode=Mode.UPSERT, mapping=mapping)
    here.deliver(tiers(("0100", "gold"), ("0200", "gold")), day(1))
    here.take(tiers(("100", "silver"), ("0200", "gold")), day(2))
    [(_, verb, *_, value, body, _)] = operations(here, here.plan(day(2)))
    assert (verb, value, body) == ("upsert", "100", '{"member_internal_id":"100","tier":"silver"}')
    here.renamed(mode=Mode.REMOVE, mapping={"member_internal_id": Field.of("customer")})
    here.take(tiers(("100", "silver"), ("300", "gold")), day(3))
    assert [(verb, value, body) for _, verb, *_, value, body, _ in operations(here, here.plan(day(3)))] == [
        ("remove", "0100", '{"member_internal_id":"0100"}'),
        ("remove", "300", '{"member_internal_id":"300"}'),
    ]
