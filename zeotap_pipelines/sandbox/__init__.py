"""Strict, stateful stand-ins of the services, written from their contracts alone, with faults to inject."""

from zeotap_pipelines.sandbox.app import create_app
from zeotap_pipelines.sandbox.core import Sandbox
from zeotap_pipelines.sandbox.faults import Fault, Faults
from zeotap_pipelines.sandbox.kognitiv import CLIENT_ID, CLIENT_SECRET, Kognitiv, KognitivSettings
from zeotap_pipelines.sandbox.oauth import Client
from zeotap_pipelines.sandbox.server import running
from zeotap_pipelines.sandbox.service import Rate
from zeotap_pipelines.sandbox.store import Entry
from zeotap_pipelines.sandbox.transport import BASE_URL, SandboxTransport, at

__all__ = [
    "BASE_URL",
    "CLIENT_ID",
    "CLIENT_SECRET",
    "Client",
    "Entry",
    "Fault",
    "Faults",
    "Kognitiv",
    "KognitivSettings",
    "Rate",
    "Sandbox",
    "SandboxTransport",
    "at",
    "create_app",
    "running",
]
