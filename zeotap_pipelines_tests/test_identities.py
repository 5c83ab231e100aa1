"""People with several identifiers: they register, change devices and share them, and nobody wanted is taken out."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from zeotap_pipelines.errors import ApprovePlan, AskForRestore, FilledOnce, HalfFilled
from zeotap_pipelines.model import Fate, Mode
from zeotap_pipelines.sandbox import Fault
from zeotap_pipelines.upkeep import removal
from zeotap_pipelines.upkeep.adopt import adopt
from zeotap_pipelines_tests.specimens import COHORT, cohort
from zeotap_pipelines_tests.world import Rows, World, day, nth

Row = tuple[str | None, str | None]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, cohort(Mode.MIRROR, both=True))


def rows(*people: Row) -> Rows:
    return Rows({"uid": [uid for uid, _ in people], "device": [device for _, device in people]})


def persons(world: World) -> set[tuple[str, str]]:
    return world.sandbox.moengage.persons(COHORT)


def register(world: World, device: str, uid: str) -> None:
    world.sandbox.moengage.link(device, uid)


def test_who_registers_stays_in(world: World) -> None:
    world.deliver(rows((None, "d1"), (None, "d2")))
    register(world, "d1", "u1")
    world.deliver(rows(("u1", "d1"), (None, "d2")), day(1))
    assert persons(world) == {("uid", "u1"), ("anonymous_id", "d2")}


def test_a_removal_says_everything_that_its_person_was_told_by_unless_somebody_wanted_carries_it(world: World) -> None:
    world.deliver(rows(("u1", "d1"), ("u2", "d2"), ("u3", None)))
    world.take(rows(("u9", "d2")), day(1))
    plan = world.plan(day(1))
    table = parquet.read_table(plan.file(world.state), columns=["verb", "value", "body"]).to_pylist()
    assert {row["value"]: json.loads(row["body"]) for row in table if row["verb"] == "remove"} == {
        "u1": {"uid": "u1", "anonymous_id": "d1"},
        "u2": {"uid": "u2"},
        "u3": {"uid": "u3"},
    }
    assert plan.kept_for == 0, "each has an identifier left"


def test_where_nobody_leaves_nobody_is_kept(world: World) -> None:
    world.deliver(rows(("u1", "d1")))
    world.take(rows(("u1", "d1"), ("u2", "d2")), day(1))
    assert world.plan(day(1)).kept_for == 0


def test_who_registers_and_leaves_later_is_out(world: World) -> None:
    world.deliver(rows((None, "d1")))
    register(world, "d1", "u1")
    world.deliver(rows(("u1", "d1")), day(1))
    world.deliver(rows(("u9", "d9")), day(2))
    assert persons(world) == {("uid", "u9")}


def test_who_changes_devices_is_not_taken_out_by_the_old_one(world: World) -> None:
    world.deliver(rows((None, "d1"), ("u2", "d2")))
    register(world, "d1", "u2")
    world.deliver(rows((None, "d1"), ("u2", "d1")), day(1))
    world.deliver(rows(("u2", "d3")), day(2))
    assert persons(world) == {("uid", "u2")}, "d1 is u2's by now, as the audience said on the second day"


def test_whoever_is_wanted_by_a_device_alone_is_not_taken_out_by_its_owner(world: World) -> None:
    """The service takes d1 for u1: removing u1 would take out who is wanted as d1."""
    register(world, "d1", "u1")
    world.deliver(rows(("u1", "d1")))
    world.deliver(rows((None, "d1")), day(1))
    assert persons(world) == {("uid", "u1")}


def test_whoever_is_wanted_by_a_device_alone_is_not_taken_out_by_another_device_of_its_owner(world: World) -> None:
    """d1 and d2 were both told as u1's: while somebody is wanted as d2, removing d1 would take out u1."""
    register(world, "d1", "u1")
    register(world, "d2", "u1")
    for number, row in enumerate([(None, "d1"), ("u1", "d1"), ("u1", "d2"), (None, "d2")]):
        world.deliver(rows(row), day(number))
        assert persons(world) == {("uid", "u1")}
    world.deliver(rows(("u9", None)), day(4))
    assert persons(world) == {("uid", "u9")}


def test_another_identifier_in_place_of_the_first_is_stopped_with_the_way_that_loses_nobody(world: World) -> None:
    """uid alone, then device alone: the service takes both for one person, who would be added and then removed."""
    both = world.sync.mapping
    for device, uid in (("d1", "u1"), ("d2", "u2")):
        register(world, device, uid)
    people = rows(("u1", "d1"), ("u2", "d2"))
    world.renamed(mapping={"uid": both["uid"]})
    world.deliver(people)
    world.renamed(mapping={"anonymous_id": both["anonymous_id"]})
    with pytest.raises(ApprovePlan, match="uid and anonymous_id may name the same person, map both for one run first"):
        world.deliver(people, day(1))
    for number, mapping in enumerate([both, {"anonymous_id": both["anonymous_id"]}], 2):
        world.renamed(mapping=mapping)
        assert world.deliver(people, day(number)).complete
        assert persons(world) == {("uid", "u1"), ("uid", "u2")}


def test_who_shares_a_device_leaves_alone(world: World) -> None:
    world.deliver(rows(("u1", "d1"), ("u2", "d1")))
    world.deliver(rows(("u2", "d1")), day(1))
    assert persons(world) == {("uid", "u2")}


def test_uid_7_is_not_anonymous_id_7(world: World) -> None:
    world.deliver(rows(("7", None), (None, "7")))
    assert persons(world) == {("uid", "7"), ("anonymous_id", "7")}
    world.deliver(rows((None, "7")), day(1))
    assert persons(world) == {("anonymous_id", "7")}


@dataclass
class Town:
    """People and the devices that they use; what a service knows of them, it knows from their use."""

    world: World
    uid: dict[str, str | None] = field(default_factory=lambda: dict.fromkeys("PQR"))
    device: dict[str, str] = field(default_factory=lambda: {"P": "d1", "Q": "d2", "R": "d3"})

    def row(self, who: str) -> Row:
        return self.uid[who], self.device[who]

    def meets(self, who: str) -> None:
        """The service sees somebody on a device: whose it is then is the last who was logged in."""
        uid = self.uid[who]
        if uid is not None:
            self.world.sandbox.moengage.link(self.device[who], uid)


moves = st.tuples(
    st.sampled_from("PQR"), st.sampled_from(["register", "new address", "d1", "d2", "d3", "d4"]), st.booleans()
)
days = st.tuples(
    st.lists(moves, max_size=2),
    st.sets(st.sampled_from("PQR"), max_size=3),
    st.one_of(
        st.none(),
        st.none(),
        st.sampled_from([Fault(kind="reset_after", nth=1), Fault(kind="status", status=500), Fault(kind="cut", nth=2)]),
        st.tuples(st.sampled_from(["before", "after"]), st.integers(1, 3)),
    ),
)


def resolved(links: dict[str, str], row: Row) -> tuple[str, str]:
    uid, device = row
    if uid is not None:
        return "uid", uid
    assert device is not None
    return ("uid", links[device]) if device in links else ("anonymous_id", device)


@settings(deadline=None, max_examples=5, suppress_health_check=list(HealthCheck))
@given(st.lists(days, min_size=2, max_size=5))
def test_nobody_wanted_is_ever_taken_out_and_nobody_else_stays(history) -> None:
    """
    Whoever moves while wanted is seen by the service and by the next audience.

    Somebody unwanted may stay only where one of the identifiers by which the service
    knows him is, or was, also that of somebody wanted.
    """
    with tempfile.TemporaryDirectory() as root:
        world = World(Path(root), cohort(Mode.MIRROR, both=True))
        town, links = Town(world), dict[str, str]()
        carried: dict[str, set[str]] = {}  # By uid, or else by device: the devices that a row of it ever had.
        for number, (moved, wanted, hitch) in enumerate(history):
            for who, what, _ in moved:
                if what == "register":
                    town.uid[who] = town.uid[who] or f"u{who}"
                elif what == "new address":
                    town.uid[who] = town.uid[who] and f"{town.uid[who]}'"
                else:
                    town.device[who] = what
                if town.uid[who]:
                    wanted = wanted | {who}
            for who in sorted(wanted):
                town.meets(who)
                if town.uid[who]:
                    links[town.device[who]] = town.uid[who] or ""
            audience = list(dict.fromkeys(town.row(who) for who in sorted(wanted)))
            world.take(rows(*audience), day(number))
            if isinstance(hitch, Fault):
                world.sandbox.faults.add(hitch)
            with world.dying(nth(hitch[1], hitch[0]) if isinstance(hitch, tuple) else lambda step: False):
                world.carry_out(day(number))
            world.sandbox.faults.clear()
            world.clock.pass_(3600)
            assert world.carry_out(day(number)).complete
            expected = {resolved(links, row) for row in audience}
            for uid, device in audience:
                carried.setdefault(uid or device or "", set()).add(device or "")
            known = {one for uid, device in audience for one in (uid, device, *carried[uid or device or ""]) if one}
            held = persons(world)
            assert expected <= held, "somebody wanted was taken out"
            for kind, name in held - expected:
                devices = {device for device, uid in links.items() if (kind, name) == ("uid", uid)} | {name}
                devices |= carried.get(name, set())
                assert devices & known, "somebody unwanted stays"
        assert not world.sandbox.violations


def test_a_one_time_cohort_is_filled_from_its_first_partition_and_then_left_alone(tmp_path: Path) -> None:
    world = World(tmp_path, cohort(Mode.ADD, sync_type="one_time"))
    assert world.deliver(["ann", "bob"], day(3)).complete
    assert (world.standing.pinned, world.standing.filled) == ("2026-11-04", True)
    for number in (3, 4, 2):
        world.take(["ann", "cid"], day(number))
        with pytest.raises(FilledOnce, match="did from 2026-11-04"):
            world.carry_out(day(number))
    with pytest.raises(AskForRestore):
        world.carry_out(day(4), restore=True)
    assert world.held == {"ann", "bob"}


def test_a_one_time_cohort_that_was_half_filled_is_completed_from_the_same_partition_only(tmp_path: Path) -> None:
    world = World(tmp_path, cohort(Mode.ADD, sync_type="one_time"))
    world.sandbox.faults.add(Fault(kind="status", status=503, path="/cohortsync", times=4))
    assert world.deliver(["ann", "bob", "cid"], day(1)).fates == {Fate.DEFERRED: 3}
    world.take(["dot"], day(2))
    with pytest.raises(HalfFilled, match="is not through with 2026-11-02") as raised:
        world.carry_out(day(2))
    assert raised.value.pinned == "2026-11-02"
    assert world.carry_out(day(1)).fates == {Fate.ACCEPTED: 3}
    assert world.held == {"ann", "bob", "cid"}
    with pytest.raises(FilledOnce):
        world.carry_out(day(1))


@pytest.mark.parametrize("limit", [1, 9])
@pytest.mark.parametrize("number", [1, 2])
def test_a_trial_of_a_one_time_cohort_neither_fills_it_nor_pins_it(tmp_path: Path, limit: int, number: int) -> None:
    world = World(tmp_path, cohort(Mode.ADD, sync_type="one_time"))
    world.deliver(["ann", "bob"], day(1), limit=limit)
    assert (world.standing.pinned, world.standing.filled) == (None, False)
    assert world.deliver(["ann", "bob"], day(number)).complete
    assert (world.standing.pinned, world.standing.filled) == (day(number).key, True)
    assert world.held == {"ann", "bob"}
    with pytest.raises(FilledOnce):
        world.deliver(["dot"], day(3))


def test_a_one_time_cohort_whose_first_audience_is_empty_is_filled_from_the_next(tmp_path: Path) -> None:
    world = World(tmp_path, cohort(Mode.ADD, sync_type="one_time"))
    assert world.deliver([], day(1)).complete and not world.standing.filled
    assert world.deliver(["ann"], day(2)).complete and world.held == {"ann"}


def test_a_one_time_cohort_is_filled_again_after_a_reset(tmp_path: Path) -> None:
    world = World(tmp_path, cohort(Mode.ADD, sync_type="one_time"))
    world.deliver(["ann"], day(1))
    world.ledger.reassert(world.clock.now())
    assert world.deliver(["ann", "bob"], day(2)).asked == 2
    assert world.held == {"ann", "bob"}
    assert world.standing.pinned == "2026-11-03"


def test_a_removal_on_request_fills_no_one_time_cohort(tmp_path: Path) -> None:
    world = World(tmp_path, cohort(Mode.ADD, sync_type="one_time"))
    world.sandbox.faults.add(Fault(kind="status", status=503, path="/cohortsync", times=4))
    assert world.deliver(["ann", "bob", "cid"], day(1)).fates == {Fate.DEFERRED: 3}
    assert removal.remove(world.sync, {"uid=ann"}, world.trip()).fates == {Fate.ACCEPTED: 1}
    assert (world.standing.pinned, world.standing.filled) == ("2026-11-02", False)
    assert world.deliver(["bob", "cid"], day(1)).fates == {Fate.ACCEPTED: 2}
    assert world.held == {"bob", "cid"} and world.standing.filled


def test_a_removal_on_request_is_of_no_partition(tmp_path: Path) -> None:
    """Not even where the cohort was adopted and never asked from any."""
    world = World(tmp_path, cohort(Mode.ADD, sync_type="one_time"))
    world.sandbox.moengage.put_members(COHORT, "ann")
    (tmp_path / "keys.csv").write_text("uid\nann\n")
    adopt(world.ledger, world.sync, tmp_path / "keys.csv", run="adopt", now=world.clock.now())
    for _ in range(2):  # The second finds nobody.
        assert removal.remove(world.sync, {"uid=ann"}, world.trip()).complete
        stands = world.standing
        assert (stands.pinned, stands.filled, stands.mark, stands.mark_partition) == (None, False, None, None)
    assert world.deliver(["bob"], day(1)).complete
    assert world.held == {"bob"} and world.standing.pinned == "2026-11-02"
