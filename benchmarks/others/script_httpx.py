"""What one writes with httpx: one shared client and a semaphore, and no memory of anything; bodies counted in bytes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx

from benchmarks.service import Service, credit, member


def one_by_one(folder: Path, size: int, delay: float = 0.05) -> Callable[[], dict[str, float]]:
    service = Service(delay)

    async def main() -> None:
        gate = asyncio.Semaphore(20)
        async with httpx.AsyncClient(base_url=service.address, timeout=60) as client:

            async def post(number: int) -> None:
                path, body = credit(number)
                async with gate:
                    answer = await client.post(path, json=body)
                answer.raise_for_status()
                assert answer.json()["awarded"]

            await asyncio.gather(*(post(number) for number in range(size)))

    def work() -> dict[str, float]:
        asyncio.run(main())
        return service.counted(size)

    return work


def at_once(folder: Path, size: int) -> Callable[[], dict[str, float]]:
    return one_by_one(folder, size, 0.0)


def batches(folder: Path, size: int, delay: float = 0.02) -> Callable[[], dict[str, float]]:
    service = Service(delay)
    rows = folder / f"members-{size}.jsonl"
    with rows.open("w") as file:
        file.writelines(json.dumps(member(number), separators=(",", ":")) + "\n" for number in range(size))

    def bodies() -> Iterator[bytes]:
        head, tail = b'{"action":"add_members","parameters":{"cohort_id":"c","members":[', b"]}}"
        some: list[bytes] = []
        held = room = 120_000 - len(head) - len(tail)
        with rows.open("rb") as file:
            for line in file:
                if held < len(line):
                    yield head + b",".join(some) + tail
                    some, held = [], room
                some.append(line[:-1])
                held -= len(line)
        yield head + b",".join(some) + tail

    def work() -> dict[str, float]:
        with httpx.Client(base_url=service.address, timeout=60) as client:
            for body in bodies():
                json_type = {"Content-Type": "application/json"}
                client.post("/v1/integrations/cohortsync", content=body, headers=json_type).raise_for_status()
        return service.counted()

    return work


def batches_at_once(folder: Path, size: int) -> Callable[[], dict[str, float]]:
    return batches(folder, size, 0.0)
