"""A limit above its route never runs and is found; correct apps are not refused."""

import functools
import gc
from collections.abc import Callable
from typing import Any

import pytest
from quart import Blueprint, Quart
from quart.views import MethodView

from quart_ratelimit import ConfigurationError, Limiter, rate_limit
from quart_ratelimit.stores import MemoryStore

from ..support.apps import ask

LOST = r"page stands above its route"


def with_user(view: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(view)
    async def inner(*args: Any, **kwargs: Any) -> Any:
        return await view(*args, **kwargs)

    return inner


def new() -> tuple[Quart, Limiter]:
    app = Quart(__name__)
    return app, Limiter(app=app, store=MemoryStore())


DECORATORS: dict[str, Callable[[Limiter], Any]] = {
    "limit": lambda limiter: limiter.limit("1/minute"),
    "shared_limit": lambda limiter: limiter.shared_limit("1/minute", "both"),
    "rate_limit": lambda _: rate_limit("1/minute"),
    "in_flight": lambda limiter: limiter.in_flight(1),
}


@pytest.mark.parametrize("name", DECORATORS)
@pytest.mark.parametrize("between", [False, True])
@pytest.mark.parametrize("below", [False, True])
async def test_in_an_app_factory_a_limit_above_its_route_is_an_error(
    name: str, between: bool, below: bool
) -> None:
    def create() -> Quart:
        app, limiter = new()

        async def page() -> str:
            return "page"

        view = with_user(page) if below else page
        route = app.get("/")(view)
        DECORATORS[name](limiter)(with_user(route) if between else route)
        return app

    app = create()
    gc.collect()
    with pytest.raises(ConfigurationError, match=LOST):
        await app.startup()


async def test_so_is_one_above_a_blueprints_route() -> None:
    app, limiter = new()
    shop = Blueprint("shop", __name__)

    @limiter.limit("1/minute")
    @shop.get("/")
    async def page() -> str:
        return "page"

    app.register_blueprint(shop)
    with pytest.raises(ConfigurationError, match=LOST):
        await app.startup()


async def test_so_is_one_in_an_app_that_is_bound_last() -> None:
    app, limiter = Quart(__name__), Limiter(store=MemoryStore())

    @app.get("/")
    async def page() -> str:
        return "page"

    limiter.limit("1/minute")(page)
    limiter.init_app(app)
    with pytest.raises(ConfigurationError, match=LOST):
        await app.startup()


@pytest.mark.parametrize("wrapped", [False, True])
async def test_a_view_and_its_limited_twin_may_each_have_a_route(wrapped: bool) -> None:
    app, limiter = new()

    @app.get("/")
    async def report() -> str:
        return "all"

    limited = limiter.limit("1/minute")(report)
    app.add_url_rule("/limited", "limited", with_user(limited) if wrapped else limited)
    del limited
    gc.collect()
    await app.startup()
    assert await ask(app, "/", 3) == [200] * 3
    assert await ask(app, "/limited", 2) == [200, 429]


@pytest.mark.parametrize("same", [False, True])
@pytest.mark.parametrize("first", ["limited", "plain"])
async def test_two_apps_may_share_a_view_that_one_of_them_limits(same: bool, first: str) -> None:
    async def report() -> str:
        return "all"

    one, limiter = new()
    other = Quart(__name__)
    (limiter if same else Limiter(store=MemoryStore())).init_app(other)
    one.add_url_rule("/", view_func=limiter.limit("1/minute")(report))
    other.add_url_rule("/", view_func=report)
    gc.collect()
    for app in (one, other) if first == "limited" else (other, one):
        await app.startup()
    assert await ask(one, "/", 2) == [200, 429]
    assert await ask(other, "/", 2) == [200, 200]


async def test_a_factory_may_limit_a_shared_view_in_one_of_its_apps() -> None:
    limiter = Limiter(store=MemoryStore())

    async def report() -> str:
        return "all"

    def create(limited: bool) -> Quart:
        app = Quart(__name__)
        limiter.init_app(app)
        app.add_url_rule("/", view_func=limiter.limit("1/minute")(report) if limited else report)
        return app

    await create(limited=True).startup()
    gc.collect()
    await create(limited=False).startup()


class Page:
    """A view that is an object."""

    def __call__(self) -> str:
        return "page"

    async def show(self) -> str:
        return "page"


FORMS: dict[str, Callable[[Limiter], Any]] = {
    "a bound method": lambda limiter: limiter.limit("1/minute")(Page().show),
    "an object": lambda limiter: limiter.limit("1/minute")(Page()),
    "a partial": lambda limiter: limiter.limit("1/minute")(functools.partial(Page.show, Page())),
    "a partial of it": lambda limiter: functools.partial(limiter.limit("1/minute")(Page.show), 0),
    "wrapped": lambda limiter: with_user(limiter.limit("1/minute")(Page().show)),
}


@pytest.mark.parametrize("form", FORMS)
async def test_each_form_of_a_view_is_limited_by_its_own_limit_alone(form: str) -> None:
    app = Quart(__name__)
    limiter = Limiter(app=app, store=MemoryStore(), default_limits=["9/minute"])
    app.add_url_rule("/", "page", FORMS[form](limiter))
    await app.startup()
    async with app.test_request_context("/") as context:
        await app.dispatch_request(context)
        assert [str(each.limit) for each in limiter.current_limits] == ["1 per 1 minute"]
    assert await ask(app, "/", 1) == [429]


async def test_methods_of_a_class_based_view_are_limited_where_they_stand() -> None:
    app, limiter = new()

    class Items(MethodView):
        @limiter.limit("1/minute")
        async def get(self) -> str:
            return "apple"

        async def post(self) -> str:
            return "apple"

    app.add_url_rule("/", view_func=Items.as_view("items"))
    await app.startup()
    assert await ask(app, "/", 2) == [200, 429]


async def test_an_exemption_is_found_through_every_form() -> None:
    for form in (functools.partial, with_user):
        app = Quart(__name__)
        limiter = Limiter(app=app, store=MemoryStore(), default_limits=["1/minute"])
        app.add_url_rule("/", "page", form(limiter.exempt(Page().show)))
        assert await ask(app, "/", 2) == [200, 200]


def test_an_app_that_is_dropped_is_freed_with_all_notes_on_it() -> None:
    def build() -> list[Any]:
        import weakref

        app, limiter = new()

        @app.get("/")
        @limiter.limit("1/minute")
        @rate_limit("9/minute")
        @limiter.in_flight(3)
        async def page() -> str:
            return "page"

        return [weakref.ref(app), weakref.ref(limiter), weakref.ref(page)]

    found = build()
    gc.collect()
    assert [each() for each in found] == [None] * 3
