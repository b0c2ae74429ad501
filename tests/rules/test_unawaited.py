"""What lacks its await: an error that says so, never a truth value."""

import asyncio
from typing import Any

import pytest
import quart
from quart import Quart, request, websocket

from quart_ratelimit import ConfigurationError, Decision, FixedWindow, Limiter
from quart_ratelimit.callables import call, unawaited
from quart_ratelimit.stores import MemoryStore

limiter: Any = Limiter()


def kept() -> Any:
    data: Any = request.get_json()
    return data["internal"]


def branching() -> bool:
    data = request.get_json(silent=True)
    if data:
        return len(request.args) > 1
    return False


def returned() -> Any:
    data = request.get_json(silent=True)
    return data  # noqa: RET504  # kept first


def counted() -> int:
    body: Any = request.get_data()
    return len(body)


LACKING: dict[str, Any] = {
    "an item": lambda: request.get_json()["internal"],  # type: ignore[index]
    "an attribute": lambda: request.get_json().get("internal"),  # type: ignore[attr-defined]
    "its truth": lambda: bool(request.get_json()),
    "not": lambda: not request.get_json(),
    "in": lambda: "internal" in request.get_json(),  # type: ignore[operator]
    "is": lambda: request.get_json() is not None,
    "equal": lambda: request.get_json() == {"internal": True},
    "a condition": lambda: "a" if request.get_json() else "b",
    "and": lambda: request.get_json() and True,
    "a length": lambda: len(request.get_data()),  # type: ignore[arg-type]
    "a text": lambda: str(request.get_json()),
    "a form": lambda: request.form["user"],  # type: ignore[index]
    "a property": lambda: request.json["user"],  # type: ignore[index]
    "by its module": lambda: quart.request.get_json()["internal"],  # type: ignore[index]
    "with arguments": lambda: request.get_json(True, silent=True)["a"],  # type: ignore[index]
    "returned": lambda: request.get_json(silent=True),
    "a property that is returned": lambda: request.json,
    "kept and returned": returned,
    "kept first": kept,
    "a branch": branching,
    "counted": counted,
}


@pytest.mark.parametrize("name", LACKING)
@pytest.mark.parametrize("argument", ["exempt_when", "key_func", "cost"])
def test_a_body_that_is_used_without_await_is_an_error(name: str, argument: str) -> None:
    with pytest.raises(
        ConfigurationError,
        match=rf"{argument}: .* uses request\.\w+ without await; write async def",
    ):
        limiter.limit("5/minute", **{argument: LACKING[name]})(kept)


@pytest.mark.parametrize("name", LACKING)
def test_so_it_is_in_a_filter(name: str) -> None:
    for register in (limiter.request_filter, limiter.deny):
        with pytest.raises(ConfigurationError, match="without await"):
            register(LACKING[name])


async def awaited() -> Any:
    return (await request.get_json())["internal"]


def passed_on() -> Any:
    return asyncio.ensure_future(request.get_json())


FINE: list[Any] = [
    awaited,
    passed_on,
    lambda: asyncio.ensure_future(request.json),  # type: ignore[arg-type]
    lambda: request.args["user"],
    lambda: request.headers.get("X"),
    lambda: request.method == "GET",
    lambda: bool(request.args),
    lambda: websocket.headers["X"],
    lambda data=None: data,
    len,
    Limiter,
    kept.__name__.upper,
]


@pytest.mark.parametrize("function", FINE)
def test_others_are_fine(function: Any) -> None:
    assert unawaited(function) is None


async def test_what_only_a_call_shows_says_so_too() -> None:
    def helper(found: Any) -> Any:
        return found["internal"]

    app = Quart(__name__)
    async with app.test_request_context("/", method="POST", json={"internal": True}):
        with (
            pytest.warns(RuntimeWarning),
            pytest.raises(
                ConfigurationError, match=r"lambda.* uses a coroutine as a value .*await request"
            ),
        ):
            await call(lambda: helper(request.get_json()))


async def test_other_errors_of_functions_stay_as_they_are() -> None:
    def fail() -> None:
        raise TypeError("mine")

    with pytest.raises(TypeError, match=r"^mine$"):
        await call(fail)


def bound() -> Any:
    return Limiter(app=Quart(__name__), store=MemoryStore())


CALLS: dict[str, Any] = {
    "hit": lambda own: own.hit("1/minute", "ann"),
    "peek": lambda own: own.peek("1/minute", "ann"),
    "wait": lambda own: own.wait("1/minute", "ann", seconds=0),
    "refund": lambda own: own.refund("1/minute", "ann", charged=Decision(True, 0, 0, 0)),
    "reset": lambda own: own.reset(),
    "limiter.hit": lambda own: own.limiter.hit(FixedWindow(1, 60), "ann"),
    "limiter.test": lambda own: own.limiter.test(FixedWindow(1, 60), "ann"),
    "limiter.get_window_stats": lambda own: own.limiter.get_window_stats(FixedWindow(1, 60), "ann"),
    "limiter.clear": lambda own: own.limiter.clear(FixedWindow(1, 60), "ann"),
    "storage.check": lambda own: own.storage.check(),
    "storage.reset": lambda own: own.storage.reset(),
}


@pytest.mark.parametrize("name", CALLS)
async def test_a_call_without_its_await_has_no_truth_value(name: str) -> None:
    own = bound()
    with pytest.raises(ConfigurationError, match=rf"limiter.{name}\(.*\) is not awaited"):
        _ = not CALLS[name](own)


@pytest.mark.parametrize("name", CALLS)
async def test_it_may_be_awaited_as_a_coroutine_may(name: str) -> None:
    own = bound()
    await CALLS[name](own)
    await asyncio.create_task(CALLS[name](own))
    await asyncio.gather(CALLS[name](own), CALLS[name](own))
    await asyncio.wait_for(CALLS[name](own), 1)
    async with asyncio.TaskGroup() as group:
        group.create_task(CALLS[name](own))


async def test_what_it_comes_to_is_the_same() -> None:
    own = bound()
    assert [bool(await own.hit("1/minute", "ann")) for _ in range(2)] == [True, False]


async def test_one_that_is_forgotten_warns_as_a_coroutine_does() -> None:
    own = bound()
    with pytest.warns(RuntimeWarning, match="never awaited"):
        own.hit("1/minute", "ann")
