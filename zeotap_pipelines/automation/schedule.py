"""A chain at certain times of day."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

from .chain import Chain, Job

if TYPE_CHECKING:
    from ..components.automation import Schedule


def schedule(chain: Chain, job: Job, declared: Schedule) -> dg.ScheduleDefinition:
    """Return the schedule that runs *chain* for its newest partition, by the clock of the audience's time zone."""
    audience = chain.audience

    @dg.schedule(
        name=f"{audience.name}_schedule",
        job=job,
        cron_schedule=declared.cron,
        execution_timezone=audience.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING if declared.enabled else dg.DefaultScheduleStatus.STOPPED,
        description=f"Delivers the newest partition of audience `{audience.name}`.",
    )
    def run(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        asked = chain.requests(context, context.scheduled_execution_time, "schedule")
        return dg.SkipReason(asked) if isinstance(asked, str) else asked

    return run
