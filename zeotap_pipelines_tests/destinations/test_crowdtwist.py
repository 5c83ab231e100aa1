import json
import re

import duckdb
import httpx
import pytest
from pydantic import ValidationError

from zeotap_pipelines.destinations.base import Target, Visit
from zeotap_pipelines.destinations.crowdtwist import DEFAULT_FIELDS, CrowdTwist, UserProfile
from zeotap_pipelines.destinations.crowdtwist_activities import ActivityCredit
from zeotap_pipelines.destinations.crowdtwist_answers import REMEDIES, said
from zeotap_pipelines.errors import FixConnection, FixDeclaration, TryAgainLater
from zeotap_pipelines.model import Fate, Mode, Outcome, Verb

from .by_hand import answer, ask, hold, operation

USERS = UserProfile("loyalty")
BY_THIRD_PARTY = UserProfile("loyalty", "third_party_id")
ABSENT = answer(404, {"error": "page_not_found", "message": "User does not exist."})
TAKEN = answer(400, {"error": "invalid", "message": "email_address already taken"})
TAKEN_AGAIN = answer(400, {"error": "invalid", "message": "email_address already taken"}, repeated=True)
DONE = answer(200, {"id": 7})


def account(**settings: object) -> CrowdTwist:
    return CrowdTwist.model_validate(
        {"account": "demo", "base_url": "https://api123.crowdtwist.com", "api_key": "k3y"} | settings
    )


def one(target: UserProfile, verb: Verb, *answers: httpx.Response, repeated: bool = False, **fields: object) -> Outcome:
    _, receipt, error = hold(target, [operation(verb, repeated=repeated, **fields)], answers)
    assert error is None
    return receipt.everyone


def sent(target: UserProfile, verb: Verb, *answers: httpx.Response, **fields: object) -> list[tuple[str, str, object]]:
    calls, _, _ = hold(target, [operation(verb, **fields)], answers)
    assert all(call.headers == {"Content-Type": "application/json"} for call in calls)
    return [(call.method, call.path, json.loads(call.content or b"")) for call in calls]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"api_key": None}, "needs api_key"),
        ({"authentication": "hmac"}, "needs public_key"),
        ({"authentication": "hmac", "public_key": "p"}, "needs private_key"),
        ({"api_key": "k3y\n"}, "api_key"),
        ({"public_key": "a:b"}, "public_key"),
        ({"id_type": "facebook"}, "id_type"),
    ],
)
def test_a_missing_or_broken_setting_is_named_and_no_secret_with_it(settings: dict[str, str], named: str) -> None:
    with pytest.raises(ValidationError, match=named) as refused:
        account(**settings)
    assert "k3y" not in str(refused.value)
    assert "k3y" not in repr(account())


def test_the_connection_test_asks_for_the_activities() -> None:
    [call] = ask(account().test(), answer(200, [{"id": 1}]))
    assert (call.method, call.path, dict(call.params)) == ("GET", "/v2/activities", {})


@pytest.mark.parametrize(
    ("response", "error", "named"),
    [
        (answer(403), FixConnection, "permission GET /v2/activities"),
        (answer(404), FixConnection, "base_url"),
        (answer(200, {"hello": 1}), FixConnection, "base_url"),
        (answer(503, text="<html><body>Down for maintenance</body></html>"), TryAgainLater, "Down for maintenance"),
    ],
)
def test_the_connection_test_names_the_wrong_setting(
    response: httpx.Response, error: type[Exception], named: str
) -> None:
    with pytest.raises(error, match=named):
        ask(account().test(), response)


@pytest.mark.parametrize("target", [USERS, ActivityCredit("purchases")])
@pytest.mark.parametrize(
    ("response", "error"),
    [
        (answer(404, {"error": "page_not_found", "message": "Not found"}), FixConnection),
        (answer(200, text="<html>Please log in</html>"), FixConnection),
        (answer(200, text='[{"id": 1'), TryAgainLater),
        (answer(503, text="<html>Down for maintenance</html>"), TryAgainLater),
        (answer(500), TryAgainLater),
    ],
)
def test_a_strangers_answer_ends_the_run_before_anything_is_asked(
    target: Target, response: httpx.Response, error: type[Exception]
) -> None:
    with pytest.raises(error, match="base_url" if error is FixConnection else "trouble"):
        ask(target.preflight(Visit()), response)


def test_a_profiles_preflight_lists_the_activities_and_a_key_that_may_not_still_writes() -> None:
    [call] = ask(USERS.preflight(Visit()), answer(200, [{"id": 1}]))
    assert (call.method, call.path) == ("GET", "/v2/activities")
    ask(USERS.preflight(Visit()), answer(403))


@pytest.mark.parametrize("text", ['{"id": 7', "<html>Please log in</html>", '{"error": "busy"}'])
@pytest.mark.parametrize("verb", [Verb.UPSERT, Verb.INSERT, Verb.UPDATE])
def test_a_success_that_is_not_the_services_own_is_asked_again(verb: Verb, text: str) -> None:
    """A page of somebody in between, or half an answer: nobody knows whether the profile is there."""
    outcome = one(USERS, verb, answer(200, text=text), user_id="a@x.de")
    assert outcome.fate is Fate.DEFERRED and not outcome.untouched and "no answer of CrowdTwist" in outcome.reason


def test_an_empty_success_is_one_and_a_named_error_none() -> None:
    assert one(USERS, Verb.UPDATE, answer(204), user_id="a@x.de").fate is Fate.ACCEPTED
    wrong = one(USERS, Verb.UPDATE, answer(200, {"error": "Unrecognized attribute name"}), user_id="a@x.de")
    assert wrong.fate is Fate.REJECTED and "case-sensitive" in wrong.reason
    said_by_a_member = answer(200, {"id": 7, "custom_data": {"motto": "user does not exist"}})
    assert one(USERS, Verb.UPDATE, said_by_a_member, user_id="a@x.de").fate is Fate.ACCEPTED


def test_profiles_have_the_modes_of_the_source_document_and_no_audience_modes() -> None:
    assert set(UserProfile.modes()) == {Mode.UPSERT, Mode.INSERT, Mode.UPDATE}
    assert str(USERS.address("demo")) == "crowdtwist/demo/user_profile/loyalty"
    assert len(DEFAULT_FIELDS) == 13


@pytest.mark.parametrize(("stream", "id_type"), [(" ", "email"), ("loyalty", "facebook")])
def test_a_target_without_a_stream_or_with_an_unknown_id_type_is_refused(stream: str, id_type: str) -> None:
    with pytest.raises(FixDeclaration):
        UserProfile(stream, id_type)


def test_creating_by_crowdtwist_ids_is_refused() -> None:
    by_id = UserProfile("loyalty", "id")
    with pytest.raises(FixDeclaration, match="CrowdTwist id"):
        by_id.check(Mode.INSERT, ("user_id",))
    assert one(by_id, Verb.UPSERT, ABSENT, user_id="7").fate is Fate.REJECTED
    assert one(by_id, Verb.UPSERT, DONE, user_id="7").fate is Fate.ACCEPTED


def test_ids_are_compared_without_case_only_where_they_are_addresses() -> None:
    assert USERS.email == {"user_id"} and not BY_THIRD_PARTY.email


def test_known_fields_stand_at_the_top_and_all_others_are_custom_attributes() -> None:
    [(method, path, body)] = sent(
        USERS, Verb.UPDATE, DONE, user_id="a@x.de", first_name="Ada", receive_email_updates=1, tier="gold", Score="7"
    )
    assert (method, path) == ("PUT", "/v2/users/a%40x.de")
    assert body == {"first_name": "Ada", "receive_email_updates": 1, "custom_data": {"tier": "gold", "Score": "7"}}


@pytest.mark.parametrize("user_id", ["a+b@x.de", "a/b", "50%", "a b", "ü", "..%2f"])
def test_any_id_is_one_segment_of_the_path_and_its_type_is_always_said(user_id: str) -> None:
    calls, _, _ = hold(BY_THIRD_PARTY, [operation(Verb.UPDATE, user_id=user_id)], [DONE])
    url = httpx.URL(f"https://h.example{calls[0].path}")
    assert url.raw_path.count(b"/") == 3 and url.path == f"/v2/users/{user_id}"
    assert calls[0].params == {"id_type": "third_party_id"}


@pytest.mark.parametrize(
    ("id_type", "field"),
    [
        ("email", "email_address"),
        ("third_party_id", "third_party_id"),
        ("username", "username"),
        ("mobile_phone_number", "mobile_phone_number"),
    ],
)
def test_a_created_user_is_found_again_by_the_id_it_was_created_with(id_type: str, field: str) -> None:
    target = UserProfile("loyalty", id_type)
    put, post = sent(target, Verb.UPSERT, ABSENT, DONE, user_id="7", first_name="Ada")
    assert put[:2] == ("PUT", "/v2/users/7") and post == ("POST", "/v2/users", {"first_name": "Ada", field: "7"})
    [post] = sent(target, Verb.INSERT, DONE, user_id="7")
    assert post == ("POST", "/v2/users", {field: "7"})
    calls, _, _ = hold(target, [operation(Verb.INSERT, user_id="7")], [DONE])
    assert not calls[0].params


def test_an_upsert_asks_once_where_the_user_exists() -> None:
    assert one(USERS, Verb.UPSERT, DONE, user_id="a@x.de").fate is Fate.ACCEPTED


def test_an_upsert_creates_only_when_the_body_says_that_the_user_does_not_exist() -> None:
    member = operation(Verb.UPSERT, user_id="a@x.de")
    calls, receipt, error = hold(USERS, [member], [answer(404, {"error": "page_not_found", "message": "Not found"})])
    assert len(calls) == 1 and isinstance(error, FixConnection) and "base_url" in str(error)
    assert receipt.everyone.fate is Fate.DEFERRED and receipt.everyone.untouched


def test_an_unreadable_404_ends_the_run_only_while_nothing_shows_that_the_address_is_right() -> None:
    visit = Visit()
    broken = answer(404, text='{"error": "page_not_')
    assert isinstance(hold(USERS, [operation(Verb.UPSERT, user_id="a@x.de")], [broken], visit)[2], FixConnection)
    hold(USERS, [operation(Verb.UPSERT, user_id="a@x.de")], [DONE], visit)
    _, receipt, error = hold(USERS, [operation(Verb.UPSERT, user_id="a@x.de")], [broken], visit)
    assert error is None and receipt.everyone.fate is Fate.DEFERRED and receipt.everyone.untouched


def test_an_update_of_nobody_is_rejected_with_the_remedy() -> None:
    outcome = one(USERS, Verb.UPDATE, ABSENT, user_id="a@x.de")
    assert (outcome.fate, outcome.status) == (Fate.REJECTED, 404)
    assert "User Identifier Type" in outcome.reason


def test_an_insert_of_a_known_user_is_rejected_for_good_with_the_remedy() -> None:
    outcome = one(USERS, Verb.INSERT, TAKEN, user_id="a@x.de")
    assert outcome.fate is Fate.REJECTED and outcome.final and "upsert or update" in outcome.reason


def test_a_create_whose_answer_was_lost_comes_back_as_taken_and_is_accepted() -> None:
    assert one(USERS, Verb.INSERT, TAKEN_AGAIN, user_id="a@x.de").fate is Fate.ACCEPTED
    assert one(USERS, Verb.INSERT, TAKEN, user_id="a@x.de", repeated=True).fate is Fate.ACCEPTED
    assert one(USERS, Verb.UPSERT, ABSENT, TAKEN_AGAIN, DONE, user_id="a@x.de").fate is Fate.ACCEPTED


def test_an_upsert_whose_create_is_taken_by_another_user_is_rejected_and_may_be_asked_again() -> None:
    outcome = one(BY_THIRD_PARTY, Verb.UPSERT, ABSENT, TAKEN, ABSENT, user_id="7", email_address="a@x.de")
    assert outcome.fate is Fate.REJECTED and not outcome.final and "another user" in outcome.reason


def test_an_upsert_whose_own_create_is_not_visible_yet_stays_owed() -> None:
    outcome = one(USERS, Verb.UPSERT, ABSENT, TAKEN_AGAIN, ABSENT, user_id="a@x.de")
    assert outcome.fate is Fate.DEFERRED and not outcome.untouched


@pytest.mark.parametrize("named", list(REMEDIES))
@pytest.mark.parametrize("status", [400, 404, 409, 422, 500])
@pytest.mark.parametrize("form", ["message", "array", "object", "html", "text"])
def test_a_named_error_carries_its_remedy_whatever_its_form_and_status(named: str, status: int, form: str) -> None:
    if status == 404 and named != "user does not exist":
        return
    message = f"Oops: {named.title()}!"
    refused = {
        "message": answer(status, {"error": "e", "message": message}),
        "array": answer(status, {"error": [{"message": message}, 7]}),
        "object": answer(status, {"error": {"first_name": [message]}}),
        "html": answer(status, text=f"<html><style>p {{}}</style><p>{message}</p></html>"),
        "text": answer(status, text=message),
    }[form]
    outcome = one(USERS, Verb.UPDATE, refused, user_id="a@x.de")
    assert outcome.fate is Fate.REJECTED and outcome.status == status
    assert REMEDIES[named] in outcome.reason


@pytest.mark.parametrize(
    "text",
    ["", "<html>Down for <b>maintenance</b></html>", "[", "[" * 100_000, "<script>" * 100_000, '{"error": null}', "7"],
)
def test_trouble_at_the_service_leaves_the_row_owed_whatever_the_body_is(text: str) -> None:
    outcome = one(USERS, Verb.UPSERT, answer(503, text=text), user_id="a@x.de")
    assert outcome.fate is Fate.DEFERRED and not outcome.untouched
    assert len(outcome.reason) < 320 and "<" not in outcome.reason


def test_forbidden_calls_end_the_run_and_name_the_permissions() -> None:
    _, receipt, error = hold(USERS, [operation(Verb.UPDATE, user_id="a@x.de")], [answer(403)])
    assert isinstance(error, FixConnection) and "POST /v2/users" in str(error)
    assert receipt.everyone.untouched


def test_what_is_kept_of_an_error_holds_no_key_and_no_address() -> None:
    text = said(answer(400, text="GET /v2/x?api_key=k3y&id_type=email CTApiKey k3y2 CTApiV2Auth p:s ada@x.de no"))
    assert text == "GET /v2/x?api_key=…&id_type=email CTApiKey … CTApiV2Auth … … no"


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({}, None),
        ({"postal_code": "10010"}, None),
        ({"postal_code": "100101234"}, None),
        ({"postal_code": "10010-1234", "country_code": "US"}, None),
        ({"postal_code": "1001"}, "5 or 9 digits"),
        ({"postal_code": "1001", "country_code": "us"}, "5 or 9 digits"),
        ({"postal_code": "K1A 0B1", "country_code": "CA"}, None),
        ({"country_code": "CA", "city_name": "Ottawa"}, None),
        ({"postal_code": "K1A0B1", "country_code": "CA"}, "L#L #L#"),
        ({"postal_code": "K1A 0B1"}, "needs country_code CA"),
        ({"postal_code": "K1A 0B1", "country_code": "US"}, "needs country_code CA"),
        ({"country_code": "DE"}, "city_id or city_name"),
        ({"postal_code": "10115", "country_code": "DE"}, "city_id or city_name"),
        ({"postal_code": "10115", "country_code": "DE", "city_name": "Berlin"}, None),
        ({"country_code": "GB", "city_id": 834694}, None),
        ({"city_name": "Berlin"}, "needs country_code"),
        ({"postal_code": None, "country_code": None, "city_name": None}, None),
    ],
)
def test_a_location_is_a_us_postal_code_a_canadian_one_or_a_country_with_its_city(
    fields: dict[str, object], wrong: str | None
) -> None:
    answers = [] if wrong else [DONE]
    calls, receipt, _ = hold(USERS, [operation(Verb.UPDATE, user_id="a@x.de", **fields)], answers)
    if wrong is None:
        assert receipt.everyone.fate is Fate.ACCEPTED
    else:
        assert not calls and receipt.everyone.fate is Fate.REJECTED and wrong in receipt.everyone.reason


def test_beside_a_us_postal_code_neither_city_nor_country_is_sent() -> None:
    location = {"postal_code": "10010", "country_code": "US", "city_name": "New York", "city_id": 1}
    [(_, _, body)] = sent(USERS, Verb.UPDATE, DONE, user_id="a@x.de", **location)
    assert body == {"postal_code": "10010"}
    abroad = {"postal_code": "10115", "country_code": "DE", "city_name": "Berlin"}
    [(_, _, body)] = sent(USERS, Verb.UPDATE, DONE, user_id="a@x.de", **abroad)
    assert body == abroad


def verdicts(target: UserProfile, **values: str | None) -> set[str]:
    """The reasons that the rules have against a row, computed in the engine."""
    found = set()
    for reason, condition in [*target.invalid(), *target.odd()]:
        names = re.findall(r"\{(\w+)\}", condition)
        if all(name in values for name in names):
            text = re.sub(r"\{(\w+)\}", r"CAST($\1 AS VARCHAR)", condition)
            parameters = {name: values[name] for name in names}
            if duckdb.sql(f"SELECT {text}", params=parameters).fetchall() == [(True,)]:
                found.add(reason)
    return found


@pytest.mark.parametrize("address", ["ada", "ada@x", "a b@x.de", "@x.de", "a@@x.de", "a@x.de@y.de"])
def test_an_id_that_is_no_address_is_set_aside_where_ids_are_addresses(address: str) -> None:
    assert verdicts(USERS, user_id=address) == {"user_id is not an e-mail address"}
    assert not verdicts(BY_THIRD_PARTY, user_id=address)
    assert not verdicts(USERS, user_id=" Ada.L+1@x.co.uk ")


@pytest.mark.parametrize("user_id", [".", "..", "", None])
def test_an_id_that_would_change_the_path_is_set_aside(user_id: str | None) -> None:
    assert verdicts(BY_THIRD_PARTY, user_id=user_id)


def test_postal_codes_are_judged_by_their_country_before_anything_is_sent() -> None:
    assert verdicts(BY_THIRD_PARTY, user_id="7", country_code="us", postal_code="1001")
    assert verdicts(BY_THIRD_PARTY, user_id="7", country_code=None, postal_code="1001")
    assert verdicts(BY_THIRD_PARTY, user_id="7", country_code=" ", postal_code="K1A 0B1")
    assert verdicts(BY_THIRD_PARTY, user_id="7", country_code="CA", postal_code="K1A0B1")
    assert not verdicts(BY_THIRD_PARTY, user_id="7", country_code=None, postal_code=None)
    assert not verdicts(BY_THIRD_PARTY, user_id="7", country_code="US", postal_code="10010-1234")
    assert not verdicts(BY_THIRD_PARTY, user_id="7", country_code="CA", postal_code="K1A 0B1")
    assert not verdicts(BY_THIRD_PARTY, user_id="7", country_code="GB", postal_code="SW1A 1AA")


def test_an_update_that_would_change_the_address_a_user_is_known_by_is_warned_of() -> None:
    assert verdicts(USERS, user_id="a@x.de", email_address="b@x.de")
    assert not verdicts(USERS, user_id="a@x.de", email_address="A@x.de ")
