"""A success that names an error is none, wherever and however it says so."""

from typing import Any

import pytest

from zeotap_pipelines.destinations.agillic_groups import AgillicTargetGroup
from zeotap_pipelines.destinations.agillic_recipients import AgillicRecipients
from zeotap_pipelines.destinations.answers import names_an_error, without_addresses
from zeotap_pipelines.destinations.base import Target
from zeotap_pipelines.destinations.crowdtwist import UserProfile
from zeotap_pipelines.destinations.crowdtwist_activities import ActivityCredit
from zeotap_pipelines.destinations.kognitiv import PromotionalMemberGroup
from zeotap_pipelines.model import Fate, Verb

from .by_hand import answer, hold, operation
from .test_agillic import STARTED, batch, fates, script, task
from .test_agillic import hold as held

ERRORS = [
    {"error": "x"},
    {"Error": "x"},
    {"errors": ["x"]},
    {"errorCode": "E12"},
    {"error_description": "x"},
    {"success": False},
    {"success": "false"},
    {"isSuccess": False},
    {"status": "error"},
    {"status": "failed"},
    {"title": "One or more validation errors", "status": 400},
    {"status": 404, "message": "User does not exist."},
    {"data": None, "message": "Member not found"},
    {"message": "User does not exist."},
    {"data": {"error": "x"}},
    {"details": {"result": {"errors": [{"recipientId": "p1@x.io"}]}}},
    [{"error": "x"}],
    "error",
    False,
]
FINE: list[Any] = [
    None,
    {},
    [],
    "",
    "OK",
    True,
    {"id": 7, "title": "An error is human", "status": "failed"},
    {"errors": [], "error": None, "errorCode": "0", "success": True, "status": "success"},
    {"message": "Member added without errors", "status": 200},
    {"data": {"id": 7, "custom_data": {"error": "none of yours"}}},
    {"taskId": "t-1", "status": "queued"},
]


@pytest.mark.parametrize("body", ERRORS, ids=str)
def test_an_error_is_seen_in_whatever_form_it_is_named(body: Any) -> None:
    assert names_an_error(body)


@pytest.mark.parametrize("body", FINE, ids=str)
def test_what_names_no_error_is_not_taken_for_one(body: Any) -> None:
    assert not names_an_error(body)


def outcome(target: Target, verb: Verb, body: Any, **fields: Any) -> Fate:
    _, receipt, error = hold(target, [operation(verb, **fields)], [answer(200, body)])
    assert error is None
    return receipt.everyone.fate


@pytest.mark.parametrize("body", ERRORS, ids=str)
@pytest.mark.parametrize("verb", [Verb.ADD, Verb.REMOVE])
def test_a_kognitiv_success_that_names_an_error_settles_nobody(verb: Verb, body: Any) -> None:
    assert outcome(PromotionalMemberGroup("G"), verb, body, member_internal_id="7") is Fate.DEFERRED


@pytest.mark.parametrize("body", ERRORS, ids=str)
def test_a_crowdtwist_success_that_names_an_error_writes_no_profile(body: Any) -> None:
    known_by_name = "does not exist" in str(body)  # Named errors are found by their words, whatever the status.
    expected = Fate.REJECTED if known_by_name else Fate.DEFERRED
    assert outcome(UserProfile("loyalty"), Verb.UPDATE, body, user_id="a@x.de") is expected


@pytest.mark.parametrize("body", [body for body in ERRORS if "does not exist" not in str(body)], ids=str)
def test_a_crowdtwist_credit_whose_success_names_an_error_is_in_doubt(body: Any) -> None:
    credit = ActivityCredit("ev")
    assert outcome(credit, Verb.INSERT, body, user_id="a@x.de", activity_id="1", event_id="e") is Fate.IN_DOUBT


@pytest.mark.parametrize(
    "said",
    [
        {"status": "completed", "error": "boom"},
        {"status": "completed", "details": {"result": {"errors": [{"recipientId": "p1@x.dk"}]}}},
        {"status": "completed", "details": {"errorMessage": "boom"}},
        {"status": "completed", "details": {"result": {"failedCount": 2}}},
        {"status": "completed", "failedCount": 2, "failed": [{"recipientId": "p1@x.dk", "error": "e"}]},
    ],
    ids=str,
)
def test_an_agillic_task_that_has_ended_and_speaks_of_an_error_settles_nobody(said: dict[str, Any]) -> None:
    asked = batch(Verb.UPSERT, 3)
    receipt, _, _ = held(AgillicRecipients("crm"), asked, script(STARTED, answer(200, said)))
    assert fates(receipt, asked) == [Fate.DEFERRED] * 3
    assert "what it says of failures can't be read" in receipt.everyone.reason


def test_an_agillic_task_whose_count_of_failures_is_named_whole_is_read() -> None:
    asked = batch(Verb.UPSERT, 3)
    failed = [{"recipientId": "p1@x.dk", "error": "e"}]
    said = {"status": "completed", "details": {"result": {"failed": failed, "failedCount": 1, "errors": []}}}
    receipt, _, _ = held(AgillicRecipients("crm"), asked, script(STARTED, answer(200, said)))
    assert fates(receipt, asked) == [Fate.ACCEPTED, Fate.REJECTED, Fate.ACCEPTED]


@pytest.mark.parametrize("said", [{"status": "failed"}, {"failedCount": 2}, {"error": "boom"}, "error"], ids=str)
def test_an_agillic_group_call_that_speaks_of_failures_and_names_nobody_settles_nobody(said: Any) -> None:
    asked = batch(Verb.ADD, 3)
    receipt, _, _ = held(AgillicTargetGroup("Club"), asked, script(STARTED, task("completed"), answer(200, said)))
    assert fates(receipt, asked) == [Fate.DEFERRED] * 3


def test_an_agillic_group_call_may_name_its_failures_as_a_task_does() -> None:
    asked = batch(Verb.ADD, 3)
    said = {"details": {"result": {"failed": [{"recipientId": "p1@x.dk", "error": "e"}]}}}
    receipt, _, _ = held(AgillicTargetGroup("Club"), asked, script(STARTED, task("completed"), answer(200, said)))
    assert fates(receipt, asked) == [Fate.ACCEPTED, Fate.REJECTED, Fate.ACCEPTED]


DEEP = answer(200, text="[" * 100_000)


def test_a_body_that_is_nested_without_end_is_no_json_and_ends_no_run() -> None:
    group, users, credit = PromotionalMemberGroup("G"), UserProfile("loyalty"), ActivityCredit("ev")
    for target, verb, fate, fields in (
        (group, Verb.ADD, Fate.DEFERRED, {"member_internal_id": "7"}),
        (users, Verb.UPDATE, Fate.DEFERRED, {"user_id": "a@x.de"}),
        (credit, Verb.INSERT, Fate.IN_DOUBT, {"user_id": "a@x.de", "activity_id": "1", "event_id": "e"}),
    ):
        _, receipt, error = hold(target, [operation(verb, **fields)], [DEEP])
        assert (receipt.everyone.fate, error) == (fate, None)
    asked = batch(Verb.ADD, 2)
    for service in (script(DEEP), script(STARTED, task("completed"), DEEP)):
        receipt, _, _ = held(AgillicTargetGroup("Club"), asked, service)
        assert fates(receipt, asked) == [Fate.DEFERRED] * 2


@pytest.mark.parametrize("at", ["@", "%40", "%2540", "&#64;", "&#x40;", "&commat;", "\\u0040", "\\\\u0040"])
def test_an_address_is_hidden_however_it_is_written(at: str) -> None:
    text = f"no such user ada.lovelace{at}example.com, ask <bob{at}example.com>: 7 of 9"
    assert without_addresses(text) == "no such user …, ask <…>: 7 of 9"
    assert without_addresses("100%25 of 40 were refused") == "100%25 of 40 were refused"
