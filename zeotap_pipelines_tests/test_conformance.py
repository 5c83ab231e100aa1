"""The laws that every target keeps, in every mode that it has."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from zeotap_pipelines.destinations.base import Target
from zeotap_pipelines.errors import FixDeclaration, FixTarget, ZeotapError
from zeotap_pipelines.model import Fate, Mode, Verb
from zeotap_pipelines.sandbox import Fault
from zeotap_pipelines_tests.specimens import (
    AWKWARD,
    EXAMPLES,
    MADE,
    MAIN,
    Example,
    cohort,
    credit,
    group,
    profile,
    recipients,
    signed,
    table,
    target_group,
)
from zeotap_pipelines_tests.world import World, day, nth

every_example = pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
every_way_of_asking = pytest.mark.parametrize("example", MAIN, ids=lambda example: example.name)

TRIED = [example for example in MAIN if example.mode is not Mode.UPDATE]
"""Those that meet every fault and crash: an update one by one meets what another row one by one meets."""


def concrete(target: type[Target]) -> set[type[Target]]:
    """The targets below *target* that the package offers."""
    found = set() if getattr(target, "__abstractmethods__", None) else {target}
    below = {one for one in target.__subclasses__() if one.__module__.startswith("zeotap_pipelines.")}
    return found.union(*(concrete(one) for one in below)) if below else found


def changes(world: World) -> list[str]:
    """The requests that were to change something."""
    path = world.specimen.asks
    return [f"{one.method} {one.target}" for one in world.sandbox.log if path in one.target and one.method != "GET"]


def doubtful(world: World) -> set[str]:
    return {value for value, state in world.told() if state == "doubt"}


def test_every_target_has_an_example() -> None:
    assert concrete(Target) == set(MADE)
    assert {type(example.target) for example in MAIN} == set(MADE)


def test_every_mode_of_every_target_has_an_example() -> None:
    assert {(type(e.target), e.mode) for e in EXAMPLES} == {(t, mode) for t in MADE for mode in t.modes()}


@every_way_of_asking
def test_a_mode_that_a_target_does_not_have_is_refused_with_those_it_has(tmp_path: Path, example: Example) -> None:
    for mode in set(Mode) - set(example.target.modes()):
        with pytest.raises(FixDeclaration) as refused:
            World(tmp_path, example, mode=mode)
        assert f"no mode {mode.value!r}; it has {', '.join(example.target.modes())}" in str(refused.value)


@every_example
def test_what_was_planned_is_what_the_service_holds_and_asking_twice_asks_once(
    tmp_path: Path, example: Example
) -> None:
    """A history of two days; then the same again, under a new name and on another day."""
    world = World(tmp_path, example)
    history = [["ann", "bob", "cid", "dot"], ["bob!2", "cid", "eve!3"]]
    if example.target.once:
        history = history[:1]
    for number, people in enumerate(history):
        world.take(people, day(number))
        plan = world.plan(day(number))
        summary = world.carry_out(day(number))
        assert summary.complete, summary
        assert summary.asked == plan.operations == summary.fates[Fate.ACCEPTED]
        assert world.held == example.ends(history[: number + 1])
    asked = changes(world)
    if not example.target.once:
        world.renamed(name="another_name")
        again = world.deliver(history[-1], day(len(history)))
        assert (again.asked, again.complete) == (0, True)
    assert changes(world) == asked
    assert not example.doubled(world.sandbox)
    assert not world.sandbox.violations


@pytest.mark.parametrize("example", [one for one in EXAMPLES if one.refused], ids=lambda example: example.name)
def test_a_refused_row_blocks_nobody_and_is_asked_once_per_partition(tmp_path: Path, example: Example) -> None:
    world = World(tmp_path, example)
    people = ["ann", "bad", "bob"]
    summary = world.deliver(people)
    assert summary.complete
    assert summary.fates == {Fate.ACCEPTED: 2, Fate.REJECTED: 1}
    assert all(reason for _, reason in summary.reasons)
    assert world.held == example.ends([["ann", "bob"]])
    if not example.target.once:
        assert world.carry_out().asked == 0
        assert world.deliver(people, day(1)).fates == {Fate.REJECTED: 1}
    assert not world.sandbox.violations


@pytest.mark.parametrize("example", [cohort(Mode.MIRROR), recipients(Mode.UPSERT)], ids=lambda example: example.name)
def test_when_row_after_row_is_refused_the_run_ends_and_all_are_asked_again(tmp_path: Path, example: Example) -> None:
    """The request is at fault, and not the rows: once it is mended, the same partition is delivered whole."""
    world = World(tmp_path, example)
    people = [f"x{number}" for number in range(30)]
    world.sandbox.faults.add(Fault(kind="status", status=400, body="{}", path=example.asks, times=200))
    summary = world.deliver(people)
    assert isinstance(summary.error, FixTarget) and "row by row" in str(summary.error)
    assert summary.fates[Fate.REJECTED] == 0 < summary.left
    world.sandbox.faults.clear()
    assert world.carry_out().fates == {Fate.ACCEPTED: len(people)}
    assert world.held == example.ends([people])


FAULTS = {
    "lost before": Fault(kind="reset_before", nth=1),
    "lost after": Fault(kind="reset_after", nth=1),
    "cut": Fault(kind="cut", nth=1),
    "late": Fault(kind="delay", nth=1, seconds=90),
    "malformed": Fault(kind="malformed", nth=1),
    "500, applied": Fault(kind="status", status=500, nth=1, applied=True),
    "503 by a proxy": Fault(kind="html", nth=1),
    "504 three times": Fault(kind="status", status=504, times=3),
    "429 eight times": Fault(kind="status", status=429, times=8, retry_after=2),
    "429 until a date": Fault(kind="status", status=429, times=2, retry_after=30, retry_after_as="date"),
    "token expired": Fault(kind="token_expiry", nth=2),
}
"""What may happen to the requests of a day; a day with a 429, and nothing else, needs no second run."""


class Ordeal:
    """A world that met every fault, one a day, and was run again where a day did not end well."""

    def __init__(self, root: Path, example: Example) -> None:
        self.world = world = World(root, example)
        self.example = example
        self.reruns: Counter[str] = Counter()
        self.said: list[str] = []
        self.wrong: list[str] = []
        self.history: list[list[str]] = []
        for number, (name, fault) in enumerate(FAULTS.items()):
            people = [f"x{number}", f"y{number}", f"ann!{number + 2}"]
            self.history.append(people)
            world.sandbox.faults.add(replace(fault, path=example.asks))
            summary = world.deliver(people, day(number))
            world.sandbox.faults.clear()
            world.clock.pass_(7200)
            self.said.append(repr(summary))
            while not summary.complete and self.reruns[name] < 3:
                self.reruns[name] += 1
                summary = world.carry_out(day(number))
                self.said.append(repr(summary))
            unclear = doubtful(world)
            expected = {who for who in example.ends(self.history) if who.partition("!")[0] not in unclear}
            if not expected <= world.held <= example.ends(self.history):
                self.wrong.append(f"{name}: {world.held} instead of {expected}")


@pytest.fixture(scope="module", params=TRIED, ids=lambda example: example.name)
def ordeal(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Ordeal:
    return Ordeal(tmp_path_factory.mktemp("ordeal"), request.param)


def test_every_fault_ends_where_an_undisturbed_run_ends(ordeal: Ordeal) -> None:
    assert not ordeal.wrong
    assert not ordeal.example.doubled(ordeal.world.sandbox)


def test_a_429_uses_up_no_retries(ordeal: Ordeal) -> None:
    assert not [name for name in ordeal.reruns if name.startswith("429")]


def test_only_events_come_into_doubt(ordeal: Ordeal) -> None:
    assert bool(doubtful(ordeal.world)) is ordeal.example.target.event


def test_no_fault_makes_us_break_a_contract(ordeal: Ordeal) -> None:
    assert not ordeal.world.sandbox.violations


def test_no_secret_is_written_or_shown_whatever_happens(ordeal: Ordeal) -> None:
    """Nor is anybody's identity: not in a summary, and not in the journal."""
    world, example = ordeal.world, ordeal.example
    secrets = [value for value in example.connection.model_dump().values() if hasattr(value, "get_secret_value")]
    words = [value.get_secret_value() for value in secrets]
    assert any(words)
    shown = [*ordeal.said, repr(world.sync), repr(world.connection), repr(world.trip()), str(world.connection)]
    files = [path.read_bytes() for path in world.state.root.rglob("*") if path.is_file()]
    for word in filter(None, words):
        assert not any(word in text for text in shown)
        assert not any(word.encode() in content for content in files)
    for who in ("x1", "y3"):
        assert not any(re.search(rf"\b{who}\b", text) for text in ordeal.said)


@pytest.mark.parametrize("status", [400, 403, 404, 405, 409, 415, 422, 500])
@every_way_of_asking
def test_a_service_that_repeats_a_row_or_a_secret_is_not_quoted(tmp_path: Path, example: Example, status: int) -> None:
    """Neither where the row is refused nor where the refusal ends the run."""
    world = World(tmp_path, example)
    values = example.connection.model_dump().values()
    secrets = [value.get_secret_value() for value in values if hasattr(value, "get_secret_value")]
    row = [str(value) for value in example.person("annabell").values() if "annabell" in str(value)]
    text = f"rejected {' and '.join([*row, *secrets])} today"
    error = {"message": text, "type": row[0], "attribute": row[0], "code": text}
    body = json.dumps({"error": error, "message": text, "errors": [error], "status": "fail"})
    world.sandbox.faults.add(Fault(kind="status", status=status, body=body, path=example.asks, times=99))
    try:
        summary = world.deliver(["annabell"])
        said = [str(summary.error), repr(summary.reasons), repr(summary)]
    except ZeotapError as error:
        said = [str(error)]
    for word in [*row, *secrets]:
        assert not any(word in text for text in said), said


@pytest.mark.parametrize("example", TRIED, ids=lambda example: example.name)
def test_a_crash_on_the_way_ends_as_undisturbed(tmp_path: Path, example: Example) -> None:
    """A day for each crash; an event that may have happened is in doubt, and nobody asks for it again."""
    world = World(tmp_path, example)
    history = [["x0", "y0", "ann!2"], ["x1", "y1", "ann!3"]]
    world.deliver(history[0])
    with world.dying(lambda step: False) as steps:
        world.deliver(history[1], day(1))
    requests = sum(step.startswith("before") for step in steps)
    deaths = [("before", (requests + 3) // 2), ("after", requests), ("asked", 1), ("answered", 1)]
    seen: set[str] = set()
    for number, (side, at) in enumerate(deaths, 2):
        people = [f"x{number}", f"y{number}", f"ann!{number + 2}"]
        history.append(people)
        world.take(people, day(number))
        with world.dying(nth(at, side)) as died:
            world.carry_out(day(number))
        assert died[-1].startswith(side)
        world.clock.pass_(3600)
        summary = world.carry_out(day(number))
        assert summary.complete, (side, at, summary)
        unclear, expected = doubtful(world), example.ends(history)
        assert {who for who in expected if who.partition("!")[0] not in unclear} <= world.held <= expected
        assert len(unclear - seen) <= (len(people) if example.target.event else 0), "no more than a window"
        seen |= unclear
    assert not example.doubled(world.sandbox)
    assert not world.sandbox.violations


@pytest.mark.parametrize(
    "example",
    [
        group(Mode.MIRROR),
        cohort(Mode.MIRROR, both=True),
        profile(Mode.UPSERT, "third_party_id"),
        profile(Mode.UPDATE, "third_party_id", connection=signed(id_type="third_party_id")),
        profile(Mode.INSERT, "username", connection=signed(id_type="username")),
        recipients(Mode.UPSERT),
        recipients(Mode.INSERT),
        recipients(Mode.UPDATE),
        target_group(Mode.MIRROR),
        table(),
    ],
    ids=lambda example: f"{example.name}-{getattr(example.connection, 'authentication', 'bearer')}",
)
def test_no_identity_is_too_odd_to_be_asked_for(tmp_path: Path, example: Example) -> None:
    world = World(tmp_path, example)
    assert world.deliver(AWKWARD).fates == {Fate.ACCEPTED: len(AWKWARD)}
    assert world.held == example.ends([AWKWARD])
    if example.mode is Mode.MIRROR:
        assert world.deliver([], day(1)).complete
        assert world.held == set()
    assert not world.sandbox.violations


@pytest.mark.parametrize("connection", [None, signed()], ids=["api key", "hmac"])
def test_no_event_is_too_odd_to_be_credited_once(tmp_path: Path, connection) -> None:
    example = credit(connection=connection)
    world = World(tmp_path, example)
    assert world.deliver([*AWKWARD, "Event", "event", "event "]).fates == {Fate.ACCEPTED: len(AWKWARD) + 3}
    assert world.held == {*AWKWARD, "Event", "event", "event "}, "events are compared byte for byte"
    assert not world.sandbox.violations


HALVED = [cohort(Mode.ADD), recipients(Mode.UPSERT), target_group(Mode.MIRROR), table()]


@pytest.mark.parametrize("example", HALVED, ids=lambda example: example.name)
def test_a_service_that_refuses_every_batch_ends_the_run_and_everybody_stays_owed(
    tmp_path: Path, example: Example
) -> None:
    world = World(tmp_path, example)
    world.sandbox.faults.add(Fault(kind="status", status=400, method="POST", path=example.asks, body="no such field"))
    summary = world.deliver([f"m{number}" for number in range(600)])
    assert isinstance(summary.error, FixTarget)
    assert example.target.service in str(summary.error).lower() and "no such field" in str(summary.error)
    assert summary.calls < 400
    world.sandbox.faults.clear()
    assert world.carry_out().complete
    assert len(world.held) >= 600 - 20
    assert not world.sandbox.violations


def test_a_refusal_in_halves_does_not_hide_that_the_whole_may_have_been_applied(tmp_path: Path) -> None:
    world = World(tmp_path, cohort(Mode.MIRROR))
    world.sandbox.faults.add(
        Fault(kind="reset_after", path="/cohortsync", nth=1), Fault(kind="status", status=400, path="/cohortsync")
    )
    assert world.deliver(["ann", "bob"]).fates == {Fate.REJECTED: 2}
    world.sandbox.faults.clear()
    assert world.held == {"ann", "bob"}
    world.deliver([], day(1))
    assert world.held == set(), "who may be in is taken out"


class Picky(httpx.AsyncBaseTransport):
    """Refuses every request that names somebody bad."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if b"bad" in await request.aread():
            return httpx.Response(400, json={"message": "a field is malformed"})
        return await self._inner.handle_async_request(request)


@pytest.mark.parametrize("example", HALVED, ids=lambda example: example.name)
def test_many_bad_rows_in_a_row_are_told_from_a_bad_request(tmp_path: Path, example: Example) -> None:
    world = World(tmp_path, example)
    bad, good = [f"bad{number}" for number in range(40)], [f"m{number}" for number in range(200)]
    picky = world.trip()
    assert picky.transport is not None
    summary = world.deliver([*bad, *good], trip=replace(picky, transport=Picky(picky.transport)))
    assert summary.fates == {Fate.ACCEPTED: len(good), Fate.REJECTED: len(bad)}
    assert summary.complete
    assert world.held == set(good)


@pytest.mark.slow
@every_way_of_asking
def test_thousands_of_rows_stay_within_every_limit(tmp_path: Path, example: Example) -> None:
    """A hundred thousand where rows travel together, two thousand where they go one by one."""
    together = max(example.target.batch_items(verb) for verb in example.target.verbs) > 1
    together = together and example.mode is not Mode.UPDATE
    people = [f"m{number}" for number in range(100_000 if together else 2_000)]
    world = World(tmp_path, example)
    if example.mode is Mode.UPDATE:
        world.sandbox.agillic.put_recipients(
            *({"EMAIL": f"{who}@example.com", "FIRSTNAME": "before"} for who in people)
        )
    world.take(people)
    plan = world.plan()
    summary = world.carry_out()
    assert summary.complete
    assert len(world.held) == summary.fates[Fate.ACCEPTED] == len(people)
    foreseen = sum(example.target.calls(verb, plan.count(verb)) for verb in Verb)
    assert len(people) / 10_000 <= foreseen <= summary.calls, "what a plan foresees is needed"
    assert not world.sandbox.violations
    assert world.sandbox.stats()[example.target.service]["statuses"].keys() <= {"200", "201", "204", "404"}
    assert not example.doubled(world.sandbox)
