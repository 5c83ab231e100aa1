"""How fast an account is asked, in figures: what a refusal teaches, what is caught up, what is written down."""

import asyncio
import json
from datetime import timedelta
from pathlib import Path

import pytest

from zeotap_pipelines.destinations.base import Limits
from zeotap_pipelines.errors import ContinueLater
from zeotap_pipelines.wire.limits import Pacer, Turn, per_minute
from zeotap_pipelines_tests.world import Clock


class Speaker:
    """One that asks, with what it is given of an account's limits."""

    def __init__(self, folder: Path, limits: Limits = Limits()) -> None:  # noqa: B008 - it is frozen
        self.file, self.limits, self.clock = folder / "limits.json", limits, Clock()
        self.pacer = Pacer(limits, self.file, self.clock)

    @property
    def now(self) -> float:
        return self.clock.monotonic()

    def begin(self) -> None:
        """Begin the next run."""
        self.pacer = Pacer(self.limits, self.file, self.clock)

    def ask(self, times: int = 1, *, each: float = 0.0) -> list[Turn]:
        """Ask so many times, each of which takes *each* seconds."""

        async def all_() -> list[Turn]:
            turns = []
            for _ in range(times):
                turns.append(await self.pacer.turn())
                await self.clock.sleep(each)
            return turns

        return asyncio.run(all_())

    def moments(self, times: int) -> list[float]:
        """When it asks, so many times, if nothing but its limits holds it up."""
        return [turn.at for turn in self.ask(times)]

    def rate(self) -> float:
        """How many requests a second it allows itself by now."""
        first, second = self.moments(2)
        return 1 / (second - first)

    def kept(self) -> dict:
        return json.loads(self.file.read_text())


def near(value: float):
    return pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize(
    ("refused", "each", "wait", "rate"),
    [
        (20, 0.1, 1.0, 0.97 * 20 / 2.1),  # The last one: those before it were taken, in the 2.1 s since the first.
        (20, 0.1, 7.0, 0.97 * 20 / 7.0),  # It is to wait for longer than that lasted.
        (2, 0.1, 1.0, 0.97 * 10.5 / 2.1),  # An early one, whose answer came late: half of them, one supposes.
        (20, 0.0, 0.0, 0.97 * 20 / 0.01),
        (0, 0.5, 60.0, 0.2),  # Slower than one in five seconds is none.
    ],
)
def test_after_the_first_refusal_as_much_is_asked_as_was_taken(
    tmp_path: Path, refused: int, each: float, wait: float, rate: float
) -> None:
    speaker = Speaker(tmp_path)
    turns = speaker.ask(21 if refused else 1, each=each)
    assert turns[-1].at == near(each * (len(turns) - 1)), "before a refusal nobody waits"
    speaker.pacer.refused(turns[refused], wait)
    again = speaker.now + wait
    first, second = speaker.moments(2)
    assert first == near(again), "everybody waits as long as the service wants"
    assert second - first == near(1 / rate)


def test_what_is_counted_since_a_refusal_begins_with_it(tmp_path: Path) -> None:
    speaker = Speaker(tmp_path)
    speaker.pacer.refused(speaker.ask(5, each=0.2)[-1], 1.0)
    assert [turn.before for turn in speaker.ask(3)] == [0, 1, 2]
    speaker.begin()
    assert [turn.before for turn in speaker.ask(3)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("lasted", "wait", "left"),
    [
        (5.0, 4.0, 1.0),
        (5.0, 0.0, 1.0),
        (3.0, 4.0, 0.75),  # A pause that is longer than this lasted: what was taken is all of it that it allows.
        (1.0, 4.0, 0.5),  # Never less than half: refusals that come at once may be of those under way.
    ],
)
def test_each_further_refusal_takes_a_share_of_the_rate(
    tmp_path: Path, lasted: float, wait: float, left: float
) -> None:
    speaker = Speaker(tmp_path)
    speaker.pacer.refused(speaker.ask(101, each=0.1)[-1], 0.0)
    rate, began = 0.97 * 100 / 10.1, speaker.now
    turn = speaker.ask()[0]
    assert turn.at == began
    speaker.clock.pass_(lasted)
    speaker.pacer.refused(turn, wait)
    assert speaker.rate() == near(rate * 0.97 * left)


def test_refusals_of_what_was_under_way_are_one(tmp_path: Path) -> None:
    speaker = Speaker(tmp_path)
    turns = speaker.ask(101, each=0.1)
    speaker.pacer.refused(turns[100], 4.0)
    speaker.clock.pass_(1.0)
    speaker.pacer.refused(turns[99], 4.0)
    again = speaker.now + 4.0
    first, second = speaker.moments(2)
    assert first == near(again), "the longest pause holds"
    assert second - first == near(1.01 * 10 / (0.97 * 100))


def test_a_refusal_at_the_moment_when_a_pause_ends_is_another(tmp_path: Path) -> None:
    speaker = Speaker(tmp_path)
    turns = speaker.ask(101, each=0.1)
    speaker.pacer.refused(turns[100], 4.0)
    speaker.clock.pass_(4.0)
    speaker.pacer.refused(turns[99], 0.0)
    assert speaker.rate() == near(0.97 * 100 / 10.1 * 0.97)


@pytest.mark.parametrize(
    ("refused", "again", "creeps"),
    [(100, None, 0.0001), (2, None, 0.01), (100, 0.0, 0.0001), (100, 4.0, 0.0001 / 16)],
)
def test_a_rate_creeps_up_with_each_request_the_later_the_faster(
    tmp_path: Path, refused: int, again: float | None, creeps: float
) -> None:
    """Quickly where little is known, and the slower the longer a refusal would hold everybody up."""
    speaker = Speaker(tmp_path)
    turns = speaker.ask(101, each=0.1)
    speaker.pacer.refused(turns[refused], 0.0)
    if again is not None:
        speaker.clock.pass_(10.0)
        speaker.pacer.refused(speaker.ask()[0], again)
    since, *moments = speaker.moments(3)
    for late in (0.0, 2.0, 20.0):
        while moments[-1] < since + late:
            moments += speaker.moments(1)
        moments = moments[-2:] + speaker.moments(1)
        before, then, after = moments
        grown = 1 / (after - then) - 1 / (then - before)
        assert grown == pytest.approx(min(creeps * (before - since), 0.03), rel=1e-3, abs=1e-8)


@pytest.mark.parametrize(
    ("limits", "rate"),
    [
        (Limits(per_second=10), 10),
        (Limits(per_minute=90), 1.5),
        (Limits(per_second=2, per_minute=90), 1.5),
        (Limits(per_second=1, per_minute=90), 1),
    ],
)
def test_a_known_limit_is_kept_a_little_below_and_refusals_change_nothing_of_it(
    tmp_path: Path, limits: Limits, rate: float
) -> None:
    speaker = Speaker(tmp_path, limits)
    assert speaker.rate() == near(0.985 * rate)
    speaker.pacer.refused(speaker.ask()[0], 3.0)
    again = speaker.now + 3.0
    assert speaker.moments(2) == [near(again), near(again + 1 / (0.985 * rate))]


def test_who_stood_still_catches_up_what_a_second_may_hold(tmp_path: Path) -> None:
    speaker = Speaker(tmp_path, Limits(per_second=10))
    speaker.ask(3)
    speaker.clock.pass_(7.0)
    now = speaker.now
    moments = speaker.moments(21)
    assert moments[:10] == [now] * 10
    assert moments[10:19] == [near(now + 1.005)] * 9, "the service counts seconds of its own"
    assert moments[19:] == [near(now + 10 / 9.85), near(now + 2.01)], "and nobody is late any more"


def test_what_a_second_held_before_a_pause_counts_after_it(tmp_path: Path) -> None:
    speaker = Speaker(tmp_path, Limits(per_second=10))
    speaker.ask()
    speaker.clock.pass_(7.0)
    now = speaker.now
    assert speaker.moments(10) == [now] * 10
    speaker.pacer.pause(0.5)
    assert speaker.moments(1) == [near(now + 1.005)]


def test_a_little_lateness_is_caught_up_whole(tmp_path: Path) -> None:
    speaker = Speaker(tmp_path, Limits(per_second=10))
    speaker.ask()
    speaker.clock.pass_(0.35)
    step = 1 / 9.85
    assert speaker.moments(4) == [0.35, 0.35, 0.35, near(4 * step)]


def test_an_answer_says_when_the_service_has_counted_at_the_latest(tmp_path: Path) -> None:
    """Not before it was sent, nor longer ago than the fastest answers take: of the last fifty to a hundred."""
    speaker = Speaker(tmp_path)

    def counted(took: float) -> float:
        turn = speaker.ask()[0]
        sent = turn.at
        speaker.clock.pass_(took)
        speaker.pacer.answered(turn)
        return round(turn.at - sent, 9)

    assert [counted(0.3), counted(0.2), counted(0.5)] == [0.0, 0.0, 0.3]
    assert [counted(0.5) for _ in range(47)] == [0.3] * 47
    assert [counted(0.6) for _ in range(50)] == [0.4] * 50, "the fifty before count too"
    assert counted(0.7) == 0.1, "and those before them no more"
    assert counted(0.65) == 0.05


@pytest.mark.parametrize(("budget", "block"), [(10_000, 20), (500, 10), (40, 1)])
def test_a_day_s_calls_are_written_down_before_they_are_used(tmp_path: Path, budget: int, block: int) -> None:
    speaker = Speaker(tmp_path, Limits(per_day=budget))
    today = speaker.clock.now().date().isoformat()
    speaker.ask()
    assert speaker.kept()["days"] == {today: block}
    written = speaker.file.stat().st_ino
    speaker.ask(block - 1)
    assert speaker.file.stat().st_ino == written, "once for all of them"
    speaker.ask()
    assert speaker.kept()["days"] == {today: 2 * block}
    speaker.pacer.close()
    assert speaker.kept()["days"] == {today: block + 1}
    assert speaker.pacer.calls == block + 1
    speaker.begin()
    assert speaker.pacer.calls == 0


def test_a_budget_of_one_call_is_one_call(tmp_path: Path) -> None:
    speaker = Speaker(tmp_path, Limits(per_day=1))
    speaker.ask()
    with pytest.raises(ContinueLater, match="the day's budget of 1 calls is used up"):
        speaker.ask()


def test_a_call_that_a_pause_kept_from_being_made_is_not_of_the_day_s(tmp_path: Path) -> None:
    speaker = Speaker(tmp_path, Limits(per_day=3))
    speaker.pacer.pause(61.0)
    for _ in range(5):
        with pytest.raises(ContinueLater, match="the service asks to wait"):
            speaker.ask()
    speaker.pacer.close()
    speaker.clock.pass_(61.0)
    speaker.begin()
    assert len(speaker.ask(3)) == 3
    with pytest.raises(ContinueLater, match="budget"):
        speaker.ask()


@pytest.mark.parametrize(("seconds", "ends"), [(59.9, False), (60.0, False), (60.1, True), (86_400.0, True)])
def test_a_pause_of_more_than_a_minute_ends_the_run(tmp_path: Path, seconds: float, ends: bool) -> None:
    speaker = Speaker(tmp_path)
    speaker.pacer.pause(seconds)
    if ends:
        with pytest.raises(ContinueLater) as ended:
            speaker.ask()
        assert ended.value.until == speaker.clock.now() + timedelta(seconds=seconds)
    else:
        assert speaker.moments(1) == [seconds]


def test_a_shorter_pause_ends_none_that_is_longer(tmp_path: Path) -> None:
    speaker = Speaker(tmp_path)
    speaker.pacer.pause(40.0)
    speaker.pacer.pause(10.0)
    speaker.begin()
    assert speaker.moments(1) == [40.0]
    speaker.pacer.pause(0.5)
    assert speaker.moments(1) == [40.5], "and it is over once it is over"
    speaker.pacer.pause(10.0)
    speaker.pacer.pause(40.0)
    speaker.begin()
    assert speaker.moments(1) == [80.5], "but a longer one goes on"


def test_a_pause_holds_for_whoever_asks_while_it_lasts(tmp_path: Path) -> None:
    speaker = Speaker(tmp_path)
    speaker.pacer.pause(10.0)

    async def late(seconds: float) -> float:
        await speaker.clock.sleep(seconds)
        return (await speaker.pacer.turn()).at

    async def everybody() -> list[float]:
        return await asyncio.gather(late(0.0), late(3.0), late(9.0), late(9.5), late(11.0))

    assert asyncio.run(everybody()) == [10.0, 10.0, 10.0, 10.0, 11.0]


def test_a_pause_that_nobody_can_have_asked_for_is_none(tmp_path: Path) -> None:
    speaker = Speaker(tmp_path)
    speaker.pacer.pause(86_401.0)
    speaker.begin()
    assert speaker.moments(3) == [0.0] * 3
    assert speaker.clock.slept == [0.0] * 3, "nobody waits"


@pytest.mark.parametrize(("back", "counts"), [(1, True), (7, True), (8, False)])
def test_what_was_used_on_a_later_day_counts_for_a_week(tmp_path: Path, back: int, counts: bool) -> None:
    speaker = Speaker(tmp_path, Limits(per_day=10))
    speaker.ask(4)
    speaker.pacer.close()
    speaker.clock.jump(-timedelta(days=back))
    speaker.begin()
    speaker.ask(6)
    if counts:
        with pytest.raises(ContinueLater):
            speaker.ask()
    else:
        speaker.ask(4)
        assert len(speaker.kept()["days"]) == 1, "what a clock far ahead wrote down is gone"


def test_no_more_days_are_kept_than_anybody_asks_about(tmp_path: Path) -> None:
    speaker = Speaker(tmp_path, Limits(per_day=10))
    for _ in range(30):
        speaker.ask()
        speaker.clock.pass_(86_400)
    assert len(speaker.kept()["days"]) == 14
    assert max(speaker.kept()["days"]) == (speaker.clock.now() - timedelta(days=1)).date().isoformat()


@pytest.mark.parametrize(("before", "days"), [(59.0, 2), (61.0, 1), (-59.0, 2), (-61.0, 1)])
def test_a_call_within_a_minute_of_midnight_is_of_both_days(tmp_path: Path, before: float, days: int) -> None:
    speaker = Speaker(tmp_path, Limits(per_day=10))
    speaker.clock.pass_(16 * 3600 - before)
    speaker.ask(3)
    speaker.pacer.close()
    assert list(speaker.kept()["days"].values()) == [3] * days


def test_the_whole_budget_may_be_used_within_a_minute_of_midnight(tmp_path: Path) -> None:
    speaker = Speaker(tmp_path, Limits(per_day=10))
    speaker.clock.pass_(16 * 3600 - 59)
    assert len(speaker.ask(10)) == 10
    with pytest.raises(ContinueLater, match="budget"):
        speaker.ask()


def test_a_minute_is_waited_for_the_next_day_s_budget(tmp_path: Path) -> None:
    speaker = Speaker(tmp_path, Limits(per_day=10))
    speaker.ask(10)
    speaker.clock.pass_(16 * 3600)
    assert speaker.moments(1) == [16 * 3600 + 60]


@pytest.mark.parametrize(
    ("limits", "most"),
    [
        (Limits(), None),
        (Limits(per_second=2), 120),
        (Limits(per_minute=90), 90),
        (Limits(per_second=1, per_minute=90), 60),
        (Limits(per_second=2, per_minute=90), 90),
    ],
)
def test_the_strictest_of_the_known_limits_is_told_per_minute(limits: Limits, most: float | None) -> None:
    assert per_minute(limits) == most
