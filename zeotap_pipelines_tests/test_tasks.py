"""Tasks that a killed run left behind are waited for before anything newer is asked."""

from pathlib import Path

import pytest

from zeotap_pipelines.destinations.agillic_groups import AgillicTargetGroup
from zeotap_pipelines.errors import TryAgainLater
from zeotap_pipelines.model import Fate, Mode
from zeotap_pipelines.sandbox import Fault
from zeotap_pipelines.tasks import OpenTasks
from zeotap_pipelines_tests.specimens import GROUP, recipients
from zeotap_pipelines_tests.world import World, day

SLOW = Fault(kind="propagation_delay", seconds=50, nth=1)
"""The task of the first upsert stands still for so long."""


@pytest.fixture
def killed(tmp_path: Path) -> World:
    """A run that was killed while it waited for a slow task."""
    world = World(tmp_path, recipients(Mode.UPSERT))
    world.sandbox.faults.add(SLOW)
    world.take(["ann"])
    polls = 0

    def first_poll(step: str) -> bool:
        nonlocal polls
        polls += step == "before GET"
        return polls == 2  # The first question is the preflight's.

    with world.dying(first_poll) as steps:
        world.carry_out()
    assert steps[-1] == "before GET"
    assert [task.status for task in world.sandbox.agillic.tasks()] == ["queued"]
    return world


def left(world: World) -> list[str]:
    return OpenTasks(world.state.account(world.sync.address) / "tasks.jsonl").open()


def test_an_older_upsert_does_not_overtake_a_newer_one(killed: World) -> None:
    [task] = killed.sandbox.agillic.tasks()
    assert left(killed) == [task.id]
    assert killed.deliver(["ann!2"], day(1)).fates == {Fate.ACCEPTED: 1}
    assert killed.held == {"ann!2"}
    lines = [f"{entry.method} {entry.target}" for entry in killed.sandbox.log]
    second = [n for n, line in enumerate(lines) if line.endswith(":upsert")][1]
    assert any(task.id in line for line in lines[:second])
    assert left(killed) == []
    assert not killed.sandbox.violations


def test_another_sync_of_the_account_waits_too(killed: World) -> None:
    killed.renamed(name="members", target=AgillicTargetGroup(GROUP), mode=Mode.MIRROR)
    assert killed.deliver(["ann!3"], day(1)).complete
    assert killed.held == {"ann!3"}
    assert killed.sandbox.agillic.group(GROUP) == {"ann@example.com"}
    assert not killed.sandbox.violations


def test_a_task_that_nobody_knows_any_more_holds_nobody_up(killed: World) -> None:
    [task] = killed.sandbox.agillic.tasks()
    killed.sandbox.agillic.lose_task(task.id)
    assert killed.carry_out().fates == {Fate.ACCEPTED: 1}
    assert killed.held == {"ann"}


def test_while_a_task_can_not_be_asked_for_nothing_newer_is_asked(killed: World) -> None:
    killed.sandbox.faults.add(Fault(kind="status", status=503, path="/task/"))
    summary = killed.deliver(["ann!2"], day(1))
    assert isinstance(summary.error, TryAgainLater)
    assert (summary.asked, summary.left) == (0, 1)
    assert len(left(killed)) == 1
    killed.sandbox.faults.clear()
    killed.clock.pass_(3600)
    assert killed.carry_out(day(1)).complete
    assert killed.held == {"ann!2"}


def test_a_task_whose_deadline_has_passed_leaves_its_rows_unsettled(tmp_path: Path) -> None:
    world = World(tmp_path, recipients(Mode.UPSERT))
    world.sandbox.faults.add(Fault(kind="propagation_delay", seconds=5_000, nth=1))
    assert world.deliver(["ann"]).fates == {Fate.DEFERRED: 1}
    assert world.told("unsettled") == [(True,)]
    world.clock.pass_(6_000)
    assert world.carry_out().fates == {Fate.ACCEPTED: 1}
    assert world.held == {"ann"}
