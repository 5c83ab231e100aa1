"""Test a connection and what its syncs need, changing nothing: credentials, host, permission, group, table, field."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx

from ..clock import SYSTEM, Clock
from ..destinations.base import Connection, Visit
from ..errors import ContinueLater, TryAgainLater, ZeotapError
from ..ledger.lock import speaking
from ..model import Address, Question
from ..state import State
from ..sync import Sync
from ..wire.limits import Pacer
from ..wire.wire import connect

PASSED = "host and credentials are right; a test only reads, so it leaves unverified: {}"


@dataclass(frozen=True)
class Finding:
    """What a test came to: *sync* is empty where the connection itself was tested."""

    connection: str
    sync: str
    passed: bool
    says: str


def try_connection(
    name: str,
    connection: Connection,
    syncs: Sequence[Sync],
    state: State,
    *,
    run: str,
    clock: Clock = SYSTEM,
    transport: httpx.AsyncBaseTransport | None = None,
    wait: float = 60.0,
) -> list[Finding]:
    """
    Ask whether *connection* and then the target of each of its *syncs* are as declared.

    The requests count as the account's: they wait for its lock, keep to its limits
    and use up its budget.
    """
    account = state.account(Address(connection.service, connection.account, "", ""))

    async def ask() -> list[Finding]:
        pacer = Pacer(connection.limits(), account / "limits.json", clock)
        try:
            async with connect(connection, pacer, clock, transport) as wire:

                async def passes(question: Question, sync: str, says: str) -> Finding:
                    try:
                        await wire.ask(question)
                    except ZeotapError as error:
                        return failed(name, sync, error)
                    return Finding(name, sync, True, says)

                found = [await passes(connection.test(), "", PASSED.format(connection.unverified))]
                for sync in syncs:
                    if not found[0].passed:
                        found.append(Finding(name, sync.name, False, "not asked: the connection itself fails"))
                        continue
                    visit = Visit(fields=tuple(sync.mapping), constants=constants(sync))
                    says = f"{sync.address.kind.replace('_', ' ')} {sync.address.name!r} can be delivered to"
                    found.append(await passes(sync.target.preflight(visit), sync.name, says))
                return found
        finally:
            pacer.close()

    try:
        with speaking(account, run=run, sync="connection test", wait=wait), ThreadPoolExecutor(1) as thread:
            # A loop of its own: a notebook's, or Dagster's, is not in the way.
            return thread.submit(asyncio.run, ask()).result()
    except ZeotapError as error:
        return [failed(name, "", error)]


def failed(connection: str, sync: str, error: ZeotapError) -> Finding:
    """Return what *error* says of a test; a service that isn't there may be another one's address."""
    elsewhere = isinstance(error, TryAgainLater) and not isinstance(error, ContinueLater)
    elsewhere = elsewhere or (not sync and "HTTP 404" in str(error))  # A stranger's host knows no path of ours.
    hint = "; if it stays so, check base_url" if elsewhere and "base_url" not in str(error) else ""
    return Finding(connection, sync, False, f"{error}{hint}")


def constants(sync: Sync) -> dict[str, str]:
    """Return the fields that *sync* maps to a constant, with their values."""
    return {name: origin.constant for name, origin in sync.mapping.items() if origin.constant is not None}
