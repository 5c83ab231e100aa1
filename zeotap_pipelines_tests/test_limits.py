"""What an account allows holds for every run, through crashes and wrong clocks."""

import asyncio
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zeotap_pipelines.destinations.base import Limits
from zeotap_pipelines.errors import ContinueLater, RepairState
from zeotap_pipelines.sandbox import Fault
from zeotap_pipelines.wire.limits import EDGE, Pacer
from zeotap_pipelines_tests.world import Clock, World, kognitiv


class Account:
    """A limits file, and the pacers that runs have of it."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.file = folder / "limits.json"
        self.limits = limits
        self.clock = Clock()
        self.sent: Counter[str] = Counter()
        self.differs = timedelta()

    def run(self, calls: int, *, crash: bool = False) -> int:
        """Send so many calls, or as many as there may be, and return how many that was."""

        async def send() -> int:
            pacer = Pacer(self.limits, self.file, self.clock)
            for number in range(calls):
                try:
                    await pacer.turn()
                except ContinueLater:
                    pacer.close()
                    return number
                self.sent[(self.clock.now() + self.differs).date().isoformat()] += 1
            if not crash:
                pacer.close()
            return calls

        return asyncio.run(send())


def test_a_budget_is_used_up_to_the_last_call_and_renewed_at_midnight(tmp_path: Path) -> None:
    account = Account(tmp_path, Limits(per_day=45))
    assert [account.run(30), account.run(30), account.run(30)] == [30, 15, 0]
    account.clock.pass_(16 * 3600 + 60)
    assert account.run(100) == 45


def test_what_ends_a_run_says_when_to_go_on(tmp_path: Path) -> None:
    account = Account(tmp_path, Limits(per_day=1))
    account.run(1)
    with pytest.raises(ContinueLater, match="the day's budget of 1 calls is used up") as ended:
        asyncio.run(Pacer(account.limits, account.file, account.clock).turn())
    assert ended.value.until == account.clock.now().replace(hour=0) + timedelta(days=1) + EDGE


@settings(deadline=None, max_examples=50)
@given(
    st.integers(1, 30), st.integers(-59, 59), st.lists(st.tuples(st.integers(0, 25), st.integers(0, 90)), max_size=8)
)
def test_no_day_of_the_service_exceeds_the_budget_though_its_midnight_is_not_ours(
    tmp_path_factory, budget: int, seconds: int, runs: list[tuple[int, int]]
) -> None:
    """The service's clock goes before or after ours, or requests take so long to arrive."""
    account = Account(tmp_path_factory.mktemp("account"), Limits(per_day=budget))
    account.differs = timedelta(seconds=seconds)
    account.clock.pass_(16 * 3600 - 120)
    for calls, passes in runs:
        account.run(calls)
        account.clock.pass_(passes)
    assert not account.sent or max(account.sent.values()) <= budget


def test_a_run_at_midnight_waits_a_minute_for_a_budget_that_was_used_up(tmp_path: Path) -> None:
    account = Account(tmp_path, Limits(per_day=40))
    account.run(40)
    account.clock.pass_(16 * 3600 + 2)
    assert account.run(40) == 40
    assert account.clock.monotonic() == 16 * 3600 + 60
    assert account.run(1) == 0


def test_a_crash_wastes_little_of_a_small_budget(tmp_path: Path) -> None:
    account = Account(tmp_path, Limits(per_day=40))
    for _ in range(3):
        account.run(1, crash=True)
    assert account.run(40) == 37


def test_a_clock_that_goes_back_does_not_renew_the_budget(tmp_path: Path) -> None:
    account = Account(tmp_path, Limits(per_day=40))
    account.run(40)
    account.clock.jump(-timedelta(days=2))
    assert account.run(1) == 0


runs = st.tuples(st.integers(0, 70), st.booleans(), st.sampled_from([0, 3600, 9 * 3600, -5 * 3600, 25 * 3600]))


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 90), st.lists(runs, max_size=8))
def test_the_budget_of_a_day_is_never_exceeded(tmp_path_factory, budget: int, runs) -> None:
    account = Account(tmp_path_factory.mktemp("account"), Limits(per_day=budget))
    for calls, crash, passes in runs:
        account.run(calls, crash=crash)
        account.clock.pass_(passes) if passes > 0 else account.clock.jump(timedelta(seconds=passes))
    assert not account.sent or max(account.sent.values()) <= budget


def test_a_damaged_count_is_no_new_budget(tmp_path: Path) -> None:
    account = Account(tmp_path, Limits(per_day=40))
    account.run(40)
    for damage in ("", "{", "[]", '{"days": 3}', '{"days": {"2026-11-21": null}, "paused_until": null}'):
        account.file.write_text(damage)
        with pytest.raises(RepairState, match=r"limits\.json is damaged"):
            account.run(1)


@pytest.mark.parametrize(("limits", "most"), [(Limits(per_second=10), 10), (Limits(per_minute=60), 1)])
def test_a_known_rate_is_kept(tmp_path: Path, limits: Limits, most: int) -> None:
    account = Account(tmp_path, limits)
    account.run(51)
    assert 50 / most <= account.clock.monotonic() <= 50 / most * 1.05


class Strict:
    """A service that takes so many calls in any *window* of seconds, and asks those above to wait."""

    def __init__(self, clock: Clock, allowed: int, window: float, pause: float) -> None:
        self.clock, self.allowed, self.window, self.pause = clock, allowed, window, pause
        self.taken: list[float] = []
        self.refused = 0

    def takes(self) -> bool:
        now = self.clock.monotonic()
        if sum(1 for at in self.taken[-self.allowed :] if at > now - self.window) >= self.allowed:
            self.refused += 1
            return False
        self.taken.append(now)
        return True


@pytest.mark.parametrize("speakers", [1, 4, 20])
@pytest.mark.parametrize(("allowed", "window", "pause"), [(10, 1.0, 1.0), (40, 1.0, 1.0), (50, 10.0, 10.0)])
def test_an_unknown_limit_is_found_and_most_of_it_is_used(
    tmp_path: Path, speakers: int, allowed: int, window: float, pause: float
) -> None:
    clock = Clock()
    pacer = Pacer(Limits(concurrency=speakers), tmp_path / "limits.json", clock)
    service = Strict(clock, allowed, window, pause)

    async def speak() -> None:
        while len(service.taken) < 40 * allowed:
            turn = await pacer.turn()
            took = service.takes()
            await clock.sleep(0.05 if took else 0.01)
            if not took:
                pacer.refused(turn, pause)

    async def everybody() -> None:
        await asyncio.gather(*(speak() for _ in range(speakers)))

    asyncio.run(everybody())
    possible = min(allowed / window, speakers / 0.05) * clock.monotonic()
    assert len(service.taken) >= 0.9 * possible
    assert service.refused <= 0.1 * len(service.taken), "and hardly anything in vain"


@pytest.mark.parametrize("limits", [Limits(per_second=40), Limits(per_minute=2400)])
def test_a_known_limit_is_used_almost_wholly_and_never_refused(tmp_path: Path, limits: Limits) -> None:
    clock = Clock()
    pacer = Pacer(limits, tmp_path / "limits.json", clock)
    service = Strict(clock, 40, 1.0, 1.0)

    async def speak() -> None:
        while len(service.taken) < 1000:
            await pacer.turn()
            assert service.takes()
            await clock.sleep(0.05)

    async def everybody() -> None:
        await asyncio.gather(*(speak() for _ in range(20)))

    asyncio.run(everybody())
    assert len(service.taken) >= 0.97 * 40 * clock.monotonic()


@settings(deadline=None, max_examples=8)
@given(st.randoms(use_true_random=False))
def test_a_known_limit_is_not_exceeded_by_requests_that_arrive_late(tmp_path_factory, chance) -> None:
    """Some are on their way, there or back, for longer than others: those behind them must not bunch up."""
    clock = Clock()
    pacer = Pacer(Limits(per_second=100), tmp_path_factory.mktemp("account") / "limits.json", clock)
    service = Strict(clock, 100, 1.0, 1.0)

    def way() -> float:
        return chance.choice([0.0, 0.0, 0.0, 0.0, 0.01, 0.08])

    async def speak() -> None:
        while len(service.taken) < 600:
            turn = await pacer.turn()
            await clock.sleep(way())
            assert service.takes()
            await clock.sleep(0.05 + way())
            pacer.answered(turn)

    async def everybody() -> None:
        await asyncio.gather(*(speak() for _ in range(20)))

    asyncio.run(everybody())
    assert len(service.taken) >= 0.8 * 100 * clock.monotonic(), "an answer takes up to 0.16 s longer"


@pytest.mark.parametrize("stands", [0.05, 0.4])
def test_who_was_held_up_catches_up_within_the_limit(tmp_path: Path, stands: float) -> None:
    """A machine that stands still now and then, longer than it asks ahead, uses as much of the limit as any."""
    clock = Clock()
    pacer = Pacer(Limits(per_second=40), tmp_path / "limits.json", clock)
    service = Strict(clock, 40, 1.0, 1.0)

    async def speak() -> None:
        while len(service.taken) < 1000:
            await pacer.turn()
            assert service.takes()
            if len(service.taken) % 300 == 0:
                clock.pass_(stands)
            await clock.sleep(0.05)

    async def everybody() -> None:
        await asyncio.gather(*(speak() for _ in range(4)))

    asyncio.run(everybody())
    assert len(service.taken) >= 0.97 * 40 * clock.monotonic()


def test_a_delivery_goes_on_day_after_day_within_its_budget(tmp_path: Path) -> None:
    class Few(type(kognitiv())):
        def limits(self) -> Limits:
            return Limits(per_day=12)

    world = World(tmp_path)
    world.connection = Few(**{**kognitiv().model_dump(), "client_secret": kognitiv().client_secret})
    people = [str(number) for number in range(25)]
    world.take(people)
    days = 0
    for _ in range(8):
        summary = world.carry_out()
        if summary.complete:
            break
        assert isinstance(summary.error, ContinueLater)
        assert world.carry_out().asked == 0, "nothing is left of the day"
        days += 1
        world.clock.pass_(24 * 3600)
    assert world.held == set(people)
    per_day = Counter(int(entry.at // 86400) for entry in world.sandbox.log if "/Auth/" not in entry.target)
    assert max(per_day.values()) <= 12
    assert days == 2


def test_a_pause_is_kept_for_the_account_and_ends(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.sandbox.faults.add(Fault(kind="status", status=429, path="/members/", retry_after=90, nth=2))
    first = world.deliver(["1", "2", "3"])
    assert isinstance(first.error, ContinueLater)
    world.renamed(name="another_sync")
    assert world.carry_out().calls == 0
    world.clock.pass_(91)
    assert world.carry_out().complete
    assert world.held == {"1", "2", "3"}


def test_a_pause_beyond_midnight_is_told_with_its_day(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.sandbox.faults.add(Fault(kind="status", status=429, path="/members/", retry_after=80_000))
    summary = world.deliver(["1"])
    assert isinstance(summary.error, ContinueLater)
    assert f"until {summary.error.until:%Y-%m-%d %H:%M:%S} UTC" in str(summary.error)
