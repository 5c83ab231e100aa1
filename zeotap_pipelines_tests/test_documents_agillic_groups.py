"""What Agillic's document says of target groups and one-to-many tables, over the whole way."""

from pathlib import Path
from typing import Any

import pytest

from zeotap_pipelines.destinations.agillic_groups import AgillicTargetGroup
from zeotap_pipelines.destinations.agillic_tables import AgillicTable
from zeotap_pipelines.destinations.base import Visit
from zeotap_pipelines.errors import FixDeclaration, FixTarget
from zeotap_pipelines.model import Mode
from zeotap_pipelines.sandbox import Sandbox
from zeotap_pipelines_tests.destinations.by_hand import answer, ask
from zeotap_pipelines_tests.specimens import agillic
from zeotap_pipelines_tests.test_documents_agillic import GROUP, MEMBERS, notes, people
from zeotap_pipelines_tests.world import Rows, Specimen, World, day

PURCHASES = AgillicTable("PURCHASES", "PURCHASE_ID", "web")


def purchases() -> Specimen:
    """Purchases of Ann and Bob: the first letter says whose, the rest is the number."""

    def sandbox(clock: Any) -> Sandbox:
        made = Sandbox(clock=clock.unix)
        made.agillic.put_recipients({"EMAIL": "a@example.com"}, {"EMAIL": "b@example.com"})
        return made

    return Specimen(
        target=PURCHASES,
        connection=agillic(),
        mode=Mode.UPSERT,
        mapping={"EMAIL": "mail", "PURCHASE_ID": "number", "DOLLARS": "dollars"},
        person=lambda who: {"mail": f"{who[0]}@example.com", "number": who[1:], "dollars": "7"},
        held=lambda sandbox: {
            who: [row["PURCHASE_ID"] for row in sandbox.agillic.rows("PURCHASES", f"{who}@example.com")] for who in "ab"
        },
        sandbox=sandbox,
        asks="/recipients",
    )


def test_a_mirror_adds_changes_and_removes_members_and_who_left_stays_a_recipient(tmp_path: Path) -> None:
    world = World(tmp_path, people(MEMBERS, Mode.MIRROR))
    world.sandbox.agillic.put_recipients({"EMAIL": "old@example.com"})
    world.sandbox.agillic.put_members(GROUP, "old@example.com")
    world.deliver(["ann", "bob"])
    changed = {"mail": ["bob@example.com", "cid@example.com"], "name": ["Robert", "Cid"]}
    summary = world.deliver(Rows(changed), day(1))
    assert world.sandbox.agillic.group(GROUP) == {"bob@example.com", "cid@example.com", "old@example.com"}
    assert world.held["bob@example.com"]["FIRSTNAME"] == "Robert"
    assert world.held["ann@example.com"]["FIRSTNAME"] == "Ann"
    assert "recipients that leave the group stay in Agillic" in notes(world, summary)


def test_upsert_of_a_group_is_add_by_another_name(tmp_path: Path) -> None:
    assert AgillicTargetGroup.modes()[Mode.UPSERT] == AgillicTargetGroup.modes()[Mode.ADD]
    world = World(tmp_path, people(MEMBERS, Mode.UPSERT))
    world.deliver(["ann", "bob"])
    world.deliver(["bob"], day(1))
    assert world.sandbox.agillic.group(GROUP) == {"ann@example.com", "bob@example.com"}


def test_a_removal_takes_out_who_is_named_and_writes_no_person_data(tmp_path: Path) -> None:
    world = World(tmp_path, people(MEMBERS, Mode.REMOVE))
    world.sandbox.agillic.put_recipients({"EMAIL": "ann@example.com"}, {"EMAIL": "bob@example.com"})
    world.sandbox.agillic.put_members(GROUP, "ann@example.com", "bob@example.com")
    world.deliver(["ann"])
    assert world.sandbox.agillic.group(GROUP) == {"bob@example.com"}
    assert world.held["ann@example.com"] == {"EMAIL": "ann@example.com"}


def test_a_group_is_found_by_its_name_and_never_by_its_id() -> None:
    """The document asks for a name in one place and an ID in another: its endpoints take the name."""
    fields = answer(200, {"fields": [{"name": "EMAIL", "identifier": True}]})
    listed = answer(200, [{"id": 17, "name": GROUP, "static": True}])
    ask(MEMBERS.preflight(Visit()), fields, listed)
    with pytest.raises(FixTarget, match=r"does not find target group '17' \(see Audiences > Target Groups"):
        ask(AgillicTargetGroup("17").preflight(Visit()), fields, listed)


@pytest.mark.parametrize(
    ("group", "says"),
    [
        ("active 90 DAYS", "names are case-sensitive: Active 90 days exists"),
        ("No such group", "see Audiences > Target Groups"),
        ("Big spenders", "dynamic groups are read-only via the API"),
    ],
)
def test_a_group_that_can_not_be_written_to_is_named_before_anybody_is_upserted(
    tmp_path: Path, group: str, says: str
) -> None:
    world = World(tmp_path, people(AgillicTargetGroup(group), Mode.MIRROR))
    with pytest.raises(FixTarget, match=says):
        world.deliver(["ann"])
    assert world.held == {}


def test_a_group_sync_without_a_group_is_refused() -> None:
    with pytest.raises(FixDeclaration, match="group is the name of a static target group"):
        AgillicTargetGroup("")


def test_a_record_is_known_by_recipient_and_number_together_and_stays_when_its_row_leaves(tmp_path: Path) -> None:
    world = World(tmp_path, purchases())
    world.deliver(["a1", "a2", "b1"])
    assert world.held == {"a": ["1", "2"], "b": ["1"]}
    summary = world.deliver(["a1"], day(1))
    assert summary.asked == 0 and world.held == {"a": ["1", "2"], "b": ["1"]}
    changed = {"mail": ["a@example.com"], "number": ["1"], "dollars": ["9"]}
    summary = world.deliver(Rows(changed), day(2))
    assert summary.asked == 1
    assert [row["DOLLARS"] for row in world.sandbox.agillic.rows("PURCHASES", "a@example.com")] == ["9", "7"]
    assert "records whose rows leave the audience stay in the table" in notes(world, summary)


def test_records_travel_grouped_by_recipient_in_one_request(tmp_path: Path) -> None:
    world = World(tmp_path, purchases())
    world.deliver([f"{who}{number}" for who in "ab" for number in range(50)])
    assert world.sandbox.stats()["agillic"]["routes"]["POST /recipients/v2/oneToManyTables/:upsert"] == 1
    assert not world.sandbox.violations


def test_a_table_in_other_letters_is_named_before_anything_is_sent(tmp_path: Path) -> None:
    world = World(tmp_path, purchases(), target=AgillicTable("Purchases", "PURCHASE_ID", "web"))
    with pytest.raises(FixTarget, match=r"table ids are case-sensitive|PURCHASES exists"):
        world.deliver(["a1"])
