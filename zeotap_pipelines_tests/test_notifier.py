"""The notifier's sensor over real runs in a real event log, and a webhook over real HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
import pytest

from zeotap_pipelines.automation.notifier import FAILURES, RUNS
from zeotap_pipelines.sandbox import Fault, Sandbox
from zeotap_pipelines_tests import test_commands
from zeotap_pipelines_tests.project import DAYS, DIFF, GROUP_SYNC, SNAPSHOT, Project
from zeotap_pipelines_tests.webhook import Webhook, webhook

ONE, TWO, THREE, *_ = DAYS
NOTIFIER = "type: zeotap_pipelines.Notifier\nattributes:\n  name: team\n  webhook: PROJECT_WEBHOOK\n"
credits = test_commands.credits
CREDIT_CHAIN = test_commands.CREDIT_CHAIN
REMOVED = ("select distinct", "select distinct nothing,")


@dataclass
class Notifier:
    """The sensor, tick by tick; its cursor is kept as Dagster keeps it."""

    project: Project
    cursor: str | None = None
    said: list[str] = field(default_factory=list)

    def tick(self) -> str:
        sensor = self.project.load().get_repository_def().get_sensor_def("team_notifier")
        context = dg.build_sensor_context(instance=self.project.instance, cursor=self.cursor)
        ticked = sensor.evaluate_tick(context)
        assert not ticked.run_requests
        self.cursor = ticked.cursor
        self.said.append(str(ticked.skip_message))
        return self.said[-1]


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    with webhook() as hook:
        monkeypatch.setenv("PROJECT_WEBHOOK", hook.url)
        yield hook


@pytest.fixture
def notifier(project: Project, hook: Webhook) -> Notifier:
    project.declare("team", NOTIFIER)
    project.seen({day: ["1", "2"] for day in DAYS})
    notifier = Notifier(project)
    assert notifier.tick() == "nothing changed"
    return notifier


def broken(project: Project, day: str, **config: Any) -> None:
    """A run whose query fails."""
    project.change("people", REMOVED)
    assert project.run(day=day, **config).failed
    project.change("people", REMOVED[::-1])


def test_failing_still_failing_and_recovered_give_two_messages(
    project: Project, notifier: Notifier, hook: Webhook
) -> None:
    broken(project, ONE)
    notifier.tick()
    broken(project, ONE)
    notifier.tick()
    assert project.run(day=ONE).succeeded
    notifier.tick()
    notifier.tick()
    failing, recovered = hook.taken
    assert failing.startswith(f"Sync people_to_group is failing at {ONE}: the audience's query fails")
    assert "(FixQuery)" in failing and "nothing" not in failing
    assert recovered.startswith(f"Sync people_to_group has recovered at {ONE}. It was failing since ")


def test_what_happened_between_two_looks_is_told_in_its_order(
    project: Project, notifier: Notifier, hook: Webhook
) -> None:
    for day in (ONE, TWO):
        broken(project, day)
        project.run(day=day)
    assert notifier.tick() == "4 messages sent"
    assert [message.split(" at ")[0] for message in hook.taken] == [
        "Sync people_to_group is failing",
        "Sync people_to_group has recovered",
    ] * 2


def test_a_restart_repeats_nothing(project: Project, notifier: Notifier, hook: Webhook) -> None:
    broken(project, ONE)
    notifier.tick()
    restarted = Notifier(project, notifier.cursor)
    assert restarted.tick() == "nothing changed"
    broken(project, TWO)
    assert restarted.tick() == "nothing changed"
    assert len(hook.taken) == 1


@pytest.mark.parametrize("status", [404, 429, 500])
def test_a_webhook_that_is_down_misses_nothing_and_fails_nothing(
    project: Project, notifier: Notifier, hook: Webhook, status: int
) -> None:
    hook.status = status
    broken(project, ONE)
    assert notifier.tick() == f"the webhook answers {status}; 1 messages wait"
    assert project.run(day=ONE).succeeded
    assert notifier.tick() == f"the webhook answers {status}; 2 messages wait"
    assert hook.taken == [] and hook.refused == 2
    hook.status = 200
    assert notifier.tick() == "2 messages sent"
    assert ["failing at" in message for message in hook.taken] == [True, False]
    assert notifier.tick() == "nothing changed"


def test_without_its_variable_messages_wait(
    project: Project, notifier: Notifier, hook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(project, ONE)
    with monkeypatch.context() as unset:
        unset.delenv("PROJECT_WEBHOOK")
        assert notifier.tick() == (
            "the environment variable PROJECT_WEBHOOK, which holds the webhook, is not set; 1 messages wait"
        )
    with monkeypatch.context() as other:
        other.setenv("PROJECT_WEBHOOK", "http://hooks.example.com/canary")
        assert "must begin with https" in notifier.tick()
    assert notifier.tick() == "1 messages sent"
    assert len(hook.taken) == 1


def test_no_person_no_secret_and_no_text_of_a_service_is_in_a_message(
    project: Project, notifier: Notifier, hook: Webhook, group: Sandbox
) -> None:
    project.seen({ONE: ["canary-1", "canary-2"], TWO: ["canary-1"]})
    group.faults.add(Fault(kind="status", status=401, path="/members/", times=10))
    assert project.run(day=ONE).failed
    notifier.tick()
    assert "FixConnection" in hook.taken[0]
    for text in (*hook.taken, *notifier.said, str(notifier.cursor)):
        assert "canary" not in text and "HTTP" not in text


def test_a_stopped_plan_says_which_guard_stopped_it(project: Project, notifier: Notifier, hook: Webhook) -> None:
    project.seen({ONE: ["1", "2", "3", "4"], TWO: ["1"]})
    assert project.run(day=ONE).succeeded
    stopped = project.run(day=TWO)
    assert stopped.failed == ["diffs__people_to_group"]
    notifier.tick()
    assert hook.taken[0].split(". Run ")[0] == (
        f"Sync people_to_group is failing at {TWO}: the plan was stopped by removed_share and waits for an approval"
    )
    plan = stopped.metadata(DIFF)["plan"]
    assert project.run(("syncs", "people_to_group"), day=TWO, approve=plan, approved_by="Ada", reason="ok").succeeded
    notifier.tick()
    assert "has recovered" in hook.taken[1]


def test_what_is_put_off_until_later_is_neither_failing_nor_recovered(
    project: Project, notifier: Notifier, hook: Webhook, group: Sandbox
) -> None:
    group.faults.add(Fault(kind="status", status=429, path="/members/", times=1, retry_after=3600))
    assert project.run(day=ONE).succeeded
    assert notifier.tick() == "nothing changed"
    broken(project, TWO)
    assert project.run(SNAPSHOT, DIFF, day=TWO).succeeded
    assert project.run(day=TWO, dry_run=True).succeeded
    assert notifier.tick() == "1 messages sent"
    assert "is failing" in hook.taken[0]


def test_each_sync_is_told_of_on_its_own(project: Project, notifier: Notifier, hook: Webhook, group: Sandbox) -> None:
    other = GROUP_SYNC.replace("name: people_to_group", "name: another").replace("ACTIVE-90D", "NO-SUCH-GROUP")
    project.declare("another", other)
    both = ("diffs", "another"), ("syncs", "another"), SNAPSHOT, DIFF, ("syncs", "people_to_group")
    run = project.run(*both, day=ONE)
    assert run.failed == ["syncs__another"] and run.green() == [ONE]
    notifier.tick()
    [message] = hook.taken
    assert message.startswith(f"Sync another is failing at {ONE}: ") and "(FixTarget)" in message


def test_a_notifier_tells_of_the_syncs_that_it_names(project: Project, hook: Webhook) -> None:
    other = GROUP_SYNC.replace("name: people_to_group", "name: another").replace("ACTIVE-90D", "OTHER")
    project.declare("another", other)
    project.declare("team", f"{NOTIFIER}  syncs: [another]\n  ui: https://dagster.example.com\n")
    notifier = Notifier(project)
    notifier.tick()
    project.change("people", REMOVED)
    project.run(
        SNAPSHOT, *((kind, name) for kind in ("diffs", "syncs") for name in ("another", "people_to_group")), day=ONE
    )
    notifier.tick()
    [message] = hook.taken
    assert message.startswith("Sync another is failing") and " https://dagster.example.com/runs/" in message


def test_a_notifier_that_was_just_turned_on_tells_what_fails_now_and_no_history(
    project: Project, hook: Webhook
) -> None:
    project.declare("team", NOTIFIER)
    project.seen({day: ["1", "2"] for day in DAYS})
    for day in (ONE, TWO):
        broken(project, day)
        assert project.run(day=day).succeeded
    assert Notifier(project).tick() == "nothing changed"
    broken(project, THREE)
    notifier = Notifier(project)
    assert notifier.tick() == "1 messages sent"
    assert f"is failing at {THREE}" in hook.taken[0]
    assert notifier.tick() == "nothing changed"


@dg.job
def other() -> None:
    """What else runs in the same Dagster."""


def test_however_much_succeeded_since_a_new_notifier_tells_what_fails_now_and_what_recovered_not(
    project: Project, hook: Webhook
) -> None:
    project.declare("team", NOTIFIER)
    project.seen({day: ["1", "2"] for day in DAYS})
    broken(project, ONE)
    for _ in range(FAILURES + 1):
        run = project.instance.create_run_for_job(other, status=dg.DagsterRunStatus.STARTED)
        project.instance.report_dagster_event(
            dg.DagsterEvent(dg.DagsterEventType.RUN_SUCCESS.value, other.name), run.run_id
        )
    assert project.run(day=TWO).succeeded
    assert Notifier(project).tick() == "nothing changed"
    broken(project, THREE)
    assert Notifier(project).tick() == "1 messages sent"
    assert f"is failing at {THREE}" in hook.taken[0]


def test_of_credits_a_day_that_failed_is_made_up_for_by_no_other(
    credits: Project, hook: Webhook, group: Sandbox
) -> None:
    """Also of a range, and for a notifier that is new."""
    credits.declare("team", f"{NOTIFIER}  syncs: [people_to_credits]\n")
    credits.change("people", ("select distinct person", "select distinct person, day"))
    credits.change("people_to_credits", ("visit of {person}", "visit of {person} on {day}"))
    credits.seen({day: ["2"] for day in (ONE, TWO, THREE)})
    notifier = Notifier(credits)
    notifier.tick()
    assert credits.run(CREDIT_CHAIN[0], days=(TWO, THREE)).succeeded
    assert credits.run(*CREDIT_CHAIN[1:], days=(ONE, THREE)).failed
    assert notifier.tick() == "1 messages sent" and f"is failing at {THREE}" in hook.taken[0]
    assert credits.run(*CREDIT_CHAIN, day=THREE).succeeded
    assert credits.run(*CREDIT_CHAIN, day=ONE).succeeded
    assert notifier.tick() == "nothing changed"
    new = Notifier(credits)
    assert new.tick() == "1 messages sent" and f"is failing at {TWO}" in hook.taken[1]
    assert credits.run(*CREDIT_CHAIN, day=TWO).succeeded
    for one in (notifier, new):
        assert one.tick() == "1 messages sent" and f"has recovered at {TWO}" in hook.taken[-1]
    assert Notifier(credits).tick() == "nothing changed"


def test_a_cursor_of_an_earlier_version_is_read(project: Project, notifier: Notifier, hook: Webhook) -> None:
    broken(project, TWO)
    notifier.tick()
    kept = json.loads(notifier.cursor or "")
    kept["failing"] = {"people_to_group": {"since": "2026-01-03 12:00 UTC", "partition": TWO}}
    notifier.cursor = json.dumps(kept)
    assert notifier.tick() == "nothing changed"
    assert project.run(day=TWO).succeeded
    notifier.tick()
    assert "has recovered" in hook.taken[1] and "2026-01-03 12:00 UTC" in hook.taken[1]


def test_a_dry_run_or_a_trial_that_fails_changes_nothing(
    project: Project, notifier: Notifier, hook: Webhook, group: Sandbox
) -> None:
    for config in ({"dry_run": True}, {"limit": 1}):
        broken(project, ONE, **config)
    assert project.run(SNAPSHOT, DIFF, day=ONE).succeeded
    group.faults.add(Fault(kind="status", status=401, path="/members/", times=10))
    assert project.run(day=ONE, limit=1).failed
    assert project.run(day=ONE, only=["0000000-1"]).failed
    assert notifier.tick() == "nothing changed"
    assert Notifier(project).tick() == "nothing changed"


def test_a_run_that_dies_is_a_failure_and_one_that_somebody_stops_is_none(
    project: Project, notifier: Notifier, hook: Webhook
) -> None:
    job = project.load().resolve_implicit_global_asset_job_def()
    stopped, died = (
        project.instance.create_run_for_job(job, tags={"dagster/partition": ONE}, status=dg.DagsterRunStatus.STARTED)
        for _ in range(2)
    )
    project.instance.report_run_canceled(stopped)
    assert notifier.tick() == "nothing changed"
    project.instance.report_run_failed(died)
    notifier.tick()
    assert hook.taken[0].startswith(f"Sync people_to_group is failing at {ONE}: the run ended before its time. Run ")


def test_a_backlog_of_runs_is_read_to_its_end_look_by_look(project: Project, notifier: Notifier, hook: Webhook) -> None:
    job = project.load().resolve_implicit_global_asset_job_def()
    for number in range(RUNS + 5):
        run = project.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
        project.instance.report_run_failed(run)
        assert number >= 0
    notifier.tick()
    read: Any = notifier.cursor
    notifier.tick()
    assert notifier.cursor != read and len(hook.taken) == 1
    read = notifier.cursor
    notifier.tick()
    assert notifier.cursor == read


def test_a_cursor_that_somebody_wrote_by_hand_is_a_new_beginning(project: Project, hook: Webhook) -> None:
    project.declare("team", NOTIFIER)
    for cursor in ("anything", "{}", "7", '{"after": "x"}', '{"after": 1, "failing": [], "unsent": 3}'):
        assert Notifier(project, cursor).tick() == "nothing changed"


@pytest.mark.parametrize(("enabled", "status"), [("true", "RUNNING"), ("false", "STOPPED")])
def test_one_field_says_whether_it_tells_from_the_start(project: Project, enabled: str, status: str) -> None:
    project.declare("team", f"{NOTIFIER}  enabled: {enabled}\n  every: 5\n")
    sensor = project.load().get_repository_def().get_sensor_def("team_notifier")
    assert (sensor.default_status.value, sensor.minimum_interval_seconds) == (status, 5)
