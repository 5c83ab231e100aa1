"""A year of the shipped audience, from every fiftieth customer's real purchases, delivered by backfills."""

from __future__ import annotations

import os
import random
from collections import Counter
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path

import dagster as dg
import duckdb
import pytest

import zeotap_pipelines
from zeotap_pipelines.demo.warehouse import HEADER, build, purchase_log
from zeotap_pipelines.sandbox import Sandbox
from zeotap_pipelines_tests.project import Project, members

DEFS = Path(zeotap_pipelines.__file__).parent / "defs"
NAME = "active_members_to_kognitiv"
SNAPSHOT, DIFF, SYNC = ("snapshots", "active_members"), ("diffs", NAME), ("syncs", NAME)
CHAIN = (SNAPSHOT, DIFF, SYNC)
TWIN = (("diffs", "twin"), ("syncs", "twin"))
"""Another sync of the same audience, to a group of its own: it needs no second year of snapshots."""
FIRST = date(1997, 1, 31)
YEAR = [str(FIRST + timedelta(days=number)) for number in range(1, 366)]
SOME = 50
"""Of so many customers one is taken: what a year costs is its events, and not its people."""


def shipped(kind: str, name: str) -> str:
    """The document of the shipped definitions that declares *name*."""
    documents = (DEFS / kind / "defs.yaml").read_text(encoding="utf-8").split("---\n")
    [found] = [one for one in documents if f"  name: {name}\n" in one]
    return found


@pytest.fixture
def year(project: Project, group: Sandbox) -> Project:
    """The shipped sync and its twin, which were told FIRST; in the course of a year everybody may leave."""
    group.kognitiv.create_group("TWIN")
    for name in ("people", "people_to_group"):
        project.file(name).unlink()
    project.declare("audience", shipped("audiences", "active_members"))
    project.declare("sync", shipped("syncs", NAME))
    project.change("sync", ("max_removed_percent: 30", "max_removed_percent: 100"))
    project.declare("twin", project.file("sync").read_text().replace(NAME, "twin").replace("ACTIVE-90D", "TWIN"))
    with purchase_log().open(encoding="utf-8") as lines:
        chosen = [line for line in lines if line.split(",")[0].isdigit() and int(line.split(",")[0]) % SOME == 0]
    log = project.root / "purchases.csv"
    log.write_text(HEADER + "\n" + "".join(chosen), encoding="utf-8")
    build(log, project.warehouse)
    assert project.run(*CHAIN, *TWIN, day=str(FIRST)).succeeded
    return project


def active(project: Project, day: str) -> set[str]:
    """Who bought anything in the 90 days up to *day*."""
    query = "select distinct customer_id from purchases where purchased_on between ?::date - 89 and ?::date"
    with duckdb.connect(project.warehouse, read_only=True) as warehouse:
        return {str(one) for (one,) in warehouse.execute(query, [day, day]).fetchall()}


def asked(sandbox: Sandbox) -> Counter[str]:
    return Counter(f"{one.method} {one.target.rsplit('/', 1)[-1]}" for one in sandbox.log if "/members/" in one.target)


def test_a_year_is_delivered_once_by_one_backfill_and_the_same_by_any_chunks_in_any_order(
    year: Project, group: Sandbox
) -> None:
    before, after = active(year, str(FIRST)), active(year, YEAR[-1])
    assert before - after and after - before and group.kognitiv.members("TWIN") == members(group) == before

    told = asked(group)
    run = year.run(*CHAIN, days=(YEAR[0], YEAR[-1]))
    assert run.succeeded and [run.green(asset) for asset in CHAIN] == [YEAR] * 3
    assert members(group) == after
    net = [*(f"PUT {one}" for one in after - before), *(f"DELETE {one}" for one in before - after)]
    assert asked(group) - told == Counter(net)
    said = [run.metadata(SYNC, day) for day in (YEAR[0], YEAR[-2], YEAR[-1])]
    assert [one.get("superseded_by") for one in said] == [YEAR[-1], YEAR[-1], None]
    assert said[-1]["asked"] == len(net)

    chance = random.Random(os.environ.get("ZEOTAP_SEED", "a year"))
    cuts = sorted(chance.sample(range(1, len(YEAR)), 9))
    chunks = [YEAR[start:end] for start, end in pairwise([0, *cuts, len(YEAR)])]
    chance.shuffle(chunks)
    newest = ""
    for chunk in chunks:
        held, told = group.kognitiv.members("TWIN"), asked(group)
        run = year.run(*TWIN, days=(chunk[0], chunk[-1]))
        assert run.succeeded and run.green(TWIN[-1]) == chunk, cuts
        newest = max(newest, chunk[-1])
        assert group.kognitiv.members("TWIN") == active(year, newest), (chunk[-1], cuts)
        assert (asked(group) - told).total() == len(held ^ group.kognitiv.members("TWIN"))
    assert group.kognitiv.members("TWIN") == members(group)
    green = [year.instance.get_materialized_partitions(dg.AssetKey(list(sync))) for sync in (SYNC, TWIN[-1])]
    assert green == [{str(FIRST), *YEAR}] * 2
