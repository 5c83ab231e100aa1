"""Whatever happened in between, a target ends as the newest partition says."""

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zeotap_pipelines.errors import AskForRestore
from zeotap_pipelines.sandbox import Fault
from zeotap_pipelines_tests.world import World, day, nth

EVERYBODY = ["1", "2", "3", "4", "stranger"]
DAYS = 6
FAULTS = [
    Fault(kind="status", status=500, path="/members/", every=2, times=6),
    Fault(kind="status", status=400, path="/members/", every=3, times=2),
    Fault(kind="status", status=429, path="/members/", every=2, times=2, retry_after=1),
    Fault(kind="status", status=429, path="/members/", nth=2, retry_after=3600),
    Fault(kind="reset_after", path="/members/", times=4),
    Fault(kind="reset_before", path="/members/", nth=1),
    Fault(kind="cut", path="/members/", every=2, times=5),
    Fault(kind="token_expiry", path="/members/", nth=1),
    Fault(kind="html", path="/members/", times=4),
]

audiences = st.lists(st.sets(st.sampled_from(EVERYBODY)).map(sorted), min_size=DAYS, max_size=DAYS)
hitches = st.one_of(
    st.none(),
    st.none(),
    st.sampled_from(FAULTS),
    st.tuples(st.sampled_from(["before", "after", ""]), st.integers(1, 14)),
)
runs = st.lists(st.tuples(st.integers(0, DAYS - 1), hitches, st.booleans(), st.booleans()), min_size=1, max_size=5)


@settings(deadline=None, max_examples=6, suppress_health_check=list(HealthCheck))
@given(audiences, runs, st.booleans())
def test_any_chunking_in_any_order_ends_as_the_newest_partition_says(audiences, runs, strangers_come_in) -> None:
    """
    A run of a range is a run of its newest partition. Each may meet a fault or a
    crash, be late, be a restore, and find an audience that was taken again.
    """
    with tempfile.TemporaryDirectory() as root:
        world = World(Path(root))
        newest = -1
        for number, hitch, restore, retaken in runs:
            people = audiences[number][1:] if retaken else audiences[number]
            world.take(people, day(number))
            if isinstance(hitch, Fault):
                world.sandbox.faults.add(hitch)
            try:
                with world.dying(nth(hitch[1], hitch[0]) if isinstance(hitch, tuple) else lambda step: False):
                    world.carry_out(day(number), restore=restore)
            except AskForRestore:
                assert number <= newest
            world.sandbox.faults.clear()
            newest = max(newest, number)
        if strangers_come_in:
            world.sandbox.kognitiv.set_standing("stranger", "active")
        world.clock.pass_(3600)
        last = audiences[-1]
        assert world.deliver(last, day(DAYS)).complete
        assert world.held == set(last) - (set() if strangers_come_in else {"stranger"})
        assert world.carry_out(day(DAYS)).asked == 0
        assert not world.sandbox.violations
