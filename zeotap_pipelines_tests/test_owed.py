"""What is sent: what would leave the target as it was told is never asked again, and the rest always is."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from zeotap_pipelines.destinations.kognitiv import PromotionalMemberGroup
from zeotap_pipelines.errors import AskForRestore
from zeotap_pipelines.mapping import Field
from zeotap_pipelines.model import UNPARTITIONED, Fate, Mode, Partition
from zeotap_pipelines.sandbox import Fault
from zeotap_pipelines_tests.world import Rows, World, day


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_the_group_is_the_audience(world: World) -> None:
    for number, people in enumerate((["1", "2", "3"], ["2", "3", "4"], [], ["7"])):
        summary = world.deliver(people, day(number))
        assert summary.complete
        assert world.held == set(people)
    assert not world.sandbox.violations


def test_running_twice_asks_once(world: World) -> None:
    world.deliver(["1", "2"])
    assert world.asked == ["PUT 1", "PUT 2"]
    assert world.carry_out().asked == 0
    assert world.deliver(["1", "2"]).asked == 0
    assert world.deliver(["1", "2"], day(1)).asked == 0
    assert world.asked == ["PUT 1", "PUT 2"]


def test_a_rejected_member_blocks_nobody_and_is_asked_once_per_partition(world: World) -> None:
    summary = world.deliver(["1", "stranger", "3"])
    assert summary.fates == {Fate.ACCEPTED: 2, Fate.REJECTED: 1}
    assert summary.complete
    assert world.held == {"1", "3"}
    assert world.carry_out().asked == 0
    assert world.deliver(["1", "stranger", "3"]).asked == 0
    assert world.deliver(["1", "stranger", "3"], day(1)).fates == {Fate.REJECTED: 1}
    assert world.deliver(["1", "stranger", "3"], day(1)).asked == 0
    world.sandbox.kognitiv.set_standing("stranger", "active")
    assert world.deliver(["1", "stranger", "3"], day(2)).fates == {Fate.ACCEPTED: 1}
    assert world.held == {"1", "3", "stranger"}


def test_who_was_refused_is_not_asked_again_by_another_plan_of_the_same_partition(world: World) -> None:
    assert world.deliver(["1", "stranger"]).fates == {Fate.ACCEPTED: 1, Fate.REJECTED: 1}
    assert world.deliver(["1", "stranger", "3"]).fates == {Fate.ACCEPTED: 1}
    assert world.plan().refused_before == 1


def now(world: World) -> Partition:
    """The partition of an audience that doesn't cut time, frozen now."""
    return Partition(world.clock.now(), datetime(1970, 1, 1, tzinfo=UTC), UNPARTITIONED)


def test_where_time_is_not_cut_who_was_refused_is_asked_again_with_each_snapshot(world: World) -> None:
    people = ["1", "stranger"]
    first = now(world)
    assert world.deliver(people, first).fates == {Fate.ACCEPTED: 1, Fate.REJECTED: 1}
    assert world.carry_out(first).asked == 0
    assert world.plan(first).refused_before == 1
    assert world.carry_out(first).asked == 0
    world.clock.pass_(3600)
    assert world.deliver(people, now(world)).fates == {Fate.REJECTED: 1}
    world.sandbox.kognitiv.set_standing("stranger", "active")
    world.clock.pass_(3600)
    assert world.deliver(people, now(world)).fates == {Fate.ACCEPTED: 1}
    world.sandbox.faults.add(Fault(kind="status", status=400, method="DELETE"))
    world.clock.pass_(3600)
    assert world.deliver(["1"], now(world)).fates == {Fate.REJECTED: 1}
    world.sandbox.faults.clear()
    assert world.held == {"1", "stranger"}
    world.clock.pass_(3600)
    assert world.deliver(["1"], now(world)).fates == {Fate.ACCEPTED: 1}
    assert world.held == {"1"}


def test_where_time_is_not_cut_a_clock_that_was_ahead_holds_nothing_up(world: World) -> None:
    world.clock.jump(timedelta(days=30))
    world.deliver(["1"], now(world))
    world.clock.jump(-timedelta(days=30))
    today = now(world)
    assert world.deliver(["1", "2"], today).complete
    assert world.held == {"1", "2"}
    assert (world.standing.mark, world.standing.restored) == (today.end, False)
    assert world.carry_out(today).asked == 0


def test_a_member_whom_the_service_never_took_is_not_removed(world: World) -> None:
    world.deliver(["1", "stranger"])
    world.deliver(["1"], day(1))
    assert world.asked == ["PUT 1", "PUT stranger"]


def test_an_older_partition_sends_nothing(world: World) -> None:
    world.deliver(["1"], day(2))
    world.take(["9"], day(1))
    with pytest.raises(AskForRestore, match="superseded by 2026-11-03"):
        world.carry_out(day(1))
    assert world.held == {"1"}


def test_restore_goes_back_on_purpose_and_then_the_present_is_the_past(world: World) -> None:
    world.deliver(["1"], day(1))
    world.deliver(["2"], day(2))
    world.carry_out(day(1), restore=True)
    assert world.held == {"1"}
    with pytest.raises(AskForRestore):
        world.carry_out(day(2))
    world.carry_out(day(2), restore=True)
    assert world.held == {"2"}
    world.deliver(["3"], day(3))
    assert world.held == {"3"}


def test_a_partition_that_was_found_in_step_is_newer_than_what_came_before(world: World) -> None:
    world.deliver(["1"], day(1))
    world.deliver(["1"], day(3))
    world.take(["2"], day(2))
    with pytest.raises(AskForRestore, match="superseded by 2026-11-04"):
        world.carry_out(day(2))


@pytest.mark.parametrize("lost", [Fault(kind="reset_after", method="DELETE"), Fault(kind="cut", method="DELETE")])
def test_a_lost_answer_hides_nothing(world: World, lost: Fault) -> None:
    """Told in; removed, and the answer never heard; wanted again with the same digest: added again."""
    world.deliver(["1", "2"])
    world.sandbox.faults.add(lost)
    assert world.deliver(["1"], day(1)).fates == {Fate.DEFERRED: 1}
    world.sandbox.faults.clear()
    assert world.held == {"1"}
    world.deliver(["1", "2"], day(2))
    assert world.held == {"1", "2"}


def test_a_refusal_after_a_lost_answer_hides_nothing(world: World) -> None:
    """The removal was applied, its answer lost, and its repetition refused: who is wanted again is added again."""
    world.deliver(["1", "2"])
    world.sandbox.faults.add(
        Fault(kind="reset_after", method="DELETE", nth=1), Fault(kind="status", status=400, method="DELETE")
    )
    assert world.deliver(["1"], day(1)).fates == {Fate.REJECTED: 1}
    world.sandbox.faults.clear()
    assert world.held == {"1"}
    world.deliver(["1", "2"], day(2))
    assert world.held == {"1", "2"}


def test_an_unheard_addition_is_taken_back_when_the_member_leaves(world: World) -> None:
    world.sandbox.faults.add(Fault(kind="reset_after", method="PUT", path="/2$"))
    world.deliver(["1", "2"])
    world.sandbox.faults.clear()
    assert world.held == {"1", "2"}
    world.deliver(["1"], day(1))
    assert world.held == {"1"}


def test_what_certainly_did_not_happen_leaves_no_trace(world: World) -> None:
    refused = world.sandbox.faults
    refused.add(Fault(kind="status", status=429, method="PUT", retry_after=120))
    assert world.deliver(["1"]).fates == {Fate.DEFERRED: 1}
    refused.clear()
    assert world.told() == []


def test_renaming_the_sync_asks_nothing(world: World) -> None:
    world.deliver(["1", "2"])
    world.renamed(name="another_name")
    assert world.deliver(["1", "2"]).asked == 0
    world.deliver(["2"], day(1))
    assert world.asked == ["PUT 1", "PUT 2", "DELETE 1"]


def test_renaming_the_connection_or_moving_it_asks_nothing(world: World) -> None:
    world.deliver(["1"])
    world.connection = world.connection.model_copy(update={"base_url": f"{world.connection.base_url}/", "timeout": 5})
    assert world.deliver(["1"]).asked == 0


def test_a_removal_uses_the_identity_that_was_delivered(world: World) -> None:
    world.deliver(Rows({"customer": ["007 ", "8"]}))
    world.deliver(Rows({"customer": ["8"]}), day(1))
    assert world.held == {"8"}
    assert world.asked[-1].startswith("DELETE 007")


def test_members_that_the_group_had_before_are_left_alone(world: World) -> None:
    world.sandbox.kognitiv.put_members("ACTIVE-90D", "old")
    world.deliver(["1"])
    world.deliver([], day(1))
    assert world.held == {"old"}


def test_adding_only_never_removes_and_removing_only_never_adds(tmp_path: Path) -> None:
    adding = World(tmp_path / "a", mode=Mode.ADD)
    adding.deliver(["1"])
    adding.deliver(["2"], day(1))
    assert adding.held == {"1", "2"}
    removing = World(tmp_path / "r", mode=Mode.REMOVE)
    removing.sandbox.kognitiv.put_members("ACTIVE-90D", "1", "2")
    removing.deliver(["1"])
    assert removing.held == {"2"}
    assert removing.deliver(["1"], day(1)).asked == 0
    assert removing.asked == ["DELETE 1"]


def test_an_addition_and_a_removal_by_two_syncs_share_one_memory(tmp_path: Path) -> None:
    world = World(tmp_path, mode=Mode.ADD)
    world.deliver(["1", "2"])
    world.renamed(name="remover", mode=Mode.REMOVE)
    world.deliver(["2"], day(1))
    assert world.held == {"1"}
    world.renamed(name="sync", mode=Mode.ADD)
    world.deliver(["1", "2"], day(2))
    assert world.held == {"1", "2"}
    assert world.asked == ["PUT 1", "PUT 2", "DELETE 2", "PUT 2"]


def test_reassert_sends_additions_again_and_keeps_removals(world: World) -> None:
    world.deliver(["1", "2", "3"])
    world.deliver(["1", "2"], day(1))
    world.sandbox.reset()
    world.ledger.reassert(world.clock.now())
    assert world.deliver(["1", "2"], day(1)).fates == {Fate.ACCEPTED: 2}
    assert world.asked == ["PUT 1", "PUT 2"], "nobody was removed first"
    assert world.held == {"1", "2"}
    assert world.deliver(["1", "2"], day(2)).asked == 0


def test_what_was_not_confirmed_for_long_is_told_again(tmp_path: Path) -> None:
    world = World(tmp_path, reassert_after_hours=48.0)
    world.deliver(["1"])
    world.clock.pass_(24 * 3600)
    assert world.deliver(["1"], day(1)).asked == 0
    world.clock.pass_(36 * 3600)
    assert world.deliver(["1"], day(2)).asked == 1
    assert world.deliver(["1"], day(3)).asked == 0


def test_a_trial_of_a_few_leaves_the_rest_owed(world: World) -> None:
    summary = world.deliver(["1", "2", "3"], limit=1)
    assert (summary.asked, summary.left, summary.complete) == (1, 2, False)
    assert world.carry_out().asked == 2
    assert world.held == {"1", "2", "3"}


class TieredGroup(PromotionalMemberGroup):
    """A group that would also hold a tier: what Kognitiv can't, so that rows can change and contradict each other."""

    carries_attributes = True
    required = ("tier",)

    def invalid(self) -> Iterable[tuple[str, str]]:
        yield "there is no such tier", "{tier} NOT IN ('gold', 'silver')"


@pytest.fixture
def tiered(tmp_path: Path) -> World:
    mapping = {"member_internal_id": Field.of("customer"), "tier": Field.of("tier")}
    world = World(tmp_path, target=TieredGroup("ACTIVE-90D"), mapping=mapping)
    world.deliver(tiers(("1", "gold"), ("2", "gold"), ("3", "gold")))
    return world


def tiers(*people: tuple[str, str]) -> Rows:
    return Rows({"customer": [who for who, _ in people], "tier": [tier for _, tier in people]})


def test_only_what_changed_is_told_again(tiered: World) -> None:
    summary = tiered.deliver(tiers(("1", "gold"), ("2", "silver"), ("3", "gold")), day(1))
    assert summary.asked == 1
    assert tiered.asked[-1] == "PUT 2"


@pytest.mark.parametrize(
    "aside", [[("2", "silver"), ("2", "gold")], [("2", "gold"), (" 2", "silver")], [("2", "lead")]]
)
def test_who_is_set_aside_is_neither_sent_nor_removed(tiered: World, aside: list[tuple[str, str]]) -> None:
    """Rows that contradict each other, or that the target can't hold."""
    tiered.take(tiers(("1", "gold"), *aside, ("4", "lead")), day(1))
    plan = tiered.plan(day(1))
    assert plan.audience == 1
    assert sum(plan.set_aside.values()) == len(aside) + 1
    assert tiered.carry_out(day(1)).complete
    assert tiered.asked[3:] == ["DELETE 3"]
    assert ("2", "in") in tiered.told()
    tiered.deliver(tiers(("1", "gold"), ("2", "gold")), day(2))
    assert tiered.asked[4:] == [], "nothing had been forgotten of the second"


def test_equal_rows_are_one(tiered: World) -> None:
    summary = tiered.deliver(tiers(("1", "gold"), ("1 ", "gold"), ("2", "gold"), ("3", "gold")), day(1))
    assert summary.complete and summary.asked == 0
