"""The stand-in of CrowdTwist credits what it is asked to, as often as it is asked, and remembers each time."""

import pytest

from zeotap_pipelines.sandbox import Activity, Cap, Fault
from zeotap_pipelines_tests.sandbox.asking_crowdtwist import ANNA, account, credit, send


@pytest.fixture
def joined():
    def made(**settings):
        sandbox = account(**settings)
        return sandbox, sandbox.crowdtwist.put_user(**ANNA)

    return made


def test_the_activities_are_a_bare_list():
    sandbox = account(activities=(Activity(id="7", name="Visit", points=1),))
    answer = send(sandbox, "GET", "/v2/activities")
    assert answer.json() == [{"id": "7", "name": "Visit", "points": 1}]
    assert sandbox.violations == []


def test_a_credit_brings_its_own_points_or_those_of_the_activity(joined):
    sandbox, anna = joined()
    assert credit(sandbox).json() == {"awarded": True}
    given = {"num_points": 5, "activity_date": 1_600_000_000, "extra_data": {"event_id": "e-1"}}
    assert credit(sandbox, str(anna), "id", **given).json() == {"awarded": True}
    plain, full = sandbox.crowdtwist.credits(anna)
    assert (plain.points, plain.num_points, plain.activity_date, plain.extra_data) == (10, None, None, {})
    assert (full.points, full.activity_date, full.extra_data) == (5, 1_600_000_000, {"event_id": "e-1"})
    assert sandbox.crowdtwist.points() == sandbox.crowdtwist.points(anna) == 15
    assert sandbox.crowdtwist.counts() == {(anna, "1001"): 2}
    assert sandbox.violations == []


def test_a_credit_that_is_asked_twice_is_credited_twice(joined):
    sandbox, anna = joined()
    for event in ("e-1", "e-2", "e-1", "e-1"):
        assert credit(sandbox, num_points=1, activity_date=1, extra_data={"event_id": event}).is_success
    assert sandbox.crowdtwist.doubles("event_id") == {"e-1": 3}
    assert sandbox.crowdtwist.doubles() == {(anna, "1001", 1, 1): 4}
    assert sandbox.crowdtwist.points() == 4


def test_a_lost_answer_is_a_credit_all_the_same(joined):
    sandbox, _ = joined()
    sandbox.faults.add(Fault(kind="status", status=504, applied=True, nth=1))
    assert [credit(sandbox).status_code for _ in range(2)] == [504, 200]
    assert sandbox.crowdtwist.points() == 20


def test_an_unknown_activity_is_a_generic_error_and_no_violation(joined):
    sandbox, _ = joined()
    answer = credit(sandbox, activity_id="404")
    assert answer.status_code == 400 and "activity" not in answer.text
    assert sandbox.crowdtwist.credits() == [] and sandbox.violations == []


def test_beyond_its_cap_an_activity_is_acknowledged_and_not_awarded(joined):
    sandbox, anna = joined(activities=(Activity(id="1001", name="Visit", points=3, cap=Cap(awards=2, seconds=60)),))
    assert [credit(sandbox).json()["awarded"] for _ in range(3)] == [True, True, False]
    assert sandbox.crowdtwist.points(anna) == 6 and len(sandbox.crowdtwist.credits()) == 3
    sandbox.clock.now += 60
    assert credit(sandbox).json() == {"awarded": True}


def test_the_same_credit_in_rapid_succession_is_already_processed(joined):
    sandbox, _ = joined(repeat_window=5)
    assert credit(sandbox, extra_data={"event_id": "1"}).is_success
    again = credit(sandbox, extra_data={"event_id": "1"})
    assert (again.status_code, again.json()["message"]) == (400, "Event already processed")
    assert credit(sandbox, extra_data={"event_id": "2"}).is_success
    sandbox.clock.now += 5
    assert credit(sandbox, extra_data={"event_id": "1"}).is_success
    assert len(sandbox.crowdtwist.credits()) == 3 and sandbox.violations == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"activity_id": 1001},
        {"activity_id": ""},
        {"activity_id": None},
        {"activity_id": "1001", "num_points": "5"},
        {"activity_id": "1001", "num_points": 5.0},
        {"activity_id": "1001", "num_points": True},
        {"activity_id": "1001", "num_points": None},
        {"activity_id": "1001", "activity_date": "2025-01-01"},
        {"activity_id": "1001", "activity_date": 1_600_000_000_000},
        {"activity_id": "1001", "activity_date": 1.5},
        {"activity_id": "1001", "extra_data": "e-1"},
        {"activity_id": "1001", "extra_data": None},
        {"activity_id": "1001", "event_id": "e-1"},
        {"activity_id": "1001", "user_id": "anna@example.com"},
        {"activity_id": "1001", "custom_data": {}},
    ],
)
def test_a_credit_of_another_shape_is_refused_and_not_credited(joined, body):
    sandbox, anna = joined()
    for user in (anna, 404):
        assert send(sandbox, "POST", f"/v2/users/{user}/activities?id_type=id", body).status_code == 400
    assert len(sandbox.violations) == 2 and sandbox.crowdtwist.credits() == []


def test_a_credit_needs_an_id_type(joined):
    sandbox, anna = joined()
    assert send(sandbox, "POST", f"/v2/users/{anna}/activities", {"activity_id": "1001"}).status_code == 400
    assert len(sandbox.violations) == 1 and sandbox.crowdtwist.credits() == []
