"""The stand-in of CrowdTwist does with users what the contract says, and nothing that it doesn't say."""

from email.utils import parsedate_to_datetime

import pytest

from zeotap_pipelines.sandbox import Fault, Rate
from zeotap_pipelines_tests.sandbox.asking_crowdtwist import ANNA, account, credit, send

BY_EMAIL = "/v2/users/anna%40example.com?id_type=email"
NOBODY = {"error": "page_not_found", "message": "User does not exist."}
NO_LOCATION = "US zip code or country/city combo is required"
ABROAD = {"first_name": "Anna", "last_name": "Berg", "email_address": "anna@example.com"}


def test_a_created_user_comes_back_in_full_with_a_numeric_id():
    sandbox = account()
    answer = send(sandbox, "POST", "/v2/users", {**ANNA, "third_party_id": "t-1", "receive_email_updates": 1})
    assert answer.status_code == 200
    created = answer.json()
    assert isinstance(created["id"], int) and created["third_party_id"] == "t-1"
    assert created["username"] is None and created["custom_data"] == {}
    assert sandbox.crowdtwist.user("id", str(created["id"])) == sandbox.crowdtwist.user("third_party_id", "t-1")
    assert len(sandbox.crowdtwist.users()) == 1 and sandbox.violations == []


def test_an_update_changes_what_it_names_and_keeps_the_rest():
    sandbox = account()
    send(sandbox, "POST", "/v2/users", {**ANNA, "custom_data": {"segment": "a"}})
    answer = send(sandbox, "PUT", BY_EMAIL, {"last_name": "Lund", "custom_data": {"lifetime_value": "3"}})
    assert (answer.status_code, answer.json()["last_name"], answer.json()["first_name"]) == (200, "Lund", "Anna")
    assert sandbox.crowdtwist.user("email", "anna@example.com")["custom_data"] == {
        "segment": "a",
        "lifetime_value": "3",
    }
    assert sandbox.violations == []


@pytest.mark.parametrize(
    ("id_type", "segment"),
    [
        ("email", "anna%2Bx%40example.com"),
        ("email", "ANNA%2BX%40example.com"),
        ("id", "1"),
        ("third_party_id", "a%2Fb%20c"),
        ("username", "anna"),
        ("mobile_phone_number", "%2B4512345678"),
    ],
)
def test_a_user_is_found_by_every_identifier(id_type, segment):
    sandbox = account()
    sandbox.crowdtwist.put_user(
        email_address="anna+x@example.com", third_party_id="a/b c", username="anna", mobile_phone_number="+4512345678"
    )
    assert send(sandbox, "PUT", f"/v2/users/{segment}?id_type={id_type}", {"gender_id": 1}).is_success
    assert [user["gender_id"] for user in sandbox.crowdtwist.users()] == [1]
    assert sandbox.violations == []


@pytest.mark.parametrize("path", ["/v2/users/2?id_type=id", "/v2/users/x?id_type=id", BY_EMAIL])
def test_a_user_who_does_not_exist_is_404_with_the_documented_body(path):
    sandbox = account(errors_as="array")
    sandbox.crowdtwist.put_user(third_party_id="1")
    answer = send(sandbox, "PUT", path, {"gender_id": 1})
    assert (answer.status_code, answer.json()) == (404, NOBODY)
    assert credit(sandbox).json() == NOBODY
    assert sandbox.violations == []


def test_a_wrong_path_is_404_with_another_body():
    sandbox = account()
    answer = send(sandbox, "PUT", "/v3/users/1?id_type=id", {"gender_id": 1})
    assert answer.status_code == 404 and answer.json()["message"] != NOBODY["message"]
    assert len(sandbox.violations) == 1


@pytest.mark.parametrize("shape", ["text", "array", "object"])
def test_errors_come_in_the_shape_that_the_account_gives_them(shape):
    answer = send(account(errors_as=shape, refused_with=422), "POST", "/v2/users", ABROAD)
    assert answer.status_code == 422 and NO_LOCATION in answer.text
    assert type(answer.json()["error"]) is {"text": str, "array": list, "object": dict}[shape]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (ABROAD, NO_LOCATION),
        ({**ABROAD, "country_code": "DK"}, NO_LOCATION),
        ({**ABROAD, "country_code": "DK", "postal_code": "1000"}, NO_LOCATION),
        ({**ABROAD, "city_name": "Odense"}, NO_LOCATION),
        *(({**ANNA, name: ""}, f"{name} is required") for name in ("first_name", "last_name")),
        *(
            ({key: value for key, value in ANNA.items() if key != name}, f"{name} is required")
            for name in ("first_name", "last_name", "email_address")
        ),
        ({**ANNA, "email_address": "anna"}, "email_address is not valid"),
        ({**ANNA, "custom_data": {"Segment": "x"}}, "Unrecognized attribute name: Segment"),
        ({**ANNA, "email_address": "Taken@example.com"}, "email_address already taken"),
        ({**ANNA, "third_party_id": "taken"}, "third_party_id already taken"),
    ],
)
def test_a_row_that_the_service_refuses_is_told_why_and_is_no_violation(body, message):
    sandbox = account()
    sandbox.crowdtwist.put_user(email_address="taken@example.com", third_party_id="taken")
    answer = send(sandbox, "POST", "/v2/users", body)
    assert (answer.status_code, answer.json()["message"]) == (400, message)
    assert len(sandbox.crowdtwist.users()) == 1 and sandbox.violations == []


def test_an_update_cannot_take_the_address_of_another():
    sandbox = account()
    sandbox.crowdtwist.put_user(email_address="taken@example.com")
    send(sandbox, "POST", "/v2/users", ANNA)
    answer = send(sandbox, "PUT", BY_EMAIL, {"email_address": "taken@example.com"})
    assert answer.json()["message"] == "email_address already taken"
    assert sandbox.crowdtwist.user("email", "anna@example.com") is not None


def test_an_account_without_custom_attributes_takes_none():
    sandbox = account(custom_attributes=frozenset())
    answer = send(sandbox, "POST", "/v2/users", {**ANNA, "custom_data": {"segment": "x"}})
    assert answer.json()["message"] == "No custom attributes setup for client"
    assert sandbox.crowdtwist.users() == [] and sandbox.violations == []


@pytest.mark.parametrize(
    "location",
    [
        {"postal_code": "10001"},
        {"postal_code": "10001-1234"},
        {"postal_code": "100011234"},
        {"postal_code": "K1A 0B1", "country_code": "CA"},
        {"country_code": "DK", "city_name": "Odense"},
        {"country_code": "DK", "city_id": 7},
        {"country_code": "DE", "city_name": "Berlin", "postal_code": "10115"},
    ],
)
def test_a_user_lives_somewhere(location):
    sandbox = account()
    assert send(sandbox, "POST", "/v2/users", {**ABROAD, **location}).is_success
    assert sandbox.violations == []


@pytest.mark.parametrize(
    "field",
    [
        {"postal_code": "1000"},
        {"postal_code": "K1A 0B1"},
        {"postal_code": "K1A0B1", "country_code": "CA"},
        {"postal_code": "10001", "country_code": "CA"},
        {"postal_code": "10001", "country_code": "US"},
        {"postal_code": "10001", "city_name": "New York"},
        {"postal_code": "10001", "city_id": 7},
        {"postal_code": 10001},
        {"receive_email_updates": True},
        {"receive_email_updates": "1"},
        {"receive_email_updates": 2},
        {"date_of_birth": "1980-01-01"},
        {"date_of_birth": 315532800.0},
        {"date_of_birth": 315532800000},
        {"date_of_birth": True},
        {"first_name": None},
        {"mobile_phone_number": 4512345678},
        {"gender_id": False},
        {"custom_data": []},
        {"custom_data": {"lifetime_value": 3}},
        {"custom_data": {"segment": None}},
        {"segment": "x"},
        {"user_id": "anna@example.com"},
        {"id": 1},
        {"Email_address": "anna@example.com"},
    ],
)
def test_a_client_that_sends_other_fields_or_values_is_refused_and_changes_nothing(field):
    sandbox = account()
    sandbox.crowdtwist.put_user(**ANNA)
    before = sandbox.crowdtwist.users()
    assert send(sandbox, "POST", "/v2/users", {**ANNA, "email_address": "new@example.com", **field}).status_code == 400
    assert send(sandbox, "PUT", BY_EMAIL, field).status_code == 400
    assert send(sandbox, "PUT", "/v2/users/missing?id_type=username", field).status_code == 400
    assert len(sandbox.violations) == 3 and sandbox.crowdtwist.users() == before


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PUT", "/v2/users/1", {}, 400),
        ("PUT", "/v2/users/1?id_type=", {}, 400),
        ("PUT", "/v2/users/1?id_type=email_address", {}, 400),
        ("PUT", "/v2/users/1?id_type=id&id_type=id", {}, 400),
        ("PUT", "/v2/users/1?id_type=email", {}, 400),
        ("PUT", "/v2/users/1?id_type=id&notify=1", {}, 400),
        ("PUT", "/v2/users/1?id_type=id", [], 400),
        ("PUT", "/v2/users/a@b.dk?id_type=email", {}, 400),
        ("PUT", "/v2/users/a+b?id_type=username", {}, 400),
        ("PUT", "/v2/users/a/b?id_type=username", {}, 404),
        ("PUT", "/v2/users/?id_type=username", {}, 400),
        ("PUT", "/v2/users/1/?id_type=id", {}, 404),
        ("PATCH", "/v2/users/1?id_type=id", {}, 405),
        ("POST", "/v2/users/1?id_type=id", {}, 405),
        ("GET", "/v2/users/1?id_type=id", None, 405),
        ("DELETE", "/v2/users/1?id_type=id", None, 405),
        ("POST", "/v2/users?id_type=email", ANNA, 400),
        ("POST", "/v2/users", [ANNA], 400),
        ("POST", "/v2/users/", ANNA, 405),
        ("POST", "/users", ANNA, 404),
        ("PUT", "/v2/users", ANNA, 405),
        ("POST", "/v2/users", None, 415),
        ("GET", "/v2/activities?page=1", None, 400),
        ("POST", "/v2/activities", {}, 405),
        ("POST", "/v2/users/1/activities", {"activity_id": "1001"}, 400),
        ("PUT", "/v2/users/1/activities?id_type=id", {"activity_id": "1001"}, 405),
    ],
)
def test_a_client_that_asks_what_is_not_documented_is_refused_and_changes_nothing(method, path, body, status):
    sandbox = account()
    sandbox.crowdtwist.put_user(username="anna")
    before = sandbox.crowdtwist.users()
    answer = send(sandbox, method, path, body)
    assert answer.status_code == status and answer.json()["error"]
    assert [(entry.method, entry.status) for entry in sandbox.violations] == [(method, status)]
    assert sandbox.crowdtwist.users() == before and sandbox.crowdtwist.credits() == []


def test_an_empty_partial_update_changes_nothing_and_succeeds():
    sandbox = account()
    sandbox.crowdtwist.put_user(**ANNA)
    assert send(sandbox, "PUT", BY_EMAIL, {}).is_success
    assert sandbox.violations == []


def test_maintenance_is_a_503_with_html_and_nothing_is_done():
    sandbox = account()
    sandbox.faults.add(Fault(kind="html", service="crowdtwist", nth=1))
    answer = send(sandbox, "POST", "/v2/users", ANNA)
    assert answer.status_code == 503 and answer.headers["content-type"].startswith("text/html")
    assert sandbox.crowdtwist.users() == []


def test_beyond_the_rate_a_client_is_told_when_to_come_back_in_seconds_or_by_date():
    for shape in ("seconds", "date"):
        sandbox = account(rates=(Rate(1, 30),), retry_after_as=shape)
        assert send(sandbox, "POST", "/v2/users", ANNA).is_success
        late = send(sandbox, "PUT", BY_EMAIL, {"gender_id": 1})
        assert late.status_code == 429
        told = late.headers["retry-after"]
        at = sandbox.clock() + float(told) if shape == "seconds" else parsedate_to_datetime(told).timestamp()
        assert at == sandbox.clock() + 30
        sandbox.clock.now = at
        assert send(sandbox, "PUT", BY_EMAIL, {"gender_id": 1}).is_success
        assert sandbox.violations == []


def test_a_reset_loses_users_and_credits():
    sandbox = account()
    sandbox.crowdtwist.put_user(**ANNA)
    assert credit(sandbox).is_success
    assert sandbox.state()["crowdtwist"]["points"] == 10
    sandbox.reset()
    assert sandbox.state()["crowdtwist"] == {"users": [], "points": 0}
