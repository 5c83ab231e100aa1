"""What MoEngage's document says, over the whole way from snapshot to cohort."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from zeotap_pipelines.assets.observability import of_summary
from zeotap_pipelines.components import MoEngageCohortSync
from zeotap_pipelines.destinations.moengage import Cohort
from zeotap_pipelines.errors import AskForRestore, FixDeclaration
from zeotap_pipelines.model import Fate, Mode
from zeotap_pipelines.sandbox import BASE_URL, MOENGAGE_APP_ID, MOENGAGE_SECRET, Fault, SandboxTransport
from zeotap_pipelines_tests.specimens import moengage
from zeotap_pipelines_tests.world import Rows, Specimen, World, day

COHORT = "active-90d"


def cohort(mode: Mode = Mode.MIRROR, **settings: str) -> Specimen:
    return Specimen(
        target=Cohort(**{"cohort_id": COHORT, "cohort_name": "Active 90 days", **settings}),
        connection=moengage(),
        mode=mode,
        mapping={"uid": "uid", "anonymous_id": "device"},
        person=lambda who: {"uid": None if who.startswith("@") else who, "device": who if who[0] == "@" else None},
        held=lambda sandbox: sandbox.moengage.members(COHORT),
        asks="/cohortsync",
    )


class Heard(World):
    """A world that keeps the bodies of what was asked."""

    def __init__(self, root: Path, specimen: Specimen, **sync: Any) -> None:
        super().__init__(root, specimen, **sync)
        self.bodies: list[dict[str, Any]] = []

    def _before(self, request: httpx.Request) -> None:
        self.bodies.append(json.loads(request.content))
        super()._before(request)


@pytest.fixture
def world(tmp_path: Path) -> Heard:
    return Heard(tmp_path, cohort())


def test_the_segment_is_created_by_the_first_members_and_never_by_an_empty_audience(world: Heard) -> None:
    world.deliver([])
    assert world.bodies == [] and world.sandbox.moengage.cohorts() == {}
    world.deliver(["1"], day(1))
    assert world.sandbox.moengage.cohorts() == {COHORT: "Active 90 days"}
    assert world.held == {"1"}


def test_a_segment_is_kept_in_step_by_additions_and_removals(world: Heard) -> None:
    world.deliver(["1", "2", "@3"])
    world.deliver(["2", "4"], day(1))
    assert world.held == {"2", "4"}
    assert [body["action"] for body in world.bodies] == ["add_members", "add_members", "remove_members"]
    moments = [body["timestamp"] for body in world.bodies]
    assert moments == sorted(set(moments)), "strictly increasing, across runs"
    assert not world.sandbox.violations


def test_another_name_of_a_cohort_asks_nothing_and_travels_with_the_next_request(world: Heard) -> None:
    world.deliver(["1"])
    world.renamed(target=Cohort(COHORT, "Active customers"))
    assert world.deliver(["1"]).asked == 0
    world.deliver(["1", "2"], day(1))
    assert world.sandbox.moengage.cohorts() == {COHORT: "Active customers"}
    assert world.held == {"1", "2"}


def test_partner_id_name_and_description_of_a_cohort_come_from_the_declaration(tmp_path: Path) -> None:
    given = {"cohort_id": "c-1", "cohort_name": "Name", "cohort_description": "What for", "partner": "acme"}
    declared = {"name": "s", "audience": "a", "connection": "m", "mapping": {"uid": "u"}, **given}
    target = MoEngageCohortSync(**declared).target(None)  # type: ignore[arg-type]
    assert target == Cohort("c-1", "Name", "What for", "acme", "periodic")
    world = Heard(tmp_path, cohort(**given))
    world.deliver(["1"])
    [body] = world.bodies
    assert body["partner"] == "acme"
    assert {name: body["parameters"][name] for name in given if name != "partner"} == {
        name: value for name, value in given.items() if name != "partner"
    }


def test_a_one_time_sync_that_was_half_delivered_is_completed_and_then_left_alone(tmp_path: Path) -> None:
    world = Heard(tmp_path, cohort(Mode.ADD, sync_type="one_time"))
    world.sandbox.faults.add(Fault(kind="status", status=503, path="/cohortsync", times=4))
    assert world.deliver(["1", "2"]).fates == {Fate.DEFERRED: 2}
    world.take(["1", "2", "3"], day(1))
    with pytest.raises(AskForRestore, match="fills its target once"):
        world.carry_out(day(1))
    assert world.held == set()
    assert world.carry_out().fates == {Fate.ACCEPTED: 2}
    with pytest.raises(AskForRestore, match="reset"):
        world.deliver(["1", "2", "3"], day(1))
    assert world.held == {"1", "2"}


@pytest.mark.parametrize("mode", [Mode.MIRROR, Mode.REMOVE])
def test_a_one_time_sync_that_would_take_somebody_out_is_refused_when_it_is_declared(
    tmp_path: Path, mode: Mode
) -> None:
    with pytest.raises(FixDeclaration, match=f"a one_time sync has the mode add, not {mode.value}"):
        World(tmp_path, cohort(mode, sync_type="one_time"))


def test_nobody_is_created_and_the_summary_says_so(world: Heard) -> None:
    summary = world.deliver(["1", "stranger"])
    assert summary.fates == {Fate.ACCEPTED: 2}
    assert world.held == {"1"}
    notes = of_summary(summary, world.sync, world.state, "run", None)["notes"].value
    assert "users that it doesn't know are left out without a word" in notes
    assert "next scheduled run" in notes


def test_a_row_without_uid_and_anonymous_id_is_set_aside(world: Heard) -> None:
    rows = [world.specimen.person("1"), {"uid": None, "device": None}]
    world.take(Rows({name: [row[name] for row in rows] for name in rows[0]}))
    plan = world.plan()
    assert plan.set_aside == {"no identity": 1} and plan.operations == 1


def test_requests_carry_basic_credentials_and_the_app_key(world: Heard) -> None:
    headers: list[httpx.Headers] = []
    transport = SandboxTransport(world.sandbox, before=lambda request: headers.append(request.headers))
    world.deliver(["1"], trip=world.trip(transport=transport))
    assert httpx.BasicAuth(MOENGAGE_APP_ID, MOENGAGE_SECRET)._auth_header == headers[0]["Authorization"]
    assert headers[0]["MOE-APPKEY"] == MOENGAGE_APP_ID
    assert headers[0]["Host"] == httpx.URL(BASE_URL).host
