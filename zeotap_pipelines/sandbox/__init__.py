"""Strict, stateful stand-ins of the services, written from their contracts alone, with faults to inject."""

from zeotap_pipelines.sandbox.agillic import Agillic
from zeotap_pipelines.sandbox.agillic_settings import (
    AGILLIC_KEY,
    AGILLIC_SECRET,
    AGILLIC_STAGING_KEY,
    AGILLIC_STAGING_SECRET,
    AgillicField,
    AgillicGroup,
    AgillicSettings,
    AgillicTable,
)
from zeotap_pipelines.sandbox.agillic_tasks import AgillicTask
from zeotap_pipelines.sandbox.app import create_app
from zeotap_pipelines.sandbox.core import Sandbox
from zeotap_pipelines.sandbox.crowdtwist import CrowdTwist, CrowdTwistSettings
from zeotap_pipelines.sandbox.crowdtwist_auth import (
    CROWDTWIST_API_KEY,
    CROWDTWIST_PRIVATE_KEY,
    CROWDTWIST_PUBLIC_KEY,
    CrowdTwistKeys,
)
from zeotap_pipelines.sandbox.crowdtwist_credits import Activity, Cap, Credit
from zeotap_pipelines.sandbox.faults import Fault, Faults
from zeotap_pipelines.sandbox.kognitiv import CLIENT_ID, CLIENT_SECRET, Kognitiv, KognitivSettings
from zeotap_pipelines.sandbox.moengage import MOENGAGE_APP_ID, MOENGAGE_SECRET, MoEngage, MoEngageSettings
from zeotap_pipelines.sandbox.oauth import Client
from zeotap_pipelines.sandbox.server import running
from zeotap_pipelines.sandbox.service import Rate
from zeotap_pipelines.sandbox.store import Entry
from zeotap_pipelines.sandbox.transport import BASE_URL, SandboxTransport, at

__all__ = [
    "AGILLIC_KEY",
    "AGILLIC_SECRET",
    "AGILLIC_STAGING_KEY",
    "AGILLIC_STAGING_SECRET",
    "BASE_URL",
    "CLIENT_ID",
    "CLIENT_SECRET",
    "CROWDTWIST_API_KEY",
    "CROWDTWIST_PRIVATE_KEY",
    "CROWDTWIST_PUBLIC_KEY",
    "MOENGAGE_APP_ID",
    "MOENGAGE_SECRET",
    "Activity",
    "Agillic",
    "AgillicField",
    "AgillicGroup",
    "AgillicSettings",
    "AgillicTable",
    "AgillicTask",
    "Cap",
    "Client",
    "Credit",
    "CrowdTwist",
    "CrowdTwistKeys",
    "CrowdTwistSettings",
    "Entry",
    "Fault",
    "Faults",
    "Kognitiv",
    "KognitivSettings",
    "MoEngage",
    "MoEngageSettings",
    "Rate",
    "Sandbox",
    "SandboxTransport",
    "at",
    "create_app",
    "running",
]
