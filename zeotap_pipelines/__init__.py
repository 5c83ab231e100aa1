"""
Keeps audiences of a warehouse in step with Kognitiv, MoEngage, CrowdTwist and Agillic.

The YAML types are found here by name (``type: zeotap_pipelines.KognitivGroupSync``);
Dagster is imported only when one is asked for, so that the core stays free of it.
"""

from typing import Any

_COMPONENTS = (
    "AgillicConnection",
    "AgillicRecipientSync",
    "AgillicTableSync",
    "AgillicTargetGroupSync",
    "Audience",
    "CrowdTwistActivitySync",
    "CrowdTwistConnection",
    "CrowdTwistUserSync",
    "DuckDBWarehouse",
    "KognitivConnection",
    "KognitivGroupSync",
    "MoEngageCohortSync",
    "MoEngageConnection",
    "Notifier",
)


def __getattr__(name: str) -> Any:
    if name in _COMPONENTS:
        from . import components

        return getattr(components, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_COMPONENTS])
