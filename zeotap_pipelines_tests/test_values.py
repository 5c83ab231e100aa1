"""What the core's parts hand to one another stays as it was handed over."""

import dataclasses
import importlib
import inspect
import pkgutil

import pytest

import zeotap_pipelines

GROWING = {
    "wire.calling._Trial": "the state of one call's retries",
    "upkeep.explanation.Explanation": "gathered sentence by sentence",
    "upkeep.forget.Found": "what is found of a person, place by place",
    "wire.limits.Turn": "its moment is corrected by what is learnt later",
    "delivery.owed.Trial": "counts what is left of its limit",
    "upkeep.retention.Swept": "what was swept, so far",
    "delivery.trip.Summary": "counts what becomes of a delivery while it goes on",
}
"""Those that are filled bit by bit by the one who made them."""


def dataclasses_of(module: str) -> list[type]:
    found = importlib.import_module(f"zeotap_pipelines.{module}")
    return [
        one
        for one in vars(found).values()
        if inspect.isclass(one) and one.__module__ == found.__name__ and dataclasses.is_dataclass(one)
    ]


CORE = ("", "wire.", "ledger.", "diff.", "delivery.", "upkeep.")
MODULES = sorted(
    f"{room}{name}"
    for room in CORE
    for _, name, package in pkgutil.iter_modules([f"{zeotap_pipelines.__path__[0]}/{room.rstrip('.')}"])
    if not package and "dagster" not in inspect.getsource(importlib.import_module(f"zeotap_pipelines.{room}{name}"))
)


@pytest.mark.parametrize("module", [name for name in MODULES if dataclasses_of(name)])
def test_a_value_can_not_be_changed_by_whoever_is_given_it(module: str) -> None:
    for one in dataclasses_of(module):
        assert one.__dataclass_params__.frozen is (f"{module}.{one.__name__}" not in GROWING), one


def test_whatever_grows_is_there() -> None:
    found = {f"{module}.{one.__name__}" for module in MODULES for one in dataclasses_of(module)}
    assert set(GROWING) <= found
    assert len(found) > 30
