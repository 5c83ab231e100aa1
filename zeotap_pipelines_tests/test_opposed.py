"""One sync adds and another removes at one target: of who is in both audiences neither asks anything."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import ClassVar

import pytest

from zeotap_pipelines import snapshot as snapshots
from zeotap_pipelines.audience import Audience
from zeotap_pipelines.delivery.trip import Approval, Summary
from zeotap_pipelines.destinations.kognitiv import PromotionalMemberGroup
from zeotap_pipelines.diff.plan import Level, Plan, load
from zeotap_pipelines.errors import ApprovePlan, FixDeclaration, MakePlanAgain
from zeotap_pipelines.mapping import Field
from zeotap_pipelines.model import Mode
from zeotap_pipelines.sync import Guards, Sync, paired
from zeotap_pipelines.upkeep.explanation import explain
from zeotap_pipelines.upkeep.status import status
from zeotap_pipelines_tests.specimens import COHORT, cohort
from zeotap_pipelines_tests.world import KOGNITIV, Rows, Specimen, World, day

WANTS_OUT, WANTS_IN = "sync leavers wants it out", "sync joiners wants it in"
People = Sequence[str] | Rows


class Pair:
    """Two syncs of one world, `joiners` which adds and `leavers` which removes."""

    def __init__(self, root: Path, specimen: Specimen = KOGNITIV, **both: object) -> None:
        self.world = World(root, specimen, mode=Mode.ADD, **both)
        adds, removes = self._named("joiners", "joining", Mode.ADD), self._named("leavers", "leaving", Mode.REMOVE)
        self.syncs = {sync.name: sync for sync in paired([adds, removes])}

    def _named(self, name: str, audience: str, mode: Mode) -> Sync:
        asked = Audience(audience, "SELECT", self.world.sync.audience.key)
        return replace(self.world.sync, name=name, audience=asked, mode=mode)

    def speaking(self, name: str) -> World:
        """The world as the sync of that *name* sees it."""
        self.world.sync = self.syncs[name]
        return self.world

    def take(self, joining: People, leaving: People, number: int = 0) -> None:
        self.speaking("joiners").take(joining, day(number))
        self.speaking("leavers").take(leaving, day(number))

    def plan(self, name: str, number: int = 0) -> Plan:
        return self.speaking(name).plan(day(number))

    def carry_out(self, name: str, number: int = 0, approval: Approval | None = None) -> Summary:
        return self.speaking(name).carry_out(day(number), approval=approval)

    def newest(self, name: str, number: int = 0) -> Plan:
        found = load(self.world.state, name, day(number).key)
        assert found
        return found

    def change(self, name: str, **changed: object) -> None:
        self.syncs[name] = replace(self.syncs[name], **changed)  # type: ignore[arg-type]


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


EVERYBODY = [f"{before}-{wanted}" for before, wanted in product(("in", "out"), ("join", "leave", "both", "none"))]


def wanted(*by: str) -> list[str]:
    return [who for who in EVERYBODY if who.split("-")[1] in by]


@pytest.mark.parametrize(
    "order", ["joiners leavers", "leavers joiners", "joiners leavers joiners", "leavers joiners leavers"]
)
def test_who_is_in_both_audiences_stays_as_he_was_until_one_lets_go(pair: Pair, order: str) -> None:
    before = [who for who in EVERYBODY if who.startswith("in-")]
    pair.take(before, [who for who in EVERYBODY if who not in before])
    pair.carry_out("joiners")
    pair.carry_out("leavers")
    assert pair.world.held == set(before)
    asked = len(pair.world.asked)
    pair.take(wanted("join", "both"), wanted("leave", "both"), 1)
    for name in order.split():
        assert pair.plan(name, 1).set_aside == {WANTS_OUT if name == "joiners" else WANTS_IN: 2}
        assert pair.carry_out(name, 1).complete
    assert pair.world.held == {"in-join", "out-join", "in-both", "in-none"}
    assert sorted(pair.world.asked[asked:]) == ["DELETE in-leave", "PUT out-join"]
    # Each goes where the audience that didn't let go wants him.
    pair.take([*wanted("join"), "out-both"], [*wanted("leave"), "in-both"], 2)
    for name in order.split():
        assert pair.carry_out(name, 2).complete and not pair.newest(name, 2).set_aside
    assert pair.world.held == {"in-join", "out-join", "out-both", "in-none"}
    assert sorted(pair.world.asked[asked + 2 :]) == ["DELETE in-both", "PUT out-both"]


def test_a_key_is_the_same_in_both_however_it_is_written(pair: Pair) -> None:
    pair.take(["1", " 2"], Rows({"customer": ["2 ", "3"]}))
    assert pair.plan("joiners").set_aside == {WANTS_OUT: 1}
    pair.carry_out("joiners")
    pair.carry_out("leavers")
    assert pair.world.asked == ["PUT 1", "DELETE 3"]


def test_each_sync_maps_its_own_audience(pair: Pair) -> None:
    pair.change("leavers", mapping={"member_internal_id": Field.of("old")}, opposite=None)
    pair.syncs = {sync.name: sync for sync in paired(pair.syncs.values())}
    pair.take(["1", "2"], Rows({"customer": ["x", "y"], "old": ["2", "3"]}))
    pair.carry_out("joiners")
    pair.carry_out("leavers")
    assert pair.world.asked == ["PUT 1", "DELETE 3"]


def test_a_row_in_both_is_set_aside_for_that_and_counted_once(pair: Pair) -> None:
    """Also where it is unfit, named twice, or told already: what set it aside is the other sync."""
    pair.take(["1"], ["9"])
    pair.carry_out("joiners")
    pair.take(["1", "2", "2 ", ".", "..", "4"], ["1", "2", "."], 1)
    plan = pair.plan("joiners", 1)
    assert plan.set_aside == {WANTS_OUT: 4, "member_internal_id consists of dots": 1}
    assert (plan.opposed, plan.audience, plan.operations) == (4, 1, 1)


def test_what_was_asked_and_not_answered_is_not_asked_again_while_the_other_wants_the_opposite(pair: Pair) -> None:
    pair.take(["1"], [])
    pair.carry_out("joiners")
    with pair.speaking("joiners").ledger.writing() as connection:
        connection.execute("UPDATE told SET unsettled = true").fetchall()
    for number, leaving in (1, ["1"]), (2, []):
        pair.take(["1"], leaving, number)
        assert pair.carry_out("leavers", number).asked == 0
        assert pair.carry_out("joiners", number).asked == (not leaving)


@pytest.mark.parametrize("name", ["joiners", "leavers"])
def test_a_plan_is_made_anew_when_the_other_s_snapshot_is_not_the_one_that_it_was_made_of(
    pair: Pair, name: str
) -> None:
    other = "leavers" if name == "joiners" else "joiners"
    pair.take(["1", "2"] if name == "joiners" else [], [] if name == "joiners" else ["1", "2"])
    made = pair.plan(name)
    pair.speaking(other).take(["2"])
    assert pair.carry_out(name).asked == 1 and pair.newest(name).id != made.id
    assert len(pair.world.asked) == 1 and pair.world.asked[0].endswith(" 1")


def test_an_approval_is_of_what_was_in_both_when_the_plan_was_made(pair: Pair) -> None:
    """Also where the operations are the same."""
    pair.change("joiners", guards=Guards(max_added_percent=10))
    pair.take(["1"], [])
    pair.carry_out("joiners")
    pair.take(["1", "2"], [], 1)
    approval = Approval(pair.plan("joiners", 1).id, "ada", "seen")
    pair.speaking("leavers").take(["8"], day(1))
    with pytest.raises(MakePlanAgain, match="was approved, but what it was made from has changed"):
        pair.carry_out("joiners", 1, approval)
    with pytest.raises(ApprovePlan):
        pair.carry_out("joiners", 1)
    assert pair.carry_out("joiners", 1, Approval(pair.newest("joiners", 1).id, "ada", "seen")).complete


def test_the_same_rows_are_compared_again_when_the_other_audience_is_another(pair: Pair) -> None:
    """What was delivered whole says nothing of whom the other sync has let go since."""
    for number, leaving in enumerate((["2"], ["2"], [])):
        pair.take(["1", "2"], leaving, number)
        assert pair.carry_out("joiners", number).asked == (number != 1)
        assert pair.newest("joiners", number).set_aside == ({WANTS_OUT: 1} if leaving else {})
        assert pair.newest("joiners", number).opposed == len(leaving)
    assert pair.world.held == {"1", "2"}


def test_without_the_other_s_snapshot_of_that_partition_nothing_is_planned_or_sent(pair: Pair) -> None:
    pair.take([], ["2"])
    pair.speaking("joiners").take(["1"], day(1))
    for attempt in (pair.plan, pair.carry_out):
        with pytest.raises(
            MakePlanAgain, match=r"no snapshot of leaving at 2026-11-02, .*: materialize snapshots/leav"
        ):
            attempt("joiners", 1)
    assert pair.world.asked == []


def test_a_sync_whose_opposite_is_taken_out_goes_by_its_own_audience(pair: Pair) -> None:
    pair.take(["1", "2"], ["2"])
    made = pair.plan("joiners")
    pair.change("joiners", opposite=None)
    assert pair.carry_out("joiners").asked == 2 and pair.newest("joiners").id != made.id
    assert pair.world.held == {"1", "2"}


def test_what_is_owed_is_unknown_where_the_opposites_snapshot_is_another_one(pair: Pair) -> None:
    pair.take(["1", "2"], ["9"])
    pair.plan("joiners")
    world = pair.speaking("joiners")
    assert status(world.sync, world.state, world.clock.now()).owed == 2
    pair.speaking("leavers").take(["2"])
    assert status(pair.syncs["joiners"], world.state, world.clock.now()).owed is None
    pair.plan("joiners")
    assert status(pair.syncs["joiners"], world.state, world.clock.now()).owed == 1


def test_a_renamed_opposite_changes_no_plan(pair: Pair) -> None:
    pair.take(["1", "2"], ["2"])
    made = pair.plan("joiners")
    pair.change("joiners", opposite=replace(pair.syncs["leavers"], name="gone", opposite=None))
    assert pair.carry_out("joiners").complete and pair.newest("joiners").id == made.id


def test_a_mapping_of_the_opposite_that_can_not_be_read_names_it(pair: Pair) -> None:
    pair.take(["1"], Rows({"id": ["1"], "customer": ["1"]}))
    wrong = replace(pair.syncs["leavers"], mapping={"member_internal_id": Field.of("number")}, opposite=None)
    pair.change("joiners", opposite=wrong)
    with pytest.raises(FixDeclaration, match="sync leavers: the mapping names column 'number'"):
        pair.plan("joiners")


def test_who_is_in_both_audiences_stops_nobody_else(pair: Pair) -> None:
    """However many they are: that says nothing against the source, as invalid rows do."""
    for name in pair.syncs:
        pair.change(name, guards=Guards(max_set_aside_percent=10))
    pair.take(["1", "2", "3"], ["2", "3"])
    plan = pair.plan("joiners")
    [verdict] = plan.verdicts
    assert (verdict.guard, verdict.level) == ("set_aside", Level.WARN)
    assert "2 rows (66.7 %) are set aside" in verdict.message and f"{WANTS_OUT}: 2" in verdict.message
    assert [v.guard for v in pair.plan("leavers").verdicts] == ["set_aside"], "its audience is not empty"
    assert pair.carry_out("joiners").complete
    pair.take(["1", "2", "3", ".."], ["2", "3"], 1)
    assert [v.guard for v in pair.plan("joiners", 1).stopped] == ["set_aside"]


def test_a_key_in_both_is_explained(pair: Pair) -> None:
    pair.take(["1", "2"], ["2"])

    def said(name: str, key: str) -> str:
        return "\n".join(explain(pair.syncs[name], key, pair.world.state).sentences())

    for name, why in ("joiners", WANTS_OUT), ("leavers", WANTS_IN):
        pair.plan(name)
        assert f"but set aside: {why}" in said(name, "2")
    assert "set aside" not in said("joiners", "1")
    pair.world.state.snapshot("leaving", day(0).key).unlink()
    assert "set aside" not in said("joiners", "2"), "nobody knows any more"


def people(*rows: tuple[str | None, str | None]) -> Rows:
    return Rows({"uid": [uid for uid, _ in rows], "device": [device for _, device in rows]})


@pytest.mark.parametrize(
    ("joining", "leaving"),
    [
        (("u1", "d1"), ("u1", "d2")),
        (("u1", "d1"), (None, "d1")),
        ((None, "d1"), ("u1", "d1")),
        (("u1", "d1"), ("u2", "d1")),
    ],
)
def test_one_identifier_in_common_makes_a_person_one_of_both(
    tmp_path: Path, joining: tuple[str | None, str | None], leaving: tuple[str | None, str | None]
) -> None:
    """Two who share a device may be one, and what is asked of the one may be done to the other."""
    pair = Pair(tmp_path, cohort(Mode.ADD, both=True))
    pair.take(people(joining, ("u8", "d8")), people(leaving, ("u9", "d9")))
    for name in pair.syncs:
        assert pair.plan(name).opposed == 1
        assert pair.carry_out(name).asked == 1
    assert pair.world.sandbox.moengage.persons(COHORT) == {("uid", "u8")}


@pytest.mark.parametrize("swapped", [False, True])
def test_an_identifier_that_was_told_with_a_key_is_still_that_person_s(tmp_path: Path, swapped: bool) -> None:
    pair = Pair(tmp_path, cohort(Mode.ADD, both=True))
    pair.take(people(("u1", "d1")), people())
    pair.carry_out("joiners")
    sides = [people(("u1", "d2")), people((None, "d1"))]
    pair.take(*(reversed(sides) if swapped else sides), number=1)
    for name in pair.syncs:
        assert pair.plan(name, 1).opposed == 1
        assert pair.carry_out(name, 1).asked == 0


def test_uid_7_of_the_one_is_not_anonymous_id_7_of_the_other(tmp_path: Path) -> None:
    pair = Pair(tmp_path, cohort(Mode.ADD, both=True))
    pair.take(people(("7", None)), people((None, "7")))
    assert [pair.plan(name).opposed for name in pair.syncs] == [0, 0]


def test_syncs_that_share_no_identifier_are_no_pair(tmp_path: Path) -> None:
    pair = Pair(tmp_path, cohort(Mode.ADD, both=True))
    uid, device = ({name: field} for name, field in pair.world.sync.mapping.items())
    other = replace(pair.syncs["leavers"], mapping=device, opposite=None)
    with pytest.raises(FixDeclaration, match=r"sync joiners maps uid, and sync leavers, .* who is in both audience"):
        pair.change("joiners", mapping=uid, opposite=other)


class Watched(PromotionalMemberGroup):
    """A group of which somebody does something when the rows for it are looked at."""

    does: ClassVar[list[Callable[[], object]]] = []

    def odd(self) -> Iterable[tuple[str, str]]:
        while self.does:
            self.does.pop()()
        return super().odd()


@pytest.mark.parametrize("look", ["plan", "carry_out"])
def test_a_plan_is_made_of_one_snapshot_of_the_other_whoever_takes_it_anew_meanwhile(pair: Pair, look: str) -> None:
    pair.change("joiners", opposite=replace(pair.syncs["leavers"], target=Watched("ACTIVE-90D"), opposite=None))
    pair.take(["1", "2"], ["1"])
    Watched.does[:] = [lambda: pair.speaking("leavers").take(["2", "3"])]
    getattr(pair, look)("joiners")
    assert not Watched.does, "it was taken anew"
    plan = pair.newest("joiners")
    assert plan.opposing == snapshots.read(pair.syncs["leavers"].audience, day(0), pair.world.state).digest
    assert pair.carry_out("joiners").complete and pair.newest("joiners").id == plan.id
    assert pair.world.asked == ["PUT 1"]
