"""What stops a plan before anything is sent, and who may let it go on."""

from dataclasses import replace
from pathlib import Path

import pytest

from zeotap_pipelines.delivery.delivery import deliver
from zeotap_pipelines.delivery.trip import Approval
from zeotap_pipelines.diff.plan import Level
from zeotap_pipelines.errors import ApprovePlan, FixDeclaration, MakePlanAgain
from zeotap_pipelines.ledger.lock import speaking
from zeotap_pipelines.mapping import Field
from zeotap_pipelines.model import Fate
from zeotap_pipelines.sandbox import Fault
from zeotap_pipelines.sync import Guards
from zeotap_pipelines_tests.world import ANYTHING_GOES, Rows, World, day

MANY = [str(number) for number in range(10)]


@pytest.fixture
def guarded(tmp_path: Path) -> World:
    return World(tmp_path, guards=Guards())


def approved(plan) -> Approval:
    return Approval(plan.id, "ann", "I looked")


def guards_of(plan) -> dict[str, Level]:
    return {verdict.guard: verdict.level for verdict in plan.verdicts}


def test_an_empty_audience_empties_nothing_until_a_person_approves(guarded: World) -> None:
    guarded.deliver(MANY)
    guarded.take([], day(1))
    with pytest.raises(ApprovePlan, match="audience people is empty at 2026-11-02"):
        guarded.carry_out(day(1))
    assert guarded.held == set(MANY)
    guarded.carry_out(day(1), approval=approved(guarded.plan(day(1))))
    assert guarded.held == set()
    assert guarded.carry_out(day(1)).complete, "what was approved and done needs no second approval"
    assert guarded.deliver([], day(2)).complete, "nobody is left whom a guard could protect"


def test_an_empty_first_audience_is_nobodys_harm(guarded: World) -> None:
    assert guarded.deliver([]).complete


def test_a_shrunken_audience_is_stopped_whoever_starts_it(guarded: World) -> None:
    guarded.deliver(MANY)
    guarded.take(MANY[:4], day(1))
    plan = guarded.plan(day(1))
    assert guards_of(plan) == {"removed_share": Level.STOP}
    with pytest.raises(ApprovePlan, match=r"6 of 10 members would be removed \(60.0 %\), allowed are 50 %"):
        guarded.carry_out(day(1))
    trip = guarded.trip()
    with (
        speaking(guarded.state.account(guarded.sync.address), run="r", sync="s"),
        pytest.raises(ApprovePlan, match=plan.id),
    ):
        deliver(guarded.sync, plan, trip)
    assert guarded.held == set(MANY)


def test_an_approval_is_for_one_plan(guarded: World) -> None:
    guarded.deliver(MANY)
    guarded.take(MANY[:4], day(1))
    approval = approved(guarded.plan(day(1)))
    guarded.take(MANY[:3], day(1))
    with pytest.raises(MakePlanAgain, match="what it was made from has changed"):
        guarded.carry_out(day(1), approval=approval)
    guarded.plan(day(1))
    with pytest.raises(ApprovePlan, match=f"the approval names plan {approval.plan}"):
        guarded.carry_out(day(1), approval=approval)
    assert guarded.held == set(MANY)
    assert guarded.carry_out(day(1), approval=approved(guarded.plan(day(1)))).complete
    assert guarded.held == set(MANY[:3])


def test_an_approved_plan_is_refused_when_another_was_delivered_since(guarded: World) -> None:
    guarded.deliver(MANY)
    guarded.take(MANY[:4], day(1))
    approval = approved(guarded.plan(day(1)))
    guarded.renamed(name="other")
    guarded.deliver([*MANY, "new"], day(1))
    guarded.take(MANY[:4], day(1), run="run2")
    guarded.renamed(name="sync")
    with pytest.raises(MakePlanAgain):
        guarded.carry_out(day(1), approval=approval)
    assert guarded.held == {*MANY, "new"}


def test_a_plan_from_before_anothers_delivery_is_refused(guarded: World) -> None:
    guarded.take(["1"])
    stale = guarded.plan()
    guarded.renamed(name="other")
    guarded.deliver(["2"])
    guarded.renamed(name="sync")
    trip = guarded.trip()
    with (
        speaking(guarded.state.account(guarded.sync.address), run="r", sync="s"),
        pytest.raises(MakePlanAgain, match="no longer fits"),
    ):
        deliver(guarded.sync, stale, trip)


def test_a_plan_that_no_longer_fits_is_made_again(guarded: World) -> None:
    guarded.take(["1"])
    old = guarded.plan()
    guarded.take(["1", "2"])
    summary = guarded.carry_out()
    assert summary.plan != old.id
    assert guarded.held == {"1", "2"}


def test_a_plan_for_another_declaration_does_not_fit(guarded: World) -> None:
    guarded.deliver(MANY)
    guarded.take(MANY[:6], day(1))
    guarded.plan(day(1))
    guarded.renamed(guards=Guards(max_removed=1))
    with pytest.raises(ApprovePlan, match="4 members would be removed, allowed are 1"):
        guarded.carry_out(day(1))


def test_unusual_additions_are_stopped(tmp_path: Path) -> None:
    world = World(tmp_path, guards=Guards(max_added_percent=50))
    world.deliver(["1", "2"])
    with pytest.raises(ApprovePlan, match="would be sent"):
        world.deliver(MANY, day(1))


@pytest.mark.parametrize(
    ("guard", "guards", "fine", "much", "too_much"),
    [
        ("removed_share", Guards(), range(15), range(30), range(31)),
        ("removed_share", Guards(max_removed_percent=10), range(5), range(10), range(11)),
        ("removed_number", Guards(max_removed_percent=100, max_removed=4), range(2), range(4), range(5)),
        ("added_share", Guards(max_added_percent=20), range(100, 110), range(100, 120), range(100, 121)),
    ],
)
def test_a_guard_warns_from_half_of_what_it_allows_on_and_stops_above_it(
    tmp_path: Path, guard: str, guards: Guards, fine: range, much: range, too_much: range
) -> None:
    """The ranges are who comes or goes: of a hundred members, whoever is named and there goes, and who isn't comes."""
    world, members = World(tmp_path, guards=guards), [str(number) for number in range(100)]
    world.deliver(members)
    for changed, level in (fine, None), (much, Level.WARN), (too_much, Level.STOP):
        moved = {str(number) for number in changed}
        world.take(sorted(moved ^ set(members)), day(1))
        assert guards_of(world.plan(day(1))).get(guard) is level, (changed, level)


def test_a_target_that_more_than_doubles_deserves_a_warning_where_nothing_is_said_of_additions(tmp_path: Path) -> None:
    world, members = World(tmp_path, guards=Guards()), [str(number) for number in range(100)]
    world.deliver(members)
    for come, says in (100, None), (101, Level.WARN):
        world.take([str(number) for number in range(100 + come)], day(1))
        assert guards_of(world.plan(day(1))).get("added_share") is says
    assert world.carry_out(day(1)).complete, "a warning holds nothing up"


def test_a_snapshot_of_half_its_age_deserves_a_warning(tmp_path: Path) -> None:
    world = World(tmp_path, guards=Guards(stale_after_hours=24))
    world.take(["1"])
    for hours, level in (12, None), (1, Level.WARN), (12, Level.STOP):
        world.clock.pass_(hours * 3600)
        assert guards_of(world.plan()).get("stale_source") is level


def test_a_snapshot_that_grew_old_after_the_plan_was_made_is_stopped(tmp_path: Path) -> None:
    world = World(tmp_path, guards=Guards(stale_after_hours=24))
    world.take(["1"])
    assert not world.plan().stopped
    world.clock.pass_(25 * 3600)
    with pytest.raises(ApprovePlan, match="the snapshot was taken at"):
        world.carry_out()


def test_a_row_without_identity_withholds_removals_and_nothing_else(tmp_path: Path) -> None:
    world = World(tmp_path, guards=replace(ANYTHING_GOES, max_set_aside_percent=100))
    world.deliver(["1", "2"])
    summary = world.deliver(Rows({"customer": ["1", "3", None]}), day(1))
    assert isinstance(summary.error, ApprovePlan)
    assert (summary.withheld, summary.complete) == (1, False)
    assert world.held == {"1", "2", "3"}
    with pytest.raises(ApprovePlan, match="1 rows of audience people have no member_internal_id"):
        world.carry_out(day(1))
    world.carry_out(day(1), approval=approved(world.plan(day(1))))
    assert world.held == {"1", "3"}


def test_an_identity_of_nothing_but_spaces_is_none(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.take(Rows({"customer": ["1", "  ", ""]}))
    plan = world.plan()
    assert (plan.audience, plan.null_keys, plan.set_aside) == (1, 2, {"no identity": 2})


def test_too_many_rows_set_aside_stop_the_plan(guarded: World) -> None:
    with pytest.raises(ApprovePlan, match="set aside"):
        guarded.deliver(Rows({"customer": ["1", None]}))


@pytest.fixture
def members_and_numbers(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.deliver(Rows({"customer": ["1", "2", "3"], "number": ["71", "72", "73"]}))
    world.renamed(mapping={"member_internal_id": Field.of("number")})
    return world


def test_another_identity_mapping_replaces_nobody_until_a_person_approves(members_and_numbers: World) -> None:
    world = members_and_numbers
    with pytest.raises(ApprovePlan, match="the mapping of member_internal_id changed"):
        world.carry_out()
    assert world.held == {"1", "2", "3"}
    world.carry_out(approval=approved(world.plan()))
    assert world.held == {"71", "72", "73"}
    assert [line.split()[0] for line in world.asked[3:]] == ["PUT"] * 3 + ["DELETE"] * 3


def test_a_replacement_removes_only_after_every_addition_was_accepted(members_and_numbers: World) -> None:
    world = members_and_numbers
    world.sandbox.kognitiv.set_standing("72", "missing")
    plan = world.plan()
    summary = world.carry_out(approval=approved(plan))
    assert summary.fates == {Fate.ACCEPTED: 2, Fate.REJECTED: 1}
    assert (summary.withheld, summary.complete) == (3, False)
    assert world.held == {"1", "2", "3", "71", "73"}
    world.carry_out(approval=approved(plan))
    assert world.held == {"1", "2", "3", "71", "73"}, "continued, and still one is missing"
    again = world.plan()
    assert again.replacement, "the old mapping holds until it is replaced"
    world.carry_out(approval=approved(again))
    assert world.held == {"1", "2", "3", "71", "73"}, "refused before is not accepted"
    world.sandbox.kognitiv.set_standing("72", "active")
    world.take(Rows({"customer": ["1", "2", "3"], "number": ["71", "72", "73"]}), day(1))
    world.carry_out(day(1), approval=approved(world.plan(day(1))))
    assert world.held == {"71", "72", "73"}


def test_a_replacement_that_was_cut_off_goes_on_where_it_was(members_and_numbers: World) -> None:
    world = members_and_numbers
    plan = world.plan()
    world.sandbox.faults.add(Fault(kind="status", status=429, method="DELETE", retry_after=3600, nth=2))
    assert not world.carry_out(approval=approved(plan)).complete
    world.sandbox.faults.clear()
    world.clock.pass_(3600)
    assert len(world.held) == 5
    world.carry_out(approval=approved(plan))
    assert world.held == {"71", "72", "73"}


def test_a_renamed_column_with_the_same_values_is_no_replacement(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.deliver(Rows({"customer": ["1"]}))
    world.renamed(mapping={"member_internal_id": Field.of("id")})
    assert world.deliver(Rows({"customer": ["1"], "id": ["1"]}), day(1)).asked == 0
    assert world.deliver(Rows({"customer": ["2"], "id": ["2"]}), day(2)).complete


def test_a_mapping_that_names_a_column_the_audience_lacks_is_said_so(tmp_path: Path) -> None:
    world = World(tmp_path, mapping={"member_internal_id": Field.of("nobody")})
    with pytest.raises(FixDeclaration, match="the mapping names column 'nobody'; the audience has customer"):
        world.deliver(["1"])
