"""The stand-in of CrowdTwist takes the three documented kinds of credentials, one at a time."""

import json

import pytest

from zeotap_pipelines.sandbox import BASE_URL, CROWDTWIST_API_KEY, CROWDTWIST_PRIVATE_KEY, CrowdTwistKeys
from zeotap_pipelines_tests.sandbox.asking import ask
from zeotap_pipelines_tests.sandbox.asking_crowdtwist import ANNA, KEY, PREFIX, account, send, signed

ACTIVITIES = "/v2/activities"
BODY = json.dumps(ANNA).encode()
UPDATE = "/v2/users/a%2Bb%40example.com?id_type=email"


def test_a_key_is_taken_in_the_query_or_in_the_header_and_never_kept():
    sandbox = account()
    assert send(sandbox, "GET", f"{ACTIVITIES}?api_key={CROWDTWIST_API_KEY}", headers={}).is_success
    assert send(sandbox, "GET", ACTIVITIES, headers=KEY).is_success
    assert send(sandbox, "POST", f"/v2/users?api_key={CROWDTWIST_API_KEY}", ANNA, headers={}).is_success
    assert sandbox.violations == [] and CROWDTWIST_API_KEY not in repr(sandbox.log)


@pytest.mark.parametrize(
    ("query", "headers"), [("?api_key=wrong", {}), ("?api_key=", {}), ("", {"X-CT-Authorization": "CTApiKey wrong"})]
)
def test_an_unknown_key_is_refused_and_is_no_violation(query, headers):
    sandbox = account()
    answer = send(sandbox, "GET", ACTIVITIES + query, headers=headers)
    assert answer.status_code == 401
    assert answer.json() == {"error": "unauthorized", "message": "Authentication failed: unknown API key"}
    assert sandbox.violations == []


@pytest.mark.parametrize(
    ("query", "headers", "status"),
    [
        ("", {}, 401),
        ("?apikey=x", {}, 401),
        (f"?api_key={CROWDTWIST_API_KEY}&api_key={CROWDTWIST_API_KEY}", {}, 400),
        (f"?api_key={CROWDTWIST_API_KEY}", KEY, 400),
        ("", {"Authorization": f"CTApiKey {CROWDTWIST_API_KEY}"}, 401),
        ("", {"X-CT-Authorization": CROWDTWIST_API_KEY}, 401),
        ("", {"X-CT-Authorization": f"ctapikey {CROWDTWIST_API_KEY}"}, 401),
        ("", {"X-CT-Authorization": "CTApiV2Auth sandbox", "X-CT-Timestamp": "1700000000000"}, 401),
        ("", {"X-CT-Authorization": "CTApiV2Auth :x", "X-CT-Timestamp": "1700000000000"}, 401),
        ("", {"X-CT-Authorization": "CTApiV2Auth sandbox:x"}, 401),
        ("", {"X-CT-Authorization": "CTApiV2Auth sandbox:x", "X-CT-Timestamp": "now"}, 401),
        ("", {"X-CT-Authorization": "CTApiV2Auth sandbox:x", "X-CT-Timestamp": "1700000000.0"}, 401),
        ("", {**KEY, "Content-Type": "application/json"}, 415),
    ],
)
def test_a_client_with_credentials_of_another_shape_is_refused(query, headers, status):
    sandbox = account()
    assert send(sandbox, "GET", ACTIVITIES + query, headers=headers).status_code == status
    assert len(sandbox.violations) == 1


@pytest.mark.parametrize("encoding", ["hex_base64", "raw_base64"])
@pytest.mark.parametrize("unit", ["ms", "s"])
def test_a_signed_request_is_taken(encoding, unit):
    sandbox = account(keys=CrowdTwistKeys(signature_encoding=encoding, timestamp_unit=unit))
    given = {"encoding": encoding, "timestamp": "1700000000" if unit == "s" else "1700000000000"}
    assert signed(sandbox, "GET", ACTIVITIES, **given).is_success
    assert signed(sandbox, "POST", "/v2/users", BODY, **given).is_success
    assert signed(sandbox, "PUT", "/v2/users/anna%40example.com?id_type=email", b'{"gender_id":1}', **given).is_success
    assert sandbox.violations == []


def test_a_signature_covers_the_path_and_the_query_as_they_are_sent():
    sandbox = account()
    sandbox.crowdtwist.put_user(email_address="a+b@example.com")
    assert signed(sandbox, "PUT", UPDATE, b"{}").is_success
    decoded = signed(
        sandbox, "PUT", UPDATE, b"{}", change=lambda lines: [*lines[:4], f"{PREFIX}/v2/users/a+b@example.com"]
    )
    assert decoded.status_code == 401


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: [*lines, ""],
        lambda lines: [lines[0].lower(), *lines[1:]],
        lambda lines: [lines[0], lines[1].upper(), *lines[2:]],
        lambda lines: [lines[0], "", *lines[2:]],
        lambda lines: [*lines[:2], "", *lines[3:]],
        lambda lines: [*lines[:2], "application/json; charset=utf-8", *lines[3:]],
        lambda lines: [*lines[:3], "1700000000001", lines[4]],
        lambda lines: [*lines[:4], lines[4].partition("?")[0]],
        lambda lines: [*lines[:4], lines[4].removeprefix(PREFIX)],
        lambda lines: [*lines[:4], BASE_URL + lines[4]],
    ],
)
def test_a_client_that_signs_something_else_is_refused_and_changes_nothing(change):
    sandbox = account()
    identity = sandbox.crowdtwist.put_user(email_address="a+b@example.com")
    answer = signed(sandbox, "PUT", UPDATE, b'{"gender_id":1}', change=change)
    assert answer.status_code == 401 and "the signature doesn't match" in answer.text
    assert sandbox.crowdtwist.users() == [{"id": identity, "email_address": "a+b@example.com"}]


def test_the_empty_lines_of_a_get_are_signed():
    sandbox = account()
    assert signed(sandbox, "GET", ACTIVITIES).is_success
    assert signed(sandbox, "GET", ACTIVITIES, change=lambda lines: [line for line in lines if line]).status_code == 401
    of_nothing = "d41d8cd98f00b204e9800998ecf8427e"
    answer = signed(sandbox, "GET", ACTIVITIES, change=lambda lines: [lines[0], of_nothing, *lines[2:]])
    assert answer.status_code == 401


def test_a_signature_belongs_to_its_body():
    sandbox = account()
    answer = signed(
        sandbox,
        "POST",
        "/v2/users",
        BODY,
        change=lambda lines: [lines[0], "d41d8cd98f00b204e9800998ecf8427e", *lines[2:]],
    )
    assert answer.status_code == 401 and sandbox.crowdtwist.users() == []


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"private_key": "another"}, "the signature doesn't match"),
        ({"public_key": "another"}, "unknown public key"),
        ({"encoding": "raw_base64"}, "the signature doesn't match"),
        ({"timestamp": "1700000000"}, "X-CT-Timestamp is not within 15 minutes of the server time"),
    ],
)
def test_other_keys_and_another_encoding_or_unit_are_refused_and_are_no_violation(wrong, why):
    sandbox = account()
    answer = signed(sandbox, "GET", ACTIVITIES, **wrong)
    assert (answer.status_code, answer.json()["message"]) == (401, f"Authentication failed: {why}")
    assert sandbox.violations == [] and CROWDTWIST_PRIVATE_KEY not in repr(sandbox.log)


@pytest.mark.parametrize(("skew", "status"), [(900, 200), (-900, 200), (901, 401), (-901, 401)])
def test_a_timestamp_is_good_for_fifteen_minutes(skew, status):
    sandbox = account()
    stamp = str(round((sandbox.clock() + skew) * 1000))
    assert signed(sandbox, "GET", ACTIVITIES, timestamp=stamp).status_code == status


def test_no_key_goes_with_a_signature():
    sandbox = account()
    assert signed(sandbox, "GET", f"{ACTIVITIES}?api_key={CROWDTWIST_API_KEY}").status_code == 400
    assert len(sandbox.violations) == 1


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "application/json;charset=utf-8", "text/json"]
)
@pytest.mark.parametrize("signs", [True, False])
def test_the_content_type_is_taken_to_the_letter(content_type, signs):
    sandbox = account()
    if signs:
        answer = signed(sandbox, "POST", "/v2/users", BODY, content_type=content_type)
    else:
        headers = {**KEY, "Content-Type": content_type}
        answer = ask(sandbox, "POST", f"{BASE_URL}{PREFIX}/v2/users", content=BODY, headers=headers)
    assert answer.status_code == 415
    assert len(sandbox.violations) == 1 and sandbox.crowdtwist.users() == []
