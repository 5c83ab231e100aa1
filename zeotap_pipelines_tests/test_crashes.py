"""A crash anywhere, then a rerun, ends where an undisturbed run ends."""

import shutil
from collections import Counter
from pathlib import Path

import pytest

from zeotap_pipelines_tests.world import World, day, nth

BEFORE = ["1", "2", "3"]
AFTER = ["3", "4", "5"]


class Scene:
    """A group that holds some; others are wanted. Played again and again, each time with another end."""

    def __init__(self, root: Path) -> None:
        self.world = World(root)
        self.world.deliver(BEFORE)
        self.world.take(AFTER, day(1))
        shutil.copytree(self.world.state.root, root / "opening")
        self.steps = self.play(lambda step: False)

    def play(self, deadly) -> list[str]:
        """Run once, dying at the first deadly step, and then without a hitch."""
        world = self.world
        shutil.rmtree(world.state.root)
        shutil.copytree(world.root / "opening", world.state.root)
        world.sandbox.reset()
        world.sandbox.kognitiv.put_members("ACTIVE-90D", *BEFORE)
        with world.dying(deadly) as steps:
            world.carry_out(day(1))
        died = list(steps)
        rerun = world.carry_out(day(1))
        assert rerun.complete
        assert world.held == set(AFTER)
        assert world.told() == [("1", "out"), ("2", "out"), ("3", "in"), ("4", "in"), ("5", "in")]
        return died


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return Scene(tmp_path_factory.mktemp("scene"))


def test_an_undisturbed_run_takes_every_kind_of_step(scene: Scene) -> None:
    taken = Counter(scene.steps)
    assert taken["before PUT"] == taken["after PUT"] == taken["before DELETE"] == taken["after DELETE"] == 2
    written = {"operations", "plan", "begin", "asked", "flushed", "answered", "folding", "folded", "restarted"}
    assert taken.keys() > written


@pytest.mark.parametrize("number", range(1, 7))
@pytest.mark.parametrize("side", ["before", "after"])
def test_a_crash_at_any_request_changes_nothing(scene: Scene, side: str, number: int) -> None:
    steps = scene.play(nth(number, side))
    assert steps[-1].startswith(side)


def test_a_crash_at_any_step_of_the_state_changes_nothing(scene: Scene) -> None:
    # A request finds the state as the step before it left it, and "flushed" changes nothing that a process can see.
    others = ("before", "after", "flushed")
    written = [n for n, step in enumerate(scene.steps, 1) if not step.startswith(others)]
    for number in written:
        steps = scene.play(nth(number))
        assert len(steps) == number
