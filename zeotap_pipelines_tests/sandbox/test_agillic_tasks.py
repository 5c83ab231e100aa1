"""What an Agillic task accepted is applied when the task completes, and not before."""

import pytest

from zeotap_pipelines.sandbox import AgillicField, AgillicTable, Fault
from zeotap_pipelines_tests.sandbox.asking_agillic import (
    ADD,
    GROUP,
    REMOVE,
    STAGING,
    UPSERT,
    UPSERT_ROWS,
    Account,
    batch,
    failed,
    membership,
    person,
    rows,
)


def test_an_upsert_is_applied_when_its_task_completes_and_not_before():
    account = Account()
    account.agillic.put_recipients(person("a", FIRSTNAME="Ann", LASTNAME="B"))
    accepted = account.ask("POST", UPSERT, batch(person("a", LASTNAME=""), person("b")))
    assert accepted.status_code == 200 and set(accepted.json()) == {"taskId", "status"}
    assert accepted.json()["status"] == "queued"
    task = accepted.json()["taskId"]
    for word in ("pending", "running"):
        assert account.poll(task) == {"taskId": task, "status": word, "details": {"result": {"failed": []}}}
        assert account.agillic.recipients() == {"a": person("a", FIRSTNAME="Ann", LASTNAME="B")}
    assert account.poll(task) == {"taskId": task, "status": "completed", "details": {"result": {"failed": []}}}
    assert account.agillic.recipients() == {"a": person("a", FIRSTNAME="Ann"), "b": person("b")}
    assert account.poll(task)["status"] == "completed" and account.violations == []


def test_a_task_that_nobody_polls_is_done_after_a_while():
    account = Account(task_polls=None, task_seconds=30)
    task = account.upsert(person("a"))
    account.sandbox.clock.now += 29
    assert account.agillic.recipients() == {} and account.poll(task)["status"] == "pending"
    account.sandbox.clock.now += 1
    assert set(account.agillic.recipients()) == {"a"} and account.poll(task)["status"] == "completed"


def test_a_task_may_never_end_and_may_say_words_that_nobody_knows():
    account = Account(task_polls=None, task_seconds=None, task_words=("queued", "reticulating"))
    task = account.upsert(person("a"))
    account.sandbox.clock.now += 7000
    assert {account.poll(task)["status"] for _ in range(9)} == {"reticulating"}
    assert account.agillic.recipients() == {}


def test_one_bad_record_fails_alone():
    account = Account()
    task = account.upsert(
        person("good"), person("bad-1"), person("x", NICKNAME="y"), person("y", LAST_PURCHASE="2024-01-01")
    )
    answer = account.settle(task)
    assert answer["status"] == "completed"
    assert failed(answer) == {
        "bad-1": "The recipient could not be saved",
        "x": "Unknown field NICKNAME",
        "y": "LAST_PURCHASE is not a date of the form dd.MM.yyyy",
    }
    assert set(account.agillic.recipients()) == {"good"} and account.violations == []


def test_who_is_refused_is_a_setting():
    account = Account(accepts=lambda recipient: recipient != "a")
    assert set(failed(account.settle(account.upsert(person("a"), person("bad-1"))))) == {"a"}


def test_a_new_recipient_needs_an_email_and_a_known_one_keeps_theirs():
    account = Account(id_field="CUSTOMER_ID")
    account.agillic.put_recipients(person("a@b.dk", CUSTOMER_ID="1"))
    people = ({"CUSTOMER_ID": "1", "FIRSTNAME": "Ann"}, {"CUSTOMER_ID": "2"}, {"CUSTOMER_ID": 3, "EMAIL": "c@b.dk"})
    task = account.ask("POST", UPSERT, batch(*people, id_field="CUSTOMER_ID")).json()["taskId"]
    assert failed(account.settle(task)) == {"2": "EMAIL is required"}
    assert account.agillic.recipients()["1"] == {"CUSTOMER_ID": "1", "EMAIL": "a@b.dk", "FIRSTNAME": "Ann"}
    assert set(account.agillic.recipients()) == {"1", "3"}


def test_a_thousand_recipients_and_a_hundred_members_are_taken():
    account = Account()
    people = [person(f"{number}") for number in range(1000)]
    account.settle(account.upsert(*people))
    assert account.ask("POST", ADD, membership(*(one["EMAIL"] for one in people[:100]))).json() == {}
    assert len(account.agillic.recipients()) == 1000 and len(account.agillic.group(GROUP)) == 100


def test_a_failed_task_applies_nothing():
    account = Account()
    account.sandbox.faults.add(Fault(kind="task_failure", service="agillic", nth=1))
    assert account.settle(account.upsert(person("a")))["status"] == "failed"
    assert account.agillic.recipients() == {}
    assert account.settle(account.upsert(person("a")))["status"] == "completed"
    assert set(account.agillic.recipients()) == {"a"}


def test_how_a_task_ends_can_be_chosen_by_its_number():
    account = Account(task_ending=lambda number: {1: "failed", 2: "lost"}.get(number, "completed"))
    first, second, third = (account.upsert(person(one)) for one in "abc")
    assert account.settle(first)["status"] == "failed"
    assert account.ask("GET", f"/recipients/v2/task/{second}").status_code == 404
    assert account.settle(third)["status"] == "completed"
    account.sandbox.clock.now += 3600
    assert set(account.agillic.recipients()) == {"c"}
    assert [task.status for task in account.agillic.tasks()] == ["failed", "lost", "completed"]
    assert account.violations == []


def test_a_task_can_be_lost_while_it_is_under_way_and_not_after():
    account = Account()
    first, second = account.upsert(person("a")), account.upsert(person("b"))
    account.settle(first)
    for task in (first, second):
        account.agillic.lose_task(task)
    assert account.poll(first)["status"] == "completed"
    assert account.ask("GET", f"/recipients/v2/task/{second}").status_code == 404


def test_a_task_can_be_held_up():
    account = Account()
    account.sandbox.faults.add(Fault(kind="propagation_delay", seconds=600, nth=1))
    task = account.upsert(person("a"))
    account.sandbox.clock.now += 599
    assert [account.poll(task)["status"] for _ in range(5)] == ["queued"] * 5
    assert account.agillic.recipients() == {}
    account.sandbox.clock.now += 1
    assert set(account.agillic.recipients()) == {"a"}


def test_several_tasks_are_under_way_at_once_and_each_is_applied_on_its_own():
    account = Account()
    first, second = account.upsert(person("a", FIRSTNAME="1")), account.upsert(person("a", FIRSTNAME="2"))
    account.settle(second)
    assert account.agillic.recipients()["a"]["FIRSTNAME"] == "2"
    account.settle(first)
    assert account.agillic.recipients()["a"]["FIRSTNAME"] == "1"


def test_a_task_is_known_to_the_instance_that_accepted_it():
    account = Account()
    task = account.upsert(person("a"))
    assert Account(account.sandbox, STAGING).ask("GET", f"/recipients/v2/task/{task}").status_code == 404
    assert account.ask("GET", "/recipients/v2/task/made-up").status_code == 404
    account.settle(task)
    assert account.agillic.recipients(instance="staging") == {}


@pytest.mark.parametrize("known", [True, False])
def test_an_add_that_does_not_wait_for_its_upsert_is_refused(known):
    account = Account()
    if known:
        account.agillic.put_recipients(person("a"))
    task = account.upsert(person("a"))
    assert account.ask("POST", ADD, membership("a")).status_code == 409
    assert len(account.violations) == 1 and account.agillic.group(GROUP) == set()
    account.settle(task)
    assert account.ask("POST", ADD, membership("a")).is_success
    assert len(account.violations) == 1 and account.agillic.group(GROUP) == {"a"}


def test_a_recipient_whose_upsert_failed_is_not_added_until_one_succeeds():
    account = Account()
    account.agillic.put_recipients(person("a"))
    account.settle(account.upsert(person("a", SPEND_90D="much")))
    assert account.ask("POST", ADD, membership("a")).status_code == 409
    account.settle(account.upsert(person("a", SPEND_90D="12.50")))
    assert account.ask("POST", ADD, membership("a")).status_code == 200
    assert len(account.violations) == 1


def test_a_removal_waits_for_nothing():
    account = Account()
    account.agillic.put_recipients(person("a"))
    account.agillic.put_members(GROUP, "a")
    account.upsert(person("a"))
    assert account.ask("POST", REMOVE, membership("a")).json() == {}
    assert account.agillic.group(GROUP) == set() and account.violations == []


def test_a_row_is_known_by_recipient_and_key():
    account = Account()
    account.agillic.put_recipients(person("a"), person("b"))
    first = rows({"a": [{"PURCHASE_ID": "1", "CDS": 2, "DOLLARS": "9.99"}], "b": [{"PURCHASE_ID": "1", "CDS": 1}]})
    task = account.ask("POST", UPSERT_ROWS, first).json()["taskId"]
    assert account.agillic.rows("PURCHASES") == []
    account.settle(task)
    second = rows({"a": [{"PURCHASE_ID": "1", "CDS": 3, "DOLLARS": ""}, {"PURCHASE_ID": "2"}]})
    account.settle(account.ask("POST", UPSERT_ROWS, second).json()["taskId"])
    assert account.agillic.rows("PURCHASES", "a") == [{"PURCHASE_ID": "1", "CDS": 3}, {"PURCHASE_ID": "2"}]
    assert account.agillic.rows("PURCHASES", "b") == [{"PURCHASE_ID": "1", "CDS": 1}]
    assert account.agillic.state()["production"]["tables"]["PURCHASES"].keys() == {"a", "b"}
    assert account.violations == []


def test_a_recipient_with_one_bad_row_gets_none_of_them():
    account = Account()
    account.agillic.put_recipients(*(person(one) for one in "abcd"))
    given = {
        "a": [{"PURCHASE_ID": "1"}, {"PURCHASE_ID": "2", "PURCHASED_ON": "2024-01-01"}],
        "b": [{"CDS": 1}],
        "c": [{"PURCHASE_ID": "1", "cds": 1}],
        "d": [{"PURCHASE_ID": "1", "PURCHASED_ON": "01.01.2024"}],
        "ghost": [{"PURCHASE_ID": "1"}],
    }
    answer = account.settle(account.ask("POST", UPSERT_ROWS, rows(given)).json()["taskId"])
    assert failed(answer) == {
        "a": "PURCHASED_ON is not a date of the form dd.MM.yyyy",
        "b": "PURCHASE_ID is required",
        "c": "Unknown field cds",
        "ghost": "Recipient not found",
    }
    assert account.agillic.rows("PURCHASES") == [{"PURCHASE_ID": "1", "PURCHASED_ON": "01.01.2024"}]


def test_a_table_is_named_exactly_and_has_a_key_of_its_own():
    account = Account(tables=(AgillicTable("Visits", "DAY", (AgillicField("DAY", "DATE"), AgillicField("PAGE"))),))
    account.agillic.put_recipients(person("a"))
    visit = {"a": [{"DAY": "01.01.2024", "PAGE": "x"}, {"DAY": "01.01.2024", "PAGE": "y"}]}
    assert account.ask("POST", UPSERT_ROWS, rows(visit, "visits")).status_code == 404
    account.settle(account.ask("POST", UPSERT_ROWS, rows(visit, "Visits")).json()["taskId"])
    assert account.agillic.rows("Visits", "a") == [{"DAY": "01.01.2024", "PAGE": "y"}]
