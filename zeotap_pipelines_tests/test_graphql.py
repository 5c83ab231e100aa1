"""What a person does in the UI, through the GraphQL that the UI speaks: webserver, daemon and runs are processes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import yaml

from zeotap_pipelines.sandbox import CROWDTWIST_API_KEY, Fault, Sandbox, running
from zeotap_pipelines_tests.project import AUDIENCE, CONNECTION, GROUP_SYNC, WAREHOUSE, Project, environment
from zeotap_pipelines_tests.served import ASSETS, OVER, Asset, Served, serving
from zeotap_pipelines_tests.test_commands import CREDITS, CROWDTWIST

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:Using variable_values:DeprecationWarning"),  # Of Dagster's own client.
]

MONTH = [f"2026-01-{number:02}" for number in range(1, 32)]
ONE, TWO, *_ = MONTH
NEWEST = "2026-02-28"
SEEN = {
    ONE: {"1", "2", "3"},
    TWO: {"4"},
    **{day: {str(number), str(number + 1)} for number, day in enumerate(MONTH[2:], 5)},
    NEWEST: {"1", "2"},
}
SNAPSHOT = ("snapshots", "people")
GROUPS = ("day", "guarded", "month", "slow")
"""Each flow has a sync and a group of its own, so that none needs another."""
CADENCES = {
    "hourly": ("2026-01-01-00:00", SEEN[ONE]),
    "weekly": ("2026-01-04", set[str]().union(*(SEEN[day] for day in MONTH[3:10]))),
    "monthly": ("2026-01-01", set[str]().union(*(SEEN[day] for day in MONTH))),
    "none": (None, set[str]().union(*SEEN.values())),
}
"""Of each cadence other than daily a partition, and who was seen in it."""


@dataclass(frozen=True)
class Stage:
    """A served project and the services that it speaks to."""

    served: Served
    sandbox: Sandbox
    project: Project

    def members(self, group: str) -> set[str]:
        return self.sandbox.kognitiv.members(group)

    def deliver(self, sync: str, day: str) -> str:
        return self.served.launch(ASSETS, *chain(sync), day=day)


def chain(sync: str) -> tuple[Asset, Asset, Asset]:
    return SNAPSHOT, ("diffs", sync), ("syncs", sync)


def group_sync(name: str, audience: str = "people") -> str:
    text = GROUP_SYNC.replace("people_to_group", name).replace("ACTIVE-90D", name)
    return text.replace("audience: people", f"audience: {audience}")


def cut(audience: str, cadence: str) -> str:
    """Return the audience cut in another way, and called so."""
    text = audience.replace("name: people", f"name: {cadence}").replace("partitions: daily", f"partitions: {cadence}")
    return re.sub(r'"(2026-0[13]-01)"', r'"\1-00:00"', text) if cadence == "hourly" else text


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    root = tmp_path_factory.mktemp("served")
    ended = AUDIENCE.replace('start: "2026-01-01"\n', 'start: "2026-01-01"\n  end: "2026-03-01"\n')
    documents = {
        "warehouse": WAREHOUSE,
        "kognitiv": CONNECTION,
        "crowdtwist": CROWDTWIST,
        "people": ended,
        "credits": CREDITS,
        **{name: group_sync(name) for name in GROUPS},
        **{name: cut(ended, name) for name in CADENCES},
        **{f"{name}_sync": group_sync(f"{name}_sync", name) for name in CADENCES},
    }
    project = Project(root, documents)
    project.seen(SEEN)
    with Sandbox() as sandbox, running(sandbox) as address:
        for name in (*GROUPS, *(f"{name}_sync" for name in CADENCES)):
            sandbox.kognitiv.create_group(name)
        for person in SEEN[ONE]:
            sandbox.crowdtwist.put_user(email_address=f"{person}@example.com", first_name="A", last_name="B")
        leads = environment(address, root / "state")
        leads |= {"PROJECT_CROWDTWIST": f"{address}/crowdtwist", "PROJECT_API_KEY": CROWDTWIST_API_KEY}
        with serving(project, root / "home", leads) as served:
            yield Stage(served, sandbox, project)
        assert not sandbox.violations


def test_the_graph_leads_from_the_audience_to_every_service(stage: Stage) -> None:
    query = """{ assetNodes { assetKey { path } groupName kinds dependencyKeys { path } description
        metadataEntries { label ... on CodeReferencesMetadataEntry { codeReferences {
            ... on LocalFileCodeReference { filePath lineNumber } } }
        ... on TableColumnLineageMetadataEntry { lineage { columnName columnDeps { columnName assetKey { path } } } } }
    } }"""
    nodes = {tuple(node["assetKey"]["path"]): node for node in stage.served.ask(query)}
    for sync, service in (*((name, "kognitiv") for name in GROUPS), ("people_to_credits", "crowdtwist")):
        snapshot, diff, last = chain(sync)
        assert nodes[diff]["dependencyKeys"] == [{"path": list(snapshot)}]
        assert nodes[last]["dependencyKeys"] == [{"path": list(diff)}]
        assert (nodes[last]["groupName"], nodes[last]["kinds"]) == (service, [service])
    assert nodes[SNAPSHOT]["groupName"] == "audiences" and not nodes[SNAPSHOT]["dependencyKeys"]
    assert "Who was seen on the day." in nodes[SNAPSHOT]["description"]
    assert "- `member_internal_id` ← `person`" in nodes["syncs", "day"]["description"]
    said = {entry["label"]: entry for entry in nodes["diffs", "day"]["metadataEntries"]}
    deps = [{"columnName": "person", "assetKey": {"path": list(SNAPSHOT)}}]
    assert said["dagster/column_lineage"]["lineage"] == [{"columnName": "member_internal_id", "columnDeps": deps}]
    [code] = said["dagster/code_references"]["codeReferences"]
    assert code == {"filePath": str(stage.project.file("day")), "lineNumber": 1}


def test_a_day_is_delivered_and_its_plan_and_outcome_can_be_read(stage: Stage) -> None:
    run = stage.deliver("day", ONE)
    assert stage.served.succeeded(run) and stage.members("day") == SEEN[ONE]
    plan = stage.served.metadata(("diffs", "day"), ONE)
    assert plan is not None
    assert (plan["audience"], plan["told"], plan["entered"], plan["predicted_calls"]) == (3, 0, 3, 3)
    assert "| add | 3 |" in plan["operations"]
    outcome = stage.served.metadata(("syncs", "day"), ONE)
    assert outcome is not None
    assert (outcome["plan"], outcome["accepted"], outcome["asked"], outcome["completion"]) == (plan["plan"], 3, 3, 1)
    assert outcome["outcomes"].endswith(".parquet")
    for check in ("everything_accepted", "nothing_in_doubt"):
        assert stage.served.check(("syncs", "day"), check, ONE)["success"]


@pytest.mark.parametrize("cadence", CADENCES)
def test_a_partition_of_every_cadence_is_shown_and_delivered(stage: Stage, cadence: str) -> None:
    partition, seen = CADENCES[cadence]
    query = (
        """query($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode { partitionKeys } } }"""
    )
    sync = ("syncs", f"{cadence}_sync")
    keys = stage.served.ask(query, key={"path": sync})["partitionKeys"]
    assert (partition in keys) if partition else keys == []
    assets = [("snapshots", cadence), ("diffs", f"{cadence}_sync"), sync]
    assert stage.served.succeeded(stage.served.launch(ASSETS, *assets, day=partition))
    assert stage.members(f"{cadence}_sync") == seen


def test_a_slow_delivery_is_watched_while_it_runs_and_its_outcomes_are_opened(stage: Stage) -> None:
    served, faults, last = stage.served, stage.sandbox.faults, ("syncs", "slow")
    faults.add(Fault(kind="status", status=400, method="PUT", path="/slow/members/2$", times=1))
    faults.add(Fault(kind="delay", path="/slow/members/", seconds=6, times=2))
    run = served.begin(ASSETS, *chain("slow"), day=ONE)
    stand = served.until(lambda: served.observed(last, ONE))
    assert 0 < stand["done"] < stand["of"] == 3 and stand["rows_per_second"] > 0 and stand["seconds_left"] > 0
    assert stage.members("slow") < SEEN[ONE], "it is watched while it runs"
    served.until(lambda: served.metadata(last, ONE))
    served.until(lambda: served.client.get_run_status(run) in OVER)
    assert served.succeeded(run) and stage.members("slow") == SEEN[ONE] - {"2"}
    outcome = served.metadata(last, ONE)
    assert outcome is not None and (outcome["accepted"], outcome["rejected"]) == (2, 1)
    assert "| rejected | HTTP 400" in outcome["reasons"] and "mend the row in the source" in outcome["reasons"]
    assert outcome["outcomes"].endswith(".parquet")


def test_a_shrunken_audience_is_stopped_until_a_person_approves_the_plan(stage: Stage) -> None:
    assert stage.served.succeeded(stage.deliver("guarded", ONE))
    run = stage.deliver("guarded", TWO)
    assert stage.served.steps(run) == {"snapshots__people": "SUCCESS", "diffs__guarded": "FAILURE"}
    assert stage.members("guarded") == SEEN[ONE] and stage.served.metadata(("syncs", "guarded"), TWO) is None

    check = stage.served.check(("diffs", "guarded"), "removed_share", TWO)
    assert not check["success"] and check["severity"] == "ERROR"
    assert "3 of 3 members would be removed (100.0 %), allowed are 60 %" in check["description"]
    config = yaml.safe_load(check["metadata"]["launchpad"])
    config["ops"]["syncs__guarded"]["config"] |= {"approved_by": "ada", "reason": "the campaign is over"}
    run = stage.served.launch(ASSETS, ("syncs", "guarded"), day=TWO, config=config)
    assert stage.served.succeeded(run) and stage.members("guarded") == SEEN[TWO]
    outcome = stage.served.metadata(("syncs", "guarded"), TWO)
    assert outcome is not None
    assert (outcome["approved_by"], outcome["approval_reason"]) == ("ada", "the campaign is over")


def test_a_credit_in_doubt_waits_for_a_person_and_is_then_given(stage: Stage) -> None:
    credits, last = stage.sandbox.crowdtwist.credits, ("syncs", "people_to_credits")
    stage.sandbox.faults.add(Fault(kind="reset_before", method="POST", path="/activities", times=1))
    assert stage.served.succeeded(stage.deliver("people_to_credits", ONE))
    assert len(credits()) == 2
    check = stage.served.check(last, "nothing_in_doubt", ONE)
    assert not check["success"] and check["description"] == "1 rows may have happened; a person decides"
    assert stage.served.succeeded(stage.deliver("people_to_credits", ONE))
    assert len(credits()) == 2, "nobody asks again for what is in doubt"

    word = {"sync": "people_to_credits", "everything": True, "decision": "resend", "by": "ada", "reason": "not there"}
    assert stage.served.succeeded(stage.served.launch("decide_doubts", config={"ops": {"decide": {"config": word}}}))
    assert stage.served.succeeded(stage.deliver("people_to_credits", ONE))
    assert len(credits()) == 3 and stage.served.check(last, "nothing_in_doubt", ONE)["success"]


def test_a_month_is_backfilled_in_one_run(stage: Stage) -> None:
    query = """mutation($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
        ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
    assets = [{"path": asset} for asset in chain("month")]
    backfill = stage.served.ask(query, params={"assetSelection": assets, "partitionNames": MONTH})["backfillId"]
    query = """query($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill {
        status runs { id } } } }"""
    done = stage.served.until(
        lambda: (now := stage.served.ask(query, id=backfill))["status"] not in ("REQUESTED", "CANCELING") and now
    )
    assert done["status"] == "COMPLETED_SUCCESS" and len(done["runs"]) == 1
    assert stage.members("month") == SEEN[MONTH[-1]]
    said = [stage.served.metadata(("syncs", "month"), day) or {} for day in MONTH]
    assert [one.get("superseded_by") for one in said] == [MONTH[-1]] * 30 + [None]
    assert said[-1]["asked"] == 2
