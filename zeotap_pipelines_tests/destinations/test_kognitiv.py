"""Kognitiv's conversations, held by hand without HTTP."""

from collections.abc import Generator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from zeotap_pipelines.audience import Audience
from zeotap_pipelines.destinations.base import Visit
from zeotap_pipelines.destinations.kognitiv import GROUPS, PromotionalMemberGroup
from zeotap_pipelines.errors import FixConnection, FixDeclaration, FixTarget, TryAgainLater
from zeotap_pipelines.mapping import Field
from zeotap_pipelines.model import Batch, Call, Fate, Halt, Mode, Operation, Receipt, Verb
from zeotap_pipelines.sync import Sync
from zeotap_pipelines_tests.world import kognitiv

GOLD = PromotionalMemberGroup("gold / ü")
PATH = f"{GROUPS}/gold%20%2F%20%C3%BC/members"


def batch(verb: Verb, member: str = "a+b@x") -> Batch:
    body = f'{{"member_internal_id":"{member}"}}'
    return Batch((Operation(0, verb, body),), datetime(2026, 11, 1, tzinfo=UTC))


def groups(*listed: dict[str, Any]) -> httpx.Response:
    return httpx.Response(200, json={"data": list(listed)})


LISTED = groups({"id": 1, "name": "Gold", "externalReference": "gold / ü"})
OTHERS = groups({"id": 1, "name": "x", "externalReference": "silver"})
UNCLEAR = groups({"id": 1, "name": "x"}, {"id": 2, "name": "y", "externalReference": "silver"})
UNREADABLE = [
    httpx.Response(403),
    httpx.Response(500, text="<html>"),
    httpx.Response(200, text="<html>"),
    httpx.Response(200, json=[]),
    httpx.Response(200, json={"data": "x"}),
    httpx.Response(200, json={"data": [1]}),
]


def held(conversation: Generator[Call, httpx.Response, Any], *responses: httpx.Response) -> tuple[list[str], Any]:
    """Hold a conversation with these answers; return what it asked and how it ended."""
    asked = []
    answers = iter(responses)
    try:
        call = next(conversation)
        while True:
            assert (call.content, dict(call.params)) == (None, {})
            asked.append(f"{call.method} {call.path}")
            call = conversation.send(next(answers))
    except StopIteration as end:
        assert next(answers, None) is None, "it did not ask for all of them"
        return asked, end.value


def outcome(ended: tuple[list[str], Receipt], verb: Verb = Verb.ADD) -> tuple[Fate, str]:
    found = ended[1].outcome(batch(verb).operations[0])
    return found.fate, found.reason


@pytest.mark.parametrize(("verb", "method"), [(Verb.ADD, "PUT"), (Verb.REMOVE, "DELETE")])
@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_a_member_is_one_request_whose_path_is_encoded(verb: Verb, method: str, status: int) -> None:
    ended = held(GOLD.converse(batch(verb), Visit()), httpx.Response(status))
    assert ended[0] == [f"{method} {PATH}/a%2Bb%40x"]
    assert outcome(ended)[0] is Fate.ACCEPTED


def test_an_inactive_member_is_rejected_with_the_reason() -> None:
    ended = held(GOLD.converse(batch(Verb.ADD), Visit()), httpx.Response(400, json={"message": "Member inactive"}))
    fate, reason = outcome(ended)
    assert fate is Fate.REJECTED
    assert "Member inactive" in reason and "inactive members can't be added" in reason


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408])
def test_trouble_says_nothing_against_the_member(status: int) -> None:
    assert outcome(held(GOLD.converse(batch(Verb.ADD), Visit()), httpx.Response(status)))[0] is Fate.DEFERRED


@pytest.mark.parametrize("page", ["<!DOCTYPE html><html>", "\n <html>under maintenance</html>"])
@pytest.mark.parametrize("verb", [Verb.ADD, Verb.REMOVE])
def test_a_web_page_is_no_answer_and_settles_nobody(verb: Verb, page: str) -> None:
    fate, reason = outcome(held(GOLD.converse(batch(verb), Visit()), httpx.Response(200, text=page)), verb)
    assert fate is Fate.DEFERRED and "web page" in reason and "base_url" in reason


def test_the_first_404_of_a_run_asks_once_whether_the_group_is_there() -> None:
    visit = Visit()
    first = held(GOLD.converse(batch(Verb.ADD), visit), httpx.Response(404), LISTED)
    assert first[0][1] == f"GET {GROUPS}"
    assert outcome(first) == (
        Fate.REJECTED,
        "member not found: check that member_internal_id is Kognitiv's internal member id",
    )
    second = held(GOLD.converse(batch(Verb.ADD), visit), httpx.Response(404))
    assert len(second[0]) == 1


@pytest.mark.parametrize("listing", [*UNREADABLE, UNCLEAR])
def test_a_404_to_an_add_blames_the_member_alone_only_where_the_group_is_confirmed(listing: httpx.Response) -> None:
    fate, reason = outcome(held(GOLD.converse(batch(Verb.ADD), Visit()), httpx.Response(404), listing))
    assert fate is Fate.REJECTED
    assert "member or group not found" in reason and "external reference" in reason and "internal member id" in reason


@pytest.mark.parametrize("verb", [Verb.ADD, Verb.REMOVE])
def test_a_missing_permission_ends_the_run_and_no_member_is_to_blame(verb: Verb) -> None:
    with pytest.raises(Halt) as halted:
        held(GOLD.converse(batch(verb), Visit()), httpx.Response(403))
    assert isinstance(halted.value.error, FixConnection)
    assert "give the API token the permission to add and remove members" in str(halted.value.error)
    assert halted.value.receipt.everyone.fate is Fate.DEFERRED


def test_where_even_the_list_of_groups_is_a_404_the_address_is_wrong_and_not_the_members() -> None:
    with pytest.raises(FixConnection, match="check base_url"):
        held(GOLD.preflight(Visit()), httpx.Response(404))
    with pytest.raises(Halt) as halted:
        held(GOLD.converse(batch(Verb.ADD), Visit()), httpx.Response(404), httpx.Response(404))
    assert isinstance(halted.value.error, FixConnection)
    assert halted.value.receipt.everyone.fate is Fate.DEFERRED


def test_a_group_that_is_gone_ends_the_run_and_no_member_is_to_blame() -> None:
    with pytest.raises(Halt) as halted:
        held(GOLD.converse(batch(Verb.ADD), Visit()), httpx.Response(404), OTHERS)
    assert isinstance(halted.value.error, FixTarget)
    assert "no promotional member group with the external reference 'gold / ü'" in str(halted.value)
    assert halted.value.receipt.everyone.fate is Fate.DEFERRED


def test_a_removal_of_somebody_unknown_is_settled_once_the_group_is_confirmed() -> None:
    assert outcome(held(GOLD.converse(batch(Verb.REMOVE), Visit()), httpx.Response(404), LISTED)) == (
        Fate.ACCEPTED,
        "was not in the group",
    )


@pytest.mark.parametrize("listing", [*UNREADABLE, UNCLEAR])
def test_a_wrong_base_url_does_not_empty_the_ledger(listing: httpx.Response) -> None:
    """404 to everything, and nobody confirms that the group is there."""
    with pytest.raises(Halt) as halted:
        held(GOLD.converse(batch(Verb.REMOVE), Visit()), httpx.Response(404), listing)
    assert isinstance(halted.value.error, TryAgainLater)
    assert halted.value.receipt.everyone.fate is Fate.DEFERRED


def test_the_group_is_looked_for_before_the_first_member() -> None:
    visit = Visit()
    held(GOLD.preflight(visit), LISTED)
    assert visit.known["group_exists"]
    held(GOLD.preflight(Visit()), groups({"id": 1, "name": "gold / ü"}))
    with pytest.raises(FixTarget, match="check the reference"):
        held(GOLD.preflight(Visit()), OTHERS)


@pytest.mark.parametrize("listing", [*UNREADABLE, UNCLEAR])
def test_a_list_that_can_not_be_read_or_leaves_it_open_stops_nothing(listing: httpx.Response) -> None:
    visit = Visit()
    held(GOLD.preflight(visit), listing)
    assert not visit.known.get("group_exists")


def test_the_connection_is_tested_by_a_question_that_changes_nothing() -> None:
    assert held(kognitiv().test(), LISTED)[0] == [f"GET {GROUPS}"]
    with pytest.raises(FixConnection, match="permission"):
        held(kognitiv().test(), httpx.Response(403))
    with pytest.raises(FixConnection, match="check base_url"):
        held(kognitiv().test(), httpx.Response(404))


@pytest.mark.parametrize("mode", [Mode.UPSERT, Mode.INSERT, Mode.UPDATE])
def test_modes_that_the_group_does_not_speak_are_refused(mode: Mode) -> None:

    fields = {"member_internal_id": Field.of("id")}
    with pytest.raises(FixDeclaration, match=f"has no mode '{mode}'; it has add, remove, mirror"):
        Sync("s", Audience("a", "SELECT", ("id",)), GOLD, "demo", mode, fields)
    with pytest.raises(FixDeclaration, match="take tier out of the mapping"):
        Sync("s", Audience("a", "SELECT", ("id",)), GOLD, "demo", Mode.ADD, {**fields, "tier": Field.of("tier")})
    with pytest.raises(FixDeclaration, match="map a column to member_internal_id"):
        Sync("s", Audience("a", "SELECT", ("id",)), GOLD, "demo", Mode.ADD, {})


def test_regions_are_hosts() -> None:
    assert kognitiv(base_url="ca").base_url == "https://ca.kognitivloyalty.com"
