"""The harness that puts others beside us runs, and its page says what it found."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from benchmarks.peers.__main__ import CONTENDERS, PAGE, STORED, measured, tables
from benchmarks.peers.play import said
from benchmarks.peers.service import stage
from zeotap_pipelines.sandbox import CROWDTWIST_API_KEY

ROOT = Path(__file__).resolve().parents[1]
REPORT = json.loads((ROOT / STORED).read_text(encoding="utf-8"))
TEXT = (ROOT / PAGE).read_text(encoding="utf-8")


@pytest.mark.parametrize("heading", tables(REPORT))
def test_the_page_shows_the_figures_that_were_stored(heading: str) -> None:
    section = TEXT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    shown = [line for line in section.splitlines() if line.startswith("|")]
    assert shown == tables(REPORT)[heading].splitlines()


def test_the_page_says_when_and_on_what_it_was_measured() -> None:
    assert measured(REPORT) in TEXT.splitlines()


def test_the_stored_figures_are_of_every_contender_and_of_the_default_sizes() -> None:
    assert [row["contender"] for row in REPORT["contenders"]] == [contender.name for contender in CONTENDERS]
    assert (REPORT["credits"], REPORT["rounds"], REPORT["credits_of_a_round"]) == (1000, 10, 200)
    for row in REPORT["contenders"]:
        assert not row["credits"]["violations"] and not row["mirror"]["violations"], row["contender"]
        assert row["killed"]["kills"] == REPORT["rounds"], row["contender"]
        assert row["mirror"]["members"], f"{row['contender']} filled the group, or its emptiness says nothing"


@pytest.mark.slow
def test_the_harness_finds_nothing_lost_and_nothing_doubled_with_the_core(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.peers", "--ours", "--credits", "150", "--rounds", "1", "--of", "40"]
    environment = {"PYTHONPATH": str(ROOT), "PATH": ""}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    [ours] = json.loads((tmp_path / "artefacts" / "peers.json").read_text())["contenders"]
    weather, killed, mirror = ours["credits"], ours["killed"], ours["mirror"]
    assert weather["twice"] == weather["lost"] == killed["twice"] == killed["lost"] == 0
    assert weather["in_doubt"] == weather["answers_lost"] + weather["answers_500"] > 0
    assert weather["in_doubt_given"] == weather["answers_lost"]
    assert killed["kills"] == 1
    assert mirror["removed"] == mirror["gone"] and mirror["left_when_empty"] == mirror["members"] - mirror["gone"]
    assert not weather["cookies"] and not mirror["cookies"] and not ours["outage"]["secrets_printed"]


def test_a_contender_that_cannot_be_installed_is_said_to_be_missing() -> None:
    report = {"contenders": [{"contender": "drt", "missing": "No matching distribution found for drt-core"}]}
    for table in tables(report).values():
        assert table.splitlines()[-1].startswith("| drt | missing |")


def test_the_balancer_counts_the_cookies_that_come_back_and_takes_them_away() -> None:
    with stage() as on, httpx.Client(base_url=f"{on.address}/crowdtwist", trust_env=False) as client:
        on.people(1)
        for _ in range(3):
            answer = client.get("/v2/activities", params={"api_key": CROWDTWIST_API_KEY})
            assert answer.status_code == 200
        assert on.balancers["crowdtwist"].cookies == 2
        assert not on.violations


def test_the_balancer_moves_a_person_from_the_body_to_the_path() -> None:
    with stage() as on:
        on.people(1)
        body = {"activity_id": "1001", "extra_data": {"event_id": "E0"}, "user_id": "c0@example.org"}
        query = {"id_type": "email", "api_key": CROWDTWIST_API_KEY}
        address = f"{on.address}/crowdtwist/v2/users/-/activities"
        assert httpx.post(address, params=query, json=body, trust_env=False).json() == {"awarded": True}
        member = f"{on.address}/kognitiv/api/groups/promotionalMember/ACTIVE-90D/members/-"
        token = {"Authorization": f"Bearer {on.token()}"}
        assert httpx.put(member, headers=token, json={"member": "M 1/2"}, trust_env=False).is_success
        assert on.given() == {"E0": 1} and on.members() == {"M 1/2"}
        assert not on.violations


def test_what_a_contender_said_is_told_without_addresses_and_keys() -> None:
    output = f"\x1b[31mfailed\x1b[0m for http://127.0.0.1:1/v2?api_key={CROWDTWIST_API_KEY} in /a/b/c.py\n  \n"
    assert said(output) == "failed for … in …"
