"""What a person sees and clicks: the Dagster UI as `zeotap dev` serves it, with its sandbox."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from playwright.sync_api import Locator, Page, expect

from zeotap_pipelines.assets.observability import OUTCOMES
from zeotap_pipelines_tests.browser.stage import Stage, chain, developing
from zeotap_pipelines_tests.served import ASSETS

# Of Dagster's own client.
pytestmark = pytest.mark.filterwarnings("ignore:Using variable_values:DeprecationWarning")

AUDIENCE, SYNC, DAY = "active_members", "active_members_to_kognitiv", "1997-01-01"
MONTH_END, WATCHED, SHRUNKEN, NEWEST = "1997-01-31", "1997-02-14", "1997-06-30", "1998-06-30"
ASKED = re.compile(r"\d+ of \d+ rows asked, \d+ a second, about \d+ s left")
STARTED_BY = "zeotap/started_by"
CHAIN = "view=lineage&lineageScope=upstream&lineageDepth=5"
START, RUN = 60_000, 90_000
"""Milliseconds that Dagster may take to start, and a run to end, on a machine that does other things too."""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with developing(tmp_path_factory.mktemp("dev")) as stage:
        yield stage


def opened(page: Page, stage: Stage, asset: str) -> None:
    page.goto(f"{stage.ui}/assets/{asset}?view=overview")
    # A table of columns, which may be there first, has a column of that name.
    expect(page.get_by_text("Description", exact=True).first).to_be_visible(timeout=START)


def test_the_graph_shows_the_chain_in_its_groups(page: Page, stage: Stage, screenshot: Callable[[str], Path]) -> None:
    page.goto(f"{stage.ui}/asset-groups")
    graph = page.locator("foreignObject")
    for group in ("audiences", "kognitiv"):
        expect(graph.get_by_text(group, exact=True)).to_be_visible(timeout=START)
    expect(graph.get_by_text("fetching statuses")).to_have_count(0, timeout=START)
    screenshot("ui-graph")
    page.goto(f"{stage.ui}/assets/syncs/{SYNC}?{CHAIN}")
    expect(graph.get_by_text(SYNC, exact=True).filter(visible=True)).to_have_count(2, timeout=START)
    expect(graph.get_by_text(AUDIENCE, exact=True).filter(visible=True)).to_have_count(1)
    for kind in ("Parquet", "diff"):
        expect(graph.get_by_text(kind, exact=True).filter(visible=True)).to_have_count(1)
    expect(graph.get_by_text(f"0 / {len(OUTCOMES)} Passed")).to_be_visible()
    screenshot("ui-chain")


def test_an_asset_s_page_says_what_goes_where(page: Page, stage: Stage, screenshot: Callable[[str], Path]) -> None:
    opened(page, stage, f"snapshots/{AUDIENCE}")
    expect(page.get_by_text("Customers with a purchase in the 90 days up to the partition's day.")).to_be_visible()
    expect(page.get_by_text("group by customer_id")).to_be_visible()
    screenshot("ui-snapshot")
    for kind, says in ("diffs", "Says what would be sent of audience"), ("syncs", "Sends audience"):
        opened(page, stage, f"{kind}/{SYNC}")
        expect(page.get_by_text(says)).to_be_visible()
        for text in ("ACTIVE-90D", "mirror", "member_internal_id"):
            expect(page.get_by_text(text, exact=True).first).to_be_visible()
        expect(page.get_by_text("kognitiv/demo/promotional_member_group/ACTIVE-90D")).to_be_visible()
        expect(page.get_by_role("link", name=re.compile("^Open .*defs.yaml in editor"))).to_be_visible()
        expect(page.get_by_text("from customer_id")).to_be_visible()  # The column of the destination's field.
        screenshot(f"ui-{kind}")


def test_a_day_that_is_materialized_by_clicks_reaches_the_group(
    page: Page, stage: Stage, screenshot: Callable[[str], Path]
) -> None:
    assert stage.members() == set()
    page.goto(f"{stage.ui}/assets/syncs/{SYNC}?{CHAIN}")
    page.get_by_role("button", name="Materialize all").click(timeout=START)
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("textbox").fill(DAY)
    dialog.get_by_role("textbox").press("Tab")
    expect(dialog.get_by_text("1 partition", exact=False).first).to_be_visible()
    screenshot("ui-materialize")
    dialog.get_by_role("button", name=re.compile("^Launch")).click()
    expect(dialog).to_be_hidden(timeout=RUN)

    page.goto(f"{stage.ui}/runs")
    page.locator("a[href^='/runs/']").filter(has_text=re.compile("^[0-9a-f]{8}$")).first.click(timeout=RUN)
    expect(page.get_by_text("Success", exact=True).first).to_be_visible(timeout=RUN)
    screenshot("ui-run")
    assert stage.members() == stage.audience(DAY)

    page.goto(f"{stage.ui}/assets/syncs/{SYNC}?view=partitions&partition={DAY}")
    expect(page.get_by_text("rows_per_second")).to_be_visible(timeout=RUN)
    screenshot("ui-sync-partition")
    page.goto(f"{stage.ui}/assets/diffs/{SYNC}?view=partitions&partition={DAY}")
    expect(page.get_by_text("predicted_calls")).to_be_visible()
    screenshot("ui-diff-partition")
    page.goto(f"{stage.ui}/assets/diffs/{SYNC}?view=checks")
    expect(page.get_by_text("empty_audience").first).to_be_visible()
    screenshot("ui-checks")
    page.goto(stage.sandbox)
    expect(page.get_by_text("ACTIVE-90D").first).to_be_visible()
    screenshot("ui-sandbox")


def test_a_month_that_is_backfilled_by_clicks_is_one_run_to_its_last_day(
    page: Page, stage: Stage, screenshot: Callable[[str], Path]
) -> None:
    page.goto(f"{stage.ui}/assets/syncs/{SYNC}?{CHAIN}")
    page.get_by_role("button", name="Materialize all").click(timeout=START)
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("textbox").fill(f"[{DAY}...{MONTH_END}]")
    dialog.get_by_role("textbox").press("Tab")
    expect(dialog.get_by_text("31 partitions")).to_be_visible()
    screenshot("ui-backfill")
    dialog.get_by_role("button", name="Launch backfill").click()
    stage.served.until(lambda: stage.members() == stage.audience(MONTH_END) and idle(stage))
    [status] = [run["status"] for run in runs(stage) if "dagster/backfill" in {tag["key"] for tag in run["tags"]}]
    assert status == "SUCCESS"

    page.goto(f"{stage.ui}/assets/syncs/{SYNC}?view=partitions&partition=1997-01-15")
    expect(page.get_by_text("superseded_by")).to_be_visible(timeout=RUN)
    expect(page.get_by_role("cell", name=MONTH_END)).to_be_visible()
    screenshot("ui-superseded")
    page.goto(f"{stage.ui}/assets/syncs/{SYNC}?view=partitions&partition={MONTH_END}")
    for outcome in ("completion", "accepted", "rejected", "in_doubt", "outcomes"):
        expect(page.get_by_role("cell", name=outcome, exact=True)).to_be_visible(timeout=START)
    screenshot("ui-outcomes")


def test_a_slow_delivery_is_watched_while_it_runs_and_its_outcomes_are_opened(
    page: Page, stage: Stage, screenshot: Callable[[str], Path]
) -> None:
    before, wanted = stage.members(), stage.audience(WATCHED)
    stranger = sorted(wanted - before)[0]
    stage.faulty({"kind": "status", "status": 400, "method": "PUT", "path": f"/members/{stranger}$", "times": 1})
    stage.faulty({"kind": "delay", "path": "/members/", "seconds": 0.5, "times": len(wanted ^ before) - 1})
    run = stage.served.begin(ASSETS, *chain(AUDIENCE, SYNC), day=WATCHED)

    page.goto(f"{stage.ui}/runs/{run}")
    expect(page.get_by_text(ASKED).first).to_be_visible(timeout=RUN)
    assert stage.members() not in (before, wanted), "it is watched while it runs"
    screenshot("ui-progress")
    page.goto(f"{stage.ui}/assets/syncs/{SYNC}?view=events")
    page.get_by_text("Observed").first.click(timeout=START)
    for figure in ("done", "of", "rows_per_second", "seconds_left"):
        expect(page.get_by_role("cell", name=figure, exact=True)).to_be_visible(timeout=START)
    screenshot("ui-progress-figures")
    assert not idle(stage), "the figures are read before it has ended"

    stage.served.until(lambda: idle(stage))
    assert stage.served.succeeded(run) and stage.members() == wanted - {stranger}
    page.goto(f"{stage.ui}/assets/syncs/{SYNC}?view=partitions&partition={WATCHED}")
    reasons = page.get_by_role("row").filter(has=page.get_by_role("cell", name="reasons", exact=True))
    for said in ("rejected", "mend the row in the source", "HTTP 400"):
        expect(reasons.get_by_text(said).first).to_be_visible(timeout=START)
    expect(reasons.get_by_text(stranger, exact=True)).to_have_count(0)
    screenshot("ui-reasons")
    file = page.get_by_text(re.compile(r"/outcomes/.*\.parquet$")).first.inner_text()
    asked = duckdb.sql("select key, fate from read_parquet(?) where fate <> 'accepted'", params=[file]).fetchall()
    assert asked == [(stranger, "rejected")]
    page.goto(f"{stage.ui}/assets/syncs/{SYNC}?view=checks&checkDetail=everything_accepted")
    expect(page.get_by_text("1 rows are rejected")).to_be_visible(timeout=START)
    screenshot("ui-rejected")


def test_a_shrunken_audience_is_stopped_and_delivered_once_its_approval_is_pasted(
    page: Page, stage: Stage, screenshot: Callable[[str], Path]
) -> None:
    sync = "active_members_to_moengage"
    assert stage.served.succeeded(stage.deliver(AUDIENCE, sync, MONTH_END))
    run = stage.deliver(AUDIENCE, sync, SHRUNKEN)
    page.goto(f"{stage.ui}/assets/syncs/{sync}?view=partitions&partition={SHRUNKEN}")
    expect(page.get_by_text(f"Run {run[:8]} failed, and did not materialize this asset.")).to_be_visible(timeout=START)
    screenshot("ui-stopped")
    assert stage.cohort() == stage.audience(MONTH_END)

    page.goto(f"{stage.ui}/assets/diffs/{sync}?view=partitions&partition={SHRUNKEN}")
    for cell in ("audience", "told", "entered", "left", "predicted_calls", "predicted_minutes"):
        expect(page.get_by_role("cell", name=cell, exact=True)).to_be_visible(timeout=START)
    expect(page.get_by_role("columnheader", name="verb")).to_be_visible()
    screenshot("ui-plan")
    page.goto(f"{stage.ui}/assets/diffs/{sync}?view=checks&checkDetail=removed_share")
    expect(page.get_by_text("members would be removed")).to_be_visible(timeout=START)
    expect(page.get_by_text("To send it all the same, approve plan")).to_be_visible()
    page.get_by_text("[Show Markdown]").click()
    page.get_by_role("dialog").get_by_text(f"syncs__{sync}").wait_for()
    screenshot("ui-approval")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("dialog").get_by_role("button", name="Copy").click()
    offered = page.evaluate("navigator.clipboard.readText()")

    page.goto(f"{stage.ui}/assets/syncs/{sync}?view=partitions&partition={SHRUNKEN}")
    page.get_by_role("button", name="Materialize").first.click(timeout=START)
    page.get_by_role("dialog").get_by_text("Config", exact=True).click()
    page.get_by_role("button", name="Add config").click()
    said = offered.replace('approved_by: ""', "approved_by: ada").replace('reason: ""', "reason: the campaign is over")
    write(page, page.get_by_role("dialog"), said)
    screenshot("ui-approved")
    page.get_by_role("button", name="Save config").click()
    page.get_by_role("button", name=re.compile("^Launch")).click()
    stage.served.until(lambda: stage.cohort() == stage.audience(SHRUNKEN))
    page.goto(f"{stage.ui}/assets/syncs/{sync}?view=partitions&partition={SHRUNKEN}")
    for cell in ("approved_by", "ada", "the campaign is over"):
        expect(page.get_by_role("cell", name=cell, exact=True)).to_be_visible(timeout=RUN)


def test_a_credit_in_doubt_is_given_once_a_job_says_that_it_did_not_happen(
    page: Page, stage: Stage, screenshot: Callable[[str], Path]
) -> None:
    sync, day = "purchases_to_crowdtwist", "1997-01-02"
    [(points,)] = stage.query("select sum(floor(dollars))::int from purchases where purchased_on = ?::date", day)
    assert stage.served.succeeded(stage.deliver("members", "members_to_crowdtwist", day))
    stage.faulty({"kind": "reset_before", "method": "POST", "path": "/activities", "times": 1}, "crowdtwist")
    assert stage.served.succeeded(stage.deliver("purchases", sync, day))
    assert 0 < stage.held()["crowdtwist"]["points"] < points

    page.goto(f"{stage.ui}/assets/syncs/{sync}?view=checks&checkDetail=nothing_in_doubt")
    expect(page.get_by_text("1 rows may have happened; a person decides")).to_be_visible(timeout=START)
    screenshot("ui-doubt")
    page.goto(f"{stage.ui}/locations/zeotap_pipelines/jobs/decide_doubts/playground")
    expect(page.get_by_text("Missing required config entries")).to_be_visible(timeout=START)
    decided = {"sync": sync, "everything": "true", "decision": "resend", "by": "ada", "reason": "it is not there"}
    lines = "".join(f"      {name}: {value}\n" for name, value in decided.items())
    write(page, page.locator("body"), f"ops:\n  decide:\n    config:\n{lines}")
    screenshot("ui-decide")
    page.get_by_role("button", name="Launch Run").click()
    expect(page.get_by_text("Success", exact=True).first).to_be_visible(timeout=RUN)
    expect(page.get_by_text(f"1 rows of {sync} are asked again").first).to_be_visible(timeout=START)
    screenshot("ui-decided")
    assert stage.served.succeeded(stage.deliver("purchases", sync, day))
    assert stage.held()["crowdtwist"]["points"] == points


def test_a_schedule_and_a_sensor_that_are_turned_on_deliver_the_newest_day(
    page: Page, stage: Stage, screenshot: Callable[[str], Path]
) -> None:
    stage.buy("select distinct customer_id from purchases", NEWEST)  # Everybody does, so that nobody leaves.
    page.goto(f"{stage.ui}/locations/zeotap_pipelines/schedules/{AUDIENCE}_schedule")
    expect(page.get_by_text("Schedule has never run")).to_be_visible(timeout=START)
    turn_on(page)
    expect(page.get_by_text("Next tick")).to_be_visible()
    screenshot("ui-schedule")
    page.get_by_role("button", name="Preview tick result").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Continue").click()
    expect(dialog.get_by_text("1 run requests")).to_be_visible(timeout=START)
    dialog.get_by_role("button", name="Launch all").click()
    stage.served.until(lambda: stage.members() == stage.cohort() == stage.audience(NEWEST) and idle(stage))
    assert started_by(stage) == ["schedule"]

    stage.buy("select 7 as customer_id", NEWEST)
    page.goto(f"{stage.ui}/locations/zeotap_pipelines/sensors/{AUDIENCE}_watch")
    expect(page.get_by_text("Sensor has never run")).to_be_visible(timeout=START)
    turn_on(page)
    stage.served.until(lambda: "7" in stage.members() & stage.cohort() and idle(stage))
    assert stage.members() == stage.cohort() == stage.audience(NEWEST)
    assert started_by(stage) == ["watch", "schedule"]
    expect(page.get_by_role("button", name="1 run requested").first).to_be_visible(timeout=START)
    screenshot("ui-sensor")
    page.goto(f"{stage.ui}/automation")
    for name in (f"{AUDIENCE}_schedule", f"{AUDIENCE}_watch", "team_notifier"):
        expect(page.get_by_text(name, exact=True)).to_be_visible(timeout=START)
    expect(page.get_by_text("At 06:00").first).to_be_visible()
    screenshot("ui-automation")


def write(page: Page, within: Locator, config: str) -> None:
    """Write *config* into the editor in the place of what is there, and wait until it is found right."""
    within.locator(".CodeMirror").first.click(timeout=START)
    page.keyboard.press("ControlOrMeta+A")
    page.keyboard.insert_text(config)
    expect(within.get_by_text("No errors")).to_be_visible(timeout=START)


def turn_on(page: Page) -> None:
    """Click the switch of the schedule or sensor that is open."""
    page.get_by_role("row").filter(has_text="Running").locator("label").click()
    expect(page.get_by_role("checkbox")).to_be_checked(timeout=START)


def idle(stage: Stage) -> bool:
    """Whether no run is under way."""
    return {run["status"] for run in runs(stage)} <= {"SUCCESS", "FAILURE", "CANCELED"}


def started_by(stage: Stage) -> list[str]:
    """
    Return what started the runs of the audience that nobody clicked, the newest first; all of them succeeded.

    Of other audiences there may be some: a decision about rows in doubt goes on by itself, too.
    """
    tagged = [(run["status"], {tag["key"]: tag["value"] for tag in run["tags"]}) for run in runs(stage)]
    found = [(status, tags[STARTED_BY]) for status, tags in tagged if tags.get("zeotap/audience") == AUDIENCE]
    assert {status for status, _ in found} == {"SUCCESS"}
    return [by for _, by in found]


def runs(stage: Stage) -> list[dict[str, Any]]:
    query = "{ runsOrError { ... on Runs { results { status tags { key value } } } } }"
    found: list[dict[str, Any]] = stage.served.ask(query)["results"]
    return found
