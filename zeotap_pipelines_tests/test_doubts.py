"""What a person decides of rows in doubt holds for those that he can have looked up, and for no other."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from zeotap_pipelines.delivery.debts import in_doubt
from zeotap_pipelines.delivery.trip import Summary
from zeotap_pipelines.ledger.lock import speaking
from zeotap_pipelines.model import Fate
from zeotap_pipelines.sandbox import Fault
from zeotap_pipelines.upkeep import by_hand
from zeotap_pipelines.upkeep.doubts import Decision, doubts
from zeotap_pipelines.upkeep.explanation import explain
from zeotap_pipelines.upkeep.status import status
from zeotap_pipelines_tests.specimens import credit, crowdtwist
from zeotap_pipelines_tests.world import World, day, nth

LOST = Fault(kind="reset_after", path="/v2/users")
EVENTS = ["ab-event", "cd-event", "ef-events", "gh-events", "ij-event", "kl-events"]


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A service whose answers get lost, asked two at a time."""
    made = World(tmp_path, credit(connection=crowdtwist(concurrency=2)))
    made.sandbox.faults.add(LOST)
    return made


def credited(world: World) -> Counter[str]:
    """How often the service credited each event."""
    return Counter(one.extra_data["event_id"] for one in world.sandbox.crowdtwist.credits())


def listed(world: World) -> set[str]:
    return {one.id for one in doubts(world.ledger)}


def decide(world: World, decision: Decision, ids: list[str] | None, **how) -> str:
    who = {"by": "ada", "reason": "looked it up", "run": "by hand", "now": world.clock.now()}
    return by_hand.decide(world.sync, ids, decision, world.state, **{**who, **how})


@pytest.mark.parametrize("decision", Decision)
def test_all_rows_are_those_that_were_in_doubt_when_a_person_decided(world: World, decision: Decision) -> None:
    """The decision waits for a run that leaves others in doubt, and for another person's, who has decided of one."""
    world.deliver(["seen", "known", "kept"])
    first, *_ = doubts(world.ledger)
    speaker = ExitStack()
    speaker.enter_context(speaking(world.state.account(world.sync.address), run="going on", sync="sync"))
    waited = []

    def meanwhile(seconds: float) -> None:
        waited.append(seconds)
        speaker.close()
        decide(world, Decision.WAS_SENT, [first.id])
        world.deliver(["unseen"], day(1))

    said = decide(world, decision, None, sleep=meanwhile)
    assert len(waited) == 1
    assert said.startswith("2 rows of sync") and said.endswith("; 1 others have come into doubt since, and are left")
    [left] = doubts(world.ledger)
    assert left.partition == day(1).key
    world.sandbox.faults.clear()
    assert world.deliver([], day(2)).asked == (2 if decision is Decision.RESEND else 0)
    assert credited(world)["unseen"] == 1


def test_all_rows_are_those_that_were_in_doubt_when_a_job_was_asked_for(world: World) -> None:
    """A run waits in the queue, and its process takes a while to begin."""
    world.deliver(["seen"])
    world.clock.pass_(60)
    clicked = world.clock.now()
    world.clock.pass_(60)
    world.deliver(["unseen"], day(1))
    said = decide(world, Decision.DROP, None, seen=clicked)
    assert said == "1 rows of sync are never asked again; 1 others have come into doubt since, and are left"
    assert [one.partition for one in doubts(world.ledger)] == [day(1).key]


def test_what_a_run_is_asking_is_in_doubt_when_it_died_and_not_before(world: World) -> None:
    """The list, the count, what stands of a sync and what explains an event say the same at any moment."""
    seen = []

    def look(summary: Summary, total: int) -> None:
        ids = listed(world)
        assert len(ids) == summary.fates[Fate.IN_DOUBT]
        assert in_doubt(world.sync, world.state) == len(ids)
        assert status(world.sync, world.state, world.clock.now()).in_doubt == len(ids)
        asked = [value for value, state in world.told() if state == "doubt"]
        words = [" ".join(explain(world.sync, value, world.state).sentences()) for value in asked]
        assert sum("a person decides" in one for one in words) == len(ids)
        assert sum("asking for it at the moment" in one for one in words) == len(asked) - len(ids)
        seen.append(len(asked) - len(ids))

    with world.dying(nth(5, "after POST")):
        world.deliver(EVENTS, trip=world.trip(on_progress=look))
    assert max(seen) > 0, "some were being asked"
    dead = [value for value, state in world.told() if state == "doubt"]
    assert len(listed(world)) == len(dead) > 4
    with speaking(world.state.account(world.sync.address), run="another", sync="another"):
        assert len(listed(world)) == len(dead), "another sync of the account speaks"
    assert status(world.sync, world.state, world.clock.now()).in_doubt == len(dead)
    assert decide(world, Decision.DROP, None).startswith(f"{len(dead)} rows")
