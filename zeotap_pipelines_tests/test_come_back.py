"""Which of the new events of a partition are like one that is gone: as many as it says, and no others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from zeotap_pipelines.mapping import Field
from zeotap_pipelines_tests.specimens import credit
from zeotap_pipelines_tests.world import Rows, World, day

MADE = "E-{event}"


def purchases(*events: tuple[str, str]) -> Rows:
    """Purchases by their ids and points, of one member."""
    return Rows(
        {
            "event": [event for event, _ in events],
            "again": [f"zz{event}" for event, _ in events],
            "member": ["one@example.com"] * len(events),
            "points": [points for _, points in events],
        }
    )


def world(root: Path, **also_told: Any) -> World:
    """A world whose credits say nothing of the event's id, but what is said here."""
    made = World(root, credit())
    return mapped(made, also_told)


def mapped(world: World, also_told: Mapping[str, Any]) -> World:
    kept = {name: origin for name, origin in world.sync.mapping.items() if not name.startswith("extra_data")}
    named = {("extra_data." + name if name != "extra_data" else name): of for name, of in also_told.items()}
    named = {name.replace("extra_data.event_id_", "event_id"): of for name, of in named.items()}
    world.renamed(mapping={**kept, **{name: Field.of(of) for name, of in named.items()}})
    return world


def come_back(here: World, *events: tuple[str, str], partition: int = 0) -> int:
    here.take(purchases(*events), day(partition))
    return here.plan(day(partition)).come_back


TOLD = {
    "not at all": {},
    "as it is": {"order": "event"},
    "in capitals": {"order": {"column": "event", "case": "upper"}},
    "in a text": {"note": {"template": "{event}, by mail"}},
    "in a JSON text": {"extra_data": {"template": '{"order": "{event}", "by": "mail"}'}},
    "in a JSON number": {"extra_data": {"template": '{"order": {event}, "by": "mail"}'}},
    "beside a text in JSON": {"note": {"column": "member"}, "order": "event"},
}


@pytest.mark.parametrize("ids", [("1", "2", "7", "9"), ("31", "32", "2", "3")])
@pytest.mark.parametrize("told", TOLD)
def test_what_is_like_one_that_is_gone_is_counted_and_what_is_not_is_new(
    tmp_path: Path, told: str, ids: tuple[str, ...]
) -> None:
    first, second, other, new = ids
    here = world(tmp_path, **TOLD[told])
    here.deliver(purchases((first, "10"), (second, "20")))
    assert come_back(here, (other, "10"), (new, "99")) == 1
    assert come_back(here, (other, "10"), (new, "20")) == 2
    assert come_back(here, (other, "11"), (new, "99")) == 0
    assert come_back(here, (first, "10"), (new, "20")) == 1, "the second is gone, and the new one like it"
    assert come_back(here, (first, "10"), (second, "20"), (new, "20")) == 0, "nobody is gone"
    assert come_back(here, (first, "10")) == 0, "nobody is new"
    assert come_back(here, (other, "10"), partition=1) == 0, "of another day it is another"


def test_an_id_that_is_a_part_of_other_words_is_put_back_where_it_stands_by_itself(tmp_path: Path) -> None:
    here = world(tmp_path, **TOLD["in a JSON text"])
    here.deliver(purchases(("e1", "10"), ("e2", "20")))
    assert come_back(here, ("a", "10"), ("i", "99")) == 1


HIDDEN = {
    "hashed": {"order": {"column": "event", "hash": "sha256"}},
    "the id made of it": {"event_id_": {"template": MADE}, "order": "event"},
}


@pytest.mark.parametrize("told", HIDDEN)
def test_every_new_event_is_suspect_where_its_id_is_told_in_a_form_that_can_not_be_put_back(
    tmp_path: Path, told: str
) -> None:
    here = world(tmp_path, **HIDDEN[told])
    here.deliver(purchases(("e1", "10"), ("e2", "20")))
    assert come_back(here, ("x1", "11"), ("x2", "99")) == 2
    assert come_back(here, ("e1", "10"), ("e2", "20"), ("x2", "99")) == 0, "nobody is gone"


def test_what_is_made_of_the_id_as_the_id_is_can_be_put_back(tmp_path: Path) -> None:
    here = world(tmp_path, event_id_={"template": MADE}, order={"template": MADE})
    here.deliver(purchases(("e1", "10"), ("e2", "20")))
    assert come_back(here, ("x1", "10"), ("x9", "99")) == 1


@pytest.mark.parametrize(("before", "after"), [("event", "again"), ("again", "event"), ("event", {"template": MADE})])
def test_every_new_event_is_suspect_where_the_mapping_of_the_id_changed(
    tmp_path: Path, before: Any, after: Any
) -> None:
    here = world(tmp_path, event_id_=before)
    here.deliver(purchases(("e1", "10"), ("e2", "20")))
    mapped(here, {"event_id_": after, "note": {"template": "new: {points}"}})
    assert come_back(here, ("e1", "10"), ("e2", "20")) == 2, "though nothing else is as it was either"
    assert come_back(here, ("e1", "10"), partition=1) == 0
