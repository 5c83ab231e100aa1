import json
from typing import Any

import httpx
import pytest

from zeotap_pipelines.destinations.base import Visit
from zeotap_pipelines.destinations.crowdtwist_activities import ActivityCredit
from zeotap_pipelines.errors import FixConnection, FixDeclaration, FixTarget
from zeotap_pipelines.model import Batch, Call, Fate, Mode, Operation, Outcome, Unanswered, Verb

from .by_hand import AT, answer, ask, hold, operation

CREDITS = ActivityCredit("purchases", "third_party_id")
AWARDED = answer(200, {"awarded": True})
PROCESSED = {"error": "duplicate", "message": "Event already processed"}


def credit(*, repeated: bool = False, **fields: Any) -> Operation:
    row = {"event_id": "e-1", "user_id": "7", "activity_id": "42"} | fields
    return operation(Verb.INSERT, repeated=repeated, **row)


def one(response: httpx.Response, target: ActivityCredit = CREDITS, *, repeated: bool = False) -> Outcome:
    _, receipt, error = hold(target, [credit(repeated=repeated)], [response])
    assert error is None
    return receipt.everyone


def test_credits_are_inserted_and_nothing_else() -> None:
    assert {mode: set(verbs.values()) for mode, verbs in CREDITS.modes().items()} == {Mode.INSERT: {Verb.INSERT}}
    assert CREDITS.event and CREDITS.exact == {"event_id"} and CREDITS.required == ("user_id", "activity_id")
    assert str(CREDITS.address("demo")) == "crowdtwist/demo/activity_credit/purchases"


def test_a_credit_holds_what_the_contract_says_and_not_the_events_id() -> None:
    row = credit(num_points=12, activity_date=873072000, extra_data={"store": "A"}, user_id=" a/b ")
    [call], receipt, _ = hold(CREDITS, [row], [AWARDED])
    assert (call.method, call.path, call.params) == (
        "POST",
        "/v2/users/a%2Fb/activities",
        {"id_type": "third_party_id"},
    )
    assert json.loads(call.content or b"") == {
        "activity_id": "42",
        "num_points": 12,
        "activity_date": 873072000,
        "extra_data": {"store": "A"},
    }
    assert receipt.everyone.fate is Fate.ACCEPTED and not receipt.everyone.reason


def test_the_events_id_travels_where_it_is_mapped_to_extra_data() -> None:
    row = credit(**{"extra_data": {"store": "A"}, "extra_data.event_id": "e-1"})
    [call], _, _ = hold(CREDITS, [row], [AWARDED])
    assert json.loads(call.content or b"")["extra_data"] == {"store": "A", "event_id": "e-1"}


def test_a_field_that_a_credit_does_not_have_is_refused_by_name() -> None:
    CREDITS.check(Mode.INSERT, ("event_id", "user_id", "activity_id", "num_points", "extra_data.store"))
    with pytest.raises(FixDeclaration, match="'num_point'"):
        CREDITS.check(Mode.INSERT, ("event_id", "user_id", "activity_id", "num_point"))


def test_a_credit_that_awards_nothing_is_accepted_and_says_why() -> None:
    outcome = one(answer(200, {"awarded": False}))
    assert outcome.fate is Fate.ACCEPTED and "frequency caps" in outcome.reason


@pytest.mark.parametrize("awarded", [None, 0, "false"])
def test_whatever_form_a_no_has_the_credit_was_processed_and_nothing_awarded(awarded: object) -> None:
    outcome = one(answer(202, {"awarded": awarded}))
    assert outcome.fate is Fate.ACCEPTED and "frequency caps" in outcome.reason


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"awar', "<html>Please log in</html>", '{"error": "busy"}'])
@pytest.mark.parametrize("repeated", [False, True])
def test_a_success_without_a_word_of_the_credit_leaves_it_in_doubt(text: str, repeated: bool) -> None:
    """A page of somebody in between, or half an answer: neither says that the credit was made, nor that it wasn't."""
    assert one(answer(200, text=text), repeated=repeated).fate is Fate.IN_DOUBT


def test_a_named_error_is_one_whatever_its_status() -> None:
    outcome = one(answer(200, {"error": "page_not_found", "message": "User does not exist."}))
    assert outcome.fate is Fate.REJECTED and "User Identifier Type" in outcome.reason


@pytest.mark.parametrize("status", [408, 425, 500, 502, 503, 504])
def test_a_credit_that_may_have_happened_is_in_doubt(status: int) -> None:
    assert one(answer(status, text="<html>maintenance</html>")).fate is Fate.IN_DOUBT


def test_a_throttled_credit_certainly_did_not_happen() -> None:
    outcome = one(answer(429))
    assert outcome.fate is Fate.DEFERRED and outcome.untouched


def test_a_status_that_is_called_safe_is_asked_again() -> None:
    careful = ActivityCredit("purchases", "third_party_id", frozenset({503}))
    outcome = one(answer(503), careful)
    assert outcome.fate is Fate.DEFERRED and outcome.untouched
    assert one(answer(502), careful).fate is Fate.IN_DOUBT


@pytest.mark.parametrize("status", [200, 400, 408, 429])
def test_only_a_gateways_refusal_can_be_called_safe(status: int) -> None:
    with pytest.raises(FixDeclaration, match=str(status)):
        ActivityCredit("purchases", safe_statuses=frozenset({status}))


@pytest.mark.parametrize("status", [200, 400, 409, 422, 500])
def test_already_processed_settles_a_repeated_attempt_and_leaves_a_first_one_in_doubt(status: int) -> None:
    assert one(answer(status, PROCESSED)).fate is Fate.IN_DOUBT
    assert one(answer(status, PROCESSED), repeated=True).fate is Fate.ACCEPTED
    assert one(answer(status, PROCESSED, repeated=True)).fate is Fate.ACCEPTED


def test_a_refusal_without_a_name_says_to_check_the_activity() -> None:
    outcome = one(answer(400, {"error": "bad_request", "message": "Something went wrong"}))
    assert outcome.fate is Fate.REJECTED and "activity_id" in outcome.reason and outcome.untouched


def test_a_credit_to_nobody_is_rejected_with_the_remedy() -> None:
    outcome = one(answer(404, {"error": "page_not_found", "message": "User does not exist."}))
    assert outcome.fate is Fate.REJECTED and "User Identifier Type" in outcome.reason


def test_a_404_that_names_no_user_means_the_activity_once_the_address_is_known_to_be_right() -> None:
    visit = Visit()
    ask(CREDITS.preflight(visit), answer(200, [{"id": 42}]))
    _, receipt, error = hold(CREDITS, [credit()], [answer(404, {"error": "page_not_found"})], visit)
    assert error is None and receipt.everyone.fate is Fate.REJECTED and "activity_id" in receipt.everyone.reason


@pytest.mark.parametrize("status", [403, 404])
def test_a_wrong_permission_or_address_ends_the_run_and_leaves_nothing_in_doubt(status: int) -> None:
    _, receipt, error = hold(CREDITS, [credit()], [answer(status, text="no")])
    assert isinstance(error, FixConnection)
    assert receipt.everyone.fate is Fate.DEFERRED and receipt.everyone.untouched


def test_a_lost_answer_is_judged_by_the_wire_alone() -> None:
    conversation = CREDITS.converse(Batch((credit(),), AT), Visit())
    assert isinstance(next(conversation), Call)
    with pytest.raises(Unanswered):
        conversation.throw(Unanswered(Outcome(Fate.IN_DOUBT, "the answer did not come in time")))


def test_an_activity_that_the_service_lacks_is_rejected_before_asking() -> None:
    visit = Visit()
    [call] = ask(CREDITS.preflight(visit), answer(200, [{"id": 42}, {"id": "43"}]))
    assert (call.method, call.path) == ("GET", "/v2/activities")
    calls, receipt, _ = hold(CREDITS, [credit(activity_id="44")], [], visit)
    assert not calls and receipt.everyone.fate is Fate.REJECTED and "'44'" in receipt.everyone.reason
    for known in ("42", "43 "):
        assert hold(CREDITS, [credit(activity_id=known)], [AWARDED], visit)[1].everyone.fate is Fate.ACCEPTED


def test_a_constant_activity_that_the_service_lacks_ends_the_run_before_it_begins() -> None:
    with pytest.raises(FixTarget, match="'44'"):
        ask(CREDITS.preflight(Visit(constants={"activity_id": "44"})), answer(200, [{"id": 42}]))
    ask(CREDITS.preflight(Visit(constants={"activity_id": "42"})), answer(200, [{"id": 42}]))


@pytest.mark.parametrize("response", [answer(403), answer(200, [7]), answer(200, {"activities": []})])
def test_a_list_that_cannot_be_read_refuses_nothing(response: httpx.Response) -> None:
    visit = Visit()
    ask(CREDITS.preflight(visit), response)
    assert hold(CREDITS, [credit()], [AWARDED], visit)[1].everyone.fate is Fate.ACCEPTED


def test_credits_of_one_user_and_activity_are_kept_apart() -> None:
    assert CREDITS.apart(credit()) == CREDITS.apart(credit(event_id="e-2", num_points=1, user_id=" 7 "))
    assert CREDITS.apart(credit()) != CREDITS.apart(credit(activity_id="43"))
    assert CREDITS.apart(credit()) != CREDITS.apart(credit(user_id="8"))
