"""
A plain script: httpx, and tenacity's retries as its documentation shows them; twenty requests at a time.

    python -m benchmarks.peers.with_script credits|mirror FOLDER ADDRESS
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import httpx
from tenacity import retry, retry_if_exception, stop_after_attempt, wait_random_exponential

from benchmarks.peers import rows


def transient(error: BaseException) -> bool:
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code >= 500 or error.response.status_code == 429
    return isinstance(error, httpx.TransportError)


@retry(
    retry=retry_if_exception(transient),
    wait=wait_random_exponential(multiplier=1, max=60),
    stop=stop_after_attempt(5),
)
async def ask(client: httpx.AsyncClient, method: str, path: str, **more: object) -> None:
    answer = await client.request(method, path, **more)
    answer.raise_for_status()


async def credits(folder: Path, address: str) -> None:
    gate = asyncio.Semaphore(20)
    async with httpx.AsyncClient(base_url=f"{address}/crowdtwist", timeout=60) as client:

        async def post(row: rows.Row) -> None:
            path, query, body = rows.credit(row)
            async with gate:
                await ask(client, "POST", path, params=query, json=body)

        await asyncio.gather(*(post(row) for row in rows.read(folder / "credits.jsonl")))


async def mirror(folder: Path, address: str) -> None:
    """Compare with what was there the last time; put who is new, delete who is gone."""
    noted = folder / "state" / "there.json"
    there = set(json.loads(noted.read_text())) if noted.exists() else set()
    wanted = {row["member"] for row in rows.read(folder / "members.jsonl")}
    async with httpx.AsyncClient(base_url=f"{address}/kognitiv", headers=rows.bearer(), timeout=60) as client:
        for name in sorted(wanted - there):
            await ask(client, "PUT", rows.member({"member": name}))
        for name in sorted(there - wanted):
            await ask(client, "DELETE", rows.member({"member": name}))
    noted.write_text(json.dumps(sorted(wanted)))


if __name__ == "__main__":
    what, where, service = sys.argv[1:]
    asyncio.run({"credits": credits, "mirror": mirror}[what](Path(where), service))
