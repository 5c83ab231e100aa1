"""The stand-in of MoEngage does what the contract says."""

import pytest

from zeotap_pipelines.sandbox import MOENGAGE_SECRET, Fault, Sandbox, SandboxTransport
from zeotap_pipelines_tests.sandbox.asking_moengage import account, body, send


def test_an_added_member_is_in_the_cohort_and_a_removed_one_is_not():
    sandbox = account()
    answer = send(sandbox, body("add_members", {"uid": "1"}, {"uid": "2"}))
    assert answer.status_code == 200 and answer.json()["status"] == "success"
    assert "accepted" in answer.json()["message"] and set(answer.json()) == {"status", "message"}
    assert send(sandbox, body("remove_members", {"uid": "1"}, {"uid": "never-there"}, at=2)).is_success
    assert sandbox.moengage.members("c-1") == {"2"}
    assert sandbox.violations == []


def test_the_first_add_creates_the_cohort_and_a_removal_creates_none():
    sandbox = account()
    assert send(sandbox, body("remove_members", {"uid": "1"})).is_success
    assert sandbox.moengage.cohorts() == {}
    assert send(sandbox, body(at=2, cohort_description="bought lately")).is_success
    assert sandbox.state()["moengage"] == {
        "cohorts": [{"id": "c-1", "name": "Active", "description": "bought lately", "members": ["1"]}]
    }


def test_a_renamed_cohort_keeps_its_id_and_its_members():
    sandbox = account()
    send(sandbox, body("add_members", {"uid": "1"}))
    send(sandbox, body("add_members", {"uid": "2"}, at=2, cohort_name="Active buyers"))
    assert sandbox.moengage.cohorts() == {"c-1": "Active buyers"}
    send(sandbox, body("remove_members", {"uid": "2"}, at=3, cohort_name="Buyers"))
    assert sandbox.moengage.cohorts() == {"c-1": "Buyers"}
    assert sandbox.moengage.members("c-1") == {"1"}


def test_people_are_found_by_uid_first_and_else_by_anonymous_id():
    sandbox = account()
    answer = send(
        sandbox,
        body(
            "add_members",
            {"uid": "1", "anonymous_id": "a1"},
            {"uid": "stranger", "anonymous_id": "a2"},
            {"anonymous_id": "a3"},
        ),
    )
    assert answer.is_success
    assert sandbox.moengage.persons("c-1") == {("uid", "1"), ("anonymous_id", "a2"), ("anonymous_id", "a3")}


def test_unknown_users_are_unmatched_without_a_word_and_the_cohort_is_there():
    sandbox = account(exists=lambda identifier: False)
    answer = send(sandbox, body("add_members", {"uid": "1"}, {"anonymous_id": "a1"}))
    assert answer.json()["status"] == "success"
    assert sandbox.moengage.cohorts() == {"c-1": "Active"} and sandbox.moengage.members("c-1") == set()
    assert sandbox.log[-1].note == "2 of 2 unmatched" and sandbox.violations == []


def test_a_uid_and_an_anonymous_id_of_the_same_text_are_two_people():
    sandbox = account()
    assert send(sandbox, body("add_members", {"uid": "7"}, {"anonymous_id": "7"})).is_success
    send(sandbox, body("remove_members", {"anonymous_id": "7"}, at=2))
    assert sandbox.moengage.persons("c-1") == {("uid", "7")}


def test_removing_the_old_anonymous_id_of_somebody_who_registered_takes_the_person_out():
    sandbox = account()
    send(sandbox, body("add_members", {"anonymous_id": "a1"}))
    sandbox.moengage.link("a1", "1")
    assert sandbox.moengage.members("c-1") == {"1"}
    send(sandbox, body("add_members", {"uid": "1"}, at=2))
    assert sandbox.moengage.members("c-1") == {"1"}
    send(sandbox, body("remove_members", {"anonymous_id": "a1"}, at=3))
    assert sandbox.moengage.members("c-1") == set()


def test_members_that_were_there_before_stay():
    sandbox = account()
    sandbox.moengage.put_members("c-1", "old", name="Theirs")
    send(sandbox, body())
    assert sandbox.moengage.members("c-1") == {"old", "1"}


@pytest.mark.parametrize("at", [1, 2])
def test_a_timestamp_that_is_not_after_the_cohorts_last_is_refused_and_changes_nothing(at):
    sandbox = account()
    send(sandbox, body("add_members", {"uid": "1"}, at=2))
    late = send(sandbox, body("remove_members", {"uid": "1"}, at=at))
    assert (late.status_code, late.json()["error"]["attribute"]) == (400, "timestamp")
    assert len(sandbox.violations) == 1 and sandbox.moengage.members("c-1") == {"1"}


def test_order_is_kept_within_a_cohort_and_not_between_cohorts():
    sandbox = account()
    assert send(sandbox, body(at=2)).is_success
    assert send(sandbox, body(at=1, cohort_id="c-2")).is_success
    assert send(sandbox, body(at=2.001)).is_success
    assert sandbox.violations == []


def test_order_is_kept_over_a_restart(tmp_path):
    with Sandbox(tmp_path / "state") as sandbox:
        assert send(sandbox, body(at=2)).is_success
    with Sandbox(tmp_path / "state") as sandbox:
        assert send(sandbox, body(at=1)).status_code == 400


def test_a_retry_of_the_same_request_keeps_its_timestamp():
    sandbox = account()
    sandbox.faults.add(Fault(kind="status", status=503, applied=True, nth=1), Fault(kind="status", status=503, nth=2))
    assert [send(sandbox, body()).status_code for _ in range(3)] == [503, 503, 200]
    assert sandbox.moengage.members("c-1") == {"1"} and sandbox.violations == []


def test_too_large_a_body_is_refused_as_documented_and_does_nothing():
    sandbox = account()
    answer = send(sandbox, body("add_members", *({"uid": f"{n:0100}"} for n in range(1200))))
    assert answer.status_code == 413
    assert "can not exceed 128KB" in answer.json()["error"]["message"]
    assert answer.json()["error"]["type"] == "Payload too large"
    assert sandbox.moengage.cohorts() == {} and sandbox.violations == []


def test_a_half_of_what_was_too_large_takes_a_time_of_its_own():
    sandbox = account(max_bytes=200)
    members = [{"uid": str(n)} for n in range(10)]
    assert send(sandbox, body("add_members", *members)).status_code == 413
    assert send(sandbox, body("add_members", *members[:1])).status_code == 400
    assert len(sandbox.violations) == 1
    assert send(sandbox, body("add_members", *members[:1], at=1.001)).is_success


def test_the_301st_request_of_a_minute_is_refused():
    sandbox = account()
    transport = SandboxTransport(sandbox)
    assert {send(transport, body(at=n / 10)).status_code for n in range(300)} == {200}
    late = send(transport, body(at=40))
    assert (late.status_code, late.json()["error"]["type"]) == (429, "Rate Limits Exceeded")
    assert late.headers["retry-after"] == "60" and late.json()["error"]["request_id"]
    sandbox.clock.now += 60
    assert send(transport, body(at=40)).is_success
    assert sandbox.violations == []


def test_a_request_id_can_be_found_in_the_log_and_a_secret_cannot():
    sandbox = account()
    ids = [send(sandbox, body(members=[])).json()["error"]["request_id"] for _ in range(2)]
    assert ids[0] != ids[1]
    assert all(one in entry.note for one, entry in zip(ids, sandbox.log, strict=True))
    assert MOENGAGE_SECRET not in repr(sandbox.log)


def test_a_reset_loses_cohorts_links_and_order():
    sandbox = account()
    sandbox.moengage.link("a1", "1")
    send(sandbox, body(at=2))
    sandbox.reset()
    assert sandbox.moengage.cohorts() == {}
    assert send(sandbox, body("add_members", {"anonymous_id": "a1"})).is_success
    assert sandbox.moengage.persons("c-1") == {("anonymous_id", "a1")}
