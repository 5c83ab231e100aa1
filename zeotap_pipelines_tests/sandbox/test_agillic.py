"""The stand-in of Agillic does what the contract says, and nothing that it doesn't say."""

import asyncio
import base64

import httpx
import pytest

from zeotap_pipelines.sandbox import (
    AGILLIC_KEY,
    AGILLIC_SECRET,
    AgillicField,
    AgillicSettings,
    AgillicTable,
    Client,
    Fault,
    Sandbox,
    SandboxTransport,
)
from zeotap_pipelines_tests.sandbox.asking import Clock, ask
from zeotap_pipelines_tests.sandbox.asking_agillic import (
    ADD,
    AGILLIC,
    GRANT,
    GROUP,
    JSON,
    PRODUCTION,
    REMOVE,
    STAGING,
    TOKEN,
    UPSERT,
    UPSERT_ROWS,
    Account,
    batch,
    membership,
    person,
    rows,
)

IN_FORM = {**GRANT, "client_id": AGILLIC_KEY, "client_secret": AGILLIC_SECRET}
BASIC = "Basic " + base64.b64encode(f"{AGILLIC_KEY}:{AGILLIC_SECRET}".encode()).decode()
A = "/recipients/EMAIL=a%40b.dk"


@pytest.mark.parametrize(
    ("placed_in", "form", "header", "status"),
    [
        ("basic", GRANT, {"Authorization": BASIC}, 200),
        ("basic", IN_FORM, {}, 400),
        ("form", IN_FORM, {}, 200),
        ("form", GRANT, {"Authorization": BASIC}, 400),
        ("either", IN_FORM, {}, 200),
        ("either", {**IN_FORM, "client_secret": "another"}, {}, 400),
    ],
)
def test_credentials_are_taken_where_the_account_takes_them(placed_in, form, header, status):
    client = Client(client_id=AGILLIC_KEY, client_secret=AGILLIC_SECRET, credentials_in=placed_in)
    sandbox = Sandbox(agillic=AgillicSettings(client=client))
    answer = ask(sandbox, "POST", TOKEN, data=form, headers=header)
    assert answer.status_code == status
    if status == 200:
        assert set(answer.json()) == {"access_token", "expires_in", "token_type"}
    assert sandbox.violations == []


@pytest.mark.parametrize(
    ("method", "url", "sent", "status"),
    [
        ("GET", TOKEN, {}, 405),
        ("POST", f"{AGILLIC}/oauth/token", {"data": GRANT}, 404),
        ("POST", TOKEN, {"json": GRANT}, 415),
        ("POST", TOKEN, {"data": {"grant_type": "password"}}, 400),
        ("POST", TOKEN, {"data": GRANT}, 400),
        ("POST", TOKEN, {"data": IN_FORM, "headers": {"Authorization": BASIC}}, 400),
    ],
)
def test_a_client_that_asks_for_a_token_in_another_way_is_refused(method, url, sent, status):
    sandbox = Sandbox()
    assert ask(sandbox, method, url, **sent).status_code == status
    assert len(sandbox.violations) == 1


def test_a_token_is_good_for_two_hours():
    account = Account()
    account.sandbox.clock.now += 7199
    assert account.ask("GET", "/discovery/persondata").status_code == 200
    account.sandbox.clock.now += 1
    assert account.ask("GET", "/discovery/persondata").status_code == 401
    account.renew()
    assert account.ask("GET", "/discovery/persondata").status_code == 200
    account.sandbox.faults.add(Fault(kind="token_expiry", nth=1))
    assert account.ask("GET", "/discovery/persondata").status_code == 401
    assert account.violations == []


def test_the_key_pair_decides_between_production_and_staging():
    production = Account()
    staging = Account(production.sandbox, STAGING)
    assert production.ask("POST", "/recipients", {"personData": person("a@b.dk")}).status_code == 201
    assert staging.ask("GET", A).status_code == 404
    assert staging.ask("POST", "/recipients", {"personData": person("s@b.dk")}).status_code == 201
    assert set(production.agillic.recipients()) == {"a@b.dk"}
    assert set(production.agillic.recipients(instance="staging")) == {"s@b.dk"}
    assert production.agillic.calls_today() == 1 and production.agillic.calls_today(instance="staging") == 2


def test_a_recipient_is_created_once():
    account = Account()
    created = account.ask("POST", "/recipients", {"personData": person("a@b.dk", FIRSTNAME="Ann")})
    assert created.status_code == 201
    again = account.ask("POST", "/recipients", {"personData": person("a@b.dk", FIRSTNAME="Eve")})
    assert again.status_code == 409 and again.json()["message"]
    assert account.agillic.recipients() == {"a@b.dk": {"EMAIL": "a@b.dk", "FIRSTNAME": "Ann"}}
    assert account.violations == []


def test_an_update_changes_what_it_names_and_creates_who_is_missing():
    account = Account()
    account.agillic.put_recipients(person("a@b.dk", FIRSTNAME="Ann", LASTNAME="B"))
    assert account.ask("PUT", A, {"personData": {"LASTNAME": "C"}}).status_code == 200
    assert account.ask("PUT", "/recipients/EMAIL=x%2By%40b.dk", {"personData": {}}).status_code == 201
    assert account.agillic.recipients() == {
        "a@b.dk": {"EMAIL": "a@b.dk", "FIRSTNAME": "Ann", "LASTNAME": "C"},
        "x+y@b.dk": {"EMAIL": "x+y@b.dk"},
    }
    assert account.violations == []


def test_a_recipient_can_be_asked_for():
    account = Account()
    assert account.ask("GET", A).status_code == 404
    account.agillic.put_recipients(person("a@b.dk"))
    found = account.ask("GET", A)
    assert (found.status_code, found.json()) == (200, {"personData": {"EMAIL": "a@b.dk"}})
    assert account.violations == []


@pytest.mark.parametrize("empty", ["", None])
def test_an_included_empty_value_erases_a_field(empty):
    account = Account()
    account.agillic.put_recipients(person("a@b.dk", FIRSTNAME="Ann", LAST_PURCHASE="01.02.2024"))
    assert account.ask("PUT", A, {"personData": {"FIRSTNAME": empty, "LAST_PURCHASE": empty}}).status_code == 200
    assert account.agillic.recipients() == {"a@b.dk": {"EMAIL": "a@b.dk"}}


@pytest.mark.parametrize(
    "given",
    [
        {"email": "a@b.dk"},
        {"NICKNAME": "x"},
        {"LAST_PURCHASE": "2024-02-01"},
        {"LAST_PURCHASE": "1.2.2024"},
        {"LAST_PURCHASE": "30.02.2024"},
        {"LAST_PURCHASE": 20240201},
        {"SPEND_90D": "12,50"},
        {"SPEND_90D": True},
    ],
)
def test_a_field_that_is_unknown_or_malformed_is_refused_with_a_message(given):
    account = Account()
    for method, path, body in (("POST", "/recipients", {**person("a@b.dk"), **given}), ("PUT", A, given)):
        refused = account.ask(method, path, {"personData": body})
        assert refused.status_code == 400 and refused.json()["message"]
    assert account.agillic.recipients() == {} and account.violations == []


def test_dates_have_the_format_of_the_instance():
    account = Account(date_format="yyyy-MM-dd HH:mm")
    body = {"personData": {"LAST_PURCHASE": "2024-02-29 23:59"}}
    assert account.ask("PUT", A, body).status_code == 201
    assert account.ask("PUT", A, {"personData": {"LAST_PURCHASE": "29.02.2024"}}).status_code == 400


def test_the_email_is_required_whatever_the_id_field():
    account = Account(id_field="CUSTOMER_ID")
    assert account.ask("POST", "/recipients", {"personData": {"CUSTOMER_ID": "7"}}).status_code == 400
    assert account.ask("PUT", "/recipients/CUSTOMER_ID=7", {"personData": {"FIRSTNAME": "x"}}).status_code == 400
    assert account.ask("POST", "/recipients", {"personData": person("a@b.dk", CUSTOMER_ID=7)}).status_code == 201
    assert account.ask("PUT", "/recipients/CUSTOMER_ID=7", {"personData": {"EMAIL": ""}}).status_code == 400
    assert set(account.agillic.recipients()) == {"7"} and account.violations == []


def test_members_are_added_and_removed_and_who_is_no_recipient_is_listed():
    account = Account()
    account.agillic.put_recipients(person("a"), person("b"), person("c"))
    account.agillic.put_members(GROUP, "c")
    added = account.ask("POST", ADD, membership("a", "b", "a", "ghost"))
    assert added.json() == {"failed": [{"recipientId": "ghost", "error": "Recipient not found"}]}
    removed = account.ask("POST", REMOVE, membership("a", "ghost"))
    assert [one["recipientId"] for one in removed.json()["failed"]] == ["ghost"]
    assert account.ask("POST", REMOVE, membership("a")).json() == {}
    assert account.agillic.group(GROUP) == {"b", "c"}
    account.agillic.delete_recipient("b")
    assert account.agillic.group(GROUP) == {"c"} and account.violations == []


@pytest.mark.parametrize(("group", "status"), [("Big spenders", 400), ("No such group", 404), (GROUP.upper(), 404)])
def test_only_a_static_group_that_exists_takes_members(group, status):
    account = Account()
    account.agillic.put_recipients(person("a"))
    for path in (ADD, REMOVE):
        assert account.ask("POST", path, membership("a", group=group)).status_code == status
    assert account.agillic.group(group) == set()


def test_groups_can_come_and_go():
    account = Account()
    account.agillic.create_group("VIP")
    account.agillic.create_group("Computed", static=False)
    account.agillic.delete_group(GROUP)
    listed = account.ask("GET", "/discovery/targetgroups").json()
    assert {one["name"]: one["static"] for one in listed} == {"Big spenders": False, "VIP": True, "Computed": False}
    assert all(set(one) == {"name", "description", "static", "global"} for one in listed)


def test_discovery_shows_fields_and_tables_by_their_exact_names():
    account = Account()
    shape = account.ask("GET", "/discovery/persondata").json()
    fields = {field["name"]: (field["type"], field["identifier"]) for field in shape["fields"]}
    assert fields["EMAIL"] == ("STRING", True) and fields["LAST_PURCHASE"] == ("DATE", False)
    assert set(fields) == {"EMAIL", "FIRSTNAME", "LASTNAME", "MOBILE", "CUSTOMER_ID", "SPEND_90D", "LAST_PURCHASE"}
    (table,) = account.ask("GET", "/discovery/onetomany").json()
    assert account.ask("GET", "/discovery/onetomany/PURCHASES").json() == table
    assert [field["name"] for field in table["fields"]] == ["PURCHASE_ID", "PURCHASED_ON", "CDS", "DOLLARS"]
    assert account.ask("GET", "/discovery/onetomany/purchases").status_code == 404
    assert account.violations == []


def test_calls_of_the_day_run_out_and_come_back_at_midnight_utc():
    account = Account(daily_calls=3)
    account.sandbox.clock.now = 1_700_006_399.0 - 2  # 2023-11-14 23:59:57
    account.renew()
    for _ in range(3):
        assert account.ask("GET", A).status_code == 404
    late = account.ask("PUT", A, {"personData": {}})
    assert late.status_code == 429 and late.json()["message"] and "retry-after" not in late.headers
    assert account.agillic.recipients() == {} and account.agillic.calls_today() == 3
    account.sandbox.clock.now += 2
    assert account.ask("GET", A).status_code == 429
    account.sandbox.clock.now += 1
    assert account.ask("PUT", A, {"personData": {}}).status_code == 201
    assert account.agillic.calls_today() == 1 and account.violations == []


def test_the_budget_is_five_calls_per_active_recipient_and_a_set_number_on_staging():
    account = Account(active_recipients=1, staging_daily_calls=1)
    assert [account.ask("GET", A).status_code for _ in range(6)] == [404] * 5 + [429]
    staging = Account(account.sandbox, STAGING)
    assert [staging.ask("GET", A).status_code for _ in range(2)] == [404, 429]


def test_more_than_twenty_at_once_are_refused_and_the_most_is_remembered():
    account = Account()

    async def together(number):
        async with httpx.AsyncClient(transport=SandboxTransport(account.sandbox), headers=account.headers) as client:
            answers = await asyncio.gather(
                *(client.get(f"{AGILLIC}/discovery/persondata") for _ in range(number)), return_exceptions=False
            )
        return sorted(answer.status_code for answer in answers)

    assert asyncio.run(together(20)) == [200] * 20
    assert account.agillic.most_in_flight == 20
    assert asyncio.run(together(21))[-1] == 429
    assert account.agillic.most_in_flight == 21


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", A, {"personData": {}}, 405),
        ("PATCH", A, {"personData": {}}, 405),
        ("DELETE", A, None, 405),
        ("GET", "/recipients", None, 405),
        ("PUT", "/recipients", {"personData": {}}, 405),
        ("PUT", "/recipients/a%40b.dk", {"personData": {}}, 404),
        ("PUT", "/recipients/EMAIL%3Da%40b.dk", {"personData": {}}, 404),
        ("PUT", "/recipients/EMAIL=a@b.dk", {"personData": {}}, 400),
        ("PUT", "/recipients/EMAIL=a+b", {"personData": {}}, 400),
        ("PUT", "/recipients/EMAIL=a=b", {"personData": {}}, 400),
        ("PUT", "/recipients/EMAIL=", {"personData": {}}, 400),
        ("PUT", "/recipients/email=a%40b.dk", {"personData": {}}, 400),
        ("PUT", "/recipients/CUSTOMER_ID=7", {"personData": {}}, 400),
        ("PUT", A + "?x=1", {"personData": {}}, 400),
        ("PUT", A, {"personData": {"EMAIL": "c@b.dk"}}, 400),
        ("PUT", A, {"EMAIL": "a@b.dk"}, 400),
        ("PUT", A, {"personData": {}, "groups": []}, 400),
        ("PUT", A, {"personData": []}, 400),
        ("PUT", A, [], 400),
        ("PUT", A, {"personData": {"FIRSTNAME": ["x"]}}, 400),
        ("PUT", A, {"personData": {"FIRSTNAME": {"x": 1}}}, 400),
        ("POST", "/recipients", {"personData": {"FIRSTNAME": "x"}}, 400),
        ("POST", "/recipients", {"personData": {"EMAIL": ""}}, 400),
        ("POST", "/recipients", {"personData": {"EMAIL": True}}, 400),
        ("POST", "/recipients", {"EMAIL": "a@b.dk"}, 400),
        ("POST", "/recipients/", {"personData": person("a")}, 404),
        ("POST", "/recipients/v2/upsert", batch(person("a")), 404),
        ("POST", "/recipients/v2/%3Aupsert", batch(person("a")), 404),
        ("POST", "/recipients/:upsert", batch(person("a")), 404),
        ("PUT", UPSERT, batch(person("a")), 405),
        ("POST", UPSERT, batch(person("a"))["details"], 400),
        ("POST", UPSERT, batch(), 400),
        ("POST", UPSERT, batch(*(person(f"{number}") for number in range(1001))), 400),
        ("POST", UPSERT, batch(person("a"), person("a")), 400),
        ("POST", UPSERT, batch(person("a"), {"FIRSTNAME": "x"}), 400),
        ("POST", UPSERT, batch(person("a"), id_field="CUSTOMER_ID"), 400),
        ("POST", UPSERT, batch(person("a"), id_field="email"), 400),
        ("POST", UPSERT, {"details": {"recipients": [{"personData": person("a")}]}}, 400),
        ("POST", UPSERT, {"details": {"recipientIdField": "EMAIL", "recipients": [person("a")]}}, 400),
        ("POST", "/recipients/v2/task/x", None, 405),
        ("GET", "/recipients/v2/task/", None, 400),
        ("POST", ADD, membership(), 400),
        ("POST", ADD, membership(*(f"{number}" for number in range(101))), 400),
        ("POST", REMOVE, membership(*(f"{number}" for number in range(101))), 400),
        ("POST", ADD, membership("a", id_field="CUSTOMER_ID"), 400),
        ("POST", ADD, membership(7), 400),
        ("POST", ADD, membership(""), 400),
        ("POST", ADD, {"targetGroupName": GROUP, "recipientIds": ["a"]}, 400),
        ("POST", ADD, {**membership("a"), "create": True}, 400),
        ("POST", "/recipients/:addToTargetGroup", membership("a"), 404),
        ("DELETE", REMOVE, membership("a"), 405),
        ("POST", UPSERT_ROWS, rows({}), 400),
        ("POST", UPSERT_ROWS, rows({"a": []}), 400),
        ("POST", UPSERT_ROWS, rows({f"{number}": [{"PURCHASE_ID": "1"}] for number in range(1001)}), 400),
        ("POST", UPSERT_ROWS, rows({"a": [{"PURCHASE_ID": "1"}]}, id_field="CUSTOMER_ID"), 400),
        ("POST", UPSERT_ROWS, {"details": {"tableId": "PURCHASES", "records": [{}]}}, 400),
        ("POST", "/recipients/v2/onetomanytables/:upsert", rows({"a": [{"PURCHASE_ID": "1"}]}), 404),
        ("GET", "/discovery/targetGroups", None, 404),
        ("GET", "/discovery/targetgroups?page=1", None, 400),
        ("POST", "/discovery/persondata", {}, 405),
        ("GET", "/discovery/onetomany/", None, 400),
    ],
)
def test_a_client_that_asks_what_is_not_documented_is_refused_and_changes_nothing(method, path, body, status):
    account = Account()
    before = account.agillic.state()
    assert account.ask(method, path, body).status_code == status
    assert [(entry.method, entry.status) for entry in account.violations] == [(method, status)]
    assert account.agillic.state() == before


def test_rows_that_are_not_grouped_by_recipient_are_refused():
    account = Account()
    body = rows({"a": [{"PURCHASE_ID": "1"}]})
    body["details"]["recipients"] *= 2
    assert account.ask("POST", UPSERT_ROWS, body).status_code == 400
    assert len(account.violations) == 1 and account.agillic.tasks() == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Accept": "*/*"}, 406),
        ({"Accept": "application/json"}, 406),
        ({"Content-Type": "application/json"}, 415),
        ({"Content-Type": "application/json;charset=utf-8"}, 415),
        ({"Authorization": ""}, 401),
        ({"Authorization": BASIC}, 401),
        ({"Cookie": "affinity=1"}, 400),
    ],
)
def test_a_client_with_other_headers_is_refused(headers, status):
    account = Account()
    assert account.ask("POST", "/recipients", {"personData": person("a")}, headers=headers).status_code == status
    assert len(account.violations) == 1 and account.agillic.recipients() == {}


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"personData":{"SPEND_90D":NaN,"EMAIL":"a"}}', b'{"personData":{"EMAIL":"\\ud800"}}']
)
def test_a_body_that_is_not_json_is_refused(content):
    account = Account()
    answer = account.ask("POST", "/recipients", headers={"Content-Type": JSON}, content=content)
    assert answer.status_code == 400 and len(account.violations) == 1


def test_a_body_above_twenty_megabytes_is_refused():
    account = Account()
    body = b'{"personData":{"EMAIL":"a","FIRSTNAME":"%s"}}' % (b"x" * (20_000_000 - 42))
    headers = {"Content-Type": JSON}
    assert len(body) == 20_000_000 + 1
    assert account.ask("POST", "/recipients", content=body, headers=headers).status_code == 413
    assert len(account.violations) == 1 and account.agillic.recipients() == {}
    assert account.ask("POST", "/recipients", content=body.replace(b"x", b"", 1), headers=headers).status_code == 201


def test_a_made_up_token_is_refused_and_is_no_violation():
    account = Account()
    assert account.ask("GET", A, headers={"Authorization": "Bearer made-up"}).status_code == 401
    assert account.violations == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"id_field": "MEMBER_NO"},
        {"fields": (AgillicField("CUSTOMER_ID"),), "id_field": "CUSTOMER_ID"},
        {"tables": (AgillicTable("T", "ID", (AgillicField("X"),)),)},
        {"date_format": "dd/MMM/yyyy"},
        {"task_words": ()},
    ],
)
def test_settings_that_contradict_themselves_are_refused(wrong):
    with pytest.raises(ValueError):
        AgillicSettings(**wrong)


def test_no_secret_reaches_the_log_and_a_reset_leaves_the_groups():
    account = Account(pair=PRODUCTION)
    account.agillic.put_recipients(person("a"))
    account.agillic.put_members(GROUP, "a")
    account.ask("GET", f"/{AGILLIC_SECRET}")
    assert AGILLIC_SECRET not in repr(account.sandbox.log)
    account.sandbox.reset()
    held = account.sandbox.state()["agillic"]["production"]
    assert held == {
        "recipients": {},
        "groups": {GROUP: [], "Big spenders": []},
        "tables": {"PURCHASES": {}},
        "tasks": {},
    }
    assert [holding.name for holding in account.agillic.holdings()] == [
        "recipients",
        GROUP,
        "Big spenders",
        "PURCHASES",
    ]


def test_the_state_outlives_the_process(tmp_path):
    path = tmp_path / "state.sqlite3"
    with Sandbox(path, clock=Clock()) as sandbox:
        first = Account(sandbox)
        task = first.upsert(person("a"))
        first.poll(task)
    with Sandbox(path, clock=Clock()) as sandbox:
        second = Account(sandbox)
        assert second.agillic.recipients() == {} and second.agillic.calls_today() == 2
        second.settle(task)
        assert set(second.agillic.recipients()) == {"a"}
