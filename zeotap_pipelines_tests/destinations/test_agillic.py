"""Agillic's conversations, held by hand."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import duckdb
import httpx
import pytest
from pydantic import SecretStr, ValidationError

from zeotap_pipelines.destinations.agillic import Agillic, AgillicTarget
from zeotap_pipelines.destinations.agillic_groups import ADD, PATIENCE, REMOVE, AgillicTargetGroup
from zeotap_pipelines.destinations.agillic_recipients import UPSERT, AgillicRecipients
from zeotap_pipelines.destinations.agillic_tables import AgillicTable
from zeotap_pipelines.destinations.base import Limits, Target, Visit
from zeotap_pipelines.errors import FixConnection, FixDeclaration, FixTarget, TryAgainLater
from zeotap_pipelines.model import (
    Batch,
    Call,
    Fate,
    Halt,
    Mode,
    Operation,
    Outcome,
    Question,
    Receipt,
    Task,
    Unanswered,
    Verb,
)

Answer = httpx.Response | Outcome
Service = Callable[[Call], Answer]

RECIPIENTS = AgillicRecipients("crm")
GROUP = AgillicTargetGroup("Club")
TABLE = AgillicTable("PURCHASE", "PURCHASE_ID", "shop")
LOST = Outcome(Fate.DEFERRED, "the answer did not come in time")
UNSENT = Outcome(Fate.DEFERRED, "the connection could not be made", untouched=True)


def batch(verb: Verb, count: int = 1, **fields: str) -> Batch:
    people = ({"EMAIL": f"p{n}@x.dk", **fields} for n in range(count))
    return of(verb, *people)


def of(verb: Verb, *bodies: Mapping[str, str], repeated: bool = False) -> Batch:
    operations = (
        Operation(row, verb, json.dumps(body, ensure_ascii=False), repeated) for row, body in enumerate(bodies)
    )
    return Batch(tuple(operations), datetime(1997, 9, 1, tzinfo=UTC))


def answer(status: int = 200, said: Any = None) -> httpx.Response:
    return httpx.Response(status, json={} if said is None else said)


def sent(call: Call) -> dict[str, Any]:
    assert call.headers == {"Content-Type": "application/json; charset=utf-8"}
    assert call.content is not None
    found: dict[str, Any] = json.loads(call.content)
    return found


def hold(target: Target, asked: Batch, service: Service) -> tuple[Receipt, list[Call], list[str]]:
    calls: list[Call] = []
    tasks: list[str] = []
    conversation = target.converse(asked, Visit())
    try:
        step = next(conversation)
        while True:
            if isinstance(step, Task):
                tasks.append(step.id)
                step = next(conversation)
                continue
            calls.append(step)
            said = service(step)
            step = conversation.throw(Unanswered(said)) if isinstance(said, Outcome) else conversation.send(said)
    except StopIteration as end:
        return end.value, calls, tasks


def ask(question: Question, service: Service) -> list[Call]:
    calls: list[Call] = []
    try:
        call = next(question)
        while True:
            calls.append(call)
            said = service(call)
            assert isinstance(said, httpx.Response)
            call = question.send(said)
    except StopIteration:
        return calls


def script(*answers: Answer) -> Service:
    left = list(answers)
    return lambda call: left.pop(0)


def fates(receipt: Receipt, asked: Batch) -> list[Fate]:
    return [receipt.outcome(operation).fate for operation in asked]


def reasons(receipt: Receipt, asked: Batch) -> list[str]:
    return [receipt.outcome(operation).reason for operation in asked]


def task(status: str, *failed: tuple[str, str]) -> httpx.Response:
    names = [{"recipientId": identity, "error": error} for identity, error in failed]
    return answer(200, {"taskId": "t-1", "status": status, "details": {"result": {"failed": names}}})


STARTED = answer(200, {"taskId": "t-1", "status": "queued"})


def discovery(**changes: Any) -> Service:
    fields = [
        {"name": "EMAIL", "type": "STRING", "identifier": True},
        {"name": "CUSTOMER_ID", "type": "STRING", "identifier": True},
        {"name": "FIRSTNAME", "type": "STRING", "identifier": False},
    ]
    table = [
        {"name": "PURCHASE_ID", "type": "STRING", "identifier": True},
        {"name": "PRICE", "type": "NUMBER", "identifier": False},
    ]
    groups = [
        {"name": "Club", "static": True},
        {"name": "Computed", "static": False},
        {"name": "Unclear", "static": None},
    ]
    known = {
        "/discovery/persondata": {"name": "PERSONDATA", "fields": fields},
        "/discovery/targetgroups": groups,
        "/discovery/onetomany": ["PURCHASE", "CARS"],
        "/discovery/onetomany/PURCHASE": {"name": "PURCHASE", "fields": table},
    }
    return lambda call: changes.get(call.path.rsplit("/", 1)[1]) or answer(200, known[call.path])


def account(**settings: Any) -> Agillic:
    given = {"account": "demo", "base_url": "https://api-eu1.agillic.net", "developer_key": "k"}
    return Agillic(**(given | {"developer_secret": SecretStr("very-secret")} | settings))


# The connection.


def test_a_day_has_five_calls_for_each_active_recipient_and_five_thousand_on_staging() -> None:
    assert account(unique_active_recipients=1200).limits() == Limits(concurrency=20, per_day=6000)
    assert account(unique_active_recipients=1200, staging=True).limits().per_day == 5000
    assert account().limits().per_day is None


def test_a_wrong_setting_is_named_and_no_secret_is_shown() -> None:
    for setting, value in {
        "base_url": "api-eu1.agillic.net",
        "developer_key": "",
        "concurrency": 21,
        "unique_active_recipients": 0,
        "credentials_in": "query",
    }.items():
        with pytest.raises(ValidationError) as refused:
            account(**{setting: value})
        assert setting in str(refused.value)
    assert "very-secret" not in repr(account())


def test_every_setting_is_described() -> None:
    assert [name for name, field in Agillic.model_fields.items() if not field.description] == []


def test_the_connection_test_only_reads() -> None:
    calls = ask(account().test(), discovery())
    assert [(call.method, call.path) for call in calls] == [("GET", "/discovery/persondata")]


@pytest.mark.parametrize(
    ("said", "error", "naming"),
    [
        (answer(403), FixConnection, "permission"),
        (answer(404), FixConnection, "base_url"),
        (httpx.Response(200, text="<html>"), FixConnection, "base_url"),
        (answer(200, ["x"]), FixConnection, "base_url"),
        (answer(503), TryAgainLater, "503"),
    ],
)
def test_the_connection_test_names_what_is_wrong(said: httpx.Response, error: type[Exception], naming: str) -> None:
    with pytest.raises(error, match=naming):
        ask(account().test(), script(said))


# What is asked before anything is sent.


@pytest.mark.parametrize("target", [RECIPIENTS, GROUP, TABLE])
def test_a_preflight_only_reads_and_passes_where_everything_exists(target: AgillicTarget) -> None:
    fields = ("EMAIL", "PURCHASE_ID", "PRICE") if target is TABLE else ("EMAIL", "FIRSTNAME")
    assert {call.method for call in ask(target.preflight(Visit(fields=fields)), discovery())} == {"GET"}


def test_a_mapped_field_that_agillic_lacks_is_named_with_its_right_spelling() -> None:
    with pytest.raises(FixTarget, match=r"SHOE_SIZE.*firstname.*FIRSTNAME exists"):
        ask(RECIPIENTS.preflight(Visit(fields=("EMAIL", "firstname", "SHOE_SIZE"))), discovery())
    with pytest.raises(FixTarget, match=r"'PURCHASE' has no field COLOUR"):
        ask(TABLE.preflight(Visit(fields=("EMAIL", "PURCHASE_ID", "COLOUR"))), discovery())


def test_a_recipient_id_field_that_is_missing_or_identifies_nobody_is_named() -> None:
    with pytest.raises(FixTarget, match="MOBILE"):
        ask(replace(RECIPIENTS, recipient_id_field="MOBILE").preflight(Visit()), discovery())
    with pytest.raises(FixTarget, match=r"FIRSTNAME is no identifier.*EMAIL, CUSTOMER_ID"):
        ask(replace(RECIPIENTS, recipient_id_field="FIRSTNAME").preflight(Visit()), discovery())


def test_a_group_that_is_missing_is_named() -> None:
    with pytest.raises(FixTarget, match=r"club \(names are case-sensitive: Club exists\)"):
        ask(AgillicTargetGroup("club").preflight(Visit()), discovery())


@pytest.mark.parametrize("name", ["Computed", "Unclear"])
def test_a_group_that_is_not_static_is_refused(name: str) -> None:
    with pytest.raises(FixTarget, match=f"{name}.*dynamic groups are read-only via the API"):
        ask(AgillicTargetGroup(name).preflight(Visit()), discovery())


def test_a_table_that_is_missing_and_a_field_that_is_no_record_id_are_named() -> None:
    with pytest.raises(FixTarget, match=r"purchase \(names are case-sensitive: PURCHASE exists\)"):
        ask(AgillicTable("purchase", "PURCHASE_ID", "shop").preflight(Visit()), discovery())
    with pytest.raises(FixTarget, match=r"PRICE is no identifier.*PURCHASE_ID"):
        ask(AgillicTable("PURCHASE", "PRICE", "shop").preflight(Visit()), discovery())


# What a target is.


def test_targets_have_the_modes_of_the_source_document() -> None:
    assert set(AgillicRecipients.modes()) == {Mode.UPSERT, Mode.INSERT, Mode.UPDATE}
    assert set(AgillicTargetGroup.modes()) == {Mode.ADD, Mode.REMOVE, Mode.MIRROR, Mode.UPSERT}
    assert set(AgillicTable.modes()) == {Mode.UPSERT}
    assert AgillicTargetGroup.modes()[Mode.UPSERT] == AgillicTargetGroup.modes()[Mode.ADD]


def test_batches_are_as_long_as_their_requests() -> None:
    assert [RECIPIENTS.batch_items(verb) for verb in (Verb.UPSERT, Verb.INSERT, Verb.UPDATE)] == [1000, 1, 1]
    assert [GROUP.batch_items(verb) for verb in (Verb.ADD, Verb.REMOVE)] == [1000, 100]
    assert TABLE.batch_items(Verb.UPSERT) == 1000


def test_streams_and_tables_have_addresses_of_their_own() -> None:
    named = [RECIPIENTS, AgillicRecipients("shop"), GROUP, TABLE, replace(TABLE, table="CARS")]
    assert len({str(target.address("demo")) for target in named}) == len(named)


def _holds(condition: str, email: str | None) -> Any:
    with duckdb.connect() as connection:
        query = "SELECT " + condition.replace("{EMAIL}", "email") + " FROM (SELECT CAST(? AS VARCHAR) AS email)"
        [(found,)] = connection.execute(query, [email]).fetchall()
    return found


def test_an_email_address_is_required_whatever_identifies_a_recipient() -> None:
    for target in (AgillicRecipients("crm", recipient_id_field="CUSTOMER_ID"), GROUP):
        assert target.required == ("EMAIL",)
        [(_, condition)] = target.invalid()
        assert [_holds(condition, email) for email in (None, "", "  ", "a@b.dk", " a@b.dk", "ü@b.dk")] == [
            *(True, True, True),
            *(False, False, False),
        ]


def test_a_record_is_identified_by_recipient_and_record_together() -> None:
    assert TABLE.composite
    assert TABLE.identity == ("EMAIL", "PURCHASE_ID")
    with pytest.raises(FixDeclaration, match="PURCHASE_ID"):
        TABLE.check(Mode.UPSERT, ("EMAIL", "PRICE"))


@pytest.mark.parametrize(
    ("made", "naming"),
    [
        (lambda: AgillicRecipients("my stream"), "stream"),
        (lambda: AgillicRecipients("crm", recipient_id_field="E MAIL"), "recipient_id_field"),
        (lambda: AgillicRecipients("crm", task_deadline=0), "task_deadline"),
        (lambda: AgillicTargetGroup(" "), "group"),
        (lambda: AgillicTable("PURCHASE", "EMAIL", "shop"), "record_id_field"),
    ],
)
def test_an_impossible_target_is_refused_by_the_name_of_its_setting(made: Callable[[], Target], naming: str) -> None:
    with pytest.raises(FixDeclaration, match=naming):
        made()


# Upsert.


def test_an_upsert_sends_the_rows_own_texts_and_waits_for_its_task() -> None:
    asked = batch(Verb.UPSERT, 3, FIRSTNAME="Søren")
    receipt, calls, tasks = hold(RECIPIENTS, asked, script(STARTED, task("queued"), task("completed")))
    assert sent(calls[0]) == {
        "details": {
            "recipientIdField": "EMAIL",
            "recipients": [{"personData": {"EMAIL": f"p{n}@x.dk", "FIRSTNAME": "Søren"}} for n in range(3)],
        }
    }
    assert [(call.method, call.path) for call in calls[1:]] == [("GET", "/recipients/v2/task/t-1")] * 2
    assert tasks == ["t-1"]
    assert fates(receipt, asked) == [Fate.ACCEPTED] * 3
    assert receipt.everyone.request == "t-1"


def test_a_recipient_that_failed_is_rejected_with_the_error_and_without_its_address() -> None:
    asked = batch(Verb.UPSERT, 3)
    service = script(STARTED, task("completed", ("P1@x.dk ", "p1@x.dk: MOBILE is malformed")))
    receipt, _, _ = hold(RECIPIENTS, asked, service)
    assert fates(receipt, asked) == [Fate.ACCEPTED, Fate.REJECTED, Fate.ACCEPTED]
    assert "MOBILE is malformed (check that every required" in reasons(receipt, asked)[1]
    assert "x.dk" not in reasons(receipt, asked)[1]


def test_a_failure_of_nobody_in_the_batch_is_looked_for_in_halves() -> None:
    asked = batch(Verb.UPSERT, 2)
    receipt, _, _ = hold(RECIPIENTS, asked, script(STARTED, task("completed", ("?", "malformed"))))
    assert receipt.split
    alone = batch(Verb.UPSERT)
    receipt, _, _ = hold(RECIPIENTS, alone, script(STARTED, task("completed", ("?", "malformed"))))
    assert fates(receipt, alone) == [Fate.REJECTED]


@pytest.mark.parametrize(
    "end",
    [task("failed"), answer(404), answer(500), LOST, UNSENT],
    ids=["failed", "unknown", "in trouble", "lost", "unsent"],
)
def test_a_task_without_a_known_end_leaves_its_rows_unsettled(end: Answer) -> None:
    asked = batch(Verb.UPSERT, 2)
    receipt, _, _ = hold(RECIPIENTS, asked, script(STARTED, end))
    assert fates(receipt, asked) == [Fate.DEFERRED] * 2
    assert not receipt.everyone.untouched
    assert not receipt.split


def test_a_failed_task_rejects_the_recipients_that_it_names() -> None:
    asked = batch(Verb.UPSERT, 2)
    receipt, _, _ = hold(RECIPIENTS, asked, script(STARTED, task("failed", ("p0@x.dk", "malformed"))))
    assert fates(receipt, asked) == [Fate.REJECTED, Fate.DEFERRED]


UNREADABLE: list[dict[str, Any]] = [
    {"details": {"result": {"failed": {"p0@x.dk": "malformed"}}}},
    {"details": {"result": {"failed": 1}}},
    {"details": {"result": ["p0@x.dk"]}},
    {"details": "p0@x.dk failed"},
    {"failed": "p0@x.dk"},
]


@pytest.mark.parametrize("said", UNREADABLE)
def test_failures_that_can_not_be_read_are_no_success(said: dict[str, Any]) -> None:
    asked = batch(Verb.UPSERT, 2)
    ended = answer(200, {"taskId": "t1", "status": "completed", **said})
    receipt, _, _ = hold(RECIPIENTS, asked, script(STARTED, ended))
    assert fates(receipt, asked) == [Fate.DEFERRED] * 2
    assert "can't be read" in receipt.everyone.reason
    assert "x.dk" not in receipt.everyone.reason


@pytest.mark.parametrize("said", [{"failed": {"p0@x.dk": "no"}}, {"failed": 2}, ["p0@x.dk"], "p0@x.dk", 7])
def test_an_answer_of_a_group_that_can_not_be_read_is_no_success(said: Any) -> None:
    asked = batch(Verb.ADD, 2)
    receipt, _, _ = hold(GROUP, asked, script(STARTED, task("completed"), answer(200, said)))
    assert fates(receipt, asked) == [Fate.DEFERRED] * 2


@pytest.mark.parametrize("level", ["task", "details"])
def test_failures_are_found_wherever_a_task_names_them(level: str) -> None:
    asked = batch(Verb.UPSERT, 2)
    failed = {"failed": [{"recipientId": "p1@x.dk", "error": "malformed"}]}
    said = failed if level == "task" else {"details": failed}
    receipt, _, _ = hold(RECIPIENTS, asked, script(STARTED, answer(200, {"status": "completed", **said})))
    assert fates(receipt, asked) == [Fate.ACCEPTED, Fate.REJECTED]


@pytest.mark.parametrize("said", [{}, {"details": None}, {"details": {"result": {"failed": None}}}, {"failed": 0}])
def test_a_task_that_names_no_failure_took_everybody(said: dict[str, Any]) -> None:
    asked = batch(Verb.UPSERT, 2)
    receipt, _, _ = hold(RECIPIENTS, asked, script(STARTED, answer(200, {"status": "completed", **said})))
    assert fates(receipt, asked) == [Fate.ACCEPTED] * 2


def test_an_unknown_word_means_that_a_task_still_runs_until_its_deadline() -> None:
    asked = batch(Verb.UPSERT)
    target = AgillicRecipients("crm", task_deadline=100)
    words = iter(["queued", "pending", "running", "resting", "…"] + ["x"] * 100)
    receipt, calls, _ = hold(target, asked, lambda call: STARTED if call.path == UPSERT else task(next(words)))
    waited = [call.after for call in calls[1:]]
    assert waited == [0.25, 0.5, 1, 2, 4, 8, 16, 30, 30, 8.25]
    assert fates(receipt, asked) == [Fate.DEFERRED]
    assert "task_deadline" in receipt.everyone.reason


def test_a_row_that_is_larger_than_a_request_is_rejected_and_never_sent() -> None:
    for target, verb in ((RECIPIENTS, Verb.UPSERT), (GROUP, Verb.ADD), (TABLE, Verb.UPSERT)):
        asked = of(verb, {"EMAIL": "a@x.dk", "PURCHASE_ID": "1", "NOTE": "n" * 20_000_000})
        receipt, calls, _ = hold(target, asked, script())
        assert (calls, fates(receipt, asked)) == ([], [Fate.REJECTED])
        assert "20 MB" in receipt.everyone.reason


def test_an_upsert_that_was_never_sent_leaves_its_rows_untouched() -> None:
    with pytest.raises(Unanswered) as lost:
        hold(RECIPIENTS, batch(Verb.UPSERT, 2), script(UNSENT))
    assert lost.value.outcome.untouched


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_batch_that_is_refused_as_a_whole_is_halved_until_a_row_stands_alone(status: int) -> None:
    asked = batch(Verb.UPSERT, 2)
    receipt, _, _ = hold(RECIPIENTS, asked, script(answer(status, {"message": "p1@x.dk is malformed"})))
    assert receipt.split
    receipt, _, _ = hold(RECIPIENTS, batch(Verb.UPSERT), script(answer(status, {"message": "p1@x.dk is malformed"})))
    assert not receipt.split
    assert receipt.everyone.fate is Fate.REJECTED
    assert "malformed" in receipt.everyone.reason
    assert "x.dk" not in receipt.everyone.reason


@pytest.mark.parametrize(
    ("target", "verb", "status", "error", "naming"),
    [
        (RECIPIENTS, Verb.UPSERT, 403, FixConnection, "permission"),
        (RECIPIENTS, Verb.UPSERT, 404, FixConnection, "base_url"),
        (RECIPIENTS, Verb.UPSERT, 415, FixConnection, "base_url"),
        (RECIPIENTS, Verb.INSERT, 403, FixConnection, "permission"),
        (RECIPIENTS, Verb.UPDATE, 403, FixConnection, "permission"),
        (GROUP, Verb.REMOVE, 404, FixTarget, "Club"),
        (TABLE, Verb.UPSERT, 404, FixTarget, "PURCHASE"),
    ],
)
def test_what_is_wrong_with_the_request_ends_the_run_and_blames_no_row(
    target: Target, verb: Verb, status: int, error: type[Exception], naming: str
) -> None:
    with pytest.raises(Halt, match=naming) as halt:
        hold(target, of(verb, {"EMAIL": "a@x.dk", "PURCHASE_ID": "1"}), script(answer(status)))
    assert isinstance(halt.value.error, error)
    assert halt.value.receipt.everyone.fate is Fate.DEFERRED
    assert halt.value.receipt.everyone.untouched
    assert "a@x.dk" not in str(halt.value).replace("%40", "@")


def test_an_answer_that_names_no_task_leaves_the_rows_unsettled() -> None:
    for said in (answer(200, {}), httpx.Response(200, text="<html>"), httpx.Response(202)):
        receipt, _, tasks = hold(RECIPIENTS, batch(Verb.UPSERT), script(said))
        assert receipt.everyone.fate is Fate.DEFERRED
        assert not receipt.everyone.untouched
        assert tasks == []


# Insert and update.


def test_an_insert_creates_one_recipient() -> None:
    asked = batch(Verb.INSERT)
    receipt, [call], _ = hold(RECIPIENTS, asked, script(answer(201)))
    assert (call.method, call.path, sent(call)) == ("POST", "/recipients", {"personData": {"EMAIL": "p0@x.dk"}})
    assert fates(receipt, asked) == [Fate.ACCEPTED]


EXISTS = [answer(409), answer(400, {"message": "Recipient already exists"})]


@pytest.mark.parametrize("said", EXISTS)
def test_a_recipient_that_exists_is_reported_once_and_never_asked_again(said: httpx.Response) -> None:
    receipt, _, _ = hold(RECIPIENTS, batch(Verb.INSERT), script(said))
    assert (receipt.everyone.fate, receipt.everyone.final) == (Fate.REJECTED, True)
    assert "use mode upsert" in receipt.everyone.reason


def test_a_recipient_that_an_unheard_attempt_created_is_accepted() -> None:
    earlier_run = of(Verb.INSERT, {"EMAIL": "a@x.dk"}, repeated=True)
    receipt, _, _ = hold(RECIPIENTS, earlier_run, script(answer(409)))
    assert receipt.everyone.fate is Fate.ACCEPTED
    repeated = httpx.Response(409, extensions={"repeated": True})
    receipt, _, _ = hold(RECIPIENTS, batch(Verb.INSERT), script(repeated))
    assert receipt.everyone.fate is Fate.ACCEPTED


def test_a_field_that_does_not_exist_is_not_taken_for_a_recipient_that_does() -> None:
    receipt, _, _ = hold(RECIPIENTS, batch(Verb.INSERT), script(answer(400, {"message": "field X does not exist"})))
    assert (receipt.everyone.fate, receipt.everyone.final) == (Fate.REJECTED, False)


def test_an_update_asks_for_the_recipient_first() -> None:
    asked = of(Verb.UPDATE, {"EMAIL": "a+b/c %ü@x.dk", "FIRSTNAME": "A"})
    receipt, calls, _ = hold(RECIPIENTS, asked, script(answer(200), answer(200)))
    path = "/recipients/EMAIL=a%2Bb%2Fc%20%25%C3%BC%40x.dk"
    assert [(call.method, call.path) for call in calls] == [("GET", path), ("PUT", path)]
    assert sent(calls[1]) == {"personData": {"EMAIL": "a+b/c %ü@x.dk", "FIRSTNAME": "A"}}
    assert fates(receipt, asked) == [Fate.ACCEPTED]


def test_a_recipient_that_is_not_found_is_rejected_with_the_remedy_and_not_created() -> None:
    receipt, calls, _ = hold(RECIPIENTS, batch(Verb.UPDATE), script(answer(404)))
    assert [call.method for call in calls] == ["GET"]
    assert (receipt.everyone.fate, receipt.everyone.untouched) == (Fate.REJECTED, True)
    assert "use mode upsert" in receipt.everyone.reason


def test_without_the_existence_check_a_created_recipient_is_reported() -> None:
    target = AgillicRecipients("crm", update_checks_existence=False)
    receipt, calls, _ = hold(target, batch(Verb.UPDATE), script(answer(201)))
    assert [call.method for call in calls] == ["PUT"]
    assert receipt.everyone.fate is Fate.ACCEPTED
    assert "created" in receipt.everyone.reason
    receipt, _, _ = hold(target, batch(Verb.UPDATE), script(answer(404)))
    assert receipt.everyone.fate is Fate.REJECTED


@pytest.mark.parametrize("said", [LOST, answer(503)])
def test_an_existence_check_without_an_answer_leaves_the_recipient_untouched(said: Answer) -> None:
    receipt, _, _ = hold(RECIPIENTS, batch(Verb.UPDATE), script(said))
    assert (receipt.everyone.fate, receipt.everyone.untouched) == (Fate.DEFERRED, True)


def test_another_recipient_id_field_is_used_everywhere() -> None:
    target = AgillicRecipients("crm", recipient_id_field="CUSTOMER_ID")
    row = {"CUSTOMER_ID": "7", "EMAIL": "a@x.dk"}
    assert target.identity == ("CUSTOMER_ID",)
    _, calls, _ = hold(target, of(Verb.UPDATE, row), script(answer(200), answer(200)))
    assert calls[0].path == "/recipients/CUSTOMER_ID=7"
    asked = of(Verb.UPSERT, row, row | {"CUSTOMER_ID": "8"})
    receipt, calls, _ = hold(target, asked, script(STARTED, task("completed", ("8", "no"))))
    assert sent(calls[0])["details"]["recipientIdField"] == "CUSTOMER_ID"
    assert fates(receipt, asked) == [Fate.ACCEPTED, Fate.REJECTED]
    group = AgillicTargetGroup("Club", recipient_id_field="CUSTOMER_ID")
    added = of(Verb.ADD, row)
    _, calls, _ = hold(group, added, script(STARTED, task("completed"), answer()))
    assert sent(calls[2]) == {"targetGroupName": "Club", "recipientIdField": "CUSTOMER_ID", "recipientIds": ["7"]}


# Groups.


def club(group: Callable[[int, list[str]], Answer], *failed: tuple[str, str]) -> Service:
    asked: list[int] = []

    def service(call: Call) -> Answer:
        if call.path == UPSERT:
            return STARTED
        if call.method == "GET":
            return task("completed", *failed)
        asked.append(1)
        return group(len(asked), sent(call)["recipientIds"])

    return service


def test_recipients_are_added_after_their_task_has_ended_and_a_hundred_at_a_time() -> None:
    asked = batch(Verb.ADD, 250)
    receipt, calls, _ = hold(GROUP, asked, club(lambda n, ids: answer()))
    assert [call.path for call in calls] == [UPSERT, "/recipients/v2/task/t-1", ADD, ADD, ADD]
    assert [len(sent(call)["recipientIds"]) for call in calls[2:]] == [100, 100, 50]
    assert fates(receipt, asked) == [Fate.ACCEPTED] * 250
    assert receipt.except_for == {}


def test_recipients_whose_upsert_failed_are_not_added() -> None:
    asked = batch(Verb.ADD, 3)
    receipt, calls, _ = hold(GROUP, asked, club(lambda n, ids: answer(), ("p1@x.dk", "malformed")))
    assert sent(calls[2])["recipientIds"] == ["p0@x.dk", "p2@x.dk"]
    assert fates(receipt, asked) == [Fate.ACCEPTED, Fate.REJECTED, Fate.ACCEPTED]
    assert "not added to the group: malformed" in reasons(receipt, asked)[1]


def test_nobody_is_added_where_the_task_did_not_end() -> None:
    receipt, calls, _ = hold(GROUP, batch(Verb.ADD, 3), script(STARTED, task("failed")))
    assert [call.path for call in calls][-1] != ADD
    assert receipt.everyone.fate is Fate.DEFERRED


@pytest.mark.parametrize("cut", [LOST, UNSENT, answer(503)], ids=["lost", "unsent", "in trouble"])
def test_a_conversation_that_is_cut_off_after_five_of_ten_group_calls_keeps_what_it_knows(cut: Answer) -> None:
    asked = batch(Verb.ADD, 1000)
    receipt, calls, _ = hold(GROUP, asked, club(lambda n, ids: cut if n == 6 else answer()))
    assert [call.path for call in calls].count(ADD) == 6
    assert fates(receipt, asked) == [Fate.ACCEPTED] * 500 + [Fate.DEFERRED] * 500
    assert not receipt.everyone.untouched, "they were upserted"


def test_an_answer_that_breaks_off_accepts_nobody_and_an_empty_one_everybody() -> None:
    asked = batch(Verb.REMOVE, 2)
    receipt, _, _ = hold(GROUP, asked, script(httpx.Response(200, text='{"failed": [{"reci')))
    assert receipt.everyone.fate is Fate.DEFERRED
    receipt, _, _ = hold(GROUP, asked, script(httpx.Response(204)))
    assert receipt.everyone.fate is Fate.ACCEPTED


def test_members_that_the_group_refuses_are_rejected() -> None:
    asked = batch(Verb.ADD, 3)
    failed = answer(200, {"failed": [{"recipientId": "p2@x.dk", "error": "unsubscribed"}]})
    receipt, _, _ = hold(GROUP, asked, club(lambda n, ids: failed))
    assert fates(receipt, asked) == [Fate.ACCEPTED, Fate.ACCEPTED, Fate.REJECTED]
    assert "unsubscribed" in reasons(receipt, asked)[2]


def test_a_hundred_that_are_refused_as_a_whole_are_halved_without_another_upsert() -> None:
    asked = batch(Verb.ADD, 100)
    service = club(lambda n, ids: answer(400, {"message": "bad"}) if "p42@x.dk" in ids else answer())
    receipt, calls, _ = hold(GROUP, asked, service)
    assert [call.path for call in calls].count(UPSERT) == 1
    assert [n for n, fate in enumerate(fates(receipt, asked)) if fate is not Fate.ACCEPTED] == [42]
    assert receipt.except_for[42].fate is Fate.REJECTED


def test_a_group_that_refuses_everybody_ends_the_run() -> None:
    asked = batch(Verb.REMOVE, 100)
    with pytest.raises(Halt, match="refuses every member of 'Club'") as halt:
        hold(GROUP, asked, lambda call: answer(400, {"message": "bad"}))
    assert isinstance(halt.value.error, FixTarget)
    assert len(halt.value.receipt.except_for) < PATIENCE
    assert halt.value.receipt.everyone.untouched


def test_a_group_that_vanishes_in_mid_batch_ends_the_run_and_keeps_what_is_known() -> None:
    asked = batch(Verb.ADD, 300)
    with pytest.raises(Halt, match="'Club'") as halt:
        hold(GROUP, asked, club(lambda n, ids: answer() if n == 1 else answer(404)))
    assert fates(halt.value.receipt, asked) == [Fate.ACCEPTED] * 100 + [Fate.DEFERRED] * 200
    assert not halt.value.receipt.everyone.untouched


def test_a_removal_upserts_nobody() -> None:
    asked = batch(Verb.REMOVE, 100)
    receipt, [call], _ = hold(GROUP, asked, script(answer()))
    assert call.path == REMOVE
    assert len(sent(call)["recipientIds"]) == 100
    assert fates(receipt, asked) == [Fate.ACCEPTED] * 100


def test_a_removal_names_the_field_that_the_recipient_was_delivered_by() -> None:
    group = AgillicTargetGroup("Club", recipient_id_field="CUSTOMER_ID")
    asked = of(Verb.REMOVE, {"CUSTOMER_ID": "7"}, {"EMAIL": "a@x.dk"})
    receipt, calls, _ = hold(group, asked, lambda call: answer())
    assert [(sent(call)["recipientIdField"], sent(call)["recipientIds"]) for call in calls] == [
        ("CUSTOMER_ID", ["7"]),
        ("EMAIL", ["a@x.dk"]),
    ]
    assert fates(receipt, asked) == [Fate.ACCEPTED] * 2


def test_somebody_who_does_not_exist_is_removed_already_and_cannot_be_added() -> None:
    failed = answer(200, {"failed": [{"recipientId": "p0@x.dk", "error": "Recipient not found"}]})
    receipt, _, _ = hold(GROUP, batch(Verb.REMOVE), script(failed))
    assert fates(receipt, batch(Verb.REMOVE)) == [Fate.ACCEPTED]
    receipt, _, _ = hold(GROUP, batch(Verb.ADD), club(lambda n, ids: failed))
    assert fates(receipt, batch(Verb.ADD)) == [Fate.REJECTED]


def test_a_removal_that_was_never_sent_is_untouched() -> None:
    receipt, _, _ = hold(GROUP, batch(Verb.REMOVE, 2), script(UNSENT))
    assert receipt.everyone.untouched


# Tables.


def test_records_are_grouped_by_recipient() -> None:
    asked = of(
        Verb.UPSERT,
        {"EMAIL": "a@x.dk", "PURCHASE_ID": "1", "PRICE": "9"},
        {"EMAIL": "b@x.dk", "PURCHASE_ID": "2"},
        {"EMAIL": "a@x.dk", "PURCHASE_ID": "3"},
    )
    receipt, calls, tasks = hold(TABLE, asked, script(STARTED, task("completed")))
    assert sent(calls[0]) == {
        "details": {
            "tableId": "PURCHASE",
            "recipientIdField": "EMAIL",
            "recipients": [
                {"recipientId": "a@x.dk", "records": [{"PURCHASE_ID": "1", "PRICE": "9"}, {"PURCHASE_ID": "3"}]},
                {"recipientId": "b@x.dk", "records": [{"PURCHASE_ID": "2"}]},
            ],
        }
    }
    assert tasks == ["t-1"]
    assert fates(receipt, asked) == [Fate.ACCEPTED] * 3


SHOP = (
    {"EMAIL": "a@x.dk", "PURCHASE_ID": "1"},
    {"EMAIL": "b@x.dk", "PURCHASE_ID": "2"},
    {"EMAIL": "a@x.dk", "PURCHASE_ID": "3"},
    {"EMAIL": "a@x.dk", "PURCHASE_ID": "4"},
)


def shop(*answers: Answer) -> Service:
    left = list(answers)
    return lambda call: STARTED if call.method == "POST" and isinstance(left[0], httpx.Response) else left.pop(0)


def test_a_recipient_that_does_not_exist_rejects_all_of_its_records() -> None:
    asked = of(Verb.UPSERT, *SHOP)
    receipt, calls, _ = hold(TABLE, asked, shop(task("completed", ("a@x.dk", "Recipient not found"))))
    assert fates(receipt, asked) == [Fate.REJECTED, Fate.ACCEPTED, Fate.REJECTED, Fate.REJECTED]
    assert len(calls) == 2


def test_one_malformed_record_does_not_hold_back_the_recipients_others() -> None:
    asked = of(Verb.UPSERT, *SHOP)
    bad: list[bool] = []

    def service(call: Call) -> Answer:
        if call.method == "GET":
            return task("completed", *([("a@x.dk", "PRICE is not a number")] if bad[-1] else []))
        bad.append('"3"' in (call.content or b"").decode())
        return STARTED

    receipt, _, tasks = hold(TABLE, asked, service)
    assert fates(receipt, asked) == [Fate.ACCEPTED, Fate.ACCEPTED, Fate.REJECTED, Fate.ACCEPTED]
    assert len(tasks) == 5


@pytest.mark.parametrize("status", [400, 422])
def test_a_record_that_is_refused_alone_speaks_for_no_other(status: int) -> None:
    """The halves of a recipient are asked one by one: what was not asked yet is nobody's fault."""
    asked = of(
        Verb.UPSERT,
        {"EMAIL": "a@x.dk", "PURCHASE_ID": "good"},
        {"EMAIL": "a@x.dk", "PURCHASE_ID": "bad"},
        {"EMAIL": "b@x.dk", "PURCHASE_ID": "fine"},
    )
    alone: list[bool] = []

    def service(call: Call) -> Answer:
        text = (call.content or b"").decode()
        if call.method == "GET":
            return task("completed", *([] if len(alone) > 1 else [("a@x.dk", "PRICE is not a number")]))
        alone.append('"good"' not in text)
        return answer(status, {"error": "PRICE is not a number"}) if '"bad"' in text and alone[-1] else STARTED

    receipt, _, tasks = hold(TABLE, asked, service)
    assert fates(receipt, asked) == [Fate.ACCEPTED, Fate.REJECTED, Fate.ACCEPTED]
    assert alone == [False, True, False] and len(tasks) == 2
    assert receipt.everyone.request == "t-1", "what was accepted names its task"


@pytest.mark.parametrize("cut", [LOST, UNSENT])
def test_records_that_are_asked_again_and_not_answered_leave_the_others_as_they_are(cut: Outcome) -> None:
    asked = of(Verb.UPSERT, *SHOP)
    receipt, _, _ = hold(TABLE, asked, shop(task("completed", ("a@x.dk", "malformed")), cut))
    assert fates(receipt, asked) == [Fate.DEFERRED, Fate.ACCEPTED, Fate.DEFERRED, Fate.DEFERRED]
    assert not receipt.everyone.untouched


def test_what_a_plan_needs_is_uploads_their_tasks_and_a_call_for_each_hundred_members() -> None:
    assert GROUP.calls(Verb.ADD, 1_102) == 2 * 2 + 12
    assert GROUP.calls(Verb.REMOVE, 1_102) == 12
    people = AgillicRecipients("crm")
    assert (people.calls(Verb.UPSERT, 1_102), people.calls(Verb.INSERT, 3)) == (4, 3)
