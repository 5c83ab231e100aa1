"""Events happen at most once, nothing of them is lost, and what may have happened is for a person to decide."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import httpx
import pyarrow.parquet as parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zeotap_pipelines.delivery.trip import Approval
from zeotap_pipelines.destinations.crowdtwist_activities import UNREADABLE
from zeotap_pipelines.diff.plan import load
from zeotap_pipelines.engines.duckdb import rows
from zeotap_pipelines.errors import ApprovePlan, FixConnection, FixDeclaration
from zeotap_pipelines.mapping import Field
from zeotap_pipelines.model import Fate
from zeotap_pipelines.naming import masked
from zeotap_pipelines.sandbox import CrowdTwistSettings, Fault, Sandbox, SandboxTransport, at
from zeotap_pipelines.upkeep import by_hand
from zeotap_pipelines.upkeep.doubts import Decision, decide, doubts
from zeotap_pipelines_tests.specimens import Example, credit, crowdtwist
from zeotap_pipelines_tests.world import Clock, Rows, World, day, nth

CREDIT = "/v2/users"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, credit())


def credited(world: World) -> Counter[str]:
    """How often the service credited each event."""
    return Counter(one.extra_data["event_id"] for one in world.sandbox.crowdtwist.credits())


def asked(world: World) -> int:
    return len(world.sandbox.requests("crowdtwist", method="POST"))


def in_doubt(world: World) -> set[str]:
    return {value for value, state in world.told() if state == "doubt"}


def settle(world: World, decision: Decision, ids: list[str] | None = None) -> int:
    ids = [one.id for one in doubts(world.ledger)] if ids is None else ids
    return decide(world.ledger, ids, decision, by="ann", reason="looked it up", now=world.clock.now())


def opaque(world: World) -> dict[str, str]:
    """The ids that a person decides by, of events whose masked forms differ."""
    ids = {one.key: one.id for one in doubts(world.ledger)}
    return {event: ids[masked(event)] for event in in_doubt(world)}


def test_doubt_is_written_down_before_anything_is_asked(world: World) -> None:
    """Whoever dies before a request was sent leaves it in doubt: nobody can tell that it was not."""
    with world.dying(nth(1, "before POST")) as steps:
        world.deliver(["e1"])
    assert steps[-3:] == ["asked", "flushed", "before POST"]
    assert in_doubt(world) == {"e1"}
    assert world.carry_out().asked == 0
    assert not credited(world)


def test_a_plan_that_was_made_while_its_events_were_being_asked_is_made_again(world: World) -> None:
    """Half of them were told when the plan was made: the other half is not asked for by it a second time."""
    events, plans = [f"e{number}" for number in range(60)], []
    trip = world.trip(on_progress=lambda summary, total: plans.append(world.plan()) if summary.asked == 2 else None)
    assert world.deliver(events, trip=trip).complete
    assert plans[0].operations > 0, "not all of them had been written down as asked"
    assert world.carry_out().asked == 0
    assert credited(world) == Counter(events)


def test_an_event_that_was_told_is_not_asked_for_whatever_a_plan_says(world: World) -> None:
    world.deliver(["e1", "e2"])
    world.take(["e1", "e2", "e3"], day(1))
    plan = world.plan(day(1))
    with world.ledger.writing() as connection:  # As if the plan had been made before e3 was credited.
        rows(connection, "INSERT INTO told BY NAME SELECT * REPLACE ('e3' AS value) FROM told WHERE value = 'e1'")
    assert world.carry_out(day(1)).plan == plan.id
    assert credited(world) == Counter(["e1", "e2"])


def test_who_may_have_been_credited_is_in_doubt_and_nobody_asks_again(world: World) -> None:
    """500, 502, 503 (a proxy answers it after passing the request on), 504, timeouts, resets, answers cut off."""
    faults = [Fault(kind="status", status=status, applied=bool(status % 2)) for status in (500, 502, 503, 504)]
    faults += [Fault(kind="reset_before"), Fault(kind="reset_after"), Fault(kind="cut")]
    faults += [Fault(kind="delay", seconds=3600), Fault(kind="html")]
    events = [f"event-{number}" for number in range(len(faults))]
    for number, (event, fault) in enumerate(zip(events, faults, strict=True)):
        world.sandbox.faults.add(replace(fault, path=CREDIT))
        summary = world.deliver([event], day(number))
        world.sandbox.faults.clear()
        assert summary.fates == {Fate.IN_DOUBT: 1}, fault
        assert summary.complete, "doubt is for a person, not for a retry"
    assert world.carry_out(day(number)).asked == 0
    assert world.carry_out(day(0)).asked == 0
    assert asked(world) == len(faults)
    assert in_doubt(world) == set(events)
    assert set(credited(world).values()) == {1}


def test_what_certainly_did_not_happen_is_repeated(world: World) -> None:
    world.sandbox.faults.add(Fault(kind="status", status=429, path=CREDIT, times=6, retry_after=1))
    assert world.deliver(["e1", "e22"]).fates == {Fate.ACCEPTED: 2}
    refused = SandboxTransport(world.sandbox, before=at(2, httpx.ConnectError("no route")), sleep=world.clock.sleep)
    assert world.deliver(["e3"], day(1), trip=world.trip(transport=refused)).fates == {Fate.ACCEPTED: 1}
    assert credited(world) == {"e1": 1, "e22": 1, "e3": 1}


def test_a_429_that_does_not_end_leaves_the_event_owed_and_undoubted(world: World) -> None:
    world.sandbox.faults.add(Fault(kind="status", status=429, path=CREDIT, retry_after=7200))
    summary = world.deliver(["e1", "e2"])
    assert summary.fates[Fate.DEFERRED] + summary.left == 2
    world.sandbox.faults.clear()
    world.clock.pass_(8000)
    assert world.carry_out().complete
    assert credited(world) == {"e1": 1, "e2": 1}


MANY = [f"e{number:02}" + "x" * (number % 2) for number in range(30)]
"""More events than two windows hold, of two members."""


def test_what_was_written_down_ahead_and_never_sent_is_owed_where_the_run_lives(tmp_path: Path) -> None:
    world = World(tmp_path, credit(connection=crowdtwist(concurrency=3)))
    world.sandbox.faults.add(Fault(kind="status", status=401, path=CREDIT, nth=8, times=1))
    summary = world.deliver(MANY)
    assert isinstance(summary.error, FixConnection)
    assert summary.asked == asked(world) and summary.asked + summary.left == len(MANY)
    [file] = world.state.outcomes("sync", day(0).key).glob("*.parquet")
    said = Counter(row["reason"] for row in parquet.read_table(file).to_pylist() if row["fate"] == "deferred")
    assert 1 <= said["not reached"] <= 6, "some were written down, and the run ended before their turn"
    assert not in_doubt(world)
    assert world.carry_out().complete
    assert credited(world) == dict.fromkeys(MANY, 1)


@pytest.mark.parametrize("answer", [1, 6, 17])
def test_a_crash_leaves_no_more_in_doubt_than_what_was_on_its_way_and_as_much_again(
    tmp_path: Path, answer: int
) -> None:
    world = World(tmp_path, credit(connection=crowdtwist(concurrency=3)))
    with world.dying(nth(answer, "after POST")):
        world.deliver(MANY)
    known = {event for event, state in world.told() if state == "in"}
    doubtful = in_doubt(world)
    assert set(credited(world)) <= known | doubtful
    assert len(doubtful) <= 2 * 3
    assert world.carry_out().complete
    assert in_doubt(world) == doubtful
    assert set(credited(world)) | doubtful == set(MANY) and set(credited(world).values()) == {1}


def test_a_status_that_is_called_safe_is_asked_again(tmp_path: Path) -> None:
    world = World(tmp_path, credit(safe_statuses=frozenset({503})))
    world.sandbox.faults.add(Fault(kind="html", path=CREDIT))
    assert world.deliver(["e1"]).fates == {Fate.DEFERRED: 1}
    world.sandbox.faults.clear()
    assert world.carry_out().fates == {Fate.ACCEPTED: 1}
    assert credited(world) == {"e1": 1}


def alike(root: Path) -> World:
    """A service that refuses a credit like one of the last minute; credits carry nothing that tells them apart."""
    specimen = credit()
    mapping = {name: origin for name, origin in specimen.mapping.items() if name != "extra_data.event_id"}

    def sandbox(clock: Clock) -> Sandbox:
        made = Sandbox(clock=clock.unix, crowdtwist=CrowdTwistSettings(repeat_window=60))
        made.crowdtwist.put_user(email_address="one@example.com", first_name="A", last_name="B")
        made.crowdtwist.put_user(email_address="two@example.com", first_name="A", last_name="B")
        return made

    return World(root, replace(specimen, mapping=mapping, sandbox=sandbox))


def test_already_processed_on_a_first_attempt_may_be_the_refusal_of_a_second_event(tmp_path: Path) -> None:
    world = alike(tmp_path)
    assert world.deliver(["e1", "e2"]).fates == {Fate.ACCEPTED: 1, Fate.IN_DOUBT: 1}
    assert len(world.sandbox.crowdtwist.credits()) == 1
    world.clock.pass_(120)
    assert settle(world, Decision.RESEND) == 1
    assert world.carry_out().fates == {Fate.ACCEPTED: 1}
    assert len(world.sandbox.crowdtwist.credits()) == 2


def test_already_processed_settles_a_repeated_attempt(tmp_path: Path) -> None:
    world = alike(tmp_path)
    world.sandbox.faults.add(Fault(kind="reset_after", path=CREDIT))
    world.deliver(["e1"])
    world.sandbox.faults.clear()
    settle(world, Decision.RESEND)
    summary = world.carry_out()
    assert summary.fates == {Fate.ACCEPTED: 1}
    assert [reason for _, reason in summary.reasons] == ["already processed: an earlier attempt had been accepted"]
    assert len(world.sandbox.crowdtwist.credits()) == 1


def test_credits_of_one_member_and_activity_are_never_in_flight_together(world: World) -> None:
    flying: Counter[str] = Counter()
    together = []

    def before(request: httpx.Request) -> None:
        flying[request.url.path] += 1
        together.append(dict(+flying))

    def after(request: httpx.Request, _: httpx.Response) -> None:
        flying[request.url.path] -= 1

    world.sandbox.faults.add(Fault(kind="delay", seconds=1, path=CREDIT))
    transport = SandboxTransport(world.sandbox, before=before, after=after, sleep=world.clock.sleep)
    world.deliver(["a", "b", "c", "aa", "bb", "cc"], trip=world.trip(transport=transport))
    assert all(set(seen.values()) == {1} for seen in together)
    assert max(len(seen) for seen in together) == 2, "two members at once"
    assert len(credited(world)) == 6


def test_an_event_is_delivered_once_whatever_its_partition_digest_snapshot_or_sync(world: World) -> None:
    world.deliver(["e1", "e2"], day(5))
    assert world.deliver(["e1"], day(6)).asked == 0
    assert world.deliver(["e1", "e2"], day(4)).asked == 0
    world.renamed(name="another")
    assert world.deliver(["e2", "e1"], day(7)).asked == 0
    assert credited(world) == {"e1": 1, "e2": 1}


def plain(world: World) -> World:
    """Credits that say nothing of the event's id, so that one is like another."""
    mapping = {name: origin for name, origin in world.sync.mapping.items() if name != "extra_data.event_id"}
    world.renamed(mapping=mapping)
    return world


def test_another_mapping_of_the_event_id_credits_nobody_twice_until_a_person_approves(world: World) -> None:
    world.deliver(["e1", "e2"])
    original = world.sync.mapping["event_id"]
    world.renamed(mapping={**world.sync.mapping, "event_id": replace(original, hash="sha256")})
    with pytest.raises(ApprovePlan, match=r"2 events of 2026-11-01 would happen twice.* another event_id"):
        world.deliver(["e1", "e2"])
    assert credited(world) == {"e1": 1, "e2": 1}
    assert world.deliver(["e3"], day(1)).fates == {Fate.ACCEPTED: 1}, "what is new is not held back"
    assert world.deliver(["e3", "late"], day(1)).fates == {Fate.ACCEPTED: 1}
    with pytest.raises(ApprovePlan, match="would happen twice"):
        world.deliver(["e1", "e2"])
    plan = world.plan()
    assert world.carry_out(approval=Approval(plan.id, "ann", "they were refunded")).fates == {Fate.ACCEPTED: 2}


def stopped(world: World, events: list[str]) -> Approval:
    """Credit *events*, map their ids otherwise, and return the approval of the plan that a guard stops for it."""
    world.deliver(events)
    world.renamed(mapping={**world.sync.mapping, "event_id": replace(world.sync.mapping["event_id"], hash="sha256")})
    world.take(events)
    plan = world.plan()
    assert plan.stopped
    return Approval(plan.id, "ann", "they were refunded")


def test_of_a_stopped_plan_that_was_only_tried_no_other_plan_takes_over_the_rest(world: World) -> None:
    approval = stopped(world, ["e1", "e2", "e3"])
    assert world.carry_out(approval=approval, limit=1).fates == {Fate.ACCEPTED: 1}
    assert world.deliver(["e4"], day(1)).asked == 1
    assert world.deliver(["e5"], day(2)).asked == 1
    assert sum(credited(world).values()) == 6
    with pytest.raises(ApprovePlan, match="2 events of 2026-11-01 would happen twice"):
        world.carry_out()
    assert world.carry_out(approval=Approval(world.plan().id, "ann", "as well")).fates == {Fate.ACCEPTED: 2}


def test_what_a_trial_of_a_stopped_plan_asked_is_settled_and_nothing_else_of_it(world: World) -> None:
    approval = stopped(world, ["e1", "e2", "e3"])
    world.sandbox.faults.add(Fault(kind="reset_before", path=CREDIT, times=1))
    assert world.carry_out(approval=approval, limit=1).fates == {Fate.IN_DOUBT: 1}
    assert world.deliver([], day(1)).asked == 0
    assert settle(world, Decision.RESEND) == 1
    assert world.deliver([], day(2)).fates == {Fate.ACCEPTED: 1}
    assert world.deliver([], day(3)).asked == 0
    assert sum(credited(world).values()) == 4


@pytest.mark.parametrize("tried", [False, True])
def test_what_an_approved_delivery_left_is_taken_over_as_ever(world: World, tried: bool) -> None:
    approval = stopped(world, ["e1", "e2", "e3"])
    if tried:
        assert world.carry_out(approval=approval, limit=1).asked == 1
    world.sandbox.faults.add(Fault(kind="status", status=429, path=CREDIT, retry_after=7200))
    assert world.carry_out(approval=approval).left
    world.sandbox.faults.clear()
    world.clock.pass_(8000)
    assert world.deliver([], day(1)).fates == {Fate.ACCEPTED: 3 - tried}


def test_events_that_come_back_under_other_ids_are_not_credited_twice(world: World) -> None:
    """A column of another type, an edited source: nothing in the declaration changed."""
    plain(world)
    world.deliver(["e1", "e2"])
    with pytest.raises(ApprovePlan, match="1 events of 2026-11-01 would happen twice"):
        world.deliver(["E1", "e2"])
    assert world.deliver(["e1", "e2", "E1"]).fates == {Fate.ACCEPTED: 1}, "one that is like another, beside it, is new"
    assert world.deliver(["e2"]).complete, "and one that is gone is no other"


ALSO_TOLD = {
    "as a member of extra_data": {"extra_data.event_id": "event"},
    "in capitals": {"extra_data.event_id": {"column": "event", "case": "upper"}},
    "in a text": {"extra_data.note": {"template": "order {event}, by mail"}},
    "in a JSON text": {"extra_data": {"template": '{"order": "{event}", "by": "mail"}'}},
    "hashed": {"extra_data.event_id": {"column": "event", "hash": "sha256"}},
}


@pytest.mark.parametrize("told", ALSO_TOLD)
def test_events_that_come_back_under_other_ids_are_recognised_though_the_service_is_told_the_id(
    world: World, told: str
) -> None:
    mapping = {name: Field.of(origin) for name, origin in ALSO_TOLD[told].items()}
    world.renamed(mapping={**plain(world).sync.mapping, **mapping})
    world.deliver(["e1", "e2"])
    for others in (["x1", "e2"], ["1x", "2x"]):
        with pytest.raises(ApprovePlan, match=f"{len(set(others) - {'e2'})} events of 2026-11-01 would happen twice"):
            world.deliver(others)
    assert world.deliver(["e1", "e2", "x1"]).fates == {Fate.ACCEPTED: 1}, "one that is like another, beside it, is new"


def test_a_changed_event_is_reported_and_not_sent(world: World) -> None:
    world.deliver(["e1", "e2"])
    world.take(["e1!2", "e2"], day(1))
    plan = world.plan(day(1))
    assert (plan.operations, plan.changed_unsent) == (0, 1)
    assert world.carry_out(day(1)).asked == 0
    assert world.held == {"e1", "e2"}


def test_an_older_partition_of_events_is_not_superseded(world: World) -> None:
    world.deliver(["late"], day(3))
    assert world.deliver(["early"], day(1)).fates == {Fate.ACCEPTED: 1}
    assert credited(world) == {"late": 1, "early": 1}


def test_what_an_earlier_plan_left_is_taken_over_and_asked_once(world: World) -> None:
    """Left when a trial ended, and deferred by a service that asks to wait."""
    world.deliver(["a1", "a2", "a3"], limit=1)
    world.sandbox.faults.add(Fault(kind="status", status=429, path=CREDIT, retry_after=7200))
    world.deliver(["b1"], day(1))
    world.sandbox.faults.clear()
    world.clock.pass_(8000)
    world.take(["c1"], day(2))
    plan = world.plan(day(2))
    assert plan.why == {"left by an earlier plan": 3, "never told": 1}
    assert world.carry_out(day(2)).fates == {Fate.ACCEPTED: 4}
    assert world.carry_out(day(0)).asked == world.carry_out(day(1)).asked == 0
    assert credited(world) == dict.fromkeys(("a1", "a2", "a3", "b1", "c1"), 1)


def test_a_plan_whose_rows_are_gone_keeps_no_other_one_s_from_being_taken_over(world: World) -> None:
    world.sandbox.faults.add(Fault(kind="status", status=429, path=CREDIT, retry_after=7200))
    for number, event in enumerate(("e1", "e2", "e3")):
        assert not world.deliver([event], day(number)).complete
        world.clock.pass_(8000)
    for number in (0, 2):
        gone = load(world.state, world.sync.name, day(number).key)
        assert gone is not None
        gone.file(world.state).unlink()
    world.sandbox.faults.clear()
    world.deliver([], day(4))
    assert credited(world) == {"e1": 1, "e2": 1}, "the second had taken over the first"


def test_a_released_event_is_taken_over_by_the_plan_of_another_partition(world: World) -> None:
    world.sandbox.faults.add(Fault(kind="reset_before", path=CREDIT))
    world.deliver(["a1"])
    world.sandbox.faults.clear()
    settle(world, Decision.RESEND)
    assert world.deliver([], day(1)).fates == {Fate.ACCEPTED: 1}
    assert world.carry_out(day(0)).asked == 0
    assert credited(world) == {"a1": 1}


def test_rejected_credits_are_asked_again_when_a_person_has_mended_the_cause(world: World) -> None:
    """Somebody who bought before the profile was there."""
    world.deliver(["e1", "bad"])
    assert world.deliver(["e1", "bad"]).asked == world.deliver([], day(1)).asked == 0
    world.sandbox.crowdtwist.put_user(email_address="nobody@example.com", first_name="A", last_name="B")
    said = by_hand.reassert(world.sync, world.state, run="by hand", now=world.clock.now())
    assert said.startswith("1 rejected rows of sync are asked again")
    assert world.deliver([], day(2)).fates == {Fate.ACCEPTED: 1}
    assert world.deliver(["e1", "bad"]).asked == 0
    assert credited(world) == {"e1": 1, "bad": 1}


def mended(world: World, points: str, *, member: str = "one") -> None:
    """Freeze the event that was rejected anew, as somebody has put it right."""
    world.take(Rows({"event": ["bad"], "member": [f"{member}@example.com"], "points": [points]}))


def given_to(world: World) -> list[tuple[str, int | None]]:
    return [(one.extra_data["event_id"], one.num_points) for one in world.sandbox.crowdtwist.credits()]


def test_a_rejected_credit_that_was_mended_and_then_in_doubt_is_asked_again_when_a_person_says_so(world: World) -> None:
    assert world.deliver(["bad"]).fates == {Fate.REJECTED: 1}
    mended(world, "77")
    world.sandbox.faults.add(Fault(kind="reset_before", path=CREDIT))
    summary = world.carry_out(trip=world.trip(run="second"))
    assert summary.fates == {Fate.IN_DOUBT: 1}
    world.sandbox.faults.clear()
    assert world.told("plan, refused_verb, refused_digest, refused_partition") == [(summary.plan, None, None, None)]
    assert [doubt.run for doubt in doubts(world.ledger)] == ["second"]
    assert settle(world, Decision.RESEND) == 1
    assert world.deliver([], day(1)).fates == {Fate.ACCEPTED: 1}, "by the plan of another partition"
    assert given_to(world) == [("bad", 77)]


def test_a_row_in_doubt_that_an_earlier_version_noted_as_rejected_too_is_asked_again_as_it_was_asked_last(
    world: World,
) -> None:
    world.deliver(["bad"])
    [noted] = world.told("plan, refused_verb, refused_digest, refused_partition")
    mended(world, "77")
    world.sandbox.faults.add(Fault(kind="reset_before", path=CREDIT))
    assert world.carry_out().fates == {Fate.IN_DOUBT: 1}
    world.sandbox.faults.clear()
    with world.ledger.writing() as connection:
        kept = "UPDATE told SET plan = ?, refused_verb = ?, refused_digest = ?, refused_partition = ?"
        rows(connection, kept, list(noted))
    assert settle(world, Decision.RESEND) == 1
    assert world.deliver([], day(1)).fates == {Fate.ACCEPTED: 1}
    assert given_to(world) == [("bad", 77)]


def test_what_is_asked_again_of_a_credit_is_what_was_asked_last(world: World) -> None:
    """Rejected, edited at the source, rejected again; then the profile is there."""
    world.deliver(["bad"])
    mended(world, "77", member="nobody")
    assert world.carry_out().fates == {Fate.REJECTED: 1}
    world.sandbox.crowdtwist.put_user(email_address="nobody@example.com", first_name="A", last_name="B")
    by_hand.reassert(world.sync, world.state, run="by hand", now=world.clock.now())
    assert world.deliver([], day(1)).fates == {Fate.ACCEPTED: 1}
    assert given_to(world) == [("bad", 77)]


def test_a_rejected_credit_that_was_mended_and_put_off_is_owed_like_any_other(world: World) -> None:
    world.deliver(["bad"])
    mended(world, "77")
    world.sandbox.faults.add(Fault(kind="status", status=429, path=CREDIT, retry_after=7200))
    world.carry_out()
    world.sandbox.faults.clear()
    world.clock.pass_(8000)
    assert world.deliver([], day(1)).fates == {Fate.ACCEPTED: 1}
    assert given_to(world) == [("bad", 77)]


ODD = (
    '{"a":1,}',
    '{"a":NaN}',
    '{"a":-inf}',
    '{"a":1e999}',
    '{"a":' * 100_000 + "1" + "}" * 100_000,
    '{"a":' + "9" * 5000 + "}",
)
"""JSON for one of engine and Python, and not for the other."""


def test_a_credit_that_can_not_be_said_holds_up_nobody(tmp_path: Path) -> None:
    world = World(tmp_path, credit())
    mapping = {name: origin for name, origin in world.sync.mapping.items() if name != "extra_data.event_id"}
    world.renamed(mapping={**mapping, "extra_data": Field.of("extra")})
    extra = ['{"event_id":"first"}', *ODD, '{"event_id":"last, ] nan"}']
    columns = {"event": [f"e{number}" for number in range(len(extra))], "extra": extra}
    world.take(Rows({**columns, "member": ["one@example.com"] * len(extra), "points": ["1"] * len(extra)}))
    plan = world.plan()
    assert plan.set_aside == {"extra_data is not a JSON object": 3}
    summary = world.carry_out()
    assert summary.complete and summary.fates == {Fate.ACCEPTED: 2, Fate.REJECTED: 3}
    assert [reason for fate, reason in summary.reasons if fate is Fate.REJECTED] == [UNREADABLE]
    assert set(credited(world)) == {"first", "last, ] nan"} and asked(world) == 2
    after = {"event": ["z"], "extra": ['{"event_id":"after"}'], "member": ["one@example.com"], "points": ["1"]}
    assert world.deliver(Rows(after), day(1)).fates == {Fate.ACCEPTED: 1}
    assert world.carry_out().asked == 0


def test_a_person_decides_by_opaque_ids_and_each_decision_is_stored(world: World) -> None:
    world.sandbox.faults.add(Fault(kind="reset_before", path=CREDIT))
    world.deliver(["resent", "sent", "dropped"])
    world.sandbox.faults.clear()
    found = doubts(world.ledger)
    assert not any(event in repr(found) for event in ("resent", "dropped"))
    ids = opaque(world)
    with pytest.raises(FixDeclaration, match="no row in doubt has the id 0123"):
        settle(world, Decision.DROP, ["0123", ids["dropped"]])
    for by, why in (("", ""), (" ", "known"), ("ada", "\u00a0")):
        with pytest.raises(FixDeclaration, match="who decides and why"):
            decide(world.ledger, ids.values(), Decision.DROP, by=by, reason=why, now=world.clock.now())
    assert in_doubt(world) == {"resent", "sent", "dropped"}, "a wrong id decides nothing"
    for decision, event in ((Decision.RESEND, "resent"), (Decision.WAS_SENT, "sent"), (Decision.DROP, "dropped")):
        assert settle(world, decision, [ids[event]]) == 1
    assert not doubts(world.ledger)
    assert world.carry_out().fates == {Fate.ACCEPTED: 1}
    assert credited(world) == {"resent": 1}
    assert world.told() == [("dropped", "dropped"), ("resent", "in"), ("sent", "in")]
    with world.ledger.reading() as connection:
        kept = rows(connection, "SELECT id, decision, decided_by, reason FROM decisions ORDER BY moment, decision")
    said = [("dropped", "drop"), ("resent", "resend"), ("sent", "was_sent")]
    assert sorted(kept) == sorted((ids[event], decision, "ann", "looked it up") for event, decision in said)
    assert world.deliver(["resent", "sent", "dropped"], day(1)).asked == 0


class Watched(httpx.AsyncBaseTransport):
    """Notes which events were asked without an answer that says what became of them."""

    def __init__(self, world: World) -> None:
        trip = world.trip()
        assert trip.transport is not None
        self.inner, self.unanswered = trip.transport, set[str]()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        event = json.loads(await request.aread())["extra_data"]["event_id"] if request.method == "POST" else None
        if event is None:
            return await self.inner.handle_async_request(request)
        self.unanswered.add(event)
        response = await self.inner.handle_async_request(request)
        await response.aread()
        if response.status_code < 500:
            self.unanswered.discard(event)
        return httpx.Response(response.status_code, headers=response.headers, content=response.content)


FAULTS = [
    Fault(kind="status", status=500, path=CREDIT, every=2),
    Fault(kind="status", status=503, path=CREDIT, every=3, applied=True),
    Fault(kind="status", status=429, path=CREDIT, every=2, times=2, retry_after=1),
    Fault(kind="status", status=429, path=CREDIT, nth=2, retry_after=3600),
    Fault(kind="reset_after", path=CREDIT, every=2),
    Fault(kind="reset_before", path=CREDIT, nth=1),
    Fault(kind="cut", path=CREDIT, nth=2),
]
EVENTS = ["ab-event", "cd-event", "ef-events", "gh-events", "ab-event!2", "ij-event", "kl-events"]
hitches = st.one_of(
    st.none(),
    st.sampled_from(FAULTS),
    st.tuples(st.sampled_from(["before POST", "after POST", "answered", "folded", ""]), st.integers(1, 9)),
)
people = st.sets(st.sampled_from(EVENTS), max_size=5).map(sorted)
runs = st.tuples(st.integers(0, 2), people, hitches, st.sampled_from([None, 1]))
steps = st.lists(st.one_of(runs, runs, st.booleans()), min_size=2, max_size=5)


def unlike(example: Example) -> Example:
    """The same with events that differ in more than their ids: else a guard takes a new one for one that is gone."""

    def person(name: str) -> dict[str, str | None]:
        row = example.person(name)
        return {**row, "points": f"{ord(name[0])}{row['points']}"}

    return replace(example, person=person)


@settings(deadline=None, max_examples=5, suppress_health_check=list(HealthCheck))
@given(steps)
def test_whatever_happens_no_event_is_doubled_or_lost(history) -> None:
    """
    Runs of any partition, with any snapshot of it, each with a fault, a crash or a trial; between them a person
    who knows the truth drops what is in doubt, or resends what did not happen.
    """
    with tempfile.TemporaryDirectory() as root:
        world = World(Path(root), unlike(credit()))
        wanted: set[str] = set()
        dropped: set[str] = set()
        unanswered: set[str] = set()
        crashed = False
        snapshots: dict[int, list[str]] = {}
        for step in history:
            if isinstance(step, bool):
                for event, one in opaque(world).items():
                    if step:
                        dropped.add(event)
                    truth = Decision.WAS_SENT if credited(world)[event] else Decision.RESEND
                    settle(world, Decision.DROP if step else truth, [one])
                unanswered.clear()
                continue
            number, snapshot, hitch, limit = step
            snapshot = list({event.partition("!")[0]: event for event in snapshot}.values())
            snapshots[number] = snapshot
            world.take(snapshot, day(number))
            if isinstance(hitch, Fault):
                world.sandbox.faults.add(hitch)
            watched = Watched(world)
            with world.dying(nth(hitch[1], hitch[0]) if isinstance(hitch, tuple) else lambda step: False):
                world.carry_out(day(number), trip=world.trip(transport=watched), limit=limit)
                wanted |= {event.partition("!")[0] for event in snapshot}
            crashed = crashed or isinstance(hitch, tuple)
            unanswered |= watched.unanswered
            world.sandbox.faults.clear()
            world.clock.pass_(4000)
            assert set(credited(world).values()) <= {1}, "doubled"
        for number in snapshots:
            assert world.carry_out(day(number)).complete
        found = in_doubt(world)
        assert set(credited(world).values()) <= {1}, "doubled"
        assert wanted - set(credited(world)) <= found | dropped, "lost"
        assert found >= unanswered - dropped if crashed else found == unanswered
        assert not world.sandbox.violations
