"""All schedules and sensors of a project, as its audiences declare them."""

from __future__ import annotations

import warnings
from collections import defaultdict

import dagster as dg

from ..declared import Declared
from .chain import Chain, chain_job
from .going_on import going_on_sensor
from .schedule import schedule
from .watch import watch_sensor

CONDITIONS = "default_automation_condition_sensor"
"""Dagster's own name for the sensor that looks at conditions: under this name it makes no second one."""


def automation(declared: Declared) -> dg.Definitions:
    """Return the schedules and sensors of the audiences that a project declares, with the jobs that they start."""
    jobs, schedules = [], []
    sensors: list[dg.SensorDefinition] = []
    syncs = defaultdict(list)
    for sync in declared.declarations.values():
        syncs[sync.audience].append(sync)
    for audience in declared.audiences.values():
        if audience.schedule is None and audience.watch is None:
            continue
        chain = Chain.of(audience, syncs[audience.name], declared.opposites)
        job = chain_job(chain)
        jobs.append(job)
        if audience.schedule is not None:
            schedules.append(schedule(chain, job, audience.schedule))
        if audience.watch is not None:
            sensors.append(watch_sensor(chain, job, audience.watched()))
    if any(audience.follow for audience in declared.audiences.values()):
        sensors.append(_following())
    if any(sync.go_on for sync in declared.declarations.values()):
        sensors.append(going_on_sensor(declared))
    return dg.Definitions(jobs=jobs, schedules=schedules, sensors=sensors)


def _following() -> dg.AutomationConditionSensorDefinition:
    """Return the sensor that looks at conditions: at all there are, since Dagster replaces one that leaves some out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        everything = dg.AssetSelection.all(include_sources=True) | dg.AssetSelection.all_asset_checks()
    return dg.AutomationConditionSensorDefinition(
        CONDITIONS,
        target=everything,
        description="Lets diffs and syncs follow their audience, where it is declared with follow: true.",
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=30,
        run_tags={"zeotap/started_by": "follow"},
    )
