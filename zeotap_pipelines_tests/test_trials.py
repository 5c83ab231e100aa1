"""A trial sends a part of the plan, and changes nothing of what the rest is owed."""

from __future__ import annotations

import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dagster as dg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zeotap_pipelines.assets.assets import MAX_RETRIES, RUN_RETRIES
from zeotap_pipelines.delivery.trip import Approval
from zeotap_pipelines.errors import ApprovePlan, FixSettings
from zeotap_pipelines.ledger.lock import speaking
from zeotap_pipelines.mapping import Field
from zeotap_pipelines.sandbox import Fault, Sandbox
from zeotap_pipelines.sync import Guards
from zeotap_pipelines.upkeep.explanation import explain
from zeotap_pipelines_tests.project import DAYS, DIFF, SNAPSHOT, SYNC, Project, asked, members
from zeotap_pipelines_tests.world import Rows, World, day

ONE, TWO, *_ = DAYS
PEOPLE = ["1", "2", "3", "4", "5", "6"]


def ids(world: World) -> dict[str, str]:
    """The ids of the plan's rows, by key."""
    return {key: explain(world.sync, key, world.state).planned[0]["id"] for key in PEOPLE}


@settings(max_examples=12, deadline=None)
@given(chosen=st.sets(st.sampled_from(PEOPLE), min_size=1), again=st.sets(st.sampled_from(PEOPLE), min_size=1))
def test_exactly_the_chosen_rows_are_sent_and_the_rest_stays_owed(chosen: set[str], again: set[str]) -> None:
    with TemporaryDirectory() as folder:
        world = World(Path(folder))
        world.take(PEOPLE)
        world.plan()
        named = ids(world)
        world.carry_out(only=[named[key] for key in chosen])
        assert world.held == chosen
        world.carry_out(only=[named[key] for key in again])
        assert world.held == chosen | again, "the same plan's ids hold for another trial"
        rest = world.carry_out()
        assert rest.asked == len(set(PEOPLE) - chosen - again) and rest.complete
        assert sorted(world.asked) == sorted(f"PUT {key}" for key in PEOPLE)


def test_a_trial_that_failed_is_not_begun_again_by_itself(project: Project, group: Sandbox) -> None:
    project.seen({ONE: [f"{number}" for number in range(60)]})
    group.faults.add(Fault(kind="status", status=500, method="PUT", path="/members/", times=20))
    attempts = project.attempt(day=ONE, limit=50)
    run = attempts.again()
    assert run.retried == [] and "TryAgainLater: kognitiv gives no usable answer" in run.failure
    assert len(asked(group)) < 50
    kept = project.instance.get_run_by_id(attempts.run_id)
    assert kept is not None and (kept.tags[RUN_RETRIES], kept.tags[MAX_RETRIES]) == ("false", "0")


def test_a_trial_that_waited_for_the_account_in_vain_is_not_begun_again_by_itself(
    project: Project, group: Sandbox
) -> None:
    project.seen({ONE: ["1"]})
    project.change("people_to_group", ("  mode:", "  wait_for_account: 0\n  mode:"))
    with speaking(project.root / "state" / "ledger" / "kognitiv" / "main", run="another", sync="somebody"):
        run = project.attempt(day=ONE, limit=1).again()
    assert run.retried == [] and "WaitForAccount: " in run.failure


def test_a_defect_after_a_trial_was_sent_sends_nothing_a_second_time(project: Project, group: Sandbox) -> None:
    """What nobody foresaw is tried again by Dagster itself."""
    project.seen({ONE: PEOPLE})
    attempts = project.attempt(day=ONE, limit=2)
    ledgers: dict[Path, bytes] = {}

    def listen(entry: dg.EventLogEntry) -> None:
        if entry.dagster_event_type is dg.DagsterEventType.ASSET_OBSERVATION and not ledgers:
            for file in project.root.rglob("ledger.duckdb"):
                ledgers[file] = file.read_bytes()
                file.write_text("damaged")

    project.instance.add_event_listener(attempts.run_id, listen)
    assert attempts.again().retried and len(members(group)) == 2
    for file, content in ledgers.items():
        file.write_bytes(content)
    second = attempts.again()
    assert second.retried == [] and "a trial is not begun again by itself" in second.failure
    assert len(members(group)) == 2


WRONG = ["nobody", "1", "{plan}-6", "{plan}--1", "{plan}-01", "{plan}-", "{plan}-¹", "00000000-1"]


@pytest.mark.parametrize("wrong", WRONG)
def test_an_id_that_the_plan_does_not_have_is_refused_by_name_before_anything_is_sent(
    tmp_path: Path, wrong: str
) -> None:
    world = World(tmp_path)
    world.take(PEOPLE)
    plan = world.plan()
    name = wrong.format(plan=plan.id[:8])
    with pytest.raises(FixSettings, match=re.escape(f"has no row {name!r}")):
        world.carry_out(only=[plan.row_id(0), name])
    assert world.asked == []


def test_ids_of_an_older_plan_are_refused(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.take(["1", "2"])
    old = world.plan().row_id(0)
    world.deliver(["2", "3"])
    world.take(["2", "3", "4"], day(1))
    with pytest.raises(FixSettings, match="it belongs to another plan; take ids from this plan's page"):
        world.carry_out(day(1), only=[old])


def test_a_trial_of_a_stopped_plan_needs_its_approval(tmp_path: Path) -> None:
    world = World(tmp_path, guards=Guards(max_removed_percent=10))
    world.deliver(["1", "2"])
    world.take(["1"], day(1))
    plan = world.plan(day(1))
    with pytest.raises(ApprovePlan):
        world.carry_out(day(1), only=[plan.row_id(0)])
    world.carry_out(day(1), only=[plan.row_id(0)], approval=Approval(plan.id, "ada", "why not"))
    assert world.held == {"1"}


@pytest.mark.parametrize("part", ["limit", "only additions", "only removals"])
def test_a_trial_of_a_replacement_removes_nobody_and_does_not_end_it(tmp_path: Path, part: str) -> None:
    world = World(tmp_path)
    world.deliver(Rows({"customer": ["1", "2"], "number": ["71", "72"]}))
    world.renamed(mapping={"member_internal_id": Field.of("number")})
    plan = world.plan()
    approval = Approval(plan.id, "ada", "why not")
    chosen = [0] if part == "only additions" else [2, 3]
    how: dict[str, Any] = {"limit": 1} if part == "limit" else {"only": [plan.row_id(row) for row in chosen]}
    world.carry_out(approval=approval, **how)
    assert world.held >= {"1", "2"}
    assert world.carry_out(approval=approval).complete
    assert world.held == {"71", "72"}


def test_no_id_says_who_it_is_and_the_page_tells_short_keys_apart(project: Project, group: Sandbox) -> None:
    project.seen({ONE: ["1", "2", "3"]})
    plan = project.run(SNAPSHOT, DIFF, day=ONE).metadata(DIFF)
    assert f"| add | 3 | … `{plan['plan'][:8]}-0` | … `{plan['plan'][:8]}-2` |" in plan["operations"]


def test_a_trial_of_rows_is_not_green_and_says_what_is_left(project: Project, group: Sandbox) -> None:
    project.seen({ONE: ["1", "2", "3"]})
    plan = project.run(day=ONE, dry_run=True).metadata(DIFF)["plan"]
    run = project.run(SYNC, day=ONE, only=[f"{plan[:8]}-1"])
    assert run.succeeded and run.green() == []
    assert (run.observed()[0]["asked"], run.observed()[0]["not_asked"]) == (1, 2)
    assert members(group) == {"2"}
    assert project.run(SYNC, day=ONE).green() == [ONE] and members(group) == {"1", "2", "3"}


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"limit": 1, "only": ["x"]}, "limit and only are two kinds of trial: set one of them"),
        ({"dry_run": True, "only": ["x"]}, "a dry run sends nothing: take only out, or dry_run for a trial"),
        ({"dry_run": True, "limit": 1}, "a dry run sends nothing: take limit out, or dry_run for a trial"),
        ({"only": ["x"]}, "has no row 'x'"),
    ],
)
def test_settings_that_contradict_each_other_end_in_one_sentence(
    project: Project, group: Sandbox, config: dict[str, Any], says: str
) -> None:
    project.seen({ONE: ["1"]})
    attempt = project.attempt(day=ONE, **config).again()
    assert attempt.retried == [] and says in attempt.failure and attempt.failure.startswith("FixSettings: ")
    assert asked(group) == []
