"""What a person sees and clicks: the Dagster UI as `zeotap dev` serves it, with its sandbox."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pytest
from playwright.sync_api import Page, expect

ROOT = Path(__file__).resolve().parents[2]
AUDIENCE, SYNC, DAY = "active_members", "active_members_to_kognitiv", "1997-01-01"
CHAIN = "view=lineage&lineageScope=upstream&lineageDepth=5"
START, RUN = 60_000, 90_000
"""Milliseconds that Dagster may take to start, and a run to end, on a machine that does other things too."""


@dataclass(frozen=True)
class Stage:
    """A running `zeotap dev`: the UI's address, the sandbox's, and the folder."""

    ui: str
    sandbox: str
    folder: Path

    def members(self) -> set[str]:
        groups: list[dict[str, Any]] = httpx.get(f"{self.sandbox}/_sandbox/state").json()["kognitiv"]["groups"]
        return {member for group in groups if group["ref"] == "ACTIVE-90D" for member in group["members"]}

    def audience(self, day: str) -> set[str]:
        query = "select distinct customer_id from purchases where purchased_on between ?::date - 89 and ?::date"
        with duckdb.connect(self.folder / "data/state/dev/warehouse.duckdb", read_only=True) as warehouse:
            return {str(member) for (member,) in warehouse.execute(query, [day, day]).fetchall()}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("dev")
    for name in ("dagster.yaml", "workspace.yaml"):
        shutil.copy(ROOT / name, folder)
    apart = {k: v for k, v in os.environ.items() if k not in ("DAGSTER_HOME", "ZEOTAP_STATE")}
    command = [sys.executable, "-m", "zeotap_pipelines.cli", "dev", "--port", "0"]
    process = subprocess.Popen(
        command, cwd=folder, env=apart, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdout is not None
    try:
        ui, sandbox = re.findall(r"http://\S+", process.stdout.readline()) or pytest.fail(process.stdout.read())
        for line in process.stdout:  # Dagster says so when it serves.
            if "Serving dagster-webserver" in line:
                break
        threading.Thread(target=process.stdout.read, daemon=True).start()  # What else it says must not fill the pipe.
        yield Stage(ui, sandbox, folder)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def opened(page: Page, stage: Stage, asset: str) -> None:
    page.goto(f"{stage.ui}/assets/{asset}?view=overview")
    expect(page.get_by_text("Description", exact=True)).to_be_visible(timeout=START)


def test_the_graph_shows_the_chain_in_its_groups(page: Page, stage: Stage, screenshot: Callable[[str], Path]) -> None:
    page.goto(f"{stage.ui}/asset-groups")
    graph = page.locator("foreignObject")
    for group in ("audiences", "kognitiv"):
        expect(graph.get_by_text(group, exact=True)).to_be_visible(timeout=START)
    screenshot("ui-graph")
    page.goto(f"{stage.ui}/assets/syncs/{SYNC}?{CHAIN}")
    expect(graph.get_by_text(SYNC, exact=True).filter(visible=True)).to_have_count(2, timeout=START)
    expect(graph.get_by_text(AUDIENCE, exact=True).filter(visible=True)).to_have_count(1)
    for kind in ("Parquet", "diff"):
        expect(graph.get_by_text(kind, exact=True).filter(visible=True)).to_have_count(1)
    expect(graph.get_by_text("0 / 2 Passed")).to_be_visible()
    screenshot("ui-chain")


def test_an_asset_s_page_says_what_goes_where(page: Page, stage: Stage, screenshot: Callable[[str], Path]) -> None:
    opened(page, stage, f"snapshots/{AUDIENCE}")
    expect(page.get_by_text("Customers with a purchase in the 90 days up to the partition's day.")).to_be_visible()
    expect(page.get_by_text("group by customer_id")).to_be_visible()
    screenshot("ui-snapshot")
    for kind, says in ("diffs", "What would be sent:"), ("syncs", "Sends it:"):
        opened(page, stage, f"{kind}/{SYNC}")
        expect(page.get_by_text(says)).to_be_visible()
        for text in ("ACTIVE-90D", "mirror", "member_internal_id"):
            expect(page.get_by_text(text, exact=True).first).to_be_visible()
        expect(page.get_by_text("kognitiv/demo/promotional_member_group/ACTIVE-90D")).to_be_visible()
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
