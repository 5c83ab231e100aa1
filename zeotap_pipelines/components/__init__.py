"""The YAML types: what stands behind ``type: zeotap_pipelines.KognitivGroupSync`` and its like."""

from .agillic import AgillicConnection, AgillicRecipientSync, AgillicTableSync, AgillicTargetGroupSync
from .audience import Audience
from .connection import DuckDBWarehouse
from .crowdtwist import CrowdTwistActivitySync, CrowdTwistConnection, CrowdTwistUserSync
from .kognitiv import KognitivConnection, KognitivGroupSync
from .moengage import MoEngageCohortSync, MoEngageConnection
from .notifier import Notifier

__all__ = [
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
]
