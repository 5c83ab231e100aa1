"""One request per row, twenty at a time, to the sandbox in another process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from tempfile import mkdtemp

import httpx

from zeotap_pipelines import pipeline
from zeotap_pipelines.demo.place import Place
from zeotap_pipelines.destinations.kognitiv import Kognitiv
from zeotap_pipelines.sandbox import CLIENT_ID, CLIENT_SECRET
from zeotap_pipelines.state import State
from zeotap_pipelines.trip import Trip

from ..figure import Contender, Figure
from ..people import GROUP, People, day, wanted

HERE = "benchmarks.figures.one_by_one"


def _connected(folder: Path) -> tuple[ExitStack, Kognitiv, Path]:
    root = Path(mkdtemp(dir=folder))
    stack = ExitStack()
    base = stack.enter_context(Place(root).sandbox())
    connection = Kognitiv(
        account="bench",
        base_url=f"{base}/kognitiv",
        client_id=CLIENT_ID,
        client_secret=CLIENT_SECRET,  # type: ignore[arg-type]
        concurrency=20,
    )
    return stack, connection, root


def delivery(folder: Path, size: int) -> Callable[[], None]:
    """Deliver a plan; every answer is written down."""
    stack, connection, root = _connected(folder)
    state = State(root / "state")
    wanted(GROUP, state, People(0, size))
    pipeline.plan(GROUP, day(2), state, run="1")

    def work() -> None:
        assert pipeline.carry_out(GROUP, day(2), Trip(state, connection, "1")).complete

    return _ending(stack, work)


def script(folder: Path, size: int) -> Callable[[], None]:
    """What one writes in ten lines: a shared client and a semaphore, and no memory of anything."""
    stack, connection, _ = _connected(folder)

    async def main() -> None:
        gate = asyncio.Semaphore(20)
        async with httpx.AsyncClient(base_url=connection.base_url, auth=connection.auth()) as client:
            client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # The services refuse them.

            async def put(number: int) -> None:
                async with gate:
                    answer = await client.put(f"/api/groups/promotionalMember/ACTIVE-90D/members/{number}")
                    answer.raise_for_status()

            await asyncio.gather(*(put(number) for number in range(size)))

    return _ending(stack, lambda: asyncio.run(main()))


def _ending(stack: ExitStack, work: Callable[[], None]) -> Callable[[], None]:
    """Return *work* after which the sandbox ends, when this process does: its CPU doesn't count."""
    import atexit

    atexit.register(stack.close)
    return work


FIGURES = (
    Figure(
        "one request per row",
        (2_000,),
        (Contender("script with httpx", f"{HERE}:script"), Contender("delivery", f"{HERE}:delivery")),
        "script with httpx",
        {},
        unit="requests",
    ),
)
