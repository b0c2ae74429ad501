"""A request that ends before its view's own limits is under those that they would have replaced."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import pytest
from quart import (
    Blueprint,
    abort,
    request,
    stream_with_context,
)
from quart.views import MethodView, View

from quart_ratelimit import ExemptionScope, Limit, Limiter
from quart_ratelimit.stores import MemoryStore
from quart_ratelimit.util import get_remote_address

from ..support.apps import Make, ask, clock, make, view
from ..support.logins import login

__all__ = ["clock", "make"]  # fixtures

#: A request that says who sends it.
KNOWN = {"User": "ann"}
DEFAULTS = ["2/minute"]


def returning(function: Callable[..., Any]) -> Callable[..., Any]:
    """A login that returns its answer."""

    @wraps(function)
    async def checked(*args: Any, **kwargs: Any) -> Any:
        if "User" not in request.headers:
            return {"error": "who?"}, 401
        return await function(*args, **kwargs)

    return checked


def sync_login(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs) if "User" in request.headers else ("who?", 401)

    return checked


def of_a_view(app: Any, limiter: Limiter) -> None:
    view(app, "/", login, limiter.limit("100/minute"))


def that_returns(app: Any, limiter: Limiter) -> None:
    view(app, "/", returning, limiter.limit("100/minute"))


def of_a_sync_view(app: Any, limiter: Limiter) -> None:
    @app.get("/")
    @sync_login
    @limiter.limit("100/minute")
    def index() -> str:
        return "ok"


def of_two_limits(app: Any, limiter: Limiter) -> None:
    one, other = limiter.limit("99/minute", override_defaults=False), limiter.limit("100/minute")
    view(app, "/", login, one, other)


def of_a_shared_limit(app: Any, limiter: Limiter) -> None:
    view(app, "/", login, limiter.shared_limit("100/minute", "all"))


def of_a_limit_by_a_function(app: Any, limiter: Limiter) -> None:
    view(app, "/", login, limiter.limit(lambda: "100/minute"))


def of_a_class(app: Any, limiter: Limiter) -> None:
    class Index(View):
        decorators = [limiter.limit("100/minute"), login]  # noqa: RUF012

        async def dispatch_request(self) -> str:
            return "ok"

    app.add_url_rule("/", view_func=Index.as_view("index"))


def of_a_method(app: Any, limiter: Limiter) -> None:
    class Index(MethodView):
        decorators = [login]  # noqa: RUF012

        @limiter.limit("100/minute")
        async def get(self) -> str:
            return "ok"

    app.add_url_rule("/", view_func=Index.as_view("index"))


def of_a_later_hook(app: Any, limiter: Limiter) -> None:
    @app.before_request
    async def check() -> tuple[str, int] | None:
        return None if "User" in request.headers else ("who?", 401)

    view(app, "/", limiter.limit("100/minute"))


PLACES = [
    of_a_view, that_returns, of_a_sync_view, of_two_limits, of_a_shared_limit,
    of_a_limit_by_a_function, of_a_class, of_a_method, of_a_later_hook,
]  # fmt: skip
OPTIONS: dict[str, dict[str, Any]] = {
    "defaults alone": {},
    "with an application limit": {"application_limits": ["1000/hour"]},
    "with a meta limit": {"meta_limits": ["1000/hour"]},
    "every limit is evaluated": {"fail_on_first_breach": False},
    "the answer decides": {"default_limits_deduct_when": lambda response: True},
    "by a function": {"default_limits": [lambda: "2/minute"]},
    "per method": {"default_limits_per_method": True},
    "with an identifier": {"request_identifier": lambda: "page"},
    "one more in shadow": {"default_limits": [Limit("1/minute", shadow=True), Limit("2/minute")]},
}


@pytest.mark.parametrize("declare", PLACES)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))
async def test_the_defaults_count_what_a_login_above_the_limit_rejects(
    make: Make, declare: Callable[[Any, Limiter], None], options: dict[str, Any]
) -> None:
    app, limiter = make(**{"default_limits": DEFAULTS, **options})
    declare(app, limiter)
    assert await ask(app, "/", 3, **KNOWN) == [200] * 3
    assert await ask(app, "/", 4) == [401, 401, 429, 429]
    assert await ask(app, "/", 3, **KNOWN) == [200] * 3  # their own limit replaces the defaults
    assert await ask(app, "/", 1, who="bob") == [401]


@pytest.mark.parametrize("declare", PLACES[:-1])
async def test_so_do_the_limits_of_its_blueprint(
    make: Make, declare: Callable[[Any, Limiter], None]
) -> None:
    app, limiter = make(default_limits=["1/minute"])
    blueprint = Blueprint("shop", __name__)
    limiter.limit("2/minute")(blueprint)  # it replaces the defaults
    declare(blueprint, limiter)
    app.register_blueprint(blueprint)
    assert await ask(app, "/", 3, **KNOWN) == [200] * 3
    assert await ask(app, "/", 4) == [401, 401, 429, 429]
    assert await ask(app, "/", 3, **KNOWN) == [200] * 3


async def test_a_limit_above_the_login_that_adds_has_charged_them_already(make: Make) -> None:
    app, limiter = make(default_limits=["2/minute"])
    adding = limiter.limit("9/minute", override_defaults=False)
    view(app, "/", adding, login, limiter.limit("100/minute"))
    assert await ask(app, "/", 3) == [401, 401, 429]


async def test_a_limit_above_the_login_that_replaces_them_leaves_them_alone(make: Make) -> None:
    app, limiter = make(default_limits=["1/minute"])
    view(app, "/", limiter.limit("3/minute"), login, limiter.limit("100/minute"))
    assert await ask(app, "/", 4) == [401, 401, 401, 429]


async def test_a_limited_helper_of_the_login_replaces_them(make: Make) -> None:
    app, limiter = make(default_limits=["1/minute"])

    @limiter.limit("3/minute")
    async def reject() -> tuple[str, int]:
        return "who?", 401

    def rejecting(function: Any) -> Any:
        @wraps(function)
        async def checked() -> Any:
            return await reject()

        return checked

    view(app, "/", rejecting, limiter.limit("100/minute"))
    assert await ask(app, "/", 4) == [401, 401, 401, 429]


async def test_a_stream_that_is_limited_after_all_gives_them_back(make: Make) -> None:
    app, limiter = make(default_limits=["1/minute"])

    @limiter.limit("100/minute")
    async def piece() -> str:
        return "piece"

    def streaming(function: Any) -> Any:
        @wraps(function)
        async def answer() -> Any:
            @stream_with_context
            async def body() -> Any:
                yield await piece()

            return body()

        return answer

    view(app, "/", streaming, limiter.limit("9/minute"))
    assert await ask(app, "/", 3) == [200, 200, 200]


async def test_options_that_quart_answers_is_under_the_defaults(make: Make) -> None:
    app, limiter = make(default_limits=DEFAULTS)
    view(app, "/", limiter.limit("100/minute"))
    assert await ask(app, "/", 3, method="OPTIONS") == [200, 200, 429]
    assert await ask(app, "/", 3) == [200] * 3


async def test_a_view_that_fails_before_its_limit_is_under_the_defaults(make: Make) -> None:
    app, limiter = make(default_limits=DEFAULTS)

    def failing(function: Any) -> Any:
        @wraps(function)
        async def checked() -> Any:
            raise LookupError

        return checked

    view(app, "/", failing, limiter.limit("100/minute"))
    assert await ask(app, "/", 3) == [500, 500, 429]


@pytest.mark.parametrize("flags", ["all", "defaults", "blueprint", "filter", "preflight"])
async def test_what_is_free_stays_free(make: Make, flags: str) -> None:
    app, limiter = make(default_limits=["1/minute"])
    blueprint = Blueprint("shop", __name__)
    decorators: list[Any] = [login, limiter.limit("100/minute")]
    if flags == "all":
        decorators.insert(0, limiter.exempt)
    elif flags == "defaults":
        decorators.insert(0, lambda one: limiter.exempt(one, flags=ExemptionScope.DEFAULT))
    elif flags == "blueprint":
        limiter.exempt(blueprint, flags=ExemptionScope.DEFAULT)
    elif flags == "filter":
        limiter.request_filter(lambda: True)
    view(blueprint, "/", *decorators)
    app.register_blueprint(blueprint)
    if flags == "preflight":
        fields = {"Access-Control-Request-Method": "GET", "Origin": "https://shop.example"}
        assert await ask(app, "/", 3, method="OPTIONS", **fields) == [200] * 3
    else:
        assert await ask(app, "/", 3) == [401] * 3


@pytest.mark.parametrize("how", ["enabled", "variable", "paused", "in the request"])
async def test_nothing_is_charged_while_the_limiter_is_off(make: Make, how: str) -> None:
    app, limiter = make(default_limits=["1/minute"])

    def switching(function: Any) -> Any:
        @wraps(function)
        async def checked() -> Any:
            limiter.enabled = False
            abort(401)

        return checked

    view(app, "/", switching if how == "in the request" else login, limiter.limit("100/minute"))
    limiter.enabled = how != "enabled"
    app.config["RATELIMIT_ENABLED"] = how != "variable"
    if how == "paused":
        with limiter.paused():
            assert await ask(app, "/", 3) == [401] * 3
    else:
        assert await ask(app, "/", 3) == [401] * 3


@pytest.mark.parametrize("first", [False, True])
async def test_each_limiter_of_an_app_charges_its_own(make: Make, first: bool) -> None:
    app, limiter = make(default_limits=["5/minute"])
    other = Limiter(get_remote_address, app=app, store=MemoryStore(), default_limits=DEFAULTS)
    view(app, "/", login, (limiter if first else other).limit("100/minute"))
    assert await ask(app, "/", 3) == [401, 401, 429]
    assert await ask(app, "/", 1, **KNOWN) == [429 if first else 200]
