"""Requests to a sandbox as a client might send them, right and wrong."""

import asyncio
from typing import Any

import httpx

from zeotap_pipelines.sandbox import BASE_URL, CLIENT_ID, CLIENT_SECRET, Sandbox, SandboxTransport

KOGNITIV = f"{BASE_URL}/kognitiv"
TOKEN = f"{KOGNITIV}/Auth/connect/token"
GROUPS = f"{KOGNITIV}/api/groups/promotionalMember"
MEMBERS = f"{GROUPS}/ACTIVE-90D/members"
CREDENTIALS = {"grant_type": "client_credentials", "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}


class Clock:
    """A clock that stands still until it is told."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


def ask(sandbox: Sandbox | SandboxTransport, method: str, url: str, **sent: Any) -> httpx.Response:
    """One request and its answer, without a socket."""
    transport = sandbox if isinstance(sandbox, SandboxTransport) else SandboxTransport(sandbox)

    async def exchange() -> httpx.Response:
        async with httpx.AsyncClient(transport=transport) as client:
            return await client.request(method, url, **sent)

    return asyncio.run(exchange())


def bearer(sandbox: Sandbox) -> dict[str, str]:
    """The header of a client that has just been granted a token."""
    token = ask(sandbox, "POST", TOKEN, data=CREDENTIALS).json()["access_token"]
    return {"Authorization": f"Bearer {token}"}
