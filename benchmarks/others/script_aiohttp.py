"""What one writes with aiohttp: one session and a semaphore, and no memory of anything."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import aiohttp
import uvloop

from benchmarks.service import Service, credit


def one_by_one(folder: Path, size: int, delay: float = 0.05) -> Callable[[], dict[str, float]]:
    service = Service(delay)

    async def main() -> None:
        gate = asyncio.Semaphore(20)
        async with aiohttp.ClientSession(service.address) as session:

            async def post(number: int) -> None:
                path, body = credit(number)
                async with gate, session.post(path, json=body) as answer:
                    answer.raise_for_status()
                    assert (await answer.json())["awarded"]

            await asyncio.gather(*(post(number) for number in range(size)))

    def work() -> dict[str, float]:
        uvloop.run(main())
        return service.counted(size)

    return work


def at_once(folder: Path, size: int) -> Callable[[], dict[str, float]]:
    return one_by_one(folder, size, 0.0)
