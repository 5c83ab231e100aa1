"""A mistake in a declaration is one sentence with file, line and the thing to fix."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster.components.scaffold.scaffold import get_scaffolder
from jsonschema import Draft202012Validator

import zeotap_pipelines
from zeotap_pipelines import components
from zeotap_pipelines.components.declaration import DeclarationError
from zeotap_pipelines.components.scaffolding import Example
from zeotap_pipelines_tests.project import AUDIENCE, CONNECTION, GROUP_SYNC, WAREHOUSE, Project, environment

SYNC, ATTRIBUTES = "people_to_group", AUDIENCE.split("\n", 1)[1]
FIELD = "member_internal_id: person"
DEFINITIONS = """\
from pathlib import Path

import dagster as dg
from zeotap_pipelines.project import load


@dg.definitions
def defs() -> dg.Definitions:
    return load(Path(__file__).parent)
"""

# What is wrong: the document, what is written instead of what, the line, what is said.
MISTAKES = {
    "an unknown audience": (SYNC, "audience: people", "audience: poeple", 4, "did you mean 'people'?"),
    "an unknown connection": (SYNC, "connection: kognitiv", "connection: crm", 5, "declared are: kognitiv"),
    "an unknown source": ("people", "source: warehouse", "source: lake", 5, "source 'lake' does not exist"),
    "a misspelt attribute": (SYNC, "mode:", "moed:", 7, "there is no moed; did you mean mode?"),
    "a missing attribute": (SYNC, "  group: ACTIVE-90D\n", "", 2, "group is missing"),
    "a text for a list": ("people", "key: [person]", "key: person", 6, "key: Input should be a valid list"),
    "a text for a mapping": (SYNC, f"mapping:\n    {FIELD}", "mapping: person", 8, "mapping: Input should be a valid"),
    "a text for a number": ("kognitiv", "retries: 0", "retries: often", 8, "retries: Input should be a valid integer"),
    "a number out of range": ("kognitiv", "retries: 0", "retries: 99", 8, "less than or equal to 10"),
    "a mode that the target lacks": (SYNC, "mirror", "upsert", 7, "has no mode 'upsert'; it has add, remove, mirror"),
    "an unmapped identity": (SYNC, FIELD, "email: person", 8, "map a column to member_internal_id"),
    "a field that the target lacks": (SYNC, FIELD, f"{FIELD}\n    email: mail", 8, "take email out of the mapping"),
    "two origins of one field": (SYNC, FIELD, f"{FIELD[:-6]}{{column: a, constant: b}}", 9, "exactly one of column"),
    "no origin of a field": (SYNC, FIELD, FIELD[:-6], 9, "write a column's name"),
    "a number for a column": (SYNC, FIELD, f"{FIELD[:-6]}7", 9, "write a column's name"),
    "an unknown mapping setting": (SYNC, FIELD, f"{FIELD[:-6]}{{colunm: a}}", 9, "no setting 'colunm'; it has column"),
    "a date format of another kind": (SYNC, FIELD, f"{FIELD[:-6]}{{column: a, date_format: DD}}", 9, "yyyy, MM, dd"),
    "a guard of the wrong type": (SYNC, "60", "many", 10, "max_removed_percent: Input should be a valid number"),
    "a guard that does not exist": (SYNC, "percent", "percents", 10, "did you mean max_removed_percent?"),
    "a guard out of range": (SYNC, "60", "-1", 10, "max_removed_percent -1 is out of range"),
    "a group in spaces": (SYNC, "group: ACTIVE-90D", "group: 'ACTIVE-90D '", 6, "begins or ends with a space"),
    "a number for the guards": (SYNC, "guards:\n    max_removed_percent: 60", "guards: 60", 10, "guards: Input should"),
    "a name that is none": (SYNC, SYNC, "people to group", 3, "use letters, digits and underscores"),
    "a secret instead of a variable": ("kognitiv", "PROJECT_SECRET", "s3cr3t-canary", 7, "the name of an environment"),
    "http to another host": ("kognitiv", "\"{{ env('PROJECT_KOGNITIV') }}\"", "http://example.com", 5, "https only"),
    "an unset variable": ("kognitiv", "PROJECT_KOGNITIV", "PROJECT_NOWHERE", 5, "PROJECT_NOWHERE is not set"),
    "a template without quotes": ("kognitiv", "\"{{ env('PROJECT_KOGNITIV') }}\"", "{{ env('X') }}", 5, "into quotes"),
    "an account that is no name": ("kognitiv", "account: main", "account: the main one", 4, "use letters, digits"),
    "a cadence that is none": ("people", "daily", "fortnightly", 7, "'hourly', 'daily', 'weekly', 'monthly' or 'none'"),
    "a start that is no date": ("people", "2026-01-01", "New Year", 8, "start 'New Year' is not a time such as"),
    "an end before the start": (
        "people",
        "daily",
        'daily\n  end: "2020-01-01"',
        8,
        "end 2020-01-01 is not after start",
    ),
    "an unknown time zone": ("people", "daily", "daily\n  timezone: Europe/Atlantis", 8, "no time zone 'Europe/Atl"),
    "a time that is none": (
        "people",
        "daily",
        'daily\n  schedule:\n    cron: "0 6 * *"',
        9,
        "cron '0 6 * *' is not minute",
    ),
    "a time that never comes": ("people", "daily", 'daily\n  schedule: {cron: "0 0 31 4 *"}', 8, "never comes"),
    "a step beyond its range": ("people", "daily", 'daily\n  schedule: {cron: "*/90 * * * *"}', 8, "beyond its range"),
    "a time in place of a schedule": (
        "people",
        "daily",
        'daily\n  schedule: "0 6 * * *"',
        8,
        "schedule takes settings",
    ),
    "a switch that is none": (
        "people",
        "daily",
        'daily\n  schedule: {cron: "@daily", enabled: on demand}',
        8,
        "boolean",
    ),
    "hours that are none": (
        SYNC,
        "mode: mirror",
        "mode: mirror\n  deliver_between: {hours: daily}",
        8,
        "hours 'daily'",
    ),
    "a weekday that is none": (
        SYNC,
        "mode: mirror",
        'mode: mirror\n  deliver_between: {hours: "08:00-20:00", weekdays: [Monday]}',
        8,
        "'Monday' is no weekday",
    ),
    "a watch of nothing": (
        "people",
        "daily",
        "daily\n  watch: {every: 5}",
        8,
        "say what is watched: row_count, max_of",
    ),
    "a watch of no column": (
        "people",
        "daily",
        "daily\n  watch:\n    max_of: seen",
        9,
        "names no column: write table.",
    ),
    "a watch too often": (
        "people",
        "daily",
        "daily\n  watch: {row_count: seen, every: 0}",
        8,
        "every 0 is out of range",
    ),
    "a digest of no file": (
        "people",
        "daily",
        "daily\n  watch:\n    row_count: seen\n    digest: true",
        10,
        "digest is of",
    ),
    "a misspelt watch": ("people", "daily", "daily\n  watch: {row_counts: seen}", 8, "did you mean row_count?"),
    "no window to be fresh in": ("people", "daily", "none\n  freshness: {}", 8, "has no window: say fail_after_hours"),
    "a warning after the failure": (
        "people",
        "daily",
        "daily\n  freshness:\n    fail_after_hours: 5\n    warn_after_hours: 6",
        10,
        "warn_after_hours 6 is out of range",
    ),
    "a freshness of no time": ("people", "daily", "daily\n  freshness: {fail_after_hours: 0}", 8, "0 is out of range"),
    "an owner who is nobody": ("people", "daily", "daily\n  owners: [somebody]", 1, "Invalid owner 'somebody'"),
    "no key": ("people", "[person]", "[]", 3, "name at least one key column"),
    "no attributes": ("people", ATTRIBUTES, "", 1, "attributes are missing"),
    "attributes that are a number": ("people", ATTRIBUTES, "attributes: 7\n", 2, "attributes: Input should be"),
    "no YAML": ("people", "[person]", "[person", 7, "this is not YAML"),
    "a tab": ("people", "  key:", "\tkey:", 6, "this is not YAML"),
    "a key given twice": (SYNC, "  mode: mirror", "  mode: mirror\n  mode: add", 8, "given twice, first in line 7"),
    "an unknown type": ("people", ".Audience", ".Audiense", 1, "did you mean zeotap_pipelines.Audience?"),
    "no type": ("people", "type: zeotap_pipelines.Audience\n", "", 1, "the document has no type"),
    "an empty document": ("people", AUDIENCE, "", 1, "the document is empty"),
}
NOTIFIER = "type: zeotap_pipelines.Notifier\nattributes:\n  name: team\n  webhook: PROJECT_WEBHOOK\n"
WRONG_NOTIFIERS = {
    "an unknown sync": (
        "  syncs: [people_to_group, people_to_grp]\n",
        5,
        "sync 'people_to_grp' does not exist; did you",
    ),
    "a webhook in place of a variable": ("https://hooks.example.com/s3cr3t-canary", 4, "the name of an environment"),
    "a look too often": ("  every: 0\n", 5, "every 0 is out of range"),
}
LEAVERS = GROUP_SYNC.replace(SYNC, "leavers").replace("mirror", "remove")
ONE_MORE = {
    "two notifiers of one name": (NOTIFIER, "'team' is declared twice"),
    "two syncs at one address": (GROUP_SYNC.replace(SYNC, "twin"), "both write to kognitiv/main/"),
    "two syncs of one name": (GROUP_SYNC.replace("ACTIVE-90D", "OTHER"), "'people_to_group' is declared twice"),
    "two audiences of one name": (AUDIENCE, "'people' is declared twice"),
    "two connections of one name": (CONNECTION, "'kognitiv' is declared twice"),
    "a connection called as a source": (WAREHOUSE.replace("name: warehouse", "name: kognitiv"), "is declared twice"),
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    for name, value in environment("http://127.0.0.1:1", tmp_path / "state").items():
        monkeypatch.setenv(name, value)
    return Project(tmp_path)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence_with_file_and_line(project: Project, mistake: str) -> None:
    document, right, wrong, line, says = MISTAKES[mistake]
    project.change(document, (right, wrong))
    with pytest.raises(DeclarationError) as found:
        project.load()
    sentence = str(found.value)
    assert sentence.startswith(f"{project.module}/defs/{document}/defs.yaml:{line}: "), sentence
    assert says in sentence
    assert "\n" not in sentence and "canary" not in sentence and "pydantic" not in sentence


@pytest.mark.parametrize("mistake", WRONG_NOTIFIERS)
def test_a_mistake_in_a_notifier_is_one_sentence_too(project: Project, mistake: str) -> None:
    wrong, line, says = WRONG_NOTIFIERS[mistake]
    text = NOTIFIER + wrong if wrong.startswith(" ") else NOTIFIER.replace("PROJECT_WEBHOOK", wrong)
    project.declare("team", text)
    with pytest.raises(DeclarationError) as found:
        project.load()
    sentence = str(found.value)
    assert sentence.startswith(f"{project.module}/defs/team/defs.yaml:{line}: ") and says in sentence
    assert "\n" not in sentence and "canary" not in sentence


@pytest.mark.parametrize("mistake", ONE_MORE)
def test_what_is_declared_twice_is_refused_naming_both_places(project: Project, mistake: str) -> None:
    document, says = ONE_MORE[mistake]
    project.declare("more", document)
    project.declare("notifier", NOTIFIER)
    with pytest.raises(DeclarationError, match=rf"^{project.module}/defs/\w+/defs\.yaml:3: .*defs\.yaml:\d+") as found:
        project.load()
    assert says in str(found.value) and "/more/defs.yaml" in str(found.value)


TWO_NAMES = {
    "KognitivConnection": ("base_url: us\n  client_id: c\n  client_secret: A\n", "client_id"),
    "MoEngageConnection": ("data_center: '01'\n  app_id: a\n  secret_key: A\n", "app_id"),
    "CrowdTwistConnection": ("base_url: https://api1.crowdtwist.com\n  api_key: A\n", "api_key"),
    "AgillicConnection": ("base_url: https://api.x.net\n  developer_key: k\n  developer_secret: A\n", "developer_key"),
}
SIGNED = "base_url: https://api1.crowdtwist.com\n  authentication: hmac\n  public_key: p\n  private_key: B\n"


def twice(project: Project, kind: str, first: str, second: str, accounts: tuple[str, str] = ("one", "two")) -> None:
    for name, settings, account in zip(("first", "second"), (first, second), accounts, strict=True):
        head = f"type: zeotap_pipelines.{kind}\nattributes:\n  name: {name}\n  account: {account}\n"
        project.declare(name, f"{head}  {settings}")


@pytest.mark.parametrize("kind", TWO_NAMES)
def test_one_account_has_one_name_or_both_places_are_named(project: Project, kind: str) -> None:
    """By two names two syncs would write to one group, and each would take out whom the other wants in."""
    settings, shared = TWO_NAMES[kind]
    twice(project, kind, settings, settings)
    with pytest.raises(
        DeclarationError, match=rf"^{project.module}/defs/\w+/defs\.yaml:4: account '(one|two)' is"
    ) as found:
        project.load()
    said = str(found.value)
    assert f"the same base_url and {shared}" in said and "\n" not in said
    assert all(f"/{name}/defs.yaml:4" in said for name in ("first", "second"))


def test_one_account_has_one_name_however_its_address_is_written(project: Project) -> None:
    settings, _ = TWO_NAMES["KognitivConnection"]
    elsewhere = settings.replace("base_url: us", "base_url: https://APP.kognitivloyalty.com:443/").replace("A\n", "B\n")
    twice(project, "KognitivConnection", settings, elsewhere)
    with pytest.raises(DeclarationError, match="the same base_url and client_id"):
        project.load()


@pytest.mark.parametrize("kind", TWO_NAMES)
def test_account_names_of_a_service_differ_by_more_than_case(project: Project, kind: str) -> None:
    """Where the disk takes them for one, their ledgers would be one."""
    settings, _ = TWO_NAMES[kind]
    twice(project, kind, settings, settings.replace("A\n", "B\n"), ("one", "One"))
    with pytest.raises(DeclarationError, match=r"defs\.yaml:4: account 'O?o?ne' and .*differ in case only"):
        project.load()


@pytest.mark.parametrize("kind", TWO_NAMES)
def test_two_accounts_may_share_a_host_and_one_account_may_have_two_connections(project: Project, kind: str) -> None:
    settings, shared = TWO_NAMES[kind]
    twice(project, kind, settings, settings, ("one", "one"))
    assert project.load()
    value = settings.split(f"{shared}: ")[1].split("\n")[0]
    twice(project, kind, settings, settings.replace(f"{shared}: {value}\n", f"{shared}: OTHER\n"))
    assert project.load()
    if kind == "CrowdTwistConnection":
        twice(project, kind, settings, SIGNED)
        assert project.load()


def test_a_connection_to_another_service_is_refused(project: Project) -> None:
    other = "type: zeotap_pipelines.MoEngageConnection\nattributes:\n  name: moengage\n  account: main\n"
    project.declare(
        "moengage", f"{other}  base_url: https://api-01.moengage.com\n  app_id: a\n  secret_key: MOENGAGE_SECRET\n"
    )
    project.change(SYNC, ("connection: kognitiv", "connection: moengage"))
    with pytest.raises(DeclarationError, match=r"defs\.yaml:5: 'moengage' is a connection to moengage, not to kogni"):
        project.load()


def test_one_sync_may_add_and_another_remove_at_one_address(project: Project) -> None:
    project.change(SYNC, ("mirror", "add"))
    project.declare("more", LEAVERS)
    assert project.load()


@pytest.mark.parametrize(
    ("cut", "changes"),
    [
        ("hourly by UTC (as_of)", [("daily", "hourly"), ("2026-01-01", "2026-01-01-00:00")]),
        ("daily by Europe/Vienna (as_of)", [("daily", "daily\n  timezone: Europe/Vienna")]),
        ("daily by UTC (current)", [("daily", "daily\n  history: current")]),
        ("none by UTC (as_of)", [("daily", "none")]),
        ("daily by UTC (as_of) from 2026-02-01", [("2026-01-01", "2026-02-01")]),
        ("daily by UTC (as_of) from 2026-01-01 until 2026-06-01", [("daily", 'daily\n  end: "2026-06-01"')]),
    ],
)
def test_who_adds_and_who_removes_at_one_address_cut_time_alike(
    project: Project, cut: str, changes: list[tuple[str, str]]
) -> None:
    """What one asked would supersede windows of the other's, and of each partition each looks at both snapshots."""
    project.change(SYNC, ("mirror", "add"))
    project.declare("leaving", AUDIENCE.replace("name: people", "name: leaving"))
    project.declare("more", LEAVERS.replace("audience: people", "audience: leaving"))
    assert project.load()
    project.change("leaving", *changes)
    with pytest.raises(DeclarationError) as found:
        project.load()
    sentence = str(found.value)
    assert re.search(r"defs/\w+/defs\.yaml:4: \w+ and \w+ \(.*\) both write to kognitiv/main/", sentence), sentence
    assert re.search(rf"leaving (is cut )?{re.escape(cut)}", sentence), sentence
    assert sentence.endswith("give their audiences the same partitions (not none), start, end, timezone and history")


def test_audiences_that_do_not_cut_time_share_no_target(project: Project) -> None:
    project.change("people", ("daily", "none"))
    project.change(SYNC, ("mirror", "add"))
    project.declare("more", LEAVERS)
    with pytest.raises(DeclarationError, match="not none"):
        project.load()


def test_one_document_may_hold_several_declarations(project: Project) -> None:
    text = "---\n".join([AUDIENCE, AUDIENCE.replace("name: people", "name: others"), GROUP_SYNC])
    project.file(SYNC).unlink()
    project.declare("people", text)
    assert len(project.load().resolve_all_asset_specs()) == 4
    project.change("people", ("audience: people", "audience: another"))
    line = text[: text.index("audience: people")].count("\n") + 1
    with pytest.raises(DeclarationError, match=rf"people/defs\.yaml:{line}: audience 'another'"):
        project.load()


# Where a document is that Dagster would not read, and what is said of it.
UNREAD = {
    "below a folder that declares something": (
        "defs/people/more/defs.yaml",
        "below {}/defs/people/defs.yaml",
    ),
    "deep below it": ("defs/people/a/b/defs.yaml", "below {}/defs/people/defs.yaml"),
    "below a module that stands for its folder": (
        "defs/made/more/defs.yaml",
        "below {}/defs/made/definitions",
    ),
    "beside a file that goes before": ("defs/people/defs.yml", "Dagster reads defs.yaml beside it"),
    "outside of the folder of declarations": ("other/defs.yaml", "Dagster reads what lies in {}/defs"),
}


@pytest.mark.parametrize("where", UNREAD)
def test_a_document_that_dagster_would_leave_out_is_refused(project: Project, where: str) -> None:
    path, says = UNREAD[where]
    (project.package / "defs" / "made").mkdir()
    (project.package / "defs" / "made" / "definitions.py").touch()
    file = project.package / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(GROUP_SYNC.replace("people_to_group", "more").replace("ACTIVE-90D", "MORE"))
    with pytest.raises(DeclarationError) as refused:
        project.load()
    assert str(refused.value).startswith(f"{project.module}/{path}:1: ")
    assert says.format(project.module) in str(refused.value)


@pytest.mark.parametrize("folders", ["all", "all/of/them"])
def test_whatever_is_not_refused_is_loaded(project: Project, folders: str) -> None:
    text = GROUP_SYNC.replace("people_to_group", "more").replace("ACTIVE-90D", "MORE")
    file = project.package / "defs" / folders / "defs.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    says = "type: dagster.DefsFolderComponent\n"
    above = project.package / "defs" / "said"
    (above / "below").mkdir(parents=True)
    (above / "defs.yaml").write_text(says)
    (above / "below" / "defs.yml").write_text(text.replace("more", "below").replace("MORE", "BELOW"))
    loaded = {key.to_user_string() for key in project.load().resolve_all_asset_keys()}
    assert {"syncs/people_to_group", "syncs/more", "syncs/below"} <= loaded


def test_a_name_that_reads_as_a_number_stays_a_text(project: Project) -> None:
    project.change(SYNC, ("ACTIVE-90D", '"007"'))
    spec = next(spec for spec in project.load().resolve_all_asset_specs() if spec.key.path[0] == "syncs")
    assert spec.metadata["target"] == "kognitiv/main/promotional_member_group/007"


def test_the_types_are_named_after_the_package() -> None:
    assert set(components.__all__) <= set(dir(zeotap_pipelines))
    assert all(getattr(zeotap_pipelines, name) is getattr(components, name) for name in components.__all__)


def uncommented(text: str, component: type[Any]) -> str:
    """Return an example with every setting that it comments out in force; its prose stays commented."""
    fields = "|".join(component.model().model_fields)
    return re.sub(rf"^( +)# ((?:{fields}):.*|  +.*)$", r"\1\2", text, flags=re.M)


@pytest.mark.parametrize("name", components.__all__)
def test_the_example_of_every_type_is_complete_and_valid_with_and_without_what_it_comments_out(name: str) -> None:
    """Complete: each attribute of the type stands in it, set or commented out, and most of them with what they mean."""
    component, kind = getattr(components, name), f"zeotap_pipelines.{name}"
    example = get_scaffolder(component)
    assert isinstance(example, Example)
    text = example.filled(kind, "example")
    schema = Draft202012Validator(component.model().model_json_schema())
    for document in text, uncommented(text, component):
        loaded = yaml.safe_load(document)
        assert (loaded["type"], loaded["attributes"]["name"]) == (kind, "example")
        assert not list(schema.iter_errors(loaded["attributes"]))
    assert set(loaded["attributes"]) == set(component.model().model_fields)
    assert all(len(line) <= 120 and "null" not in line for line in text.splitlines())


def test_all_that_an_audience_s_example_comments_out_loads(project: Project) -> None:
    example = get_scaffolder(components.Audience)
    assert isinstance(example, Example)
    text = example.filled("zeotap_pipelines.Audience", "example")
    project.declare("example", uncommented(text, components.Audience))
    sensors = {sensor.name for sensor in project.load().get_repository_def().sensor_defs}
    assert sensors == {"example_watch", "default_automation_condition_sensor", "going_on"}
    assert [one.name for one in project.load().get_repository_def().schedule_defs] == ["example_schedule"]


@pytest.fixture
def tool(project: Project, tmp_path: Path) -> Iterator[Tool]:
    (project.package / "definitions.py").write_text(DEFINITIONS)
    yield Tool(project.root, tmp_path)


class Tool:
    """Dagster's command line, run in the project that lies in *root*."""

    def __init__(self, root: Path, home: Path) -> None:
        self.root = root
        self.environment = os.environ | {
            "DAGSTER_HOME": str(home),
            "DAGSTER_DISABLE_TELEMETRY": "1",
            "VIRTUAL_ENV": sys.prefix,
            "PYTHONPATH": str(root),
            "COLUMNS": "200",
        }
        (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")

    def __call__(self, *arguments: str) -> tuple[int, str]:
        command = [str(Path(sys.executable).with_name("dg")), *arguments]
        done = subprocess.run(command, cwd=self.root, env=self.environment, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr


def test_dagster_s_own_commands_know_the_types_and_find_the_mistakes(project: Project, tool: Tool) -> None:
    status, said = tool("list", "components", "--package", "zeotap_pipelines")
    assert status == 0 and all(f"zeotap_pipelines.{name}" in said for name in components.__all__)

    for name in sorted(set(components.__all__) & {"Audience", "KognitivGroupSync", "MoEngageConnection", "Notifier"}):
        status, said = tool("scaffold", "defs", f"zeotap_pipelines.{name}", f"my_{name.lower()}")
        assert status == 0, said
        assert (
            yaml.safe_load(project.file(f"my_{name.lower()}").read_text())["attributes"]["name"] == f"my_{name.lower()}"
        )
    assert tool("check", "yaml")[0] == 0
    assert tool("utils", "generate-component-schema")[0] == 0
    schema = (project.root / ".dg" / "schema.json").read_text()
    assert all(f"zeotap_pipelines.{name}" in schema for name in components.__all__), "what an editor completes by"

    shutil.rmtree(project.file("my_kognitivgroupsync").parent)
    for document, right, wrong in (
        (SYNC, "mode: mirror", "mode: upsert"),
        (SYNC, "percent: 60", "percents: 60"),
        ("people", "daily", "fortnightly"),
        ("kognitiv", "PROJECT_SECRET", "s3cr3t"),
    ):
        project.change(document, (right, wrong))
    status, said = tool("check", "yaml")
    assert status == 1
    for place in (f"{SYNC}/defs.yaml:7", f"{SYNC}/defs.yaml:10", "people/defs.yaml:7", "kognitiv/defs.yaml:7"):
        assert place in said


def test_dg_check_defs_says_file_line_and_what_to_fix(project: Project, tool: Tool) -> None:
    project.change(SYNC, ("audience: people", "audience: poeple"))
    status, said = tool("check", "defs")
    assert status == 1
    assert f"{project.module}/defs/{SYNC}/defs.yaml:4: audience 'poeple' does not exist; did you mean 'people'?" in said


def test_the_shipped_project_passes_dagster_s_own_checks(tmp_path: Path) -> None:
    tool = Tool(Path(zeotap_pipelines.__file__).parents[1], tmp_path)
    for what in ("yaml", "defs"):
        status, said = tool("check", what)
        assert status == 0, said
