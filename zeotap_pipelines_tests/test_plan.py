"""A plan as a file: how it is named, found, checked and read, and what of it a person may choose."""

import dataclasses
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from zeotap_pipelines.diff import plan as plans
from zeotap_pipelines.diff.plan import Level, Plan, Verdict
from zeotap_pipelines.errors import FixSettings, RepairState
from zeotap_pipelines.state import State, content_digest

ID = "0123456789abcdef"


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path / "state")


def made(id: str = ID, **differs) -> Plan:
    given = {
        **{"id": id, "sync": "s", "address": "here", "mode": "mirror", "partition": "2026-11-20"},
        **{"partition_start": "2026-11-20T00:00:00+00:00", "partition_end": "2026-11-21T00:00:00+00:00"},
        **{"generation": 3, "snapshot": "d", "audience": 9, "told": 8, "operations": 12, "counts": {"add": 12}},
        **{"why": {"new": 12}, "set_aside": {}, "odd": {}, "null_keys": 0, "kept_for": 0, "refused_before": 0},
        **{"changed_unsent": 0, "come_back": 0, "digest_version": 1, "identity": "i", "declared": "x"},
        **{"replacement": False, "made_at": "2026-11-21T08:00:00+00:00"},
    }
    return Plan(**{**given, **differs})


def written(plan: Plan, state: State, content: bytes = b"operations") -> Plan:
    file = plan.file(state)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    plan = dataclasses.replace(plan, content=content_digest(file))
    plans.save(plan, state)
    return plan


VERDICTS = tuple(Verdict(f"guard {level}", level, f"{level}!") for level in (Level.WARN, Level.STOP, Level.WITHHOLD))


def test_a_plan_is_stopped_withheld_or_warned_of_by_what_its_guards_say() -> None:
    plan = made(verdicts=VERDICTS)
    assert [v.message for v in plan.stopped] == ["stop!"]
    assert [v.message for v in plan.withheld] == ["withhold!"]
    assert (made().stopped, made().withheld) == ((), ())


def test_a_plan_is_for_a_window_of_time_and_counts_what_it_holds() -> None:
    window = made().window
    assert (window.start, window.end) == (datetime(2026, 11, 20, tzinfo=UTC), datetime(2026, 11, 21, tzinfo=UTC))
    assert window.key == "2026-11-20"
    assert (made().count("add"), made().count("remove")) == (12, 0)


def test_what_is_saved_is_what_is_loaded_by_its_name_or_as_the_newest(state: State) -> None:
    first = written(made(verdicts=VERDICTS), state)
    assert plans.load(state, "s", "2026-11-20") == first
    second = written(made("fedcba9876543210", opposing="o", opposed=2), state)
    assert plans.load(state, "s", "2026-11-20") == second
    assert plans.load(state, "s", "2026-11-20", first.id) == first
    assert plans.load(state, "s", "2026-11-20", "another") is None
    assert plans.load(state, "s", "2026-11-19") is None
    assert plans.load(state, "t", "2026-11-20") is None


def test_a_plan_s_description_can_be_read_by_a_person(state: State) -> None:
    text = written(made(set_aside={"keine Größe": 1}), state).file(state).with_suffix(".json").read_text()
    assert '  "set_aside": {\n    "keine Größe": 1\n  },\n' in text
    assert text.endswith("}\n")


def test_the_newest_plans_of_a_sync_are_those_for_one_target_that_can_be_read(state: State) -> None:
    assert plans.newest(state, "s", "here") == []
    kept = [written(made(partition=f"2026-11-{day}"), state) for day in (18, 19)]
    written(made(partition="2026-11-17", address="there"), state)
    written(made(sync="t", partition="2026-11-16"), state)
    damaged = written(made(partition="2026-11-15"), state)
    damaged.file(state).with_suffix(".json").write_text("{")
    gone = written(made(partition="2026-11-14"), state)
    gone.file(state).with_suffix(".json").unlink()
    assert sorted(plans.newest(state, "s", "here"), key=lambda plan: plan.partition) == kept


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "3", "null", "{}", '{"verdicts": []}', '{"verdicts": [{"guard": "g"}]}', "[1]"]
)
def test_a_plan_that_can_not_be_read_is_to_be_made_again(state: State, content: str) -> None:
    file = written(made(), state).file(state).with_suffix(".json")
    file.write_text(content)
    with pytest.raises(RepairState, match="can't be read, make it again"):
        plans.load(state, "s", "2026-11-20")


def test_a_plan_with_a_verdict_or_a_field_that_nobody_knows_is_to_be_made_again(state: State) -> None:
    file = written(made(verdicts=VERDICTS), state).file(state).with_suffix(".json")
    said = json.loads(file.read_text())
    for damage in ({"verdicts": [{"guard": "g", "level": "?", "message": "m"}]}, {"another": 1}, {"verdicts": 3}):
        file.write_text(json.dumps({**said, **damage}))
        with pytest.raises(RepairState, match="can't be read, make it again"):
            plans.load_file(file)


def test_a_plan_of_an_earlier_version_lacks_what_came_later(state: State) -> None:
    file = written(made(), state).file(state).with_suffix(".json")
    said = json.loads(file.read_text())
    file.write_text(json.dumps({name: said[name] for name in said if name not in ("content", "opposing", "opposed")}))
    plan = plans.load_file(file)
    assert plan is not None
    assert (plan.content, plan.opposing, plan.opposed, plan.verdicts) == ("", "", 0, ())
    assert plan.intact(state), "of which nobody can tell"


def test_a_plan_is_intact_while_its_operations_are_those_it_was_made_of(state: State) -> None:
    plan = written(made(), state)
    assert plan.intact(state)
    file = plan.file(state)
    file.write_bytes(b"operations!")
    assert not plan.intact(state)
    file.unlink()
    assert not plan.intact(state)
    assert not dataclasses.replace(plan, content="").intact(state)


def test_rows_are_named_by_their_plan_and_found_by_their_names() -> None:
    plan = made()
    assert [plan.row_id(row) for row in (0, 11)] == ["01234567-0", "01234567-11"]
    assert plan.rows([]) == frozenset()
    assert plan.rows(["01234567-0", "01234567-11", "01234567-3"]) == {0, 3, 11}


@pytest.mark.parametrize(
    "name",
    [*("01234567-12", "01234567-007", "01234567-", "01234567", "01234567--1", "01234567-+1", "01234567- 1"),
     *("01234567-x", "01234567-²", "01234567-٣", f"01234567-{'9' * 19}", f"01234567-{'9' * 5000}", "01234567-0-0")],
)  # fmt: skip
def test_a_name_of_none_of_its_rows_is_refused(name: str) -> None:
    with pytest.raises(FixSettings) as refused:
        made().rows(["01234567-0", name])
    assert str(refused.value) == f"plan {ID} of s has no row {name!r}: take ids from this plan's page"


@pytest.mark.parametrize("name", ["fedcba98-0", "", "0", "0123456-0", "012345678-0"])
def test_a_row_of_another_plan_is_said_to_be_one(name: str) -> None:
    with pytest.raises(FixSettings) as refused:
        made().rows([name])
    assert str(refused.value) == (
        f"plan {ID} of s has no row {name!r}: it belongs to another plan; take ids from this plan's page"
    )


def test_a_plan_of_very_many_rows_has_each_of_them() -> None:
    plan = made(operations=10**18)
    assert plan.rows([plan.row_id(10**18 - 1)]) == {10**18 - 1}
