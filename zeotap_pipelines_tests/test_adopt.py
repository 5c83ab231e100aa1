"""Adopting: what the service already holds counts as told, and nothing is asked for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from zeotap_pipelines.errors import FixDeclaration
from zeotap_pipelines.model import Mode
from zeotap_pipelines.upkeep import by_hand
from zeotap_pipelines_tests import specimens
from zeotap_pipelines_tests.world import World, day


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def adopt(world: World, text: str) -> str:
    file = world.root / "keys.csv"
    file.write_text(text, encoding="utf-8")
    return by_hand.adopt(world.sync, file, world.state, run="adopt", now=world.clock.now())


def test_an_adopted_member_is_not_added_again_and_is_removed_when_it_leaves(world: World) -> None:
    world.sandbox.kognitiv.put_members("ACTIVE-90D", "1", "2", "old")
    assert adopt(world, "member_internal_id\n1\n2\n").startswith("2 keys count as told")
    assert world.asked == []
    world.deliver(["1", "3"])
    assert world.asked == ["PUT 3", "DELETE 2"]
    assert world.held == {"1", "3", "old"}, "who was not in the list is left alone"


def test_adopting_twice_is_adopting_once(world: World) -> None:
    adopt(world, "member_internal_id\n1\n1\n 1 \n")
    assert world.told() == [("1", "in")]
    assert adopt(world, "member_internal_id\n1\n").startswith("0 keys count as told")
    assert world.told("value, state, plan") == [("1", "in", "adopted")]


def test_what_the_ledger_knows_better_stays_and_who_was_told_out_is_in_again(world: World) -> None:
    world.deliver(["1", "2"])
    world.deliver(["1"], day(1))
    before = world.told("*")
    assert "1 keys count as told" in adopt(world, "member_internal_id\n1\n2\n")
    assert world.told() == [("1", "in"), ("2", "in")]
    assert world.told("*")[0] == before[0]


def test_a_plan_that_was_made_before_no_longer_fits(world: World) -> None:
    world.take(["1", "2"])
    plan = world.plan()
    adopt(world, "member_internal_id\n1\n")
    assert world.carry_out().plan != plan.id
    assert world.asked == ["PUT 2"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("email\na@b.c\n", "column 'email'; the identity fields of sync are member_internal_id"),
        (None, "there is no file"),
    ],
)
def test_a_list_that_can_not_be_used_is_refused_by_name(world: World, text: str | None, says: str) -> None:
    with pytest.raises(FixDeclaration, match=says):
        if text is None:
            by_hand.adopt(world.sync, world.root / "none.csv", world.state, run="adopt", now=world.clock.now())
        else:
            adopt(world, text)
    assert world.told() == []


def test_lines_that_name_nobody_are_counted_and_left_out(world: World) -> None:
    assert adopt(world, 'member_internal_id\n1\n" "\n').endswith("1 lines named nobody")
    assert world.told() == [("1", "in")]


def test_attributes_of_who_was_adopted_are_sent_once(tmp_path: Path) -> None:
    world = World(tmp_path, specimens.recipients(Mode.UPSERT))
    person = world.specimen.person("ann")
    adopt(world, f"EMAIL\n{person[world.specimen.mapping['EMAIL']]}\n")
    world.take(["ann"])
    assert world.plan().why == {"different": 1}
    assert world.carry_out().asked == 1
    assert world.deliver(["ann"], day(1)).asked == 0


def test_the_first_identity_field_is_the_key_and_the_others_are_kept(tmp_path: Path) -> None:
    world = World(tmp_path, specimens.cohort(Mode.MIRROR, both=True))
    adopt(world, "uid,anonymous_id\n7,x\n,y\n")
    assert world.told("name, value, others") == [("uid", "7", ["anonymous_id=x"]), ("anonymous_id", "y", [])]


def test_an_adopted_event_is_never_asked_nor_called_changed(tmp_path: Path) -> None:
    world = World(tmp_path, specimens.credit())
    person = world.specimen.person("ann")
    adopt(world, f"event_id\n{person[world.specimen.mapping['event_id']]}\n")
    world.take(["ann", "bob"])
    plan = world.plan()
    assert (plan.operations, plan.changed_unsent) == (1, 0)


def test_credits_can_not_be_told_again(tmp_path: Path) -> None:
    world = World(tmp_path, specimens.credit())
    world.deliver(["ann"])
    with pytest.raises(FixDeclaration, match="happen twice"):
        by_hand.reassert(world.sync, world.state, run="again", now=world.clock.now())


def test_reasserting_by_hand_tells_everything_again(world: World) -> None:
    with pytest.raises(FixDeclaration, match="nothing was ever told"):
        by_hand.reassert(world.sync, world.state, run="again", now=world.clock.now())
    world.deliver(["1", "2"])
    by_hand.reassert(world.sync, world.state, run="again", now=world.clock.now())
    assert world.carry_out().asked == 2
