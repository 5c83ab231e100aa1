"""Retention: what is old goes, and nothing that somebody may still need."""

from __future__ import annotations

from pathlib import Path

import pytest

from zeotap_pipelines.errors import FixDeclaration
from zeotap_pipelines.ledger.lock import speaking
from zeotap_pipelines.sandbox import Fault
from zeotap_pipelines.upkeep.doubts import Decision, decide, doubts
from zeotap_pipelines.upkeep.retention import Swept, sweep
from zeotap_pipelines_tests import specimens
from zeotap_pipelines_tests.world import World, day

DAY = 24 * 3600.0


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def swept(world: World, **days: int | bool) -> Swept:
    return sweep(world.state, [world.sync], now=world.clock.now(), run="retention", **days)  # type: ignore[arg-type]


def files(world: World, kind: str) -> list[str]:
    return sorted(path.parent.name for path in (world.state.root / kind).glob("*/*/*.parquet"))


def test_what_is_older_goes_and_what_a_target_stands_at_stays(world: World) -> None:
    for number in range(3):
        world.deliver([str(number)], day(number))
        world.clock.pass_(10 * DAY)
    world.deliver(["1"], day(0), restore=True)  # The mark stays at the third day; everything else is old.
    world.clock.pass_(100 * DAY)
    told = world.told("*")
    assert swept(world, snapshots=90, plans=90, outcomes=90).files == {"snapshots": 1, "plans": 3, "outcomes": 4}
    assert sorted(path.stem for path in (world.state.root / "snapshots" / "people").iterdir()) == [
        day(0).key,
        day(2).key,
    ], "the newest one, and that of the mark"
    assert files(world, "diffs") == [day(2).key]
    assert files(world, "outcomes") == []
    assert world.told("*") == told
    assert world.deliver(["7"], day(3)).complete
    assert world.held == {"7"}


def test_a_dry_run_deletes_nothing_and_says_what_would_be(world: World) -> None:
    world.deliver(["1"])
    world.deliver(["2"], day(1))
    world.clock.pass_(40 * DAY)
    before = sorted(world.state.root.rglob("*"))
    found = swept(world, snapshots=30, plans=30, outcomes=30, dry_run=True)
    assert found.files == {"snapshots": 1, "plans": 1, "outcomes": 2} and found.bytes > 0
    assert [path for path in sorted(world.state.root.rglob("*")) if path.name != "account.lock"] == [
        path for path in before if path.name != "account.lock"
    ]


def test_what_is_younger_or_not_named_stays(world: World) -> None:
    world.deliver(["1"])
    world.deliver(["2"], day(1))
    world.clock.pass_(40 * DAY)
    assert swept(world, plans=41).files == {"snapshots": 0, "plans": 0, "outcomes": 0}
    assert swept(world).files == {"snapshots": 0, "plans": 0, "outcomes": 0}


def test_a_plan_that_the_journal_speaks_of_stays(world: World) -> None:
    world.deliver(["1"])
    with world.dying(lambda step: step == "answered"):
        world.deliver(["1", "2"], day(1))
    world.clock.pass_(400 * DAY)
    swept(world, plans=1)
    assert day(1).key in files(world, "diffs")
    assert world.carry_out(day(1)).complete
    assert world.held == {"1", "2"}


def test_a_plan_of_events_that_are_owed_or_in_doubt_stays(tmp_path: Path) -> None:
    world = World(tmp_path, specimens.credit())
    world.sandbox.faults.add(Fault(kind="reset_after", method="POST", nth=1))
    world.deliver(["a", "bb"], day(0))
    world.sandbox.faults.clear()
    world.deliver(["c"], day(1))
    world.deliver(["d"], day(2))
    world.clock.pass_(400 * DAY)
    assert swept(world, plans=1, snapshots=1).files["plans"] == 1
    assert files(world, "diffs") == [day(0).key, day(2).key]
    decide(
        world.ledger,
        [one.id for one in doubts(world.ledger)],
        Decision.RESEND,
        by="me",
        reason="lost",
        now=world.clock.now(),
    )
    assert world.deliver([], day(3)).asked == 1


def test_an_account_that_somebody_speaks_to_keeps_its_plans(world: World) -> None:
    world.deliver(["1"])
    world.deliver(["2"], day(1))
    world.clock.pass_(400 * DAY)
    with speaking(world.state.account(world.sync.address), run="r", sync="s"):
        found = swept(world, plans=1)
    assert found.files["plans"] == 0 and found.busy == ["kognitiv/demo"]


def test_a_plan_for_a_target_that_was_never_told_anything_goes(world: World) -> None:
    world.take(["1"])
    world.plan()
    world.clock.pass_(2 * DAY)
    assert swept(world, plans=1).files["plans"] == 1
    assert not list((world.state.root / "diffs").rglob("*.*"))


def test_to_keep_for_no_days_is_refused(world: World) -> None:
    with pytest.raises(FixDeclaration, match="1 or more"):
        swept(world, plans=0)
