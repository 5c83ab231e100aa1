"""The page about chaos shows what the harness wrote, and that nothing was lost or doubled."""

import json
import re
from pathlib import Path

import pytest

from benchmarks.chaos.__main__ import main
from benchmarks.chaos.report import COLUMNS, PAGE, STORED, section, shown
from benchmarks.chaos.scenes import SCENES, SPEAKERS

ROOT = Path(__file__).resolve().parents[1]
RUNS = json.loads((ROOT / STORED).read_text(encoding="utf-8"))
TEXT = (ROOT / PAGE).read_text(encoding="utf-8")


def test_the_page_shows_the_results_that_were_stored() -> None:
    assert shown(TEXT, RUNS) == TEXT
    assert all(section(run) in TEXT for run in RUNS)


def test_in_the_stored_results_nothing_was_lost_or_doubled_at_any_target() -> None:
    assert len({run["seed"] for run in RUNS}) == len(RUNS) >= 3
    for run in RUNS:
        assert sorted(row["target"] for row in run["targets"]) == sorted(SCENES)
        assert not run["defects"] and run["kills"] >= 1_000
        for row in run["targets"]:
            assert row["lost"] == row["doubled"] == row["violations"] == 0
            assert row["kills"] and row["faults"] and row["rows"] and row["checks"]
        assert sum(row["kills"] for row in run["targets"]) == run["kills"]
        assert run["largest_window"] <= 2 * SPEAKERS


def test_the_page_says_what_every_column_means() -> None:
    meant = re.findall(r"(?m)^\| ([a-z ]+) \| 0? ?\| ", TEXT.partition("## What is compared")[2].partition("\n## ")[0])
    assert meant == [name.replace("_", " ") for name in COLUMNS]


@pytest.mark.slow
def test_a_run_writes_down_what_came_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "chaos.json"
    given = ["--target", "crowdtwist_credits", "--seed", "3", "--kills", "1", "--json", str(file)]
    assert main(given) == 0
    found = json.loads(file.read_text())
    assert found["kills"] >= 1 and found["seed"] == 3
    [row] = found["targets"]
    assert row["rounds"] > row["kills"] == found["kills"] and row["checks"]
    assert section(found) in shown("# Page\n\n## Last results\n\nNone yet.\n", [found])
    assert f"{row['kills']}" in capsys.readouterr().out
