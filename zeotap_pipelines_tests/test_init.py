"""A new project runs against the sandbox at once, from the command line."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from zeotap_pipelines.cli import main
from zeotap_pipelines.sandbox import CLIENT_SECRET, Sandbox, running
from zeotap_pipelines_tests.project import DAYS, Project, members
from zeotap_pipelines_tests.sandbox.test_server import MEMBERS, authorised

ACTIVE = {"100", "101", "102", "104", "105", "107", "108"}


def said(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> str:
    capsys.readouterr()
    found = main(list(arguments))
    out, err = capsys.readouterr()
    assert found == status and "Traceback" not in err, out + err
    return out + err


def test_a_new_project_is_checked_planned_and_delivered_at_once(
    group: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "My Project"
    assert "zeotap sync members_to_kognitiv" in said(capsys, "init", str(folder))
    monkeypatch.setenv("ZEOTAP_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("KOGNITIV_CLIENT_SECRET", CLIENT_SECRET)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    here = ("--project", str(folder))
    assert said(capsys, "check", *here) == "nothing is wrong: 1 audiences, 1 connections, 1 syncs\n"
    plan: dict[str, Any] = json.loads(said(capsys, "plan", "members_to_kognitiv", "--json", *here))
    assert (plan["entered"], plan["predicted_calls"]) == (7, 7)
    with running(group) as address:
        monkeypatch.setenv("KOGNITIV_BASE_URL", f"{address}/kognitiv")
        assert members(group) == set()
        trial = json.loads(said(capsys, "sync", "members_to_kognitiv", "--limit", "2", "--json", *here))
        assert (trial["asked"], trial["not_asked"]) == (2, 5)
        assert "accepted: 5" in said(capsys, "sync", "members_to_kognitiv", *here)
    assert members(group) == ACTIVE
    assert "is not empty" in said(capsys, "init", str(folder), status=1)


def test_the_sandbox_says_as_json_where_it_is_and_keeps_what_it_holds(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "zeotap_pipelines.cli", "sandbox", "--port", "0", "--json"]
    for before, member in (set(), "1"), ({"1"}, "2"):
        with subprocess.Popen(
            [*command, "--state", str(tmp_path / "held")], stdout=subprocess.PIPE, text=True
        ) as sandbox:
            assert sandbox.stdout is not None
            address = json.loads(sandbox.stdout.readline())["address"]
            [held] = httpx.get(f"{address}/_sandbox/state").json()["kognitiv"]["groups"]
            assert set(held["members"]) == before
            with authorised(address) as client:
                assert client.put(f"{MEMBERS}/{member}").is_success
            sandbox.terminate()
            assert sandbox.wait(30) == 0


def test_the_workspace_and_dg_name_the_same_code_location(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "My Project"
    said(capsys, "init", str(folder))
    (location,) = yaml.safe_load((folder / "workspace.yaml").read_text())["load_from"]
    dg = tomllib.loads((folder / "pyproject.toml").read_text())["tool"]["dg"]["project"]
    assert location["python_module"]["location_name"] == dg["code_location_name"] == "my_project"


@pytest.mark.parametrize("limit", ["0", "-1"])
def test_a_limit_that_sends_nothing_is_refused_in_one_sentence(
    project: Project, group: Sandbox, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    project.seen({DAYS[0]: ["1", "2"]})
    command = ("sync", "people_to_group", "--partition", DAYS[0], f"--limit={limit}", "--project", str(project.root))
    refused = said(capsys, *command, status=1)
    assert f"FixSettings: limit {limit} sends nothing: a trial has at least 1 operation" in refused
    assert "pydantic" not in refused and members(group) == set()


def test_what_is_wrong_is_said_in_one_sentence(
    project: Project, group: Sandbox, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    here = ("--project", str(project.root))
    assert "there is no partition 'tomorrow' of people" in said(
        capsys, "plan", "people_to_group", "--partition", "tomorrow", *here, status=1
    )
    project.seen({DAYS[0]: ["1"], DAYS[1]: []})
    said(capsys, "sync", "people_to_group", "--partition", DAYS[0], *here)
    for command in ("plan", "sync"):
        empty = said(capsys, command, "people_to_group", "--partition", DAYS[1], *here, status=1)
        assert "stopped: " in empty and "audience people is empty" in empty and "approve plan" in empty
    assert members(group) == {"1"}
    project.change("people_to_group", ("audience: people", "audience: peopel"))
    assert "people_to_group/defs.yaml:4: audience 'peopel' does not exist" in said(capsys, "check", *here, status=1)
