"""The commands over a project of its own and a sandbox over real HTTP; and the same as jobs."""

from __future__ import annotations

import argparse
import json
import os
import re
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from zeotap_pipelines.assets.assets import state
from zeotap_pipelines.cli import main, parser
from zeotap_pipelines.declared import Declared
from zeotap_pipelines.jobs import jobs
from zeotap_pipelines.ledger.ledger import Ledger
from zeotap_pipelines.sandbox import CLIENT_SECRET, CROWDTWIST_API_KEY, MOENGAGE_APP_ID, MOENGAGE_SECRET, Fault, Sandbox
from zeotap_pipelines.sync import Sync
from zeotap_pipelines.upkeep.doubts import Doubt, doubts
from zeotap_pipelines_tests.project import DAYS, SYNC, Project, members
from zeotap_pipelines_tests.test_going_on import look

ONE, TWO, *_ = DAYS
GROUP = "kognitiv/main/promotional_member_group/ACTIVE-90D"
CANARY = "70471100"
OPERATIONS = Path(__file__).resolve().parents[1] / "docs" / "operations.md"

CROWDTWIST = """\
type: zeotap_pipelines.CrowdTwistConnection
attributes:
  name: crowdtwist
  account: main
  base_url: "{{ env('PROJECT_CROWDTWIST') }}"
  api_key: PROJECT_API_KEY
  retries: 0
"""
CREDITS = """\
type: zeotap_pipelines.CrowdTwistActivitySync
attributes:
  name: people_to_credits
  audience: people
  connection: crowdtwist
  stream: visits
  mapping:
    event_id: {template: "visit of {person}"}
    user_id: {template: "{person}@example.com"}
    activity_id: {constant: "1001"}
"""
MOENGAGE = f"""\
type: zeotap_pipelines.MoEngageConnection
attributes:
  name: moengage
  account: main
  base_url: "{{{{ env('PROJECT_MOENGAGE') }}}}"
  app_id: {MOENGAGE_APP_ID}
  secret_key: PROJECT_MOENGAGE_KEY
  retries: 0
"""
COHORT = """\
type: zeotap_pipelines.MoEngageCohortSync
attributes:
  name: people_to_cohort
  audience: people
  connection: moengage
  cohort_id: tv
  cohort_name: Who watches
  mapping:
    uid: uid
    anonymous_id: device
"""
PARTS = """
    nullif(split_part(person, '/', 1), '') as uid, split_part(person, '/', 2) as device,
    split_part(person, '/', 3) as mail
"""
CREDIT_CHAIN = (("snapshots", "people"), ("diffs", "people_to_credits"), ("syncs", "people_to_credits"))


@pytest.fixture
def zeotap(project: Project, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a command in the project and return what it said; its status must be the one that is expected."""

    def run(*arguments: str, status: int = 0) -> str:
        capsys.readouterr()
        found = main([*arguments, "--project", str(project.root)])
        out, err = capsys.readouterr()
        assert found == status, out + err
        assert CLIENT_SECRET not in out + err and "Traceback" not in err
        return out + err

    return run


@pytest.fixture
def credits(project: Project, group: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Project:
    """A project that credits every visit too, whose answers get lost."""
    monkeypatch.setenv("PROJECT_CROWDTWIST", os.environ["PROJECT_KOGNITIV"].replace("kognitiv", "crowdtwist"))
    monkeypatch.setenv("PROJECT_API_KEY", CROWDTWIST_API_KEY)
    project.declare("crowdtwist", CROWDTWIST)
    project.declare("people_to_credits", CREDITS)
    for person in (CANARY, "2"):
        group.crowdtwist.put_user(email_address=f"{person}@example.com", first_name="A", last_name="B")
    project.seen({ONE: [CANARY, "2"]})
    return project


def test_testing_names_what_is_right_and_what_is_wrong(project: Project, group: Sandbox, zeotap: Any) -> None:
    said = zeotap("test")
    assert "kognitiv: host and credentials are right" in said and "sync people_to_group: promotional member" in said
    project.change("people_to_group", ("ACTIVE-90D", "LOST"))
    assert "sync people_to_group: FAILED" in zeotap("test", "kognitiv", status=1)
    found = json.loads(zeotap("test", "--json", status=1))
    assert [one["passed"] for one in found] == [True, False]
    assert "did you mean 'kognitiv'?" in zeotap("test", "kognitv", status=1)


def test_a_secret_that_is_not_set_is_named_and_never_shown(
    project: Project, zeotap: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PROJECT_SECRET")
    assert "PROJECT_SECRET" in zeotap("test", status=1)
    monkeypatch.setenv("PROJECT_SECRET", "canary-of-a-secret")
    said = zeotap("test", status=1)
    assert "client_secret" in said and "canary-of-a-secret" not in said


def test_a_name_that_does_not_exist_is_one_sentence_and_status_1(zeotap: Any) -> None:
    said = zeotap("status", "people_to_grop", status=1)
    assert said == "FixDeclaration: sync 'people_to_grop' does not exist; did you mean 'people_to_group'?\n"


def test_a_folder_without_a_project_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--project", str(tmp_path)]) == 1
    assert "lies in no project" in capsys.readouterr().err


def test_a_document_that_can_not_be_used_is_named_with_its_line(project: Project, zeotap: Any) -> None:
    project.change("people_to_group", ("mode: mirror", "mode: merge"))
    assert re.search(r"people_to_group/defs.yaml:\d+: .*merge", zeotap("status", status=1))


def test_how_a_sync_stands_and_why_a_key_is_in(project: Project, zeotap: Any) -> None:
    assert "people_to_group" in zeotap("status")
    project.seen({ONE: ["1", "2"], TWO: ["2"]})
    project.run(day=ONE)
    [found] = json.loads(zeotap("status", "--json"))
    assert (found["address"], found["told"], found["mark"], found["in_doubt"]) == (GROUP, 2, ONE, 0)
    assert f"- in the audience at {ONE}" in zeotap("explain", "people_to_group", "1")
    project.run(day=TWO)
    assert "was told to drop it" in zeotap("explain", "people_to_group", "1")


def test_a_sync_whose_state_is_lost_is_no_clean_line(credits: Project, group: Sandbox, zeotap: Any) -> None:
    group.faults.add(Fault(kind="reset_after", method="POST", path="/activities", times=1))
    credits.run(*CREDIT_CHAIN, day=ONE)
    ledger = credits.root / "state" / "ledger" / "crowdtwist" / "main" / "activity_credit" / "visits"
    (ledger / "journal.jsonl").unlink()
    refused = credits.run(*CREDIT_CHAIN, day=ONE).failure
    assert refused.startswith("RepairState: the journal ")
    said = zeotap("status", status=1)
    assert f"people_to_credits: {refused}" in said, "what the sync says"
    assert GROUP in said, "and how the others stand"
    assert [one["sync"] for one in json.loads(zeotap("status", "people_to_group", "--json"))] == ["people_to_group"]
    assert refused in zeotap("doubts", "people_to_credits", status=1)
    assert refused in zeotap("explain", "people_to_credits", "visit of 2", status=1)


def test_credits_of_a_lost_state_are_given_again_to_nobody(
    credits: Project, group: Sandbox, zeotap: Any, tmp_path: Path
) -> None:
    group.faults.clear()
    credits.run(*CREDIT_CHAIN, day=ONE)
    given = len(group.crowdtwist.credits())
    (credits.root / "state").rename(credits.root / "elsewhere")
    assert "zeotap adopt people_to_credits" in credits.run(*CREDIT_CHAIN, day=ONE).failure
    assert "zeotap adopt people_to_credits" in credits.run(*CREDIT_CHAIN, day=ONE, adopt=True).failure
    assert len(group.crowdtwist.credits()) == given > 1
    (tmp_path / "events.csv").write_text(f"event_id\nvisit of 2\nvisit of {CANARY}\n")
    zeotap("adopt", "people_to_credits", "--keys", str(tmp_path / "events.csv"))
    assert credits.run(*CREDIT_CHAIN, day=ONE, adopt=True).succeeded
    assert len(group.crowdtwist.credits()) == given


def test_rows_in_doubt_are_listed_masked_and_decided(credits: Project, group: Sandbox, zeotap: Any) -> None:
    assert "is in doubt" in zeotap("doubts", "people_to_credits")
    group.faults.add(Fault(kind="reset_after", method="POST", path="/activities"))
    credits.run(*CREDIT_CHAIN, day=ONE)
    group.faults.clear()
    said = zeotap("doubts", "people_to_credits")
    assert CANARY not in said
    ids = [one["id"] for one in json.loads(zeotap("doubts", "people_to_credits", "--json"))]
    assert len(ids) == 2
    who = ("--by", "me", "--reason", "asked them")
    said = zeotap("decide", "people_to_credits", "--ids", ids[0], "--was-sent", *who)
    assert said == "1 rows of people_to_credits count as sent\n"
    assert "no row in doubt has the id" in zeotap("decide", "people_to_credits", "--ids", "x", "--drop", *who, status=1)
    assert "are asked again" in zeotap("decide", "people_to_credits", "--all", "--resend", *who)
    credits.run(*CREDIT_CHAIN, day=ONE)
    assert "is in doubt" not in zeotap("status") and len(group.crowdtwist.credits()) == 3


def test_what_a_person_releases_is_requested_without_waiting_for_the_next_partition(
    credits: Project, group: Sandbox, zeotap: Any
) -> None:
    group.faults.add(Fault(kind="reset_after", method="POST", path="/activities", times=1))
    assert credits.run(*CREDIT_CHAIN, day=ONE).green(CREDIT_CHAIN[-1]) == [ONE]
    assert look(credits).skip_message == "nothing is owed"
    who = ("--by", "me", "--reason", "asked them")
    zeotap("decide", "people_to_credits", "--all", "--resend", *who)
    [request] = look(credits).run_requests
    assert request.partition_key == ONE and request.asset_selection == [dg.AssetKey(list(CREDIT_CHAIN[-1]))]
    given = len(group.crowdtwist.credits())
    assert credits.run(CREDIT_CHAIN[-1], day=ONE).succeeded and len(group.crowdtwist.credits()) == given + 1
    assert look(credits).skip_message == "nothing is owed"


def test_what_is_to_be_told_again_is_requested(project: Project, group: Sandbox, zeotap: Any) -> None:
    project.seen({ONE: ["1"]})
    project.run(day=ONE)
    zeotap("reassert", "people_to_group")
    assert [request.partition_key for request in look(project).run_requests] == [ONE]
    assert project.run(SYNC, day=ONE).metadata()["asked"] == 1
    assert look(project).skip_message == "nothing is owed"


def test_status_1_and_a_sentence_say_that_rows_are_in_doubt_also_from_an_earlier_run(
    credits: Project, group: Sandbox, zeotap: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    group.faults.add(Fault(kind="reset_after", method="POST", path="/activities", times=1))
    sync = ("sync", "people_to_credits", "--partition", ONE)
    assert "nothing_in_doubt: 1 rows may have happened; a person decides" in zeotap(*sync, status=1)
    later = json.loads(zeotap(*sync, "--json", status=1))
    assert (later["asked"], later["in_doubt"], later["doubts"]) == (0, 0, 1)
    assert later["nothing_in_doubt"] == "1 rows may have happened; a person decides"
    zeotap("decide", "people_to_credits", "--all", "--was-sent", "--by", "me", "--reason", "asked them")
    assert "doubts: 0" in zeotap(*sync)


def test_status_1_and_a_sentence_say_that_rows_are_rejected(
    project: Project, group: Sandbox, zeotap: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    project.seen({ONE: ["1", "2"]})
    group.faults.add(Fault(kind="status", status=400, path="/members/2$", times=1))
    sync = ("sync", "people_to_group", "--partition", ONE)
    assert "everything_accepted: 1 rows are rejected" in zeotap(*sync, status=1)
    assert "everything_accepted: 1 rows are rejected" in zeotap(*sync, status=1), "asking nothing mends nothing"


def test_what_to_do_about_a_rejected_credit_is_what_helps(
    credits: Project, group: Sandbox, zeotap: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is in no later partition's snapshot: the next one does not ask it, whatever is said of members."""
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    group.faults.add(Fault(kind="status", status=400, method="POST", path="/activities", times=1))
    said = zeotap("sync", "people_to_credits", "--partition", ONE, status=1)
    assert "next partition" not in said and "run its own partition again" in said and "`reassert`" in said
    given = len(group.crowdtwist.credits())
    credits.run(*CREDIT_CHAIN, day=TWO)
    assert len(group.crowdtwist.credits()) == given
    assert '"rejected": 1' in zeotap("status", "people_to_credits", "--json")
    zeotap("reassert", "people_to_credits")
    credits.run(*CREDIT_CHAIN, day=TWO)
    assert len(group.crowdtwist.credits()) == given + 1


def test_rows_that_are_set_aside_are_said_by_the_sync_too(
    project: Project, group: Sandbox, zeotap: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    project.change("people_to_group", ("max_removed_percent: 60", "max_set_aside_percent: 50"))
    project.seen({ONE: ["1", "2", ".."]})
    assert "set_aside: 1\n" in zeotap("sync", "people_to_group", "--partition", ONE)
    assert members(group) == {"1", "2"}


def test_how_a_sync_stands_says_what_a_trial_left_and_that_nobody_knows_without_a_plan(
    project: Project, group: Sandbox, zeotap: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    assert re.search(r" \?( |$)", zeotap("status", "people_to_group"), flags=re.M)
    project.seen({ONE: ["1", "2", "3"]})
    zeotap("sync", "people_to_group", "--partition", ONE, "--limit", "1")
    [found] = json.loads(zeotap("status", "--json"))
    assert (found["told"], found["owed"], found["owes"]) == (1, 2, None)
    group.faults.add(Fault(kind="status", status=429, path="/members/", retry_after=3600))
    zeotap("sync", "people_to_group", "--partition", ONE)
    [found] = json.loads(zeotap("status", "--json"))
    assert (found["owed"], found["owes"]) == (2, ONE) and found["waits"].startswith("goes on at ")


def test_what_is_only_put_off_is_status_0(
    project: Project, group: Sandbox, zeotap: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    project.seen({ONE: ["1", "2"]})
    group.faults.add(Fault(kind="status", status=429, path="/members/", retry_after=3600))
    assert "nothing_deferred: 2 rows are still to be asked" in zeotap("sync", "people_to_group", "--partition", ONE)


def test_an_instance_that_is_not_there_is_one_sentence(
    zeotap: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "nowhere"))
    assert "DAGSTER_HOME" in zeotap("plan", "people_to_group", "--partition", ONE, status=1)


def test_adopting_and_telling_again(project: Project, group: Sandbox, zeotap: Any, tmp_path: Path) -> None:
    group.kognitiv.put_members("ACTIVE-90D", "1")
    (tmp_path / "keys.csv").write_text("member_internal_id\n1\n")
    said = zeotap("adopt", "people_to_group", "--keys", str(tmp_path / "keys.csv"))
    assert said == f"1 keys count as told to {GROUP}, 0 were known already\n"
    project.seen({ONE: ["1", "2"]})
    assert project.run(day=ONE).metadata()["asked"] == 1
    assert "tells its target everything again" in zeotap("reassert", "people_to_group")
    assert project.run(day=ONE).metadata()["asked"] == 2


def test_a_target_whose_sync_is_gone_is_listed_and_emptied(project: Project, group: Sandbox, zeotap: Any) -> None:
    assert "has a sync" in zeotap("orphans")
    project.seen({ONE: ["1", "2"]})
    project.run(day=ONE)
    assert "take the sync out" in zeotap("decommission", GROUP, status=1)
    project.file("people_to_group").unlink()
    assert GROUP in zeotap("orphans")
    assert "2 members were removed" in zeotap("decommission", GROUP)
    assert members(group) == set()


def test_old_files_are_deleted_on_request_only(project: Project, zeotap: Any) -> None:
    assert "say what to delete" in zeotap("retention", status=1)
    project.seen({ONE: ["1"]})
    project.run(day=ONE)
    said = zeotap("retention", "--snapshots", "1", "--plans", "1", "--outcomes", "1", "--dry-run")
    assert said == "0 snapshots, 0 plans, 0 outcomes (0 bytes) would be deleted\n"


def test_a_person_is_removed_at_the_service_and_erased_here(project: Project, group: Sandbox, zeotap: Any) -> None:
    project.seen({ONE: [CANARY, "2"]})
    project.run(day=ONE)
    said = zeotap("forget", CANARY, status=1)
    assert "nothing was erased" in said and GROUP in said and "--remove-at-service" in said
    said = zeotap("forget", CANARY, "--remove-at-service")
    assert f"removed at {GROUP}" in said and "erased 1 rows of 1 snapshots" in said
    assert members(group) == {"2"}
    assert "nothing that is kept here" in zeotap("forget", CANARY)


def test_what_was_forgotten_can_be_read_by_a_program(project: Project, group: Sandbox, zeotap: Any) -> None:
    project.seen({ONE: [CANARY, "2"]})
    project.run(day=ONE)
    said = json.loads(zeotap("forget", CANARY, "--remove-at-service", "--json"))
    rows = {"snapshots": 1, "plans": 2, "outcomes": 2, "ledgers": 1}
    assert said == {"removed": [GROUP], "held": [], "erased": rows}
    nothing = json.loads(zeotap("forget", CANARY, "--json"))
    assert nothing == {"removed": [], "held": [], "erased": dict.fromkeys(rows, 0)}


def test_a_person_whom_a_service_still_holds_is_erased_only_with_a_word(
    credits: Project, group: Sandbox, zeotap: Any, tmp_path: Path
) -> None:
    credits.run(*CREDIT_CHAIN, day=ONE)
    said = zeotap("forget", f"{CANARY}@example.com", "--remove-at-service", status=1)
    assert "ask the service to erase it" in said
    assert "still held" in zeotap("forget", f"{CANARY}@example.com", "--yes")
    credits.run(*CREDIT_CHAIN, day=ONE)
    assert len(group.crowdtwist.credits()) == 2, "the source has the person still"


def test_a_person_whose_only_credit_is_in_doubt_may_be_held_and_is_erased_only_with_a_word(
    credits: Project, group: Sandbox, zeotap: Any
) -> None:
    group.faults.add(Fault(kind="reset_after", method="POST", path=f"/{CANARY}"))
    credits.run(*CREDIT_CHAIN, day=ONE)
    address = "crowdtwist/main/activity_credit/visits"
    forgotten = ("forget", f"{CANARY}@example.com")
    said = zeotap(*forgotten, status=1)
    assert "nothing was erased" in said and "ask the service to erase it" in said
    assert f"still held by {address}, 1 of 1 rows in doubt or dropped (" in said
    said = zeotap(*forgotten, "--yes")
    assert f"still held: {address}, 1 of 1 rows in doubt or dropped; nobody" in said
    assert "is in doubt" in zeotap("doubts", "people_to_credits")


def test_a_removal_that_the_service_refuses_erases_nothing(project: Project, group: Sandbox, zeotap: Any) -> None:
    project.seen({ONE: [CANARY, "2"]})
    project.run(day=ONE)
    group.faults.add(Fault(kind="status", status=400, method="DELETE"))
    assert "were not removed" in zeotap("forget", CANARY, "--remove-at-service", status=1)
    group.faults.clear()
    assert "still held" in zeotap("forget", CANARY, status=1)


def test_whom_nobody_could_ask_about_is_not_called_removed(
    project: Project, group: Sandbox, zeotap: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device is all that one person is known by, and another one who stays has it too."""
    monkeypatch.setenv("PROJECT_MOENGAGE", os.environ["PROJECT_KOGNITIV"].replace("kognitiv", "moengage"))
    monkeypatch.setenv("PROJECT_MOENGAGE_KEY", MOENGAGE_SECRET)
    project.declare("moengage", MOENGAGE)
    project.declare("people_to_cohort", COHORT)
    project.change(
        "people", ("query: select distinct person", f"query: select distinct person, {' '.join(PARTS.split())}")
    )
    project.seen({ONE: [f"/tv/{CANARY}@example.com", "7/tv/seven@example.com"]})
    chain = (("snapshots", "people"), ("diffs", "people_to_cohort"), ("syncs", "people_to_cohort"))
    assert project.run(*chain, day=ONE).succeeded
    said = zeotap("forget", f"{CANARY}@example.com", "--remove-at-service", status=1)
    assert "removed at" not in said and "nothing was erased" in said
    assert "(somebody who stays there has the same identifiers: ask the service to erase it)" in said
    said = zeotap("forget", f"{CANARY}@example.com", "--remove-at-service", "--yes")
    assert "still held: moengage/main/cohort/tv" in said and "erased 1 rows of 1 snapshots" in said


WAITING = "5d6f0000-0000-4000-8000-000000000001"
"""The id of a run that waits in the queue."""


def left(sync: Sync) -> list[Doubt]:
    """The rows in doubt."""
    return doubts(Ledger(state(), sync.target, sync.address))


class Office:
    """The jobs of a project, as the UI runs them."""

    def __init__(self, project: Project) -> None:
        tree = project.load().component_tree
        assert tree is not None
        self.project = project
        self.jobs = {job.name: job for job in jobs(Declared(tree))}

    def run(self, name: str, run_id: str | None = None, **config: Any) -> tuple[bool, str]:
        job = self.jobs[name]
        [op] = [node.name for node in job.graph.node_defs]
        run_config = {
            "ops": {op: {"config": config}},
            "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
        }
        result = job.execute_in_process(
            run_config=run_config, instance=self.project.instance, raise_on_error=False, run_id=run_id
        )
        failed = [event.step_failure_data for event in result.all_events if event.is_step_failure]
        said = [one.user_failure_data.description if one.user_failure_data else str(one.error) for one in failed]
        return result.success, "\n".join(str(one) for one in said)


def test_every_job_does_what_its_command_does(credits: Project, group: Sandbox, zeotap: Any, tmp_path: Path) -> None:
    office = Office(credits)
    assert office.run("connection_tests") == (True, "")
    passed, said = office.run("connection_tests", names=["nobody"])
    assert not passed and "connection 'nobody' does not exist" in said
    group.faults.add(Fault(kind="reset_after", method="POST", path="/activities"))
    credits.run(*CREDIT_CHAIN, day=ONE)
    group.faults.clear()
    word = {"sync": "people_to_credits", "by": "me", "reason": "asked them"}
    assert "say which rows" in office.run("decide_doubts", **word, decision="drop")[1]
    assert "decision is one of" in office.run("decide_doubts", **word, decision="burn", everything=True)[1]
    assert office.run("decide_doubts", **word, decision="drop", everything=True)[0]
    assert "is in doubt" in zeotap("doubts", "people_to_credits")
    (tmp_path / "keys.csv").write_text("member_internal_id\n1\n")
    assert office.run("adopt", sync="people_to_group", keys=str(tmp_path / "keys.csv"))[0]
    assert office.run("reassert", sync="people_to_group")[0]
    assert "happen twice" in office.run("reassert", sync="people_to_credits")[1]
    assert "take the sync out" in office.run("decommission", address=GROUP)[1]
    assert office.run("retention", snapshots=1, dry_run=True)[0]


def test_a_job_about_all_rows_is_about_those_that_were_in_doubt_when_it_was_asked_for(
    credits: Project, group: Sandbox
) -> None:
    """It waits in the queue, and somebody's next run leaves rows in doubt meanwhile."""
    office = Office(credits)
    group.faults.add(Fault(kind="reset_after", method="POST", path=f"/{CANARY}"))
    credits.run(*CREDIT_CHAIN, day=ONE)
    said = {"sync": "people_to_credits", "by": "me", "reason": "asked them", "decision": "drop", "everything": True}
    queued = dg.DagsterEvent(dg.DagsterEventType.RUN_ENQUEUED.value, "decide_doubts")
    credits.instance.report_dagster_event(queued, WAITING)
    group.faults.add(Fault(kind="reset_after", method="POST", path="/activities"))
    group.crowdtwist.put_user(email_address="3@example.com", first_name="A", last_name="B")
    credits.seen({TWO: ["3"]})
    credits.run(*CREDIT_CHAIN, day=TWO)
    sync = credits.sync("people_to_credits")
    assert len(left(sync)) == 2
    assert office.run("decide_doubts", WAITING, **said)[0]
    assert [one.partition for one in left(sync)] == [TWO]
    assert office.run("decide_doubts", **said)[0]
    assert not left(sync)


def test_whatever_names_no_person_is_a_job(project: Project) -> None:
    documented = set(re.findall(r"\| `([a-z_]+)` \|$", OPERATIONS.read_text(), flags=re.M))
    assert set(Office(project).jobs) == documented


def test_every_command_that_lists_or_does_says_so_in_json_too() -> None:
    """The page names them."""
    [commands] = [action for action in parser()._actions if isinstance(action, argparse._SubParsersAction)]
    able = {name for name, one in commands.choices.items() if "--json" in one._option_string_actions}
    [sentence] = re.findall(r"`--json` prints .*?\.", OPERATIONS.read_text())
    assert able == set(re.findall(r"`([a-z]+)`", sentence))
    assert able >= {"plan", "sync", "status", "check", "doubts", "forget", "sandbox"}


def test_every_command_and_option_is_documented_and_nothing_else_is() -> None:
    text = OPERATIONS.read_text()
    [commands] = [action for action in parser()._actions if isinstance(action, argparse._SubParsersAction)]
    assert set(re.findall(r"`zeotap ([a-z]+)", text)) == set(commands.choices)
    project = {name for name, one in commands.choices.items() if "--project" in one._option_string_actions}
    options = {
        option
        for name in project
        for option in commands.choices[name]._option_string_actions
        if option.startswith("--") and option != "--help"
    }
    assert set(re.findall(r"--[a-z][a-z-]+", text)) == options
