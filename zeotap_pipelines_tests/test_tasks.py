"""Tasks that a killed run left behind are waited for before anything newer is asked."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from zeotap_pipelines.destinations.agillic_groups import AgillicTargetGroup
from zeotap_pipelines.errors import RepairState, TryAgainLater
from zeotap_pipelines.model import Fate, Mode
from zeotap_pipelines.sandbox import AgillicSettings, Fault, Sandbox
from zeotap_pipelines.wire.tasks import OpenTask, OpenTasks
from zeotap_pipelines_tests.specimens import GROUP, Example, recipients, table, target_group
from zeotap_pipelines_tests.world import Clock, World, day

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


def left(world: World) -> list[OpenTask]:
    return OpenTasks(world.state.account(world.sync.address) / "tasks.jsonl").open()


def test_an_older_upsert_does_not_overtake_a_newer_one(killed: World) -> None:
    [task] = killed.sandbox.agillic.tasks()
    assert [open_task.name for open_task in left(killed)] == [task.id]
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


UPLOADS = [recipients(Mode.UPSERT), target_group(Mode.MIRROR), table()]

LATE = 600.0
"""Seconds after which Agillic gets round to the first upload: long after the next day's."""


def tardy(root: Path, example: Example) -> World:
    """A world where the first upload is done late, and every other at once; time alone ends a task."""
    world = World(root, replace(example, sandbox=_timed(example)))
    world.sandbox.faults.add(Fault(kind="propagation_delay", path=":upsert$", nth=1, seconds=LATE))
    return world


def _timed(example: Example) -> Callable[[Clock], Sandbox]:
    def sandbox(clock: Clock) -> Sandbox:
        made = Sandbox(clock=clock.unix, agillic=AgillicSettings(task_polls=None, task_seconds=0.0))
        owners = ("one@example.com", "two@example.com")
        made.agillic.put_recipients(*({"EMAIL": owner, "FIRSTNAME": "before"} for owner in owners))
        return made

    return sandbox


def the_upload(world: World) -> Callable[[str], bool]:
    """Whether the request that was just answered is an upload."""
    return lambda step: step == "after POST" and world.sandbox.log[-1].target.endswith(":upsert")


@pytest.mark.parametrize("example", UPLOADS, ids=lambda example: example.name)
def test_an_upload_whose_answer_a_killed_run_never_heard_does_not_overtake_a_newer_one(
    tmp_path: Path, example: Example
) -> None:
    world = tardy(tmp_path, example)
    world.take(["ann"])
    with world.dying(the_upload(world)):
        world.carry_out()
    [upload] = left(world)
    assert not upload.heard
    assert world.deliver(["ann!2"], day(1)).complete
    assert world.clock.monotonic() >= example.target.task_life
    world.clock.pass_(2 * LATE)
    assert world.held >= {"ann!2"}
    assert "ann" not in world.held
    assert left(world) == []


@pytest.mark.parametrize("example", UPLOADS, ids=lambda example: example.name)
def test_an_upload_whose_answer_was_lost_does_not_overtake_a_newer_one(tmp_path: Path, example: Example) -> None:
    world = tardy(tmp_path, example)
    world.sandbox.faults.add(Fault(kind="reset_after", path=":upsert$", times=4))
    assert world.deliver(["ann"]).fates == {Fate.DEFERRED: 1}
    assert world.deliver(["ann!2"], day(1)).complete
    world.clock.pass_(2 * LATE)
    assert world.held >= {"ann!2"}
    assert "ann" not in world.held


@pytest.mark.parametrize("example", UPLOADS, ids=lambda example: example.name)
def test_the_unheard_attempt_of_an_upload_that_was_asked_twice_does_not_overtake_a_newer_one(
    tmp_path: Path, example: Example
) -> None:
    world = tardy(tmp_path, example)
    world.sandbox.faults.add(Fault(kind="reset_after", path=":upsert$", nth=1))
    assert world.deliver(["ann"]).complete, "the second attempt was heard"
    assert world.deliver(["ann!2"], day(1)).complete
    world.clock.pass_(2 * LATE)
    assert world.held >= {"ann!2"}
    assert "ann" not in world.held


def test_the_same_again_is_asked_at_once_and_something_newer_waits_all_the_same(tmp_path: Path) -> None:
    world = tardy(tmp_path, recipients(Mode.UPSERT))
    world.sandbox.faults.add(Fault(kind="reset_after", path=":upsert$", times=4))
    world.deliver(["ann"])
    before = world.clock.monotonic()
    assert world.carry_out().complete
    assert world.clock.monotonic() - before < 60
    assert len(left(world)) == 1
    assert world.deliver(["ann!2"], day(1)).complete
    world.clock.pass_(2 * LATE)
    assert world.held == {"ann!2"}
    assert left(world) == []


def test_nothing_newer_is_asked_while_an_upload_runs_beyond_its_deadline(tmp_path: Path) -> None:
    example = recipients(Mode.UPSERT)
    world = tardy(tmp_path, replace(example, target=replace(example.target, task_deadline=60.0)))
    assert world.deliver(["ann"]).fates == {Fate.DEFERRED: 1}
    summary = world.deliver(["ann!2"], day(1))
    assert isinstance(summary.error, TryAgainLater)
    assert "nothing newer is asked before" in str(summary.error)
    assert (summary.asked, summary.left) == (0, 1)
    world.clock.pass_(LATE)
    assert world.carry_out(day(1)).complete
    assert world.held == {"ann!2"}
    assert left(world) == []


def test_an_upload_of_more_than_a_day_ago_holds_nobody_up(tmp_path: Path) -> None:
    world = World(tmp_path, recipients(Mode.UPSERT))
    world.sandbox.faults.add(Fault(kind="propagation_delay", seconds=10 * 86_400, nth=1))
    assert world.deliver(["ann"]).fates == {Fate.DEFERRED: 1}
    world.clock.pass_(86_400)
    assert world.deliver(["ann!2"], day(1)).complete
    assert left(world) == []


@pytest.mark.parametrize("status", [403, 422, 429])
def test_an_upload_that_did_certainly_not_begin_is_not_waited_for(tmp_path: Path, status: int) -> None:
    world = World(tmp_path, recipients(Mode.UPSERT))
    world.sandbox.faults.add(Fault(kind="status", status=status, path=":upsert$"))
    assert not world.deliver(["ann"]).fates[Fate.ACCEPTED]
    assert left(world) == []


def test_a_clock_that_went_back_does_not_make_an_upload_be_waited_for_longer(tmp_path: Path) -> None:
    world = tardy(tmp_path, recipients(Mode.UPSERT))
    world.sandbox.faults.add(Fault(kind="reset_after", path=":upsert$", times=4))
    world.deliver(["ann"])
    world.clock.jump(-timedelta(days=300))
    before = world.clock.monotonic()
    assert world.deliver(["ann!2"], day(1)).complete
    assert world.clock.monotonic() - before < 1_000


def test_a_line_of_a_task_that_a_crash_cut_off_harms_no_other(tmp_path: Path) -> None:
    tasks = OpenTasks(tmp_path / "tasks.jsonl")
    now = datetime(2026, 11, 21, tzinfo=UTC)
    tasks.begun(OpenTask("one", True, "plan", now, 900.0))
    tasks.path.write_bytes(tasks.path.read_bytes() + b'["asking", "unhe')
    assert [task.name for task in tasks.open()] == ["one"]
    tasks.begun(OpenTask("two", False, "plan", now, 900.0))
    assert [task.name for task in tasks.open()] == ["one", "two"]
    tasks.path.write_text("[]\n")
    with pytest.raises(RepairState, match=r"tasks\.jsonl is damaged"):
        tasks.open()
