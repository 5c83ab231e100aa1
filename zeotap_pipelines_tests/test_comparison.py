"""What spares the comparison work never changes what is owed."""

import json
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

import duckdb
import pytest
from pyarrow import parquet

from zeotap_pipelines import snapshot as snapshots
from zeotap_pipelines.destinations.agillic import Agillic
from zeotap_pipelines.destinations.agillic_recipients import AgillicRecipients
from zeotap_pipelines.diff.comparison import Comparison
from zeotap_pipelines.diff.in_step import delivered
from zeotap_pipelines.diff.plan import Plan, load
from zeotap_pipelines.engines.duckdb import MOST_MEMORY, limit_memory, memory, rows
from zeotap_pipelines.errors import MakePlanAgain
from zeotap_pipelines.mapping import Field
from zeotap_pipelines.model import Mode
from zeotap_pipelines.sandbox import AGILLIC_KEY, AGILLIC_SECRET, BASE_URL, Fault
from zeotap_pipelines_tests.world import Rows, Specimen, World, day


@pytest.fixture
def people(tmp_path: Path) -> World:
    """Recipients with a first name."""
    recipients = Specimen(
        target=AgillicRecipients("crm"),
        connection=Agillic(
            account="demo",
            base_url=f"{BASE_URL}/agillic",
            developer_key=AGILLIC_KEY,
            developer_secret=AGILLIC_SECRET,
        ),
        mode=Mode.UPSERT,
        mapping={"EMAIL": "email", "FIRSTNAME": "first"},
        person=lambda who: {"email": f"{who}@example.org", "first": who},
        held=lambda sandbox: sandbox.agillic.recipients(),
    )
    return World(tmp_path, recipients)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_what_another_release_of_the_engine_stamped_is_told_apart_by_its_digest(people: World) -> None:
    people.deliver(["ann", "bob"])
    with people.ledger.writing() as connection:
        rows(connection, "UPDATE told SET stamp = stamp + 1")
    people.take(Rows({"email": ["ann@example.org", "bob@example.org"], "first": ["ann", "Robert"]}), day(1))
    assert people.plan(day(1)).why == {"different": 1}


def test_a_row_without_a_stamp_is_told_apart_by_its_digest(people: World) -> None:
    people.deliver(["ann", "bob"])
    with people.ledger.writing() as connection:
        rows(connection, "UPDATE told SET stamp = NULL")
    people.take(Rows({"email": ["ann@example.org", "bob@example.org"], "first": ["ann", "Robert"]}), day(1))
    assert people.plan(day(1)).why == {"different": 1}


class Watched(AgillicRecipients):
    """Recipients of whom somebody does something in the middle of a comparison, when the number is up."""

    numbers: ClassVar[list[int]] = []
    does: ClassVar[list[Callable[[], object]]] = []

    def odd(self) -> Iterable[tuple[str, str]]:
        """Asked for once by each look at the rows."""
        self.numbers[:] = [number - 1 for number in self.numbers]
        if 0 in self.numbers:
            self.does.pop()()
        return super().odd()


@pytest.mark.parametrize("look", [1, 2, 3])
def test_a_plan_is_made_of_one_snapshot_whoever_takes_it_anew_meanwhile(people: World, look: int) -> None:
    """Rows are known by their numbers, and the same rows in another order are other rows."""
    names = [f"name{number}" for number in range(9)]
    people.renamed(target=Watched("crm"))
    people.take(names)
    Watched.numbers[:], Watched.does[:] = [look], [lambda: people.take(names[::-1])]
    assert people.carry_out().complete
    assert not Watched.does, "it was taken anew"
    plan = load(people.state, "sync", day(0).key)
    assert plan and plan.snapshot == snapshots.read(people.sync.audience, day(0), people.state).digest
    assert [path.stem for path in plan.file(people.state).parent.glob("*.parquet")] == [plan.id]
    planned = parquet.read_table(plan.file(people.state)).to_pylist()
    assert sorted(json.loads(row["body"])["FIRSTNAME"] for row in planned) == names
    for row in planned:
        assert json.loads(row["body"])["EMAIL"] == f"{json.loads(row['body'])['FIRSTNAME']}@example.org" == row["key"]


def test_a_plan_whose_snapshot_is_taken_anew_again_and_again_is_given_up(people: World) -> None:
    people.renamed(target=Watched("crm"))
    people.take(["ann"])
    Watched.numbers[:], Watched.does[:] = [3, 6, 9, 12, 15], [lambda: people.take(["ann"])] * 5
    with pytest.raises(MakePlanAgain, match="taken anew"):
        people.plan()
    assert len(Watched.does) == 1
    assert not list(people.state.root.glob("diffs/*/*/*"))


@pytest.mark.parametrize("look", [1, 2, 3])
def test_a_plan_whose_snapshot_goes_meanwhile_asks_for_it(people: World, look: int) -> None:
    people.renamed(target=Watched("crm"))
    Watched.numbers[:], Watched.does[:] = [look], [people.take(["ann"]).path.unlink]
    with pytest.raises(MakePlanAgain, match="materialize it first"):
        people.plan()


def test_a_new_release_of_the_engine_stamps_whoever_is_in_step_once(people: World) -> None:
    people.deliver(["ann", "bob", "cem"])
    stamps = people.told("value, stamp")
    with people.ledger.writing() as connection:
        rows(connection, "UPDATE told SET stamp = stamp + 1")
    people.deliver(["ann", "bob"], day(1))
    assert people.told("value, stamp")[:2] == stamps[:2]
    assert people.told("value, stamp")[2] != stamps[2], "whoever is not in the audience is not looked at"
    assert not people.ledger.stamps_file.exists()
    people.take(["ann", "bob"], day(2))
    people.plan(day(2))
    assert not people.ledger.stamps_file.exists(), "nothing is stamped twice"


def test_a_row_that_contradicts_what_was_told_does_not_hide_behind_one_that_repeats_it(people: World) -> None:
    people.deliver(["ann", "bob"])
    twice = {"email": ["ann@example.org", "bob@example.org", " ANN@example.org"], "first": ["ann", "bob", "Anna"]}
    people.take(Rows(twice), day(1))
    plan = people.plan(day(1))
    assert (plan.operations, plan.set_aside, plan.audience) == (0, {"conflicting rows for one identity": 2}, 1)


def test_a_row_that_is_unfit_is_counted_though_nothing_is_owed(people: World) -> None:
    people.renamed(mapping={**people.sync.mapping, "EMAIL": Field("email"), "FIRSTNAME": Field("first")})
    people.deliver(["ann"])
    people.take(Rows({"email": ["ann@example.org", None, "  "], "first": ["ann", "nobody", "nobody"]}), day(1))
    plan = people.plan(day(1))
    assert (plan.operations, sum(plan.set_aside.values()), plan.audience) == (0, 2, 1)


def known(world: World, number: int = 1) -> Plan | None:
    """Return the plan that spares the comparison of the same two people at a later day."""
    taken = world.take(["1", "2"], day(number))
    with world.ledger.reading() as connection:
        standing = world.ledger.standing(connection)
        return delivered(Comparison(connection, world.sync, day(number), taken, standing), world.state)


def test_rows_that_were_delivered_whole_are_not_compared_again(world: World) -> None:
    world.deliver(["1", "2", "2"])
    world.take(["1", "2", "2"], day(1))
    again = world.plan(day(1))
    assert (again.operations, again.audience, again.told, again.counts) == (0, 2, 2, {})
    assert world.carry_out(day(1)).complete
    world.take(["1", "2", "2"], day(2))
    assert world.plan(day(2)).audience == 2


def test_equal_rows_have_one_digest_whoever_took_them_and_when(world: World) -> None:
    first = world.take(["1", "2"])
    world.clock.pass_(3600)
    assert world.take(["1", "2"], day(1)).digest == first.digest
    assert world.take(["2", "1"], day(1)).digest != first.digest


def refused(world: World) -> None:
    world.sandbox.faults.add(Fault(kind="status", status=400, path="members/2$"))
    world.deliver(["1", "2"])
    world.sandbox.faults.clear()


def unanswered(world: World) -> None:
    world.sandbox.faults.add(Fault(kind="reset_after", path="members/2$"))
    world.deliver(["1", "2"])
    world.sandbox.faults.clear()


def in_part(world: World) -> None:
    world.take(["1", "2"])
    world.carry_out(limit=1)


def reasserted(world: World) -> None:
    world.deliver(["1", "2"])
    world.ledger.reassert(world.clock.now() + timedelta(days=1))


def mapped_anew(world: World) -> None:
    world.deliver(["1", "2"])
    world.renamed(mapping={"member_internal_id": Field("customer", case="upper")})


def forgotten_by_the_ledger(world: World) -> None:
    world.deliver(["1", "2"])
    with world.ledger.writing() as connection:
        rows(connection, "UPDATE told SET unsettled = true WHERE value = '2'")


@pytest.mark.parametrize("disturbed", [refused, unanswered, in_part, reasserted, mapped_anew, forgotten_by_the_ledger])
def test_rows_are_compared_again_unless_all_of_them_were_accepted(
    world: World, disturbed: Callable[[World], None]
) -> None:
    disturbed(world)
    assert known(world) is None


def test_rows_are_known_once_all_of_them_were_accepted(world: World) -> None:
    world.deliver(["1", "2"])
    found = known(world)
    assert found is not None and found.operations == 2


def test_what_does_not_fit_into_memory_is_spilled_and_the_plan_is_the_same(people: World) -> None:
    everybody = [f"person{number}" for number in range(60_000)]
    people.take(everybody, day(0))
    whole = people.plan(day(0))
    with memory(people.state.root / "spill") as connection:
        rows(connection, "SET memory_limit = '48MB'")
        try:
            spilled = people.plan(day(0))
        finally:
            rows(connection, f"SET memory_limit = '{MOST_MEMORY}'")
    assert (spilled.operations, spilled.content) == (whole.operations, whole.content)


@pytest.mark.parametrize(("allowed", "kept"), [("1GB", 1e9), ("64GB", 3.3e9)])
def test_computing_takes_no_more_memory_than_is_said_and_less_where_the_machine_has_less(
    allowed: str, kept: float
) -> None:
    with duckdb.connect(config={"memory_limit": allowed}) as connection:
        limit_memory(connection)
        [(limit,)] = rows(connection, "SELECT parse_formatted_bytes(current_setting('memory_limit'))")
    assert limit == pytest.approx(kept, rel=0.03)
