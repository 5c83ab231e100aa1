"""The stand-in of MoEngage refuses every request that isn't of the documented shape."""

import base64

import pytest

from zeotap_pipelines.sandbox import MOENGAGE_APP_ID
from zeotap_pipelines_tests.sandbox.asking import ask
from zeotap_pipelines_tests.sandbox.asking_moengage import ABSENT, HEADERS, URL, account, basic, body, send


def refused(sandbox, answer, status=400):
    error = answer.json()["error"]
    return (
        answer.status_code == status
        and answer.json()["status"] == "fail"
        and bool(error["message"] and error["type"] and error["request_id"])
        and [entry.status for entry in sandbox.violations] == [status]
        and sandbox.moengage.cohorts() == {}
    )


@pytest.mark.parametrize(
    "wrong", [{"Authorization": basic(secret="another")}, {"Authorization": basic("Y"), "MOE-APPKEY": "Y"}]
)
def test_unknown_credentials_are_refused_and_are_no_violation(wrong):
    sandbox = account()
    answer = send(sandbox, body(), **wrong)
    assert (answer.status_code, answer.json()["error"]["type"]) == (401, "Authentication required")
    assert sandbox.violations == [] and sandbox.moengage.cohorts() == {}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": ABSENT}, 401),
        ({"Authorization": "Bearer x"}, 401),
        ({"Authorization": "Basic !"}, 401),
        ({"Authorization": "Basic " + base64.b64encode(b"no colon").decode()}, 401),
        ({"Authorization": basic().replace("Basic", "basic")}, 401),
        ({"MOE-APPKEY": ABSENT}, 401),
        ({"MOE-APPKEY": MOENGAGE_APP_ID.lower()}, 401),
        ({"Content-Type": ABSENT}, 415),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/json; charset=utf-8"}, 415),
    ],
)
def test_a_client_with_other_headers_is_refused(headers, status):
    sandbox = account()
    assert refused(sandbox, send(sandbox, body(), **headers), status)


def test_an_app_key_that_is_not_the_basic_user_is_a_mismatch():
    sandbox = account()
    assert send(sandbox, body(), **{"MOE-APPKEY": "OTHER"}).json()["error"]["type"] == "Mismatch"


def test_further_headers_are_taken():
    sandbox = account()
    assert send(sandbox, body(), **{"MOE-DESTINATION-PARTNER": "zeotap"}).is_success
    assert sandbox.violations == []


@pytest.mark.parametrize(
    ("method", "url", "status"),
    [
        ("PUT", URL, 405),
        ("POST", URL + "/", 404),
        ("POST", URL.replace("cohortsync", "CohortSync"), 404),
        ("POST", URL.replace("/v1", ""), 404),
        ("POST", URL + "?app_id=1", 400),
    ],
)
def test_a_client_that_asks_elsewhere_is_refused(method, url, status):
    sandbox = account()
    assert refused(sandbox, ask(sandbox, method, url, json=body(), headers=HEADERS), status)


@pytest.mark.parametrize(
    ("change", "attribute"),
    [
        *(({name: ABSENT}, name) for name in ("action", "partner", "timestamp", "parameters")),
        *(({name: None}, name) for name in ("action", "partner", "timestamp", "parameters")),
        ({"action": "Add_members"}, "action"),
        ({"action": "add"}, "action"),
        ({"partner": ""}, "partner"),
        ({"parameters": []}, "parameters"),
        ({"source": "x"}, "body"),
        ({"timestamp": ""}, "timestamp"),
        ({"timestamp": 1735689600}, "timestamp"),
        ({"timestamp": "1735689600"}, "timestamp"),
        ({"timestamp": "2025-01-01"}, "timestamp"),
        ({"timestamp": "2025-01-01 00:00:00Z"}, "timestamp"),
        ({"timestamp": "2025-01-01T00:00:00"}, "timestamp"),
        ({"timestamp": "2025-01-01T01:00:00+01:00"}, "timestamp"),
        ({"timestamp": "2025-02-30T00:00:00Z"}, "timestamp"),
    ],
)
def test_a_body_of_another_shape_is_refused(change, attribute):
    sandbox = account()
    wanted = {name: value for name, value in {**body(), **change}.items() if value is not ABSENT}
    answer = send(sandbox, wanted)
    assert refused(sandbox, answer)
    error = answer.json()["error"]
    assert error["attribute"] == attribute
    assert (error["type"] == "MissingAttributeError") == (ABSENT in change.values())


@pytest.mark.parametrize("stamp", ["2025-01-01T00:00:00Z", "2025-01-01T00:00:00.123456Z", "2025-01-01T00:00:00+00:00"])
def test_a_timestamp_is_iso_8601_in_utc(stamp):
    sandbox = account()
    assert send(sandbox, {**body(), "timestamp": stamp}).is_success
    assert sandbox.violations == []


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("cohort_id", ABSENT),
        ("cohort_id", ""),
        ("cohort_id", 7),
        ("cohort_name", ABSENT),
        ("cohort_name", ""),
        ("cohort_name", ".hidden"),
        *(("cohort_name", f"a{sign}b") for sign in '|*?\\:<>=$"'),
        ("cohort_description", None),
        ("cohort_size", 1),
        ("members", ABSENT),
        ("members", []),
        ("members", {"uid": "1"}),
        ("members", ["1"]),
        ("members", [{}]),
        ("members", [{"uid": ""}]),
        ("members", [{"uid": 1}]),
        ("members", [{"uid": "1", "anonymous_id": None}]),
        ("members", [{"anonymous_id": ""}]),
        ("members", [{"uid": "1", "email": "a@b.dk"}]),
        ("members", [{"user_id": "1"}]),
        ("members", [{"uid": "1"}, {"uid": "2"}, {"uid": "1"}]),
        ("members", [{"uid": "1"}, {"uid": "1", "anonymous_id": "a1"}]),
        ("members", [{"anonymous_id": "a1"}, {"uid": "1", "anonymous_id": "a1"}]),
    ],
)
def test_parameters_of_another_shape_are_refused(parameter, value):
    sandbox = account()
    assert refused(sandbox, send(sandbox, body(**{parameter: value})))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'"x"', b"\xff"])
def test_a_body_that_is_no_json_object_is_refused(content):
    sandbox = account()
    assert refused(sandbox, send(sandbox, content))
