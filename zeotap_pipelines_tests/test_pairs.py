"""Two syncs at one target in Dagster: each plan is made of both snapshots, and whatever starts it has both taken."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest

from zeotap_pipelines.automation.going_on import going_on_sensor
from zeotap_pipelines.cli import main
from zeotap_pipelines.components.declaration import DeclarationError
from zeotap_pipelines.declared import Declared
from zeotap_pipelines.sandbox import Fault, Sandbox
from zeotap_pipelines.state import State
from zeotap_pipelines.upkeep import by_hand
from zeotap_pipelines_tests.project import AUDIENCE, DAYS, DIFF, GROUP_SYNC, SNAPSHOT, SYNC, Project, asked, members

ONE, TWO, THREE, *_ = DAYS
LEAVING, LEAVERS_DIFF, LEAVERS = ("snapshots", "leaving"), ("diffs", "leavers"), ("syncs", "leavers")
WANTS_OUT = "sync leavers wants it out"
WATCHED = 'start: "2026-01-01"\n  end: "2026-01-03"\n  follow: true'


@pytest.fixture
def pair(project: Project) -> Project:
    """A project in which one sync adds who was seen, and another removes whom "-" is written before."""
    project.change("people", ("from seen where", "from seen where not starts_with(person, '-') and"))
    leaving = AUDIENCE.replace("name: people", "name: leaving").replace(
        "distinct person", "substr(person, 2) as person"
    )
    project.declare("leaving", leaving.replace("from seen where", "from seen where starts_with(person, '-') and"))
    project.change("people_to_group", ("mirror", "add"))
    leavers = GROUP_SYNC.replace("people_to_group", "leavers").replace("mirror", "remove")
    project.declare("leavers", leavers.replace("audience: people", "audience: leaving"))
    project.seen({ONE: ["1", "2", "-2", "-3"], TWO: ["1", "2", "-1"], THREE: ["2", "-1", "-2"]})
    return project


def chain(project: Project, name: str) -> set[tuple[str, ...]]:
    """The assets of a job."""
    return {tuple(key.path) for key in project.load().resolve_job_def(name).asset_layer.executable_asset_keys}


def look(project: Project) -> Any:
    """Evaluate the sensor that goes on once."""
    definitions = project.load()
    tree = definitions.component_tree
    assert tree is not None
    with dg.build_sensor_context(instance=project.instance, definitions=definitions) as context:
        return going_on_sensor(Declared(tree)).evaluate_tick(context)


def test_a_plan_of_either_depends_on_both_snapshots_of_its_partition(pair: Project) -> None:
    graph = pair.load().resolve_asset_graph()
    both = {dg.AssetKey(list(SNAPSHOT)), dg.AssetKey(list(LEAVING))}
    for diff, sync in (DIFF, SYNC), (LEAVERS_DIFF, LEAVERS):
        assert graph.get(dg.AssetKey(list(diff))).parent_keys == both
        assert graph.get(dg.AssetKey(list(sync))).parent_keys == {dg.AssetKey(list(diff))}
    said = graph.get(dg.AssetKey(list(DIFF))).description or ""
    assert f"Who is in audience `leaving` too is set aside: {WANTS_OUT}." in said
    assert len({graph.get(key).partitions_def for key in graph.get_all_asset_keys()}) == 1


def test_who_is_in_both_is_set_aside_in_the_run_and_shown(pair: Project, group: Sandbox) -> None:
    for day, requests in (ONE, ["DELETE 3", "PUT 1"]), (TWO, ["PUT 2"]), (THREE, ["DELETE 1"]):
        before = len(asked(group))
        run = pair.run(SNAPSHOT, LEAVING, DIFF, SYNC, LEAVERS_DIFF, LEAVERS, day=day)
        assert run.green() == run.green(LEAVERS) == [day]
        metadata, check = run.metadata(DIFF), run.checks(DIFF)["set_aside"]
        assert metadata["set_aside"] == 1 and f"{WANTS_OUT}: 1" in metadata["guards"]
        assert not check.passed and check.severity is dg.AssetCheckSeverity.WARN and WANTS_OUT in check.description
        assert len(asked(group)) == before + len(requests) and set(requests) <= set(asked(group))
    assert members(group) == {"2"}


def test_a_range_goes_by_who_is_in_both_at_its_newest_partition(pair: Project, group: Sandbox) -> None:
    run = pair.run(SNAPSHOT, LEAVING, DIFF, SYNC, LEAVERS_DIFF, LEAVERS, days=(ONE, TWO))
    assert run.succeeded and asked(group) == ["PUT 2"]


def test_a_run_without_the_other_s_snapshot_says_what_to_materialize(pair: Project, group: Sandbox) -> None:
    run = pair.run(SNAPSHOT, DIFF, SYNC, day=ONE)
    assert "no snapshot of leaving at 2026-01-01" in run.failure and "materialize snapshots/leaving" in run.failure
    assert pair.run(LEAVING, DIFF, SYNC, day=ONE).green() == [ONE] and asked(group) == ["PUT 1"]


def test_a_chain_takes_the_snapshots_of_the_opposites_too(pair: Project, group: Sandbox) -> None:
    pair.change("people", ("partitions: daily", 'partitions: daily\n  schedule:\n    cron: "0 6 * * *"'))
    pair.change("leaving", ("partitions: daily", "partitions: daily\n  watch:\n    row_count: seen"))
    assert chain(pair, "people_chain") == {SNAPSHOT, LEAVING, DIFF, SYNC}
    assert chain(pair, "leaving_chain") == {SNAPSHOT, LEAVING, LEAVERS_DIFF, LEAVERS}
    job = pair.load().resolve_job_def("people_chain")
    assert job.execute_in_process(instance=pair.instance, partition_key=ONE).success
    assert members(group) == {"1"}
    pair.change("people_to_group", ("mode: add", "mode: add\n  automatic: false"))
    assert chain(pair, "people_chain") == {SNAPSHOT}
    assert chain(pair, "leaving_chain") == {SNAPSHOT, LEAVING, LEAVERS_DIFF, LEAVERS}


def test_what_follows_waits_for_both_snapshots_and_follows_either(pair: Project) -> None:
    for name in ("people", "leaving"):
        pair.change(name, ('start: "2026-01-01"', WATCHED))
    cursor = None

    def requested() -> set[str]:
        nonlocal cursor
        found = dg.evaluate_automation_conditions(
            defs=pair.load(), instance=pair.instance, cursor=cursor, evaluation_time=datetime.now(UTC)
        )
        cursor = found.cursor
        return {name for name in (DIFF[1], LEAVERS[1]) if found.get_requested_partitions(dg.AssetKey(["diffs", name]))}

    assert requested() == set()
    pair.run(SNAPSHOT, day=TWO)
    assert requested() == set()
    pair.run(LEAVING, day=TWO)
    assert requested() == {"people_to_group", "leavers"}
    pair.run(DIFF, SYNC, LEAVERS_DIFF, LEAVERS, day=TWO)
    assert requested() == set()
    pair.run(LEAVING, day=TWO)
    assert requested() == {"people_to_group", "leavers"}


def test_what_goes_on_takes_the_snapshot_of_an_opposite_that_was_declared_since(pair: Project, group: Sandbox) -> None:
    leavers = pair.file("leavers").read_text()
    pair.file("leavers").unlink()
    pair.change("people_to_group", ("mode: add", "mode: add\n  paused: true"))
    assert pair.run(day=ONE).green() == []
    pair.change("people_to_group", ("\n  paused: true", ""))
    pair.declare("leavers", leavers)
    [request] = look(pair).run_requests
    assert {tuple(key.path) for key in request.asset_selection} == {LEAVING, DIFF, SYNC}
    pair.run(LEAVING, DIFF, day=ONE)
    [request] = look(pair).run_requests
    assert [tuple(key.path) for key in request.asset_selection] == [SYNC]
    assert pair.run(SYNC, day=ONE).green() == [ONE] and members(group) == {"1"}


def test_what_goes_on_does_so_at_the_partition_that_the_other_moved_the_target_to(
    pair: Project, group: Sandbox
) -> None:
    everything = SNAPSHOT, LEAVING, DIFF, SYNC, LEAVERS_DIFF, LEAVERS
    pair.run(*everything, day=ONE)
    by_hand.reassert(pair.sync("people_to_group"), State(pair.root / "state"), run="by hand", now=datetime.now(UTC))
    [request] = look(pair).run_requests
    assert request.partition_key == ONE
    pair.run(SNAPSHOT, LEAVING, LEAVERS_DIFF, LEAVERS, day=TWO)
    [request] = look(pair).run_requests
    assert request.partition_key == TWO and request.run_key != f"people_to_group:{ONE}"
    before = len(asked(group))
    run = pair.run(*(tuple(key.path) for key in request.asset_selection), day=TWO)
    assert run.green() == [TWO] and members(group) == {"1", "2"} and len(asked(group)) > before
    assert look(pair).skip_message == "nothing is owed"


def test_rows_that_the_other_has_to_ask_for_are_no_deferred_rows_of_this_one(pair: Project, group: Sandbox) -> None:
    group.faults.add(Fault(kind="status", status=503, method="DELETE", path="/members/", times=99))
    pair.run(SNAPSHOT, LEAVING, DIFF, day=ONE)
    theirs = pair.attempt(LEAVERS_DIFF, LEAVERS, day=ONE).again()
    assert theirs.retried and "1 rows are still" in str(theirs.checks(LEAVERS)["nothing_deferred"].description)
    ours = pair.run(SYNC, day=ONE)
    assert ours.green() == [ONE] and ours.checks(SYNC)["nothing_deferred"].passed


def test_the_commands_take_both_snapshots(pair: Project, group: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "leavers", "--partition", ONE, "--project", str(pair.root)]) == 0
    assert "sync people_to_group wants it in: 1" in capsys.readouterr().out
    assert main(["explain", "leavers", "2", "--project", str(pair.root)]) == 0
    assert "set aside: sync people_to_group wants it in" in capsys.readouterr().out
    assert main(["sync", "people_to_group", "--partition", ONE, "--project", str(pair.root)]) == 0
    assert members(group) == {"1"}


def test_syncs_at_one_target_that_map_no_common_identifier_are_refused(project: Project) -> None:
    connection = "type: zeotap_pipelines.MoEngageConnection\nattributes:\n  name: moengage\n  account: main\n"
    project.declare("moengage", f"{connection}  base_url: us\n  app_id: a\n  secret_key: A\n")
    for name, mode, field in ("adds", "add", "uid"), ("removes", "remove", "anonymous_id"):
        sync = GROUP_SYNC.replace("people_to_group", name).replace("mode: mirror", f"mode: {mode}")
        sync = sync.replace("KognitivGroupSync", "MoEngageCohortSync").replace(
            "connection: kognitiv", "connection: moengage"
        )
        sync = sync.replace("group: ACTIVE-90D", "cohort_id: c\n  cohort_name: C").replace("member_internal_id", field)
        project.declare(name, sync)
    with pytest.raises(DeclarationError, match=r"defs/\w+/defs\.yaml:9: .* nobody can tell who is in both audiences"):
        project.load()
