"""What would switch a declared limit or ban off, and nobody be told: an error, or it holds."""

import functools
from collections.abc import Callable
from types import FunctionType
from typing import Any

import pytest
from quart import Blueprint, Quart
from quart.views import MethodView

from quart_ratelimit import (
    ApplicationLimit,
    ConfigurationError,
    Limit,
    Limiter,
    MetaLimit,
    RequestLimit,
    rate_limit,
)
from quart_ratelimit.stores import RedisStore

from ..support.apps import ask, view


def decorator(limiter: Limiter, kind: str) -> Any:
    """A limit of this kind, to decorate a function with."""
    kinds = {
        "limit": limiter.limit("1/minute"),
        "rate_limit": rate_limit("1/minute"),
        "in_flight": limiter.in_flight(1),
        "messages": limiter.messages("1/minute"),
    }
    return kinds[kind]


#: What registers a function that runs around requests.
REGISTER: dict[str, Callable[[Quart, Blueprint], Callable[..., Any]]] = {
    "app.before_request": lambda app, _: app.before_request,
    "app.after_request": lambda app, _: app.after_request,
    "app.teardown_request": lambda app, _: app.teardown_request,
    "app.before_websocket": lambda app, _: app.before_websocket,
    "app.after_websocket": lambda app, _: app.after_websocket,
    "app.teardown_websocket": lambda app, _: app.teardown_websocket,
    "app.before_serving": lambda app, _: app.before_serving,
    "app.after_serving": lambda app, _: app.after_serving,
    "app.teardown_appcontext": lambda app, _: app.teardown_appcontext,
    "app.context_processor": lambda app, _: app.context_processor,
    "app.shell_context_processor": lambda app, _: app.shell_context_processor,
    "app.url_value_preprocessor": lambda app, _: app.url_value_preprocessor,
    "app.url_defaults": lambda app, _: app.url_defaults,
    "blueprint.before_app_serving": lambda _, blueprint: blueprint.before_app_serving,
    "blueprint.after_app_serving": lambda _, blueprint: blueprint.after_app_serving,
    "blueprint.context_processor": lambda _, blueprint: blueprint.context_processor,
    "blueprint.app_context_processor": lambda _, blueprint: blueprint.app_context_processor,
    "blueprint.teardown_request": lambda _, blueprint: blueprint.teardown_request,
    "blueprint.before_request": lambda _, blueprint: blueprint.before_request,
    "blueprint.before_app_request": lambda _, blueprint: blueprint.before_app_request,
}


@pytest.mark.parametrize("name", REGISTER)
async def test_a_limit_above_what_registers_its_function_is_an_error(name: str) -> None:
    app, blueprint = Quart(__name__), Blueprint("shop", __name__)
    limiter = Limiter(app=app)

    async def around(*given: Any) -> Any:
        return given[0] if given else None

    limiter.limit("1/minute")(REGISTER[name](app, blueprint)(around))
    app.register_blueprint(blueprint)
    with pytest.raises(ConfigurationError, match=r"around .*or before_request\) first"):
        await app.startup()


#: What runs where no limit can apply, and why.
WITHOUT_LIMITS = {
    **dict.fromkeys(
        ["app.url_value_preprocessor", "app.url_defaults", "app.shell_context_processor"],
        "without await",
    ),
    **dict.fromkeys(
        ["app.before_serving", "app.after_serving", "app.teardown_appcontext",
         "blueprint.before_app_serving", "blueprint.after_app_serving"],
        "without a request",
    ),
    **dict.fromkeys(
        ["app.after_request", "app.after_websocket", "app.teardown_request",
         "app.teardown_websocket", "blueprint.teardown_request"],
        "after the view has answered",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WITHOUT_LIMITS)
@pytest.mark.parametrize("kind", ["limit", "rate_limit", "in_flight"])
@pytest.mark.parametrize("is_sync", [False, True])
async def test_a_limit_below_a_hook_that_runs_where_no_limit_can_apply_is_an_error(
    name: str, kind: str, is_sync: bool
) -> None:
    app, blueprint = Quart(__name__), Blueprint("shop", __name__)
    limiter = Limiter(app=app)
    limit = decorator(limiter, kind)

    def around(*given: Any) -> Any:
        return given[0] if given else None

    async def around_async(*given: Any) -> Any:
        return around(*given)

    REGISTER[name](app, blueprint)(limit(around if is_sync else around_async))
    app.register_blueprint(blueprint)
    with pytest.raises((ConfigurationError, RuntimeError, ExceptionGroup)) as raised:
        await app.startup()
    # The end of the app's start calls what is below teardown_appcontext, and that fails as well;
    # Quart 0.23 raises a group of such errors.
    error = raised.value.__context__ if name == "app.teardown_appcontext" else raised.value
    assert isinstance(error, ConfigurationError)
    assert f"Quart calls it {WITHOUT_LIMITS[name]}" in str(error)


async def yielding(*_: Any) -> Any:
    yield


def yielding_sync(*_: Any) -> Any:
    yield


async def returning(*_: Any) -> None: ...


@pytest.mark.parametrize("function", [yielding, yielding_sync, returning])
@pytest.mark.parametrize("kind", ["limit", "rate_limit", "in_flight", "messages"])
@pytest.mark.parametrize("is_above", [False, True])
@pytest.mark.parametrize("of_blueprint", [False, True])
async def test_a_limit_on_what_runs_while_the_app_serves_is_an_error(
    function: Callable[..., Any], kind: str, is_above: bool, of_blueprint: bool
) -> None:
    app, blueprint = Quart(__name__), Blueprint("shop", __name__)
    limiter = Limiter(app=app)
    limit = decorator(limiter, kind)
    function = wrapped_again(function)
    register = blueprint.while_app_serving if of_blueprint else app.while_serving
    if is_above:
        limit(register(function))
    else:
        register(limit(function))
    app.register_blueprint(blueprint)
    with pytest.raises(ConfigurationError, match="Quart calls it without a request") as raised:
        await app.startup()
    assert str(raised.value).startswith(function.__qualname__)


def wrapped_again(function: Callable[..., Any]) -> Callable[..., Any]:
    """A new function of the same code, as in an app factory."""
    return FunctionType(function.__code__.replace(), function.__globals__, function.__name__)


async def test_what_runs_while_the_app_serves_beside_limited_views_is_none() -> None:
    app = Quart(__name__)
    limiter = Limiter(app=app)
    app.while_serving(wrapped_again(yielding))
    view(app, "/", limiter.limit("1/minute"))
    async with app.test_app():
        assert await ask(app, "/", 2) == [200, 429]


@pytest.mark.parametrize("cache", [functools.lru_cache, functools.cache])
@pytest.mark.parametrize("kind", ["limit", "rate_limit", "in_flight"])
@pytest.mark.parametrize("is_sync", [False, True])
async def test_a_limit_below_lru_cache_is_an_error(cache: Any, kind: str, is_sync: bool) -> None:
    app = Quart(__name__)
    limiter = Limiter(app=app)
    limit = decorator(limiter, kind)

    def page() -> str:
        return "page"

    async def page_async() -> str:
        return "page"

    app.add_url_rule("/", "page", cache(limit(page if is_sync else page_async)))
    with pytest.raises(ConfigurationError, match="write the limit above the cache"):
        await app.startup()


async def test_a_limit_above_lru_cache_counts_each_request() -> None:
    app = Quart(__name__)
    limiter = Limiter(app=app)

    @app.get("/")
    @limiter.limit("2/minute")
    @functools.lru_cache
    def page() -> str:
        return "page"

    await app.startup()
    assert await ask(app, "/", 3) == [200, 200, 429]


@pytest.mark.parametrize("kind", [staticmethod, classmethod])
def test_a_limit_above_staticmethod_or_classmethod_is_an_error(kind: Any) -> None:
    async def shop(*_: Any) -> str:
        return "shop"

    limiter = Limiter(app=Quart(__name__))
    for limit in (limiter.limit("1/minute"), rate_limit("1/minute"), limiter.in_flight(1)):
        with pytest.raises(ConfigurationError, match=f"write @{kind.__name__} above"):
            limit(kind(shop))


def of_a_view(app: Quart, limiter: Limiter) -> None:
    @app.get("/")
    @limiter.messages("1/minute")
    async def chat() -> str:
        return "chat"


def of_a_sync_view(app: Quart, limiter: Limiter) -> None:
    @app.post("/")
    @limiter.limit("1/minute")
    @limiter.messages("1/minute")
    def chat() -> str:
        return "chat"


def of_a_class(app: Quart, limiter: Limiter) -> None:
    class Chat(MethodView):
        decorators = [limiter.messages("1/minute")]  # noqa: RUF012

        async def get(self) -> str:
            return "chat"

    app.add_url_rule("/", view_func=Chat.as_view("chat"))


def of_a_method(app: Quart, limiter: Limiter) -> None:
    class Chat(MethodView):
        @limiter.messages("1/minute")
        async def get(self) -> str:
            return "chat"

    app.add_url_rule("/", view_func=Chat.as_view("chat"))


def of_a_blueprints_view(app: Quart, limiter: Limiter) -> None:
    blueprint = Blueprint("shop", __name__)
    of_a_view(blueprint, limiter)  # type: ignore[arg-type]
    app.register_blueprint(blueprint)


@pytest.mark.parametrize(
    "declare", [of_a_view, of_a_sync_view, of_a_class, of_a_method, of_a_blueprints_view]
)
async def test_a_limit_on_messages_of_an_http_view_is_an_error(
    declare: Callable[[Quart, Limiter], None],
) -> None:
    app = Quart(__name__)
    declare(app, Limiter(app=app))
    with pytest.raises(ConfigurationError, match=r"is HTTP: write them under @app\.websocket"):
        await app.startup()


@pytest.mark.parametrize("given", [5, None, "app", Quart])
def test_a_shield_of_what_is_no_app_is_an_error(given: Any) -> None:
    with pytest.raises(ConfigurationError, match="is not a Quart app"):
        Limiter().shield(given)


@pytest.mark.parametrize("name", ["app.before_request", "blueprint.before_request"])
async def test_below_it_the_limit_applies(name: str) -> None:
    app, blueprint = Quart(__name__), Blueprint("shop", __name__)
    limiter = Limiter(app=app)

    @REGISTER[name](app, blueprint)
    @limiter.limit("1/minute")
    async def around() -> None:
        return None

    @blueprint.get("/")
    async def index() -> str:
        return "index"

    app.register_blueprint(blueprint)
    await app.startup()
    assert await ask(app, "/", 2) == [200, 429]


@pytest.mark.parametrize("how", ["keyword", "variable"])
async def test_a_ban_holds_in_an_app_that_starts_without_limits(how: str) -> None:
    app = Quart(__name__)
    if how == "variable":
        app.config["RATELIMIT_ENABLED"] = False
    limiter = Limiter(enabled=how == "variable")
    denied = [True]
    limiter.deny(lambda: denied[0])
    limiter.init_app(app)
    limiter.init_app(app)
    view(app, "/", limiter.limit("1/minute"))
    assert await ask(app, "/", 1) == [403]
    assert await ask(app, "/unknown", 1) == [403]
    denied[0] = False
    assert await ask(app, "/", 2) == [200, 200]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RATELIMIT_DEFAULT", "1/minute"),
        ("RATELIMIT_STORAGE_URI", "redis://localhost:1/0"),
        ("RATELIMIT_HEADER_LIMIT", "X-Limit"),
        ("RATELIMIT_DEFAULTS", "1/minute"),
    ],
)
async def test_a_variable_that_is_set_too_late_is_an_error(name: str, value: str) -> None:
    app = Quart(__name__)
    Limiter(app=app)
    app.config[name] = value
    with pytest.raises(ConfigurationError, match=name):
        await app.startup()


@pytest.mark.parametrize("method", ["GTE", "POTS", "purge"])
async def test_a_method_that_no_route_has_is_an_error(method: str) -> None:
    app = Quart(__name__)
    limiter = Limiter(app=app)
    view(app, "/", limiter.limit("1/minute", methods=[method]))
    with pytest.raises(ConfigurationError, match=f"no route of the app has '{method.upper()}'"):
        await app.startup()


async def test_a_method_of_the_app_s_own_is_none() -> None:
    app = Quart(__name__)
    limiter = Limiter(app=app)
    write = limiter.limit("1/minute", methods=["PURGE", "PATCH"])

    @app.route("/", methods=["GET", "PURGE"])
    @write
    async def index() -> str:
        return "index"

    await app.startup()
    client = app.test_client()
    got = [(await client.open("/", method="PURGE")).status_code for _ in range(2)]
    assert got == [200, 429]


@pytest.mark.parametrize("store", ["redis://localhost:6379/0", RedisStore, 5, object()])
def test_what_is_no_store_is_an_error(store: Any) -> None:
    with pytest.raises(ConfigurationError, match="is not a store; write store=RedisStore"):
        Limiter(store=store)


class Unhashable:
    """A function that equals others and has no hash."""

    def __init__(self) -> None:
        self.called = 0

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Unhashable)

    def __call__(self, limit: RequestLimit) -> str:
        self.called += 1
        return "slow"


@pytest.mark.parametrize("where", ["general", "own", "both"])
async def test_a_callback_without_a_hash_answers_once(where: str) -> None:
    callback, app = Unhashable(), Quart(__name__)
    limiter = Limiter(app=app, on_breach=None if where == "own" else callback)
    view(app, "/", limiter.limit("1/minute", on_breach=None if where == "general" else callback))
    assert await ask(app, "/", 2) == [200, 429]
    assert callback.called == 1


@pytest.mark.parametrize("answer", [("body", "abc"), ("a", "b", "c", "d"), 5])
async def test_what_no_view_may_answer_leaves_the_usual_answer(answer: Any) -> None:
    app = Quart(__name__)
    limiter = Limiter(app=app)
    view(app, "/", limiter.limit("1/minute", on_breach=lambda _: answer))
    assert await ask(app, "/", 2) == [200, 429]


@pytest.mark.parametrize(
    ("name", "given", "right"),
    [
        ("application_limits", Limit("1/day"), "ApplicationLimit"),
        ("application_limits", MetaLimit("1/day"), "ApplicationLimit"),
        ("meta_limits", Limit("1/day"), "MetaLimit"),
        ("meta_limits", ApplicationLimit("1/day"), "MetaLimit"),
        ("default_limits", MetaLimit("1/day"), "Limit"),
        ("in_memory_fallback", MetaLimit("1/day"), "Limit"),
    ],
)
def test_a_limit_of_another_kind_is_an_error_that_names_the_right_one(
    name: str, given: Limit, right: str
) -> None:
    """It counted each endpoint by itself where one count of all was meant."""
    with pytest.raises(ConfigurationError, match=rf"write {right}\(\.\.\.\)"):
        Limiter(app=Quart(__name__), **{name: [given]})


async def test_a_variable_that_does_not_equal_itself_is_unchanged() -> None:
    app = Quart(__name__)
    app.config["RATELIMIT_DEFAULT"] = float("nan")  # the argument decides
    Limiter(app=app, default_limits=["1/day"])
    view(app, "/")
    assert await ask(app, "/", 2) == [200, 429]
