"""However a request ends, nothing that it took is held afterwards."""

import asyncio
import contextlib
import gc
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from quart import Quart, Response, request
from quart.typing import ResponseReturnValue

from quart_ratelimit import ConfigurationError, Decision, Limiter, RateLimitExceeded, StoreError
from quart_ratelimit.stores import MemoryStore

from ..support.connections import Connection
from ..support.stores import Outside


def streaming_app(app: Quart) -> Limiter:
    limiter = Limiter(app=app)

    @app.get("/stream")
    @limiter.in_flight(1, scope="stream")
    async def stream() -> ResponseReturnValue:
        async def body() -> AsyncIterator[bytes]:
            yield b"a"
            yield b"b"

        return Response(body())

    return limiter


async def places_held(limiter: Limiter) -> int:
    for _ in range(20):
        await asyncio.sleep(0)
    return len(limiter.store)  # type: ignore[arg-type]


@pytest.mark.parametrize("steps", range(40))
async def test_a_client_that_leaves_at_any_step_holds_no_place(steps: int) -> None:
    app = Quart(__name__)
    limiter = streaming_app(app)

    @app.after_request
    async def slow(response: Response) -> Response:
        for _ in range(10):
            await asyncio.sleep(0)
        return response

    call = Connection(app, "/stream")
    for _ in range(steps):
        await asyncio.sleep(0)
    call.gone.set()
    await asyncio.gather(call.task, return_exceptions=True)
    assert await places_held(limiter) == 0


@pytest.mark.parametrize("steps", range(40))
async def test_a_server_that_cancels_the_call_at_any_step_leaves_no_place(steps: int) -> None:
    app = Quart(__name__)
    limiter = streaming_app(app)
    call = Connection(app, "/stream")
    for _ in range(steps):
        await asyncio.sleep(0)
    call.task.cancel()
    await asyncio.gather(call.task, return_exceptions=True)
    assert await places_held(limiter) == 0


@pytest.mark.parametrize("fails_at", range(4))
async def test_a_send_that_fails_leaves_no_place(fails_at: int) -> None:
    app = Quart(__name__)
    limiter = streaming_app(app)
    call = Connection(app, "/stream", fails_at=fails_at)
    await asyncio.gather(call.task, return_exceptions=True)
    assert await places_held(limiter) == 0


async def raises(_: Response) -> Response:
    raise ValueError("broken")


async def replaces(_: Response) -> Response:
    return Response("another body")


async def empties(response: Response) -> Response:
    response.set_data("")
    return response


@pytest.mark.parametrize("function", [raises, replaces, empties])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
async def test_an_after_request_that_spoils_the_stream_leaves_no_place(
    function: Callable[[Response], Any],
) -> None:
    app = Quart(__name__)
    limiter = streaming_app(app)
    app.after_request(function)
    call = Connection(app, "/stream")
    await call.task
    assert call.sent
    assert await places_held(limiter) == 0


# Blocks


async def both(limiter: Limiter, *keys: str) -> list[int]:
    """How many places each key has left of two."""
    looks = []
    for key in keys:
        places = [limiter.in_flight(2, key, scope="job") for _ in range(2)]
        async with contextlib.AsyncExitStack() as stack:
            count = 0
            with contextlib.suppress(RateLimitExceeded):
                for place in places:
                    await stack.enter_async_context(place)
                    count += 1
        looks.append(count)
    return looks


async def holds(guard: Any) -> AsyncIterator[str]:
    async with guard:
        yield "in"
        yield "still in"


@pytest.mark.parametrize("shared", [False, True])
async def test_a_generator_that_is_closed_in_another_task_releases_its_own_place(
    shared: bool,
) -> None:
    limiter = Limiter(store=MemoryStore())
    guard = limiter.in_flight(2, "ann", scope="job")
    bodies = [
        holds(guard if shared else limiter.in_flight(2, "ann", scope="job")) for _ in range(2)
    ]
    for body in bodies:
        await anext(body)
    assert await both(limiter, "ann") == [0]
    await asyncio.create_task(bodies[0].aclose())  # type: ignore[attr-defined]
    assert await both(limiter, "ann") == [1]
    await asyncio.create_task(bodies[1].aclose())  # type: ignore[attr-defined]
    assert await both(limiter, "ann") == [2]


async def test_a_generator_that_is_forgotten_releases_its_place() -> None:
    limiter = Limiter(store=MemoryStore())
    body = holds(limiter.in_flight(2, "ann", scope="job"))
    await anext(body)
    del body
    for _ in range(10):
        await asyncio.sleep(0)
    assert await both(limiter, "ann") == [2]


async def test_one_object_of_several_clients_releases_the_place_of_the_block_that_leaves() -> None:
    app = Quart(__name__)
    limiter = Limiter(app=app, key_func=lambda: request.args["user"])
    guard = limiter.in_flight(2, scope="guard")
    leave = {user: asyncio.Event() for user in ("ann", "bob")}

    @app.get("/")
    async def view() -> str:
        async with guard:
            await leave[request.args["user"]].wait()
        return ""

    client = app.test_client()
    held = {user: asyncio.create_task(client.get(f"/?user={user}")) for user in leave}
    await places_held(limiter)
    leave["ann"].set()
    await held["ann"]
    assert [key.split("|")[4] for key in keys_held(limiter)] == ["{bob}"]
    leave["bob"].set()
    await held["bob"]
    assert keys_held(limiter) == []


def keys_held(limiter: Limiter) -> list[str]:
    (table,) = limiter.store._tables.values()  # type: ignore[attr-defined]
    return [key for shard in table.shards for key in shard]


async def test_one_object_may_be_entered_again_within_itself() -> None:
    limiter = Limiter(store=MemoryStore())
    guard = limiter.in_flight(2, "ann", scope="job")
    async with guard:
        async with guard:
            assert await both(limiter, "ann") == [0]
        assert await both(limiter, "ann") == [1]
    assert await both(limiter, "ann") == [2]


async def test_a_stack_holds_places_and_names_what_it_could_not_tell_apart() -> None:
    app = Quart(__name__)
    limiter = Limiter(app=app, key_func=lambda: request.args["user"])
    guard = limiter.in_flight(2)
    async with contextlib.AsyncExitStack() as stack:
        async with app.test_request_context("/?user=ann"):
            await stack.enter_async_context(guard)
            await stack.enter_async_context(guard)
        async with app.test_request_context("/?user=bob"):
            with pytest.raises(ConfigurationError, match="make an object for each: stack"):
                await stack.enter_async_context(guard)
        assert len(keys_held(limiter)) == 1
    await places_held(limiter)
    assert keys_held(limiter) == []


async def test_a_place_that_is_dropped_is_released_and_no_more_renewed() -> None:
    limiter = Limiter(store=MemoryStore())
    guard = limiter.in_flight(2, "ann", scope="job")
    await guard.__aenter__()
    del guard
    gc.collect()
    for _ in range(10):
        await asyncio.sleep(0)
    assert await both(limiter, "ann") == [2]
    assert asyncio.all_tasks() == {asyncio.current_task()}


# Threads


@pytest.mark.parametrize("outer", [True, False])
@pytest.mark.parametrize("streams", [True, False])
async def test_a_place_is_held_while_the_thread_of_its_view_runs(
    outer: bool, streams: bool
) -> None:
    app = Quart(__name__)
    limiter = Limiter(app=app)
    started, may_end = threading.Event(), threading.Event()

    def view() -> Any:
        def items() -> Iterator[str]:
            started.set()
            may_end.wait()
            yield ""

        return items() if streams else "".join(items())

    limited = limiter.limit("100/minute")(view) if outer else view
    app.add_url_rule("/stream", "stream", limiter.in_flight(1, scope="stream")(limited))
    call = Connection(app, "/stream")
    await asyncio.to_thread(started.wait)
    call.gone.set()
    await call.end()
    held = await asyncio.wait_for(in_flight_keys(limiter), 9)
    may_end.set()
    assert held == 1
    for _ in range(1000):
        await asyncio.sleep(0.001)
        if not await in_flight_keys(limiter):
            return
    pytest.fail("the place is still held")


async def in_flight_keys(limiter: Limiter) -> int:
    await places_held(limiter)
    tables = limiter.store._tables.items()  # type: ignore[attr-defined]
    return sum(table.count for name, table in tables if name.startswith("in_flight"))


async def test_a_view_whose_client_left_before_its_thread_began_never_begins() -> None:
    app = Quart(__name__)
    limiter = Limiter(app=app)
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    may_end, ran = threading.Event(), []
    busy = asyncio.create_task(asyncio.to_thread(may_end.wait))

    @app.get("/stream")
    @limiter.in_flight(1, scope="stream")
    def view() -> str:
        ran.append(True)
        return ""

    call = Connection(app, "/stream")
    assert await in_flight_keys(limiter) == 1
    call.gone.set()
    await call.end()
    assert await in_flight_keys(limiter) == 0
    may_end.set()
    await busy
    await asyncio.to_thread(lambda: None)
    assert not ran


# A store that is away


class Away(MemoryStore):
    """A store that may carry out what it is asked, and not answer."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = True
        self.hears = True
        self.error: Exception = StoreError("no answer")

    async def hit(self, hits: Any) -> list[Decision]:
        decisions = await super().hit(hits) if self.hears else []
        if not self.answers:
            raise self.error
        return decisions


def away_site() -> tuple[Limiter, Away]:
    store = Away()
    return Limiter(store=Outside(store)), store  # type: ignore[arg-type]


async def test_a_release_that_fails_is_kept_and_made_up_for_with_the_next_success() -> None:
    limiter, store = away_site()
    async with limiter.in_flight(1, "ann"):
        store.answers = store.hears = False
    store.answers = store.hears = True
    assert len(store) == 1
    async with limiter.in_flight(1, "bob"):
        pass
    assert len(store) == 0


async def test_kept_releases_are_bounded_and_given_back_in_pieces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from quart_ratelimit.direct import ledger

    monkeypatch.setattr(ledger, "MOST_KEPT", 5)
    monkeypatch.setattr(ledger, "PIECE", 2)
    limiter, store = away_site()
    async with contextlib.AsyncExitStack() as stack:
        for number in range(8):
            await stack.enter_async_context(limiter.in_flight(1, f"user-{number}"))
        store.answers = store.hears = False
    store.answers = store.hears = True
    assert len(store) == 8
    await limiter.hit("5/minute", "ann")
    for _ in range(50):
        await asyncio.sleep(0)
    assert len(store) - 1 == 3  # the oldest, whose leases will expire


@pytest.mark.parametrize("hears", [True, False])
async def test_a_place_whose_taking_was_not_answered_is_given_back(hears: bool) -> None:
    limiter, store = away_site()
    store.answers, store.hears = False, hears
    with pytest.raises(StoreError):
        async with limiter.in_flight(1, "ann"):
            pytest.fail("entered")
    store.answers = store.hears = True
    async with limiter.in_flight(1, "bob"):
        pass
    assert len(store) == 0


@pytest.mark.parametrize("error", [StoreError("away"), RuntimeError("a bug"), OSError("reset")])
async def test_a_give_back_that_fails_spoils_no_response(error: Exception) -> None:
    app = Quart(__name__)
    store = Away()
    store.error = error
    limiter = Limiter(app=app, store=Outside(store))  # type: ignore[arg-type]

    @app.get("/stream")
    @limiter.limit("9/hour", deduct_when=lambda _: False)
    @limiter.in_flight(1)
    async def view() -> str:
        async with limiter.in_flight(1, "job"), limiter.reserve("9/hour", "ann", cost=5) as one:
            one.settle(1)
            store.answers = False
        return "hello"

    call = Connection(app, "/stream")
    await call.task
    assert call.sent[0]["status"] == 200
    store.answers = True
