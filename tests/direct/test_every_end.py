"""Every way a request can end, for each kind of thing that is held: nothing is held afterwards."""

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from quart import Quart, Response, websocket
from quart.typing import ResponseReturnValue

from quart_ratelimit import Decision, Limiter
from quart_ratelimit.direct.websocket_connection import current_connection
from quart_ratelimit.stores import MemoryStore

from ..support.connections import Connection


class SlowStore(MemoryStore):
    """Answers after a while, so that a client may leave before and after it has decided."""

    async def hit(self, hits: Sequence[Any]) -> list[Decision]:
        await pause()
        decisions = await super().hit(hits)
        await pause()
        return decisions


async def pause(turns: int = 3) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)


class Site:
    """An app whose view holds something of one kind, and may be made to fail."""

    def __init__(self) -> None:
        self.app = Quart(__name__)
        self.app.logger.disabled = True
        self.store = SlowStore()
        self.limiter = Limiter(app=self.app, store=self.store)
        self.fails: set[str] = set()

        @self.app.before_request
        async def before() -> None:
            await self.at("before_request")

        @self.app.after_request
        async def after(response: Response) -> Response:
            await self.at("after_request")
            if "replaced" in self.fails:
                return Response("another body")
            if "emptied" in self.fails:
                response.set_data("")
            return response

        @self.app.errorhandler(ZeroDivisionError)
        async def handler(_: Exception) -> ResponseReturnValue:
            await self.at("error handler")
            return "handled", 500

    async def at(self, place: str) -> None:
        await pause()
        if place in self.fails:
            raise ZeroDivisionError(place)

    async def body(self) -> AsyncIterator[bytes]:
        yield b"a"
        await self.at("body")
        yield b"b"

    async def held(self) -> tuple[int, list[Any]]:
        """How many places and turns are held, and which tasks are left but that of the test."""
        for _ in range(150):
            await asyncio.sleep(0)
        places = [one for name, one in self.store._tables.items() if name.startswith("in_flight")]
        held = sum(table.count for table in places) + self.limiter._bindings.turns.waiting()
        return held, [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]


def decorated(site: Site) -> None:
    @site.app.get("/")
    @site.limiter.in_flight(1)
    async def view() -> ResponseReturnValue:
        await site.at("view")
        return Response(site.body())


def decorated_sync(site: Site) -> None:
    @site.app.get("/")
    @site.limiter.in_flight(1)
    def view() -> str:
        if "view" in site.fails:
            raise ZeroDivisionError
        return "hello"


def block_in_view(site: Site) -> None:
    @site.app.get("/")
    async def view() -> ResponseReturnValue:
        async with site.limiter.in_flight(1):
            await site.at("view")
        return Response(site.body())


def block_in_body(site: Site) -> None:
    @site.app.get("/")
    async def view() -> ResponseReturnValue:
        async def body() -> AsyncIterator[bytes]:
            async with site.limiter.in_flight(1, "ann"):
                yield b"a"
                await site.at("body")
                yield b"b"

        await site.at("view")
        return Response(body())


def block_that_is_shared(site: Site) -> None:
    guard = site.limiter.in_flight(1, "ann")

    @site.app.get("/")
    async def view() -> ResponseReturnValue:
        async def body() -> AsyncIterator[bytes]:
            async with guard:
                yield b"a"
                await site.at("body")
                yield b"b"

        await site.at("view")
        return Response(body())


def limited_and_decorated(site: Site) -> None:
    @site.app.get("/")
    @site.limiter.in_flight(1)
    @site.limiter.in_flight(2, scope="other")
    async def view() -> ResponseReturnValue:
        await site.at("view")
        return Response(site.body())


def reserving(site: Site) -> None:
    @site.app.get("/")
    async def view() -> ResponseReturnValue:
        async def body() -> AsyncIterator[bytes]:
            async with site.limiter.reserve("9/hour", "bob", cost=1):
                yield b"a"
                await site.at("body")

        async with site.limiter.reserve("9/hour", "ann", cost=1) as reservation:
            await site.at("view")
            reservation.settle(0)
        return Response(body())


def waiting(site: Site) -> None:
    @site.app.get("/")
    async def view() -> ResponseReturnValue:
        await site.limiter.wait("1/hour", "ann", seconds=60)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(site.limiter.wait("1/hour", "ann", seconds=9_999), 0.0001)
        await site.at("view")
        return Response(site.body())


def deducting(site: Site) -> None:
    @site.app.get("/")
    @site.limiter.limit("9/hour", deduct_when=lambda _: False)
    async def view() -> ResponseReturnValue:
        await site.at("view")
        return Response(site.body())


KINDS = [
    reserving,
    waiting,
    deducting,
    decorated,
    decorated_sync,
    limited_and_decorated,
    block_in_view,
    block_in_body,
    block_that_is_shared,
]
FAILURES = [
    (),
    ("view",),
    ("view", "error handler"),
    ("before_request",),
    ("after_request",),
    ("body",),
    ("replaced",),
    ("emptied",),
]
kinds = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(autouse=True)
def no_garbage_collection() -> Iterator[None]:
    """Nothing may need the collector to be released: it may come much later."""
    gc.disable()
    yield
    gc.enable()


quiet = pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::ResourceWarning")


def site_of(kind: Callable[[Site], None], fails: Sequence[str] = ()) -> Site:
    site = Site()
    kind(site)
    site.fails = set(fails)
    return site


@kinds
@pytest.mark.parametrize("fails", FAILURES)
@quiet
async def test_nothing_is_held_after_a_request_that_fails_somewhere(
    kind: Callable[[Site], None], fails: Sequence[str]
) -> None:
    site = site_of(kind, fails)
    connection = Connection(site.app, "/")
    await connection.end()
    assert connection.sent or "error handler" in fails or "after_request" in fails
    assert await site.held() == (0, [])


@kinds
@pytest.mark.parametrize("fails_at", range(4))
@quiet
async def test_nothing_is_held_after_a_send_that_fails(
    kind: Callable[[Site], None], fails_at: int
) -> None:
    site = site_of(kind)
    connection = Connection(site.app, "/", fails_at=fails_at)
    await connection.end()
    assert await site.held() == (0, [])


@kinds
@pytest.mark.parametrize("leaves", ["reset", "cancelled", "cancelled twice"])
@quiet
async def test_nothing_is_held_after_a_client_that_leaves_at_any_await(
    kind: Callable[[Site], None], leaves: str
) -> None:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    for steps in range(60):
        site = site_of(kind)
        connection = Connection(site.app, "/")
        await pause(steps)
        if leaves == "reset":
            connection.gone.set()
        else:
            connection.task.cancel()
        if leaves == "cancelled twice":
            await pause(steps % 4)
            connection.task.cancel()
        await connection.end()
        connection.gone.set()  # Quart's own tasks outlive a call that is cancelled
        for _ in range(2 if kind is decorated_sync else 0):
            await pause(30)
            await asyncio.to_thread(lambda: None)  # after the view's, as there is one thread
        assert await site.held() == (0, []), f"after {steps} steps"


@kinds
@quiet
async def test_nothing_is_held_after_a_shutdown(kind: Callable[[Site], None]) -> None:
    site = site_of(kind)
    async with site.app.test_app():
        connection = Connection(site.app, "/")
        await pause(25)
        connection.task.cancel()
    await connection.end()
    connection.gone.set()
    assert await site.held() == (0, [])


class Talk(Site):
    """An app with a websocket that holds what can be held there."""

    def __init__(self) -> None:
        super().__init__()
        self.inboxes: list[Sequence[Any]] = []
        messages = self.limiter.messages

        @self.app.websocket("/")
        @self.limiter.in_flight(1)
        @messages("1000/minute", per_connection=True)
        async def view() -> None:
            self.inboxes.append(current_connection().inboxes)
            await self.at("view")
            async with messages("1000/minute", per_connection=True):
                async with self.limiter.in_flight(1, scope="block"):
                    await websocket.send(await websocket.receive())
                await self.at("block")
                await websocket.send(await websocket.receive())

    async def nothing_is_held(self) -> bool:
        return await self.held() == (0, []) and not any(self.inboxes)


@pytest.mark.parametrize("leaves", ["closed", "cancelled", "cancelled twice"])
@quiet
async def test_nothing_is_held_after_a_websocket_that_ends_at_any_await(leaves: str) -> None:
    for steps in range(80):
        site = Talk()
        connection = Connection(site.app, "/", messages=["a", "b"])
        await pause(steps)
        if leaves == "closed":
            connection.gone.set()
        else:
            connection.task.cancel()
        if leaves == "cancelled twice":
            await pause(steps % 4)
            connection.task.cancel()
        await connection.end()
        connection.gone.set()  # Quart's own tasks outlive a call that is cancelled
        assert await site.nothing_is_held(), f"after {steps} steps"


@pytest.mark.parametrize("fails", [(), ("view",), ("block",), ("view", "error handler")])
@pytest.mark.parametrize("fails_at", [None, 0, 1, 2, 3])
@quiet
async def test_nothing_is_held_after_a_websocket_that_fails(
    fails: Sequence[str], fails_at: int | None
) -> None:
    site = Talk()
    site.fails = set(fails)
    connection = Connection(site.app, "/", messages=["a", "b"], fails_at=fails_at)
    await connection.end()
    assert await site.nothing_is_held()


@pytest.mark.parametrize("leaves", ["reset", "cancelled"])
@quiet
async def test_a_reservation_is_charged_once_or_not_at_all_wherever_its_client_leaves(
    leaves: str,
) -> None:
    spent = set()
    for steps in range(40):
        site = Site()

        @site.app.get("/")
        async def view(site: Site = site) -> str:
            async with site.limiter.reserve("100/hour", "ann", cost=60) as reservation:
                await site.at("view")
                reservation.settle(10)
                await pause()
            return ""

        connection = Connection(site.app, "/")
        await pause(steps)
        if leaves == "reset":
            connection.gone.set()
        else:
            connection.task.cancel()
        await connection.end()
        connection.gone.set()  # Quart's own tasks outlive a call that is cancelled
        assert (await site.held())[1] == []
        spent.add(100 - (await site.limiter.peek("100/hour", "ann")).remaining)
    assert spent == {0, 60, 10}
