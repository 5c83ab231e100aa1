"""The asset graph does what its page says: the chain over real HTTP, in real Dagster runs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
import pytest
import yaml

from zeotap_pipelines.assets.observability import GUARDS, OUTCOMES
from zeotap_pipelines.sandbox import Fault, Sandbox
from zeotap_pipelines_tests.project import CHAIN, DAYS, DIFF, SNAPSHOT, SYNC, Project, asked, members

ONE, TWO, THREE, FOUR, FIVE, *_ = DAYS


def test_the_chain_ends_with_the_group_equal_to_the_audience(project: Project, group: Sandbox) -> None:
    project.seen({ONE: ["1", "2", "3"], TWO: ["2", "3", "4"]})
    for day, wanted in (ONE, {"1", "2", "3"}), (TWO, {"2", "3", "4"}):
        run = project.run(day=day)
        assert [run.green(asset) for asset in CHAIN] == [[day], [day], [day]]
        assert members(group) == wanted
    assert run.metadata(DIFF)["entered"] == run.metadata(DIFF)["left"] == 1
    assert run.metadata()["accepted"] == 2
    assert run.metadata()["told"] == 3


def test_a_rerun_asks_nothing_and_is_green(project: Project, group: Sandbox) -> None:
    project.seen({ONE: ["1", "2"]})
    project.run(day=ONE)
    before = asked(group)
    assert project.run(day=ONE).green() == project.run(SYNC, day=ONE).green() == [ONE]
    assert asked(group) == before


def test_assets_are_called_grouped_and_described_by_what_was_declared(project: Project) -> None:
    graph = project.load().resolve_asset_graph()
    snapshot, diff, sync = (graph.get(dg.AssetKey(list(asset))) for asset in CHAIN)
    assert {node.key for node in (snapshot, diff, sync)} == graph.get_all_asset_keys()
    assert diff.parent_keys == {snapshot.key} and sync.parent_keys == {diff.key}
    assert [node.group_name for node in (snapshot, diff, sync)] == ["audiences", "kognitiv", "kognitiv"]
    assert [node.kinds for node in (snapshot, diff, sync)] == [{"duckdb", "parquet"}, {"duckdb", "diff"}, {"kognitiv"}]
    assert "Who was seen on the day." in (snapshot.description or "")
    for node in (diff, sync):
        for said in ("`people`", "`ACTIVE-90D`", "kognitiv", "mirror", "`member_internal_id` ← `person`"):
            assert said in (node.description or "")
    assert "select distinct person" in str(snapshot.metadata["query"].value)
    assert snapshot.partitions_def is diff.partitions_def is sync.partitions_def
    assert sync.pools == {"kognitiv/main"}
    for node, checks in (diff, GUARDS), (sync, OUTCOMES):
        assert {check.name for check in graph.get_check_keys_for_assets({node.key})} == checks.keys()


def test_every_asset_names_its_document_its_owners_and_its_tags(project: Project) -> None:
    project.change("people", ("source:", "owners: [ada@example.com]\n  source:"))
    project.change("people_to_group", ("mode: mirror", "mode: mirror\n  owners: [team:crm]"))
    graph = project.load().resolve_asset_graph()
    owned = {SNAPSHOT: "ada@example.com", DIFF: "team:crm", SYNC: "team:crm"}
    for asset in CHAIN:
        node = graph.get(dg.AssetKey(list(asset)))
        assert list(node.owners) == [owned[asset]]
        assert node.tags["zeotap/audience"] == "people"
        [code] = node.metadata["dagster/code_references"].code_references
        assert (code.file_path, code.line_number) == (str(project.file(asset[1])), 1)
        assert node.metadata["declared"] == f"{project.file(asset[1]).relative_to(project.root)}:1"
    assert graph.get(dg.AssetKey(list(SYNC))).tags["zeotap/mode"] == "mirror"


def test_every_field_leads_back_to_the_columns_of_the_snapshot_that_it_is_made_of(
    project: Project, group: Sandbox
) -> None:
    """Column by column, over the diff, to columns that the snapshot was recorded with."""
    project.change("people", ("select distinct person", "select distinct person, 'x' as area, 7 as number"))
    origin = 'template: "{area}-{number}-{person}"'
    project.change("people_to_group", ("member_internal_id: person", f"member_internal_id: {{{origin}, trim: true}}"))
    project.seen({ONE: ["1"]})
    graph = project.load().resolve_asset_graph()
    diff, sync = (graph.get(dg.AssetKey(list(asset))).metadata for asset in (DIFF, SYNC))
    for metadata in diff, sync:
        [column] = metadata["dagster/column_schema"].columns
        assert (column.name, column.type, column.constraints.unique) == ("member_internal_id", "text", True)
        assert column.description == "from '{area}-{number}-{person}' → trim"
    assert {(*dep.asset_key.path, dep.column_name) for dep in lineage(sync)} == {(*DIFF, "member_internal_id")}
    schema = project.run(SNAPSHOT, day=ONE).metadata(SNAPSHOT)["dagster/column_schema"]
    recorded = {(*SNAPSHOT, column.name) for column in schema.columns}
    assert {(*dep.asset_key.path, dep.column_name) for dep in lineage(diff)} == recorded


def lineage(metadata: Mapping[str, Any]) -> Sequence[dg.TableColumnDep]:
    deps: Sequence[dg.TableColumnDep] = metadata["dagster/column_lineage"].deps_by_column["member_internal_id"]
    return deps


def test_a_dry_run_sends_nothing_and_is_not_green(project: Project, group: Sandbox) -> None:
    project.seen({ONE: ["1", "2"]})
    run = project.run(day=ONE, dry_run=True)
    assert run.succeeded
    assert run.green() == [] and members(group) == set()
    [observed] = run.observed()
    assert observed["dry_run"] is True and observed["entered"] == 2


def test_a_trial_sends_so_many_and_is_not_green(project: Project, group: Sandbox) -> None:
    project.seen({ONE: ["1", "2", "3"]})
    run = project.run(day=ONE, limit=1)
    assert run.succeeded and run.green() == []
    assert len(members(group)) == 1
    assert (run.observed()[0]["asked"], run.observed()[0]["not_asked"]) == (1, 2)
    assert project.run(SYNC, day=ONE).metadata()["asked"] == 2


def test_what_the_service_puts_off_is_neither_green_nor_failed(project: Project, group: Sandbox) -> None:
    project.seen({ONE: ["1", "2"]})
    group.faults.add(Fault(kind="status", status=429, path="/members/", times=1, retry_after=3600))
    run = project.run(day=ONE)
    assert run.succeeded and run.green() == [] and run.retried == []
    assert "ended_by" in run.observed()[0]
    assert members(group) == set()


def test_deferred_rows_are_recorded_and_the_retry_asks_for_exactly_those(project: Project, group: Sandbox) -> None:
    project.seen({ONE: ["1", "2", "3"]})
    group.faults.add(Fault(kind="status", status=500, method="PUT", path="/members/2$", times=1))
    attempts = project.attempt(day=ONE)
    first = attempts.again()
    assert first.green() == [] and first.observed()[0]["deferred"] == 1
    [said] = first.retried
    assert "2 accepted, 1 deferred" in said and "HTTP 500" in said
    second = attempts.again()
    assert second.green() == [ONE] and second.metadata()["asked"] == 1
    assert asked(group) == ["PUT 1", "PUT 2", "PUT 2", "PUT 3"]


def test_rejected_rows_leave_the_partition_green_with_a_failed_check(project: Project, group: Sandbox) -> None:
    project.seen({ONE: ["1", "2", "stranger"]})
    run = project.run(day=ONE)
    assert run.green() == [ONE] and members(group) == {"1", "2"}
    check = run.checks(SYNC)["everything_accepted"]
    assert not check.passed and "1 rows are rejected: member not found" in check.description
    assert "stranger" not in check.description + run.metadata()["reasons"]
    again = project.run(SYNC, day=ONE)
    assert "asked" in again.metadata() and not again.checks(SYNC)["everything_accepted"].passed


def test_the_page_of_a_delivery_says_why_how_many_who_masked_and_what_to_do(project: Project, group: Sandbox) -> None:
    strangers, slow = [f"stranger-{number}" for number in range(5)], "12345678"
    project.seen({ONE: ["1", slow, *strangers]})
    group.faults.add(Fault(kind="status", status=500, method="PUT", path=f"/members/{slow}$", times=1))
    attempts = project.attempt(day=ONE)
    [first] = [one for one in attempts.again().observed() if "reasons" in one]
    rejected, deferred = sorted(cells(first["reasons"]), key=lambda row: row["fate"], reverse=True)
    assert (rejected["fate"], rejected["rows"]) == ("rejected", "5")
    id_ = f"`{first['plan'][:8]}-[0-9]`"
    assert re.fullmatch(f"st…0 {id_}, st…1 {id_}, st…2 {id_}", rejected["such as"])
    assert "member not found" in rejected["reason"] and "mend the row in the source" in rejected["what to do"]
    assert (deferred["fate"], deferred["rows"]) == ("deferred", "1")
    assert re.fullmatch(f"12…8 {id_}", deferred["such as"])
    assert "HTTP 500" in deferred["reason"] and "asks these rows again" in deferred["what to do"]
    assert not any(person in str(first) for person in (slow, *strangers)), "a page names nobody"
    second = attempts.again()
    assert second.green() == [ONE] and "reasons" not in second.metadata()


def test_what_dagster_plots_is_a_number_under_one_name_on_every_delivery(project: Project, group: Sandbox) -> None:
    project.seen({ONE: ["1", "2"], TWO: ["2", "3"]})
    numbers = ("audience", "entered", "changed", "left", "accepted", "rejected", "deferred", "in_doubt", "seconds")
    plotted = (*numbers, "rows_per_second", "completion", "not_asked", "withheld", "told")
    assert project.run(day=ONE).succeeded
    run = project.run(day=TWO)
    found = run.metadata()
    assert all(type(found[name]) in (int, float) for name in plotted)
    assert [found[name] for name in ("audience", "entered", "left", "told", "accepted")] == [2, 1, 1, 2, 2]
    assert {name: run.metadata(DIFF)[name] for name in ("audience", "entered", "left")} == {
        name: found[name] for name in ("audience", "entered", "left")
    }


def cells(table: str) -> list[dict[str, str]]:
    """Return the rows of a table in Markdown, by its header."""
    header, _, *lines = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()]
    return [dict(zip(header, line, strict=True)) for line in lines]


def test_a_retry_keeps_the_snapshot_and_a_new_run_replaces_it(project: Project) -> None:
    project.seen({ONE: ["1"]})
    attempts = project.attempt(SNAPSHOT, day=ONE)
    assert attempts.again().metadata(SNAPSHOT)["kept"] is False
    project.seen({ONE: ["1", "2"]})
    kept = attempts.again().metadata(SNAPSHOT)
    assert kept["kept"] is True and kept["dagster/row_count"] == 1
    assert project.run(SNAPSHOT, day=ONE).metadata(SNAPSHOT)["dagster/row_count"] == 2


def test_an_older_partition_sends_nothing_and_says_by_what_it_is_superseded(project: Project, group: Sandbox) -> None:
    project.seen({ONE: ["1"], TWO: ["2"]})
    project.run(day=TWO)
    before = asked(group)
    run = project.run(day=ONE)
    assert run.green() == [ONE] and f"superseded by {TWO}" in run.metadata()["superseded"]
    planned = run.metadata(DIFF)
    assert f"superseded by {TWO}" in planned["superseded"] and planned["superseded_by"] == TWO
    assert planned["predicted_calls"] == 0 and "predicted_minutes" not in planned
    assert asked(group) == before


def test_a_guard_does_not_block_what_is_superseded_but_stops_its_restoration(project: Project, group: Sandbox) -> None:
    project.seen({ONE: [], TWO: ["2"]})
    project.run(day=TWO)
    assert project.run(day=ONE).green() == [ONE]
    assert "ApprovePlan: " in project.run(day=ONE, restore=True).failure
    assert members(group) == {"2"}


def test_restore_goes_back_on_purpose(project: Project, group: Sandbox) -> None:
    project.seen({ONE: ["1", "2", "3"], TWO: ["2", "3"]})
    project.run(day=TWO)
    assert project.run(day=ONE, restore=True).green() == [ONE]
    assert members(group) == {"1", "2", "3"}
    assert "superseded" in project.run(SYNC, day=ONE).metadata()


def test_a_partition_that_an_older_one_was_restored_after_is_neither_sent_nor_green(
    project: Project, group: Sandbox
) -> None:
    project.seen({ONE: ["1", "2", "3"], TWO: ["2", "3"]})
    project.run(day=TWO)
    project.run(day=ONE, restore=True)
    run = project.run(day=TWO)
    assert run.succeeded and run.green() == [] and members(group) == {"1", "2", "3"}
    assert f"{ONE} was restored since: nothing is sent" in run.observed()[-1]["nothing_sent"]
    assert f"{ONE} was restored since" in run.metadata(DIFF)["superseded"]
    assert not (project.root / "state" / "owed" / "people_to_group.json").exists(), "nobody goes on with it"
    assert project.run(day=TWO, restore=True).green() == [TWO] and members(group) == {"2", "3"}


def test_a_range_sends_the_net_difference_once(project: Project, group: Sandbox) -> None:
    project.seen({ONE: ["1", "2"], TWO: ["2", "3"], THREE: ["3", "4"], FOUR: ["2", "4"]})
    project.run(day=ONE)
    run = project.run(days=(TWO, FOUR))
    assert [run.green(asset) for asset in CHAIN] == [[TWO, THREE, FOUR]] * 3
    assert members(group) == {"2", "4"}
    assert asked(group) == ["DELETE 1", "PUT 1", "PUT 2", "PUT 4"]
    assert {run.metadata(SNAPSHOT, day)["digest"] for day in (TWO, THREE, FOUR)} != 1
    for asset in (DIFF, SYNC):
        assert [run.metadata(asset, day).get("superseded_by") for day in (TWO, THREE, FOUR)] == [FOUR, FOUR, None]
    assert "asked" not in run.metadata(SYNC, TWO)
    assert run.metadata(SYNC, FOUR)["asked"] == 2


def test_a_blocking_check_stops_the_sync_in_the_same_run(project: Project, group: Sandbox) -> None:
    project.seen({ONE: ["1", "2", "3"], TWO: ["4"]})
    project.run(day=ONE)
    run = project.run(day=TWO)
    assert run.failed == ["diffs__people_to_group"] and run.green() == []
    check = run.checks()["removed_share"]
    assert not check.passed and "3 of 3 members would be removed (100.0 %), allowed are 60 %" in check.description
    assert members(group) == {"1", "2", "3"}


def test_a_stopped_plan_is_refused_when_the_sync_is_launched_alone(project: Project, group: Sandbox) -> None:
    project.seen({ONE: ["1", "2", "3"], TWO: []})
    project.run(day=ONE)
    project.run(SNAPSHOT, day=TWO)
    run = project.run(SYNC, day=TWO)
    assert run.green() == [] and "ApprovePlan: " in run.failure and "audience people is empty" in run.failure
    assert members(group) == {"1", "2", "3"}


def test_what_the_check_offers_to_paste_approves_the_plan(project: Project, group: Sandbox) -> None:
    project.seen({ONE: ["1", "2", "3"], TWO: []})
    project.run(day=ONE)
    check = project.run(day=TWO).checks()["removed_share"]
    pasted = yaml.safe_load(check.metadata["launchpad"].value)
    config = pasted["ops"]["syncs__people_to_group"]["config"]
    for nobody in ({}, {"approved_by": " ", "reason": "ok"}, {"approved_by": "ada", "reason": "\u200b - "}):
        assert "approved_by and reason" in project.run(SYNC, day=TWO, **config | nobody).failure
    assert members(group) == {"1", "2", "3"}
    run = project.run(SYNC, day=TWO, **{**config, "approved_by": "ada", "reason": "the campaign is over"})
    assert run.green() == [TWO] and members(group) == set()
    assert (run.metadata()["approved_by"], run.metadata()["approval_reason"]) == ("ada", "the campaign is over")


def test_an_approval_of_another_plan_is_refused(project: Project, group: Sandbox) -> None:
    project.seen({ONE: ["1", "2", "3"], TWO: []})
    project.run(day=ONE)
    project.run(day=TWO)
    run = project.run(SYNC, day=TWO, approve="0123456789abcdef", approved_by="ada", reason="why not")
    assert "ApprovePlan: the approval names plan 0123456789abcdef, but the plan is" in run.failure
    assert members(group) == {"1", "2", "3"}


def test_an_unpartitioned_audience_is_kept_in_step(project: Project, group: Sandbox) -> None:
    project.change("people", ("daily", "none"), (" where day >= $start and day < $end", ""))
    for history in ("as_of", "current"):
        project.seen({ONE: ["1", "2"]} if history == "as_of" else {ONE: ["2", "3"]})
        run = project.run()
        assert run.green() == [None], run.failure
        assert members(group) == ({"1", "2"} if history == "as_of" else {"2", "3"})
        project.change("people", ("  key: ", "  history: current\n  key: ")) if history == "as_of" else None


def test_an_unpartitioned_audience_says_whom_its_snapshot_was_refused_for(project: Project, group: Sandbox) -> None:
    project.change("people", ("daily", "none"), (" where day >= $start and day < $end", ""))
    project.seen({ONE: ["1", "stranger"]})
    for assets, count in (((), 2), ((SYNC,), 0), ((), 1)):
        run = project.run(*assets)
        assert run.green() == [None] and run.metadata()["asked"] == count
        assert not run.checks(SYNC)["everything_accepted"].passed
    group.kognitiv.set_standing("stranger", "active")
    assert project.run().checks(SYNC)["everything_accepted"].passed
    assert members(group) == {"1", "stranger"}


@pytest.mark.parametrize(
    ("cadence", "start", "partition"),
    [("hourly", "2026-01-01-00:00", f"{ONE}-00:00"), ("weekly", "2026-01-01", "2026-01-04"), ("monthly", ONE, ONE)],
)
def test_every_cadence_cuts_time_its_own_way(
    project: Project, group: Sandbox, cadence: str, start: str, partition: str
) -> None:
    project.change("people", ("daily", cadence), (ONE, start))
    project.seen({partition[:10]: ["1", "2"]})
    run = project.run(day=partition)
    assert run.green() == [partition] and members(group) == {"1", "2"}


def test_an_audience_that_knows_only_today_refuses_the_past(project: Project, group: Sandbox) -> None:
    project.change("people", ("  key: ", "  history: current\n  key: "), (" where day >= $start and day < $end", ""))
    project.seen({ONE: ["1"]})
    assert "people knows only today (history: current)" in project.run(day=ONE).failure
    today = (
        project.load().resolve_asset_graph().get(dg.AssetKey(list(SNAPSHOT))).partitions_def.get_last_partition_key()
    )
    assert project.run(day=today).green() == [today] and members(group) == {"1"}


def test_a_renamed_sync_asks_nothing(project: Project, group: Sandbox) -> None:
    project.seen({ONE: ["1"]})
    project.run(day=ONE)
    project.change("people_to_group", ("people_to_group", "renamed"))
    run = project.run(SNAPSHOT, ("diffs", "renamed"), ("syncs", "renamed"), day=ONE)
    assert run.green(("syncs", "renamed")) == [ONE]
    assert asked(group) == ["PUT 1"]
