"""The YAML types. ``type: zeotap_pipelines.KognitivGroupSync`` and so on."""

from .audience import Audience
from .connection import DuckDBWarehouse
from .kognitiv import KognitivConnection, KognitivGroupSync

__all__ = ["Audience", "DuckDBWarehouse", "KognitivConnection", "KognitivGroupSync"]
