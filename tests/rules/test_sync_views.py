"""Sync code that moves over: sync views under the app's own sync decorators, and sync helpers."""

import contextvars
import functools
import inspect
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from quart import Quart, g, request
from quart.views import MethodView

from quart_ratelimit import Limiter
from quart_ratelimit.stores import MemoryStore

from ..support.apps import ask, body

View = Callable[..., Any]


def new(**given: Any) -> tuple[Quart, Limiter]:
    app = Quart(__name__)
    return app, Limiter(app=app, store=MemoryStore(), **given)


def passing(view: View) -> View:
    @functools.wraps(view)
    def inner(*args: Any, **kwargs: Any) -> Any:
        g.user = "ann"
        return view(*args, **kwargs)

    return inner


def using(view: View) -> View:
    @functools.wraps(view)
    def inner(*args: Any, **kwargs: Any) -> Any:
        g.user = "ann"
        return f"<{view(*args, **kwargs).upper()}>", {"X-Thread": str(threading.get_ident())}

    return inner


DECORATORS: dict[str, Callable[[Limiter], Any]] = {
    "limit": lambda own: own.limit("2/minute", key_func=lambda: g.user),
    "a limit by a function": lambda own: own.limit(lambda: "2/minute", key_func=lambda: g.user),
    "shared_limit": lambda own: own.shared_limit("2/minute", "all", key_func=lambda: g.user),
}


@pytest.mark.parametrize("name", DECORATORS)
@pytest.mark.parametrize("above", [passing, using])
async def test_a_sync_view_under_a_sync_decorator_is_limited(name: str, above: Any) -> None:
    app, limiter = new()

    @app.get("/")
    @above
    @DECORATORS[name](limiter)
    def page() -> str:
        return "page"

    assert await ask(app, "/", 3) == [200, 200, 429]


async def test_its_decorator_gets_its_result() -> None:
    app, limiter = new(headers_enabled=True)

    @app.get("/<name>")
    @using
    @limiter.limit("2/minute")
    def page(name: str) -> str:
        return f"{name} {request.method}"

    response = await app.test_client().get("/pear")
    assert await response.get_data(as_text=True) == "<PEAR GET>"
    assert response.headers["X-Thread"] != str(threading.get_ident())
    assert response.headers["X-RateLimit-Remaining"] == "1"


async def test_a_decorator_sees_the_refusal() -> None:
    app, limiter = new()
    seen: list[BaseException] = []

    def watching(view: View) -> View:
        @functools.wraps(view)
        def inner() -> Any:
            try:
                return view()
            except Exception as error:
                seen.append(error)
                raise

        return inner

    @app.get("/")
    @watching
    @limiter.limit("1/minute")
    def page() -> str:
        return "page"

    assert await ask(app, "/", 2) == [200, 429]
    assert len(seen) == 1


@pytest.mark.parametrize(
    "decorate",
    [
        lambda own: own.in_flight(1),
        lambda own: lambda view: own.limit("2/minute")(own.limit("9/minute")(view)),
        lambda own: lambda view: own.in_flight(1)(own.limit("2/minute")(view)),
    ],
)
@pytest.mark.parametrize("above", [passing, lambda view: view])
async def test_so_are_other_decorators_and_several(decorate: Any, above: Any) -> None:
    app, limiter = new()

    @app.get("/")
    @above
    @decorate(limiter)
    def page() -> str:
        return "page"

    statuses = await ask(app, "/", 3)
    assert statuses[:2] == [200, 200]
    assert statuses[2] in (200, 429)


@pytest.mark.parametrize("called", ["in a thread", "in the event loop"])
async def test_a_limited_sync_helper_works_where_it_is_called(called: str) -> None:
    app, limiter = new()

    @limiter.limit("2/minute")
    def helper(number: int) -> str:
        return f"{number} {threading.get_ident()}"

    if called == "in a thread":

        @app.get("/")
        def page() -> str:
            number, thread = helper(1).split()  # type: ignore[attr-defined]
            assert thread == str(threading.get_ident())
            return str(number)

    else:

        @app.get("/")
        async def page() -> str:
            return await helper(1)

    assert await ask(app, "/", 3) == [200, 200, 429]


async def test_methods_of_a_class_based_view_may_be_sync_under_a_sync_decorator() -> None:
    app, limiter = new()

    class Items(MethodView):
        @passing
        @limiter.limit("1/minute", per_method=True)
        def get(self) -> str:
            return type(self).__name__

        @limiter.limit("1/minute")
        def post(self) -> str:
            return type(self).__name__

    app.add_url_rule("/", view_func=Items.as_view("items"))
    client = app.test_client()
    assert await ask(app, "/", 2) == [200, 429]
    assert [(await client.post("/")).status_code for _ in range(2)] == [200, 429]


async def test_without_such_a_decorator_the_event_loop_charges_as_before() -> None:
    app, limiter = new()

    @app.get("/")
    @limiter.limit("2/minute", key_func=lambda: str(threading.get_ident()))
    def page() -> str:
        """A page."""
        return "page"

    view: Any = page
    assert inspect.iscoroutinefunction(view)
    assert (view.__name__, view.__doc__) == ("page", "A page.")
    assert inspect.signature(view) == inspect.signature(view.__wrapped__)
    assert await ask(app, "/", 3) == [200, 200, 429]


async def test_an_error_of_the_view_passes_through() -> None:
    app, limiter = new()

    @app.get("/")
    @passing
    @limiter.limit("2/minute")
    def page() -> str:
        raise KeyError("mine")

    assert await ask(app, "/", 3) == [500, 500, 429]


async def test_a_place_in_flight_is_free_when_the_view_has_ended() -> None:
    app, limiter = new()

    @app.get("/")
    @passing
    @limiter.in_flight(1)
    def page() -> str:
        return "page"

    assert await ask(app, "/", 5) == [200] * 5


@pytest.mark.parametrize("order", ["above", "below", "between"])
@pytest.mark.parametrize("kind", ["view", "generator", "method"])
async def test_the_limit_may_stand_anywhere_among_sync_decorators(order: str, kind: str) -> None:
    app, limiter = new()
    limit = limiter.limit("2/minute")
    decorators = {"above": [limit, passing, passing], "below": [passing, passing, limit]}
    chosen = decorators.get(order, [passing, limit, passing])

    def page(*_: Any) -> Any:
        return (each for each in ("a", "b")) if kind == "generator" else "ab"

    view: View = page
    for decorator in reversed(chosen):
        view = decorator(view)
    if kind == "method":
        view = type("Items", (MethodView,), {"get": view}).as_view("items")  # type: ignore[attr-defined]
    app.add_url_rule("/", view_func=view)
    assert await body(app, "/") == "ab"
    assert await ask(app, "/", 2) == [200, 429]


async def test_a_limited_sync_helper_works_in_a_thread_with_the_views_context() -> None:
    app, limiter = new()

    @limiter.limit("2/minute")
    def helper() -> str:
        return "helped"

    @app.get("/")
    def page() -> Any:
        context = contextvars.copy_context()
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(context.run, helper).result()

    assert await ask(app, "/", 3) == [200, 200, 429]


async def test_sync_helpers_that_call_each_other_are_each_limited() -> None:
    app, limiter = new()

    @passing
    @limiter.limit("2/minute")
    def inner() -> str:
        return "inner"

    @limiter.limit("9/minute")
    def outer() -> Any:
        return inner()

    @app.get("/")
    @passing
    def page() -> Any:
        return outer()

    assert await ask(app, "/", 3) == [200, 200, 429]
