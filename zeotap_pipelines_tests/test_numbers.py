"""Where a service takes ids for numbers, one number is one member, however the source writes it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from zeotap_pipelines.destinations.crowdtwist import UserProfile
from zeotap_pipelines.destinations.kognitiv import PromotionalMemberGroup
from zeotap_pipelines.engines.duckdb import memory, rows
from zeotap_pipelines.model import Mode
from zeotap_pipelines.naming import literal
from zeotap_pipelines.rendering import normalised
from zeotap_pipelines.upkeep.explanation import explain
from zeotap_pipelines.upkeep.who import Who
from zeotap_pipelines_tests.world import KOGNITIV, World, day


@dataclass(frozen=True)
class TextGroup(PromotionalMemberGroup):
    """The target as it was when every id was compared as text."""

    numbers: ClassVar[frozenset[str]] = frozenset()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def form(text: str, expression: str = "x") -> str:
    with memory() as connection:
        sql = normalised(KOGNITIV.target, "member_internal_id", expression)
        [(found,)] = rows(connection, f"SELECT {sql} FROM (SELECT {literal(text)} AS x)")
    return str(found)


@pytest.mark.parametrize("text", ["100", "0100", "+100", "000100", " 0100 ", "+0100", "\u00a00100"])
@pytest.mark.parametrize("expression", ["x", "concat(x, '')"])
def test_a_number_has_one_form(text: str, expression: str) -> None:
    assert form(text, expression) == "100"


@pytest.mark.parametrize(("id_type", "one"), [("id", True), ("third_party_id", False), ("username", False)])
def test_a_crowdtwist_id_is_a_number_and_an_id_of_ones_own_is_a_text(id_type: str, one: bool) -> None:
    with memory() as connection:
        forms = [normalised(UserProfile("s", id_type), "user_id", literal(text)) for text in ("0100", "100")]
        assert rows(connection, f"SELECT {forms[0]} = {forms[1]}") == [(one,)]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("0", "0"),
        ("000", "0"),
        ("+0", "0"),
        ("0x1", "0x1"),
        ("+", "+"),
        ("++1", "++1"),
        ("-01", "-01"),
        ("01 2", "01 2"),
    ],
)
def test_what_is_no_whole_number_keeps_its_form(text: str, kept: str) -> None:
    assert form(text) == form(text, "concat(x, '')") == kept


@pytest.mark.parametrize(("first", "then"), [("0100", "100"), ("100", "+0100"), (" 0100 ", "000100"), ("+100", "0100")])
def test_another_spelling_of_a_number_changes_nothing(world: World, first: str, then: str) -> None:
    world.deliver([first, "7"])
    asked = len(world.asked)
    assert world.deliver([then, "7"], day(1)).complete
    assert len(world.asked) == asked
    assert world.held == {"100", "7"}


def test_who_is_wanted_in_one_spelling_is_not_removed_in_another(world: World) -> None:
    world.deliver(["105", "0105", "7"])
    world.deliver(["105", "7"], day(1))
    assert world.held == {"105", "7"}
    world.deliver(["0105", "7"], day(2))
    assert world.held == {"105", "7"}
    world.deliver(["7"], day(3))
    assert world.held == {"7"}


def test_a_removal_uses_the_spelling_that_was_delivered(world: World) -> None:
    world.deliver(["0100", "7"])
    world.deliver(["100", "7"], day(1))
    world.deliver(["7"], day(2))
    assert world.asked[-1] == "DELETE 0100"
    assert world.held == {"7"}


def test_mode_remove_knows_who_is_out_in_any_spelling(tmp_path: Path) -> None:
    world = World(tmp_path, mode=Mode.REMOVE)
    world.deliver(["0100"])
    asked = len(world.asked)
    world.deliver(["100"], day(1))
    assert len(world.asked) == asked == 1


def told_as_text(world: World, *days: list[str]) -> None:
    """Deliver *days* as it was when ids were compared as text, and leave the ledger as it was then."""
    numbers = world.sync.target
    world.renamed(target=TextGroup("ACTIVE-90D"))
    for number, people in enumerate(days):
        world.deliver(people, day(number))
    with world.ledger.writing() as connection:
        rows(connection, "UPDATE meta SET value = '2' WHERE key = 'schema_version'")
    world.renamed(target=numbers)


def test_who_was_told_in_another_spelling_before_is_not_removed(world: World) -> None:
    told_as_text(world, ["0100", "100", "0200", "7"])
    assert world.deliver(["100", "200", "7"], day(1)).complete
    assert world.held == {"7", "100", "200"}
    assert not any("DELETE" in asked for asked in world.asked)


def test_who_was_lost_by_the_removal_of_another_spelling_comes_back(world: World) -> None:
    told_as_text(world, ["0100", "7"], ["100", "7"])
    assert world.held == {"7"}
    world.deliver(["100", "7"], day(2))
    assert world.held == {"7", "100"}


def test_two_spellings_that_were_told_become_one_row_which_is_removed_once(world: World) -> None:
    told_as_text(world, ["0100", "100", "7"])
    world.deliver(["7"], day(1))
    assert world.held == {"7"}
    assert len([asked for asked in world.asked if "DELETE" in asked]) == 1
    assert sorted(state for _, state in world.told()) == ["in", "out"]


def test_a_person_is_found_in_any_spelling(world: World) -> None:
    world.deliver(["0100", "1000"])
    for spelt in ("100", "0100", "+100"):
        assert [row["value"] for row in explain(world.sync, spelt, world.state).told] == ["0100"]
        with memory() as connection:
            condition = Who(spelt).snapshot([world.sync], ("customer",), {"customer": "VARCHAR"})
            scan = "(VALUES ('0100'), ('1000'), ('100')) AS p (customer)"
            assert rows(connection, f"SELECT count(*) FROM {scan} WHERE {condition}") == [(2,)]
