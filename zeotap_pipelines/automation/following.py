"""Diffs and syncs that follow their audience."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    from ..components.audience import Audience
    from ..components.sync import Sync


def following(audience: Audience, sync: Sync) -> dg.AutomationCondition | None:  # type: ignore[type-arg]
    """
    Return the condition under which a diff or a sync follows what is before it; None where it doesn't.

    `eager()` alone would request a sync behind a plan that a guard stopped: a blocking
    check holds up its own run only.
    """
    if not (audience.follow and sync.automatic):
        return None
    return dg.AutomationCondition.eager() & dg.AutomationCondition.all_deps_blocking_checks_passed()
