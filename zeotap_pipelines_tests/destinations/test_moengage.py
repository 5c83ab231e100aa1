import json
import time
from base64 import b64decode
from datetime import UTC, datetime, timedelta, timezone

import httpx
import pytest
from pydantic import ValidationError

from zeotap_pipelines.delivery.conversing import cut
from zeotap_pipelines.destinations.moengage import COHORT_SYNC, MAX_BODY, Cohort, MoEngage, timestamp
from zeotap_pipelines.errors import FixConnection, FixDeclaration, FixTarget, TryAgainLater
from zeotap_pipelines.model import Fate, Mode, Operation, Verb

from .by_hand import answer, ask, hold, operation

COHORT = Cohort("active-90d", "Active in 90 days", "bought lately")
TAKEN = answer(200, {"status": "success", "message": "Your request has been accepted and will be processed soon"})


def account(**settings: object) -> MoEngage:
    return MoEngage.model_validate(
        {"account": "demo", "data_center": "01", "app_id": "APP", "secret_key": "geheim"} | settings
    )


def refusal(status: int, message: str = "no", **more: str) -> httpx.Response:
    error = {"message": message, "type": "Error", "request_id": "r-1"} | more
    return answer(status, {"status": "fail", "error": error})


@pytest.mark.parametrize(
    ("given", "host"),
    [
        ("01", "api-01"),
        ("06", "api-06"),
        ("101", "api-101"),
        (1, "api-01"),
        (101, "api-101"),
        ("DC-03", "api-03"),
        ("dc-101", "api-101"),
    ],
)
def test_a_data_centre_names_its_host_however_yaml_reads_it(given: object, host: str) -> None:
    assert account(data_center=given).base_url == f"https://{host}.moengage.com"


@pytest.mark.parametrize("given", ["07", "1001", "", None, "10", "0101 "])
def test_an_unknown_data_centre_is_refused_by_name(given: object) -> None:
    with pytest.raises(ValidationError, match="data_center is one of 01"):
        account(data_center=given)


def test_an_address_of_ones_own_stands_in_for_a_data_centre() -> None:
    assert account(data_center=None, base_url="http://127.0.0.1:8000/moengage").base_url.endswith("/moengage")


def test_no_setting_shows_the_secret_key() -> None:
    assert "geheim" not in repr(account())


@pytest.mark.parametrize("header", ["Authorization", "moe-appkey", "Content-Type", "Host", "Content-Length"])
def test_extra_headers_cannot_replace_our_own(header: str) -> None:
    with pytest.raises(ValidationError, match=header.lower()):
        account(extra_headers={header: "x"})


@pytest.mark.parametrize(("name", "text"), [("ü", "v"), ("x", "ü"), ("x", "a\r\nb: c"), ("", "v"), ("a b", "v")])
def test_an_extra_header_that_http_cannot_carry_is_refused_when_it_is_declared(name: str, text: str) -> None:
    with pytest.raises(ValidationError, match=r"extra_headers: .* plain ASCII on one line"):
        account(extra_headers={name: text})


def test_the_app_key_equals_the_basic_user_and_extra_headers_travel_along() -> None:
    connection = account(extra_headers={"MOE-DESTINATION-PARTNER": "zeotap"})
    flow = connection.auth().sync_auth_flow(httpx.Request("POST", "https://api-01.moengage.com/"))
    scheme, pair = next(flow).headers["Authorization"].split()
    assert (scheme, b64decode(pair)) == ("Basic", b"APP:geheim")
    assert connection.headers() == {"MOE-APPKEY": "APP", "MOE-DESTINATION-PARTNER": "zeotap"}
    assert connection.limits().per_minute == 300


def test_refused_credentials_name_the_settings_and_no_secret() -> None:
    flow = account().auth().sync_auth_flow(httpx.Request("POST", "https://api-01.moengage.com/"))
    next(flow)
    with pytest.raises(FixConnection, match=r"app_id.*secret_key.*data_center") as refused:
        flow.send(answer(401))
    assert "geheim" not in str(refused.value)


def test_the_connection_test_changes_nothing_and_passes_when_only_the_empty_request_is_refused() -> None:
    [call] = ask(account().test(), refusal(400, type="MissingAttributeError"))
    assert (call.method, call.path, call.content) == ("POST", COHORT_SYNC, b"{}")


@pytest.mark.parametrize(
    ("status", "error", "named"),
    [
        (403, FixConnection, "blocked"),
        (404, FixConnection, "data_center and base_url"),
        (415, FixConnection, "extra_headers"),
        (503, TryAgainLater, "in trouble"),
    ],
)
def test_the_connection_test_names_the_wrong_setting(status: int, error: type[Exception], named: str) -> None:
    with pytest.raises(error, match=named):
        ask(account().test(), refusal(status))


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("text", ["<html>Sign in</html>", "", "[]", '{"error": "no"}'])
def test_the_connection_test_is_not_taken_in_by_another_service(status: int, text: str) -> None:
    with pytest.raises(FixConnection, match="data_center and base_url"):
        ask(account().test(), answer(status, text=text))


@pytest.mark.parametrize("sign", '|*?\\:<>=$"')
def test_a_cohort_name_with_a_forbidden_character_is_refused_with_both_named(sign: str) -> None:
    with pytest.raises(FixDeclaration) as refused:
        Cohort("c-1", f"a{sign}b")
    assert "c-1" in str(refused.value) and str(refused.value).endswith(f"must not hold {sign}")


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"cohort_name": ".hidden"}, "begin with ."),
        ({"cohort_name": " "}, "cohort_name is empty"),
        ({"cohort_id": ""}, "cohort_id is empty"),
        ({"partner": ""}, "partner is empty"),
        ({"sync_type": "daily"}, "one_time or periodic"),
        ({"cohort_description": "x" * MAX_BODY}, "shorten it"),
    ],
)
def test_a_cohort_that_moengage_would_refuse_is_refused_when_it_is_declared(
    settings: dict[str, str], named: str
) -> None:
    with pytest.raises(FixDeclaration, match=named):
        Cohort(**{"cohort_id": "c-1", "cohort_name": "name", **settings})


def test_a_cohort_is_known_by_its_id_so_that_renaming_it_loses_nothing() -> None:
    assert str(COHORT.address("demo")) == "moengage/demo/cohort/active-90d"
    assert COHORT.address("demo") == Cohort("active-90d", "Another name").address("demo")


def test_a_cohort_has_the_audience_modes_and_no_others() -> None:
    assert set(COHORT.modes()) == {Mode.ADD, Mode.REMOVE, Mode.MIRROR}


def test_a_one_time_sync_fills_the_segment_once_and_takes_nobody_out() -> None:
    once = Cohort("c-1", "name", sync_type="one_time")
    once.check(Mode.ADD, ("uid",))
    with pytest.raises(FixDeclaration, match="mode add, not mirror"):
        once.check(Mode.MIRROR, ("uid",))


@pytest.mark.parametrize(("verb", "action"), [(Verb.ADD, "add_members"), (Verb.REMOVE, "remove_members")])
def test_a_request_holds_what_the_contract_says(verb: Verb, action: str) -> None:
    members = [operation(verb, 0, uid="7", anonymous_id="a"), operation(verb, 1, anonymous_id='ü"\\')]
    [call], receipt, error = hold(COHORT, members, [TAKEN])
    assert (call.method, call.path, call.headers) == ("POST", COHORT_SYNC, {"Content-Type": "application/json"})
    assert json.loads(call.content or b"") == {
        "action": action,
        "partner": "zeotap",
        "timestamp": "2024-05-01T12:00:00.007Z",
        "parameters": {
            "cohort_name": "Active in 90 days",
            "cohort_id": "active-90d",
            "cohort_description": "bought lately",
            "members": [{"uid": "7", "anonymous_id": "a"}, {"anonymous_id": 'ü"\\'}],
        },
    }
    assert receipt.everyone.fate is Fate.ACCEPTED and error is None
    assert "match" not in receipt.everyone.reason


def test_a_description_that_isnt_there_isnt_sent() -> None:
    [call], _, _ = hold(Cohort("c", "n"), [operation(Verb.ADD, uid="7")], [TAKEN])
    assert "cohort_description" not in json.loads(call.content or b"")["parameters"]


def test_a_moment_is_written_in_utc_with_milliseconds_even_when_they_are_none() -> None:
    assert timestamp(datetime(2024, 1, 1, tzinfo=UTC)) == "2024-01-01T00:00:00.000Z"
    assert timestamp(datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=2)))) == "2023-12-31T22:00:00.000Z"


def test_identical_members_are_asked_once() -> None:
    twice = [operation(Verb.REMOVE, row, anonymous_id="a") for row in (0, 1)]
    [call], receipt, _ = hold(COHORT, twice, [TAKEN])
    assert len(json.loads(call.content or b"")["parameters"]["members"]) == 1
    assert [receipt.outcome(o).fate for o in twice] == [Fate.ACCEPTED, Fate.ACCEPTED]


def test_no_identifier_is_named_twice_in_a_request_and_nobody_is_left_out() -> None:
    shared = 'a","anonymous_id":"b\\'
    some = [
        operation(Verb.ADD, 0, uid="1", anonymous_id=shared),
        operation(Verb.ADD, 1, uid="2", anonymous_id=shared),
        operation(Verb.ADD, 2, uid="3", anonymous_id="c"),
        operation(Verb.ADD, 3, anonymous_id="c"),
        operation(Verb.ADD, 4, uid=f'"anonymous_id":"{shared}'),
    ]
    [call], receipt, _ = hold(COHORT, some, [TAKEN])
    assert json.loads(call.content or b"")["parameters"]["members"] == [
        {"uid": "1", "anonymous_id": shared},
        {"uid": "2"},
        {"uid": "3"},
        {"anonymous_id": "c"},
        {"uid": f'"anonymous_id":"{shared}'},
    ]
    assert all(receipt.outcome(o).fate is Fate.ACCEPTED for o in some)


def test_a_member_without_identity_is_rejected_and_an_empty_list_is_never_sent() -> None:
    some = [operation(Verb.ADD, 0), operation(Verb.ADD, 1, uid="7")]
    [call], receipt, _ = hold(COHORT, some, [TAKEN])
    assert json.loads(call.content or b"")["parameters"]["members"] == [{"uid": "7"}]
    assert [receipt.outcome(o).fate for o in some] == [Fate.REJECTED, Fate.ACCEPTED]
    calls, receipt, _ = hold(COHORT, some[:1], [])
    assert not calls and receipt.everyone.fate is Fate.REJECTED


@pytest.mark.parametrize("letter", ["x", "ü", "\U0001f600", '"'])
def test_batches_cut_by_the_bytes_of_their_members_never_exceed_the_limit_with_the_envelope(letter: str) -> None:
    rows = [operation(Verb.ADD, row, uid=f"{row}{letter * (row % 97)}") for row in range(9_000)]
    for cohort in (COHORT, Cohort("ü" * 50, "€" * 50, "\U0001f600" * 500)):
        sizes = []
        for batch in cut(iter([rows[:4_000], rows[4_000:]]), cohort):
            [call], _, _ = hold(cohort, batch, [TAKEN])
            sizes.append(len(call.content or b""))
        assert len(sizes) > 2
        assert all(size <= MAX_BODY for size in sizes)
        assert all(size > MAX_BODY * 0.99 for size in sizes[:-1])


def test_a_request_that_is_too_large_all_the_same_is_split_and_untouched() -> None:
    _, receipt, error = hold(COHORT, [operation(Verb.ADD, r, uid=str(r)) for r in (0, 1)], [refusal(413)])
    assert receipt.split and receipt.everyone.untouched and error is None


def test_a_single_member_that_is_too_large_is_rejected() -> None:
    _, receipt, _ = hold(COHORT, [operation(Verb.ADD, uid="7")], [refusal(413)])
    assert receipt.everyone.fate is Fate.REJECTED and not receipt.split
    calls, receipt, _ = hold(COHORT, [operation(Verb.ADD, uid="7" * MAX_BODY)], [])
    assert not calls and receipt.everyone.fate is Fate.REJECTED and "too large" in receipt.everyone.reason


def test_a_refusal_keeps_the_services_request_id() -> None:
    _, receipt, _ = hold(COHORT, [operation(Verb.ADD, uid="7")], [refusal(400, "Bad uid", attribute="uid")])
    outcome = receipt.everyone
    assert (outcome.fate, outcome.request, outcome.status) == (Fate.REJECTED, "r-1", 400)
    assert outcome.reason == "HTTP 400: Error: Bad uid (uid)"


def test_a_refused_batch_is_split_where_a_row_may_be_at_fault() -> None:
    some = [operation(Verb.ADD, row, uid=str(row)) for row in (0, 1)]
    for refused in (refusal(400), refusal(400, attribute="parameters.members[0].uid")):
        assert hold(COHORT, some, [refused])[1].split


def test_a_refused_cohort_ends_the_run_and_blames_no_row() -> None:
    some = [operation(Verb.ADD, row, uid=str(row)) for row in (0, 1)]
    _, receipt, error = hold(COHORT, some, [refusal(400, "Invalid", attribute="cohort_name")])
    assert isinstance(error, FixTarget) and "cohort_name" in str(error)
    assert receipt.everyone.fate is Fate.DEFERRED and receipt.everyone.untouched


NOT_TAKEN = {
    "a login page": "<html>Sign in</html>",
    "a refusal": '{"status": "fail", "error": {"message": "no", "type": "Error", "request_id": "r-1"}}',
    "another word": '{"status": "queued"}',
    "no word": "{}",
    "a list": '["success"]',
    "cut off": '{"status": "succ',
    "nothing": "",
}


@pytest.mark.parametrize("text", NOT_TAKEN.values(), ids=NOT_TAKEN)
@pytest.mark.parametrize("status", [200, 202, 204])
def test_rows_count_as_accepted_only_where_moengage_says_so(status: int, text: str) -> None:
    _, receipt, error = hold(COHORT, [operation(Verb.ADD, uid="7")], [answer(status, text=text)])
    assert receipt.everyone.fate is Fate.DEFERRED and not receipt.everyone.untouched and error is None
    assert f"HTTP {status} without MoEngage's word" in receipt.everyone.reason


@pytest.mark.parametrize("status", [403, 404, 405, 415, 422])
def test_a_refusal_that_no_row_can_have_caused_ends_the_run(status: int) -> None:
    _, receipt, error = hold(COHORT, [operation(Verb.ADD, uid="7")], [refusal(status)])
    assert isinstance(error, FixConnection)
    assert receipt.everyone.fate is Fate.DEFERRED and receipt.everyone.untouched
    assert receipt.everyone.request == "r-1"


@pytest.mark.parametrize("status", [500, 502, 503, 504])
@pytest.mark.parametrize("text", ["<html>maintenance</html>", "", "[1]", '{"error": "down"}'])
def test_trouble_at_the_service_leaves_the_rows_owed_whatever_the_body_is(status: int, text: str) -> None:
    _, receipt, error = hold(COHORT, [operation(Verb.ADD, uid="7")], [answer(status, text=text)])
    assert receipt.everyone.fate is Fate.DEFERRED and not receipt.everyone.untouched and error is None


def test_a_member_costs_less_than_three_microseconds() -> None:
    body = '{"uid":"%d","anonymous_id":"a%d"}'
    members = tuple(Operation(row, Verb.ADD, body % (row, row)) for row in range(3_000))
    best = min(_seconds(members) for _ in range(5))
    assert best / len(members) < 3e-6


def _seconds(members: tuple[Operation, ...]) -> float:
    started = time.process_time()
    hold(COHORT, members, [TAKEN])
    return time.process_time() - started
