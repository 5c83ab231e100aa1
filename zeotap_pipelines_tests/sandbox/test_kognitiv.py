"""The stand-in of Kognitiv does what the contract says, and nothing that it doesn't say."""

import base64

import pytest

from zeotap_pipelines.sandbox import CLIENT_ID, CLIENT_SECRET, Client, KognitivSettings, Rate, Sandbox
from zeotap_pipelines_tests.sandbox.asking import CREDENTIALS, GROUPS, KOGNITIV, MEMBERS, TOKEN, Clock, ask, bearer

BASIC = "Basic " + base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()


def account(credentials_in="either", **settings):
    client = Client(client_id=CLIENT_ID, client_secret=CLIENT_SECRET, credentials_in=credentials_in)
    return Sandbox(clock=Clock(), kognitiv=KognitivSettings(client=client, **settings))


def test_an_added_member_is_in_the_group_and_a_removed_one_is_not():
    sandbox = Sandbox()
    header = bearer(sandbox)
    assert ask(sandbox, "PUT", f"{MEMBERS}/1", headers=header).is_success
    assert ask(sandbox, "PUT", f"{MEMBERS}/2", headers=header).is_success
    assert ask(sandbox, "DELETE", f"{MEMBERS}/1", headers=header).is_success
    assert sandbox.kognitiv.members("ACTIVE-90D") == {"2"}
    assert sandbox.violations == []


def test_adding_a_present_and_removing_an_absent_member_change_nothing_and_succeed():
    sandbox = Sandbox()
    header = bearer(sandbox)
    sandbox.kognitiv.put_members("ACTIVE-90D", "1")
    assert ask(sandbox, "PUT", f"{MEMBERS}/1", headers=header).is_success
    assert ask(sandbox, "DELETE", f"{MEMBERS}/2", headers=header).is_success
    assert sandbox.kognitiv.members("ACTIVE-90D") == {"1"}


def test_identifiers_are_decoded_once_and_kept_as_they_are():
    sandbox = Sandbox()
    sandbox.kognitiv.create_group("a/b c")
    assert ask(sandbox, "PUT", f"{GROUPS}/a%2Fb%20c/members/x%2By%40z%2541", headers=bearer(sandbox)).is_success
    assert sandbox.kognitiv.members("a/b c") == {"x+y@z%41"}
    assert sandbox.violations == []


def test_an_unknown_member_and_an_unknown_group_cannot_be_told_apart():
    sandbox = Sandbox()
    header = bearer(sandbox)
    for method in ("PUT", "DELETE"):
        no_member = ask(sandbox, method, f"{MEMBERS}/stranger-1", headers=header)
        no_group = ask(sandbox, method, f"{GROUPS}/OTHER/members/1", headers=header)
        assert (no_member.status_code, no_member.content) == (no_group.status_code, no_group.content)
        assert no_member.status_code == 404
    assert sandbox.violations == []


def test_an_inactive_member_is_refused_with_a_message_and_can_be_removed():
    sandbox = Sandbox()
    header = bearer(sandbox)
    sandbox.kognitiv.put_members("ACTIVE-90D", "1")
    sandbox.kognitiv.set_standing("1", "inactive")
    refused = ask(sandbox, "PUT", f"{MEMBERS}/1", headers=header)
    assert refused.status_code == 400 and refused.json()["message"]
    assert ask(sandbox, "DELETE", f"{MEMBERS}/1", headers=header).is_success
    assert sandbox.kognitiv.members() == set() and sandbox.violations == []


def test_the_list_shows_an_external_reference_only_where_the_group_has_one():
    sandbox = Sandbox()
    sandbox.kognitiv.create_group("VIP", name="The few", external_reference=None)
    listed = ask(sandbox, "GET", GROUPS, headers=bearer(sandbox)).json()["data"]
    assert listed[0]["externalReference"] == "ACTIVE-90D"
    assert listed[1]["name"] == "The few" and "externalReference" not in listed[1]
    assert {"id", "name", "status", "rebuildFrequency", "lastBuiltTimestamp"} <= set(listed[1])


def test_an_account_may_forbid_the_list_and_still_take_members():
    sandbox = account(listing_forbidden=True)
    header = bearer(sandbox)
    assert ask(sandbox, "GET", GROUPS, headers=header).status_code == 403
    assert ask(sandbox, "PUT", f"{MEMBERS}/1", headers=header).is_success
    assert sandbox.violations == []


def test_a_token_is_good_until_it_expires():
    clock = Clock()
    sandbox = Sandbox(clock=clock)
    header = bearer(sandbox)
    clock.now += 3599
    assert ask(sandbox, "PUT", f"{MEMBERS}/1", headers=header).is_success
    clock.now += 1
    assert ask(sandbox, "PUT", f"{MEMBERS}/2", headers=header).status_code == 401
    assert ask(sandbox, "PUT", f"{MEMBERS}/2", headers=bearer(sandbox)).is_success
    assert sandbox.violations == []


def test_a_token_that_was_never_granted_is_refused_and_is_no_violation():
    sandbox = Sandbox()
    assert ask(sandbox, "PUT", f"{MEMBERS}/1", headers={"Authorization": "Bearer made-up"}).status_code == 401
    assert sandbox.violations == [] and sandbox.kognitiv.members() == set()


@pytest.mark.parametrize(
    ("wanted_in", "form", "header", "status"),
    [
        ("either", CREDENTIALS, {}, 200),
        ("either", {"grant_type": "client_credentials"}, {"Authorization": BASIC}, 200),
        ("either", {**CREDENTIALS, "scope": "groups"}, {}, 200),
        ("form", CREDENTIALS, {}, 200),
        ("form", {"grant_type": "client_credentials"}, {"Authorization": BASIC}, 400),
        ("basic", {"grant_type": "client_credentials"}, {"Authorization": BASIC}, 200),
        ("basic", CREDENTIALS, {}, 400),
        ("either", {**CREDENTIALS, "client_secret": "another"}, {}, 400),
        ("either", {**CREDENTIALS, "client_id": "another"}, {}, 400),
    ],
)
def test_credentials_are_taken_where_the_account_takes_them(wanted_in, form, header, status):
    sandbox = account(wanted_in)
    answer = ask(sandbox, "POST", TOKEN, data=form, headers=header)
    assert answer.status_code == status
    if status == 200:
        assert set(answer.json()) == {"access_token", "expires_in", "token_type"}
    else:
        assert answer.json() == {"error": "invalid_client"}
    assert sandbox.violations == []


@pytest.mark.parametrize(
    ("method", "url", "sent", "status"),
    [
        ("GET", TOKEN, {}, 405),
        ("POST", f"{KOGNITIV}/auth/connect/token", {"data": CREDENTIALS}, 404),
        ("POST", f"{KOGNITIV}/api/Auth/connect/token", {"data": CREDENTIALS}, 404),
        ("POST", TOKEN + "?x=1", {"data": CREDENTIALS}, 400),
        ("POST", TOKEN, {"json": CREDENTIALS}, 415),
        ("POST", TOKEN, {}, 415),
        ("POST", TOKEN, {"data": {**CREDENTIALS, "audience": "x"}}, 400),
        ("POST", TOKEN, {"data": {**CREDENTIALS, "grant_type": "password"}}, 400),
        ("POST", TOKEN, {"data": {**CREDENTIALS, "scope": ""}}, 400),
        ("POST", TOKEN, {"data": {**CREDENTIALS, "client_id": ["sandbox", "sandbox"]}}, 400),
        ("POST", TOKEN, {"data": {"grant_type": "client_credentials"}}, 400),
        ("POST", TOKEN, {"data": CREDENTIALS, "headers": {"Authorization": BASIC}}, 400),
        ("POST", TOKEN, {"data": {"grant_type": "client_credentials"}, "headers": {"Authorization": "Basic x"}}, 400),
    ],
)
def test_a_client_that_asks_for_a_token_in_another_way_is_refused(method, url, sent, status):
    sandbox = Sandbox()
    assert ask(sandbox, method, url, **sent).status_code == status
    assert len(sandbox.violations) == 1


@pytest.mark.parametrize(
    ("method", "url", "sent", "status"),
    [
        ("POST", f"{MEMBERS}/1", {}, 405),
        ("PATCH", f"{MEMBERS}/1", {}, 405),
        ("GET", f"{MEMBERS}/1", {}, 405),
        ("HEAD", GROUPS, {}, 405),
        ("GET", f"{GROUPS}/", {}, 404),
        ("GET", MEMBERS, {}, 404),
        ("GET", f"{GROUPS}?page=1", {}, 400),
        ("PUT", f"{MEMBERS}/1/", {}, 404),
        ("PUT", f"{MEMBERS}/", {}, 400),
        ("PUT", f"{GROUPS}//members/1", {}, 400),
        ("PUT", f"{MEMBERS}/a/b", {}, 404),
        ("PUT", f"{MEMBERS}/a@b", {}, 400),
        ("PUT", f"{MEMBERS}/a+b", {}, 400),
        ("PUT", f"{MEMBERS}/%FF", {}, 400),
        ("PUT", f"{MEMBERS}/1?x=1", {}, 400),
        ("PUT", f"{MEMBERS}/1?x", {}, 400),
        ("PUT", f"{KOGNITIV}/groups/promotionalMember/ACTIVE-90D/members/1", {}, 404),
        ("PUT", f"{KOGNITIV}/api/groups/PromotionalMember/ACTIVE-90D/members/1", {}, 404),
        ("PUT", f"{MEMBERS}/1", {"json": {}}, 400),
        ("PUT", f"{MEMBERS}/1", {"content": b" "}, 400),
        ("DELETE", f"{MEMBERS}/1", {"content": b"x"}, 400),
        ("GET", GROUPS, {"content": b"x"}, 400),
        ("PUT", f"{MEMBERS}/1", {"headers": {"api-version": "latest"}}, 400),
        ("PUT", f"{MEMBERS}/1", {"headers": {"Cookie": "affinity=1"}}, 400),
        ("PUT", f"{MEMBERS}/1", {"headers": {"Authorization": ""}}, 401),
        ("PUT", f"{MEMBERS}/1", {"headers": {"Authorization": BASIC}}, 401),
        ("PUT", f"{MEMBERS}/1", {"headers": {"Authorization": "bearer x"}}, 401),
    ],
)
def test_a_client_that_asks_what_is_not_documented_is_refused_and_changes_nothing(method, url, sent, status):
    sandbox = Sandbox()
    header = {**bearer(sandbox), **sent.get("headers", {})}
    answer = ask(sandbox, method, url, **{**sent, "headers": header})
    assert answer.status_code == status
    assert [(entry.method, entry.status) for entry in sandbox.violations] == [(method, status)]
    assert sandbox.kognitiv.members() == set()


def test_a_request_without_authorization_is_a_violation():
    sandbox = Sandbox()
    assert ask(sandbox, "PUT", f"{MEMBERS}/1").status_code == 401
    assert len(sandbox.violations) == 1


def test_the_version_header_is_optional():
    sandbox = Sandbox()
    assert ask(sandbox, "PUT", f"{MEMBERS}/1", headers={**bearer(sandbox), "api-version": "2025.3"}).is_success
    assert sandbox.violations == []


def test_a_refused_method_is_told_which_are_allowed():
    sandbox = Sandbox()
    assert ask(sandbox, "POST", f"{MEMBERS}/1", headers=bearer(sandbox)).headers["allow"] == "DELETE, PUT"


def test_beyond_the_rate_a_client_is_told_when_to_come_back_and_nothing_is_done():
    sandbox = account(rates=(Rate(2, 60),))
    header = bearer(sandbox)
    assert ask(sandbox, "PUT", f"{MEMBERS}/1", headers=header).is_success
    late = ask(sandbox, "PUT", f"{MEMBERS}/2", headers=header)
    assert (late.status_code, late.headers["retry-after"]) == (429, "60")
    assert sandbox.kognitiv.members() == {"1"}
    sandbox.clock.now += 60
    assert ask(sandbox, "PUT", f"{MEMBERS}/2", headers=header).is_success
    assert sandbox.violations == []
