"""A server that cancels its call of the app: a place is held as long as anything works on there."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from importlib.metadata import version

import pytest
from quart import Quart, Response, websocket
from quart.typing import ResponseReturnValue

from quart_ratelimit import Limiter

from ..support.connections import Connection

#: From 0.23 on Quart's call of a request ends after its tasks, however often it is cancelled.
WAITS_FOR_ITS_TASKS = version("quart") >= "0.23"


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


class Site:
    """An app whose view takes a while, and a while longer to clean up."""

    def __init__(self) -> None:
        self.app = Quart(__name__)
        self.limiter = Limiter(app=self.app)
        self.working = 0
        self.may_end = asyncio.Event()
        self.was_cancelled = False

    @contextlib.contextmanager
    def work(self) -> Iterator[None]:
        self.working += 1
        try:
            yield
        finally:
            self.working -= 1

    async def wait(self) -> None:
        """Work until the view is cancelled, and clean up until the test says so."""
        with self.work():
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.was_cancelled = True
                await self.may_end.wait()
                raise

    def held(self) -> int:
        tables = self.limiter.store._tables.items()  # type: ignore[attr-defined]
        return sum(table.count for name, table in tables if name.startswith("in_flight"))


def view(site: Site) -> None:
    @site.app.get("/")
    @site.limiter.in_flight(1)
    async def view() -> str:
        await site.wait()
        return ""


def body(site: Site) -> None:
    @site.app.get("/")
    @site.limiter.in_flight(1)
    async def view() -> ResponseReturnValue:
        async def items() -> AsyncIterator[bytes]:
            yield b"a"
            await site.wait()

        return Response(items())


def block(site: Site) -> None:
    @site.app.get("/")
    async def view() -> str:
        async with site.limiter.in_flight(1):
            await site.wait()
        return ""


def block_in_body(site: Site) -> None:
    @site.app.get("/")
    async def view() -> ResponseReturnValue:
        async def items() -> AsyncIterator[bytes]:
            async with site.limiter.in_flight(1, "ann"):
                yield b"a"
                await site.wait()

        return Response(items())


def websocket_view(site: Site) -> None:
    @site.app.websocket("/")
    @site.limiter.in_flight(1)
    async def view() -> None:
        await websocket.accept()
        await site.wait()


def websocket_block(site: Site) -> None:
    @site.app.websocket("/")
    async def view() -> None:
        await websocket.accept()
        async with site.limiter.in_flight(1):
            await site.wait()


@pytest.mark.parametrize(
    "kind", [view, body, block, block_in_body, websocket_view, websocket_block]
)
@pytest.mark.parametrize("times", [1, 2])
async def test_the_place_is_held_until_the_view_has_cleaned_up(
    kind: Callable[[Site], None], times: int
) -> None:
    site = Site()
    kind(site)
    connection = Connection(site.app, "/", messages=[] if "websocket" in kind.__name__ else None)
    await turns(60)
    assert (site.working, site.held()) == (1, 1)
    for _ in range(times):
        connection.task.cancel()
        await turns(20)
    assert site.was_cancelled
    assert (site.working, site.held()) == (1, 1)
    assert connection.task.done() is (times == 2 and not WAITS_FOR_ITS_TASKS)
    site.may_end.set()
    await turns(30)
    assert (site.working, site.held()) == (0, 0)
    assert connection.task.cancelled()
    connection.gone.set()  # Quart's task that receives outlives a call that is cancelled
    await turns()


async def test_a_background_task_with_a_block_of_its_own_goes_on() -> None:
    site = Site()
    tasks: list[asyncio.Task[None]] = []

    async def job() -> None:
        async with site.limiter.in_flight(1, "job"):
            await site.wait()

    @site.app.get("/")
    async def view() -> str:
        tasks.append(asyncio.create_task(job()))
        async with site.limiter.in_flight(1, "view"):
            await asyncio.Event().wait()
        return ""

    connection = Connection(site.app, "/")
    await turns(40)
    assert site.held() == 2
    connection.task.cancel()
    await turns(40)
    assert connection.task.cancelled()
    assert (site.working, site.held()) == (1, 1)
    tasks[0].cancel()
    site.may_end.set()
    connection.gone.set()
    await turns(40)
    assert site.held() == 0
