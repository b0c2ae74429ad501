"""Each row of "What is different" in docs/howto/migrating.md, shown on both libraries."""

from __future__ import annotations

import functools
import importlib
import logging
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ..support.serving import ROOT
from ..support.twins import OURS, THEIRS, Side, Sort

Show = Callable[[Sort], Awaitable[Any]]

#: What each row comes to: the start of its first cell, theirs, ours, and what shows it.
ROWS: list[tuple[str, Any, Any, Show]] = []

#: Rows that need a server, a command or a clock, and our tests of them.
ELSEWHERE = {
    "`deduct_when`, and the client goes away": "tests/direct/test_every_end.py",
    "`in_memory_fallback_enabled`, counts while": "tests/stores/test_knowledge.py",
    "Return from the fallback": "tests/stores/test_breaker.py",
    "The client's address behind a proxy": "tests/clients/test_proxies.py",
    "CLI": "tests/flask_limiter/test_cli.py",
    "Storages of `limits`": "tests/stores/redis/test_uris.py",
    "CORS preflights": "tests/responses/test_http.py",
    "A limit on an error handler": "tests/responses/test_http.py",
    "A limited function that `before_request` calls": "tests/responses/test_http.py",
}

AWAY = {"storage_uri": "redis://127.0.0.1:1/0"}


def row(start: str, theirs: Any, ours: Any) -> Callable[[Show], Show]:
    def keep(show: Show) -> Show:
        ROWS.append((start, theirs, ours, show))
        return show

    return keep


@row("Several limits, one refuses", 5, 7)
async def _(sort: Sort) -> Any:
    side = Side(sort, headers_enabled=True)
    shared = side.limiter.shared_limit("9/hour", scope="both")
    side.view("/a", side.limiter.limit("1/day"), shared)
    side.view("/b", shared)
    await side.ask("/a", 3)
    return await side.left("/b")


@row("Application limits of a view with limits of its own", 1, 1)
async def _(sort: Sort) -> Any:
    side = Side(sort, headers_enabled=True, application_limits=["5/day"])
    side.view("/a", side.limiter.limit("1/day"))
    side.view("/b")
    await side.ask("/a", 3)
    return await side.left("/b")


@row("`deduct_when`", [200, 200], [429, 200])
async def _(sort: Sort) -> Any:
    side = Side(sort)
    limit = side.limiter.limit("1/day", deduct_when=lambda response: response.status_code == 200)
    inner: list[int] = []

    def view() -> str:
        if not inner:
            inner.append(0)
            inner[:] = [side.app.test_client().get("/", headers={"X-Who": "ann"}).status_code]
        return "ok"

    async def view_later() -> str:
        if not inner:
            inner.append(0)
            inner[:] = await side.ask("/")
        return "ok"

    side.app.add_url_rule("/", "index", limit(view_later if sort.is_ours else view))
    outer = await side.ask("/")
    return [*inner, *outer]


@row("`deduct_when` returns neither", [200, 200], [200, 429])
async def _(sort: Sort) -> Any:
    side = Side(sort)
    side.view("/", side.limiter.limit("1/day", deduct_when=lambda _: None))
    return await side.ask("/", 2)


@row("`Limit(...)` in `application_limits`", [200, 200], "ConfigurationError")
async def _(sort: Sort) -> Any:
    try:
        side = Side(sort, application_limits=[sort.limiter.Limit("1/day")])
    except Exception as error:
        return type(error).__name__
    side.view("/a")
    side.view("/b")
    return [*await side.ask("/a"), *await side.ask("/b")]


@row("`deduct_when`, and another limit refuses", 2, 3)
async def _(sort: Sort) -> Any:
    side = Side(sort, headers_enabled=True)
    shared = side.limiter.shared_limit("5/hour", scope="both", deduct_when=lambda _: True)
    side.view("/a", side.limiter.limit("1/day"), shared)
    side.view("/b", shared)
    await side.ask("/a", 2)
    return await side.left("/b")


def _limits(side: Side, *decorators: Any) -> Any:
    def body() -> Any:
        return ", ".join(str(one.limit) for one in side.limiter.current_limits)

    side.view("/", *decorators, body=body)
    return side.text("/")


@row(
    "Limits are evaluated in order of",
    "9 per 90 second, 5 per 1 minute",
    "5 per 1 minute, 9 per 90 second",
)
async def _(sort: Sort) -> Any:
    side = Side(sort)
    return await _limits(side, side.limiter.limit("9 per 90 second; 5 per 1 minute"))


@row("`current_limits`", "2 per 1 hour", "5 per 1 day, 2 per 1 hour")
async def _(sort: Sort) -> Any:
    side = Side(sort, application_limits=["5/day"])
    return await _limits(side, side.limiter.limit("2/hour"))


async def _declared(sort: Sort, limit: Any, times: int = 2, **settings: Any) -> Any:
    try:
        side = Side(sort, **settings)
        side.view("/", side.limiter.limit(limit))
        return await side.ask("/", times)
    except Exception as error:
        return type(error).__name__


@row("A malformed limit, given as text", [200, 200], "InvalidLimit")
async def _(sort: Sort) -> Any:
    return await _declared(sort, "five a day")


@row("An empty text as a static limit", [200, 200], "InvalidLimit")
async def _(sort: Sort) -> Any:
    return await _declared(sort, "")


@row("A malformed limit, from a function", [200, 200], [429, 429])
async def _(sort: Sort) -> Any:
    return await _declared(sort, lambda: "five a day")


@row('`"0/minute"`', ([429], [429]), ("InvalidLimit", [429]))
async def _(sort: Sort) -> Any:
    return await _declared(sort, "0/minute", 1), await _declared(sort, lambda: "0/minute", 1)


@row('`methods=["GET"]`, and a HEAD request', [200, 200, 200], [200, 429, 429])
async def _(sort: Sort) -> Any:
    side = Side(sort)
    side.view("/", side.limiter.limit("1/day", methods=["GET"]))
    return [*await side.ask("/", 2, method="HEAD"), *await side.ask("/")]


@row("A limit above its route", [200, 200], "ConfigurationError")
async def _(sort: Sort) -> Any:
    side = Side(sort)
    kept = side.limiter.limit("1/day")(side.view("/"))
    try:
        found = await side.ask("/", 2)
    except Exception as error:
        found = type(error).__name__  # type: ignore[assignment]
    assert kept
    return "ConfigurationError" if found == [500, 500] else found


@row('`methods=["GTE"]`', [200, 200], [500, 500])
async def _(sort: Sort) -> Any:
    side = Side(sort)
    side.view("/", side.limiter.limit("1/day", methods=["GTE"]))
    return await side.ask("/", 2)


@row("A `RATELIMIT_*` variable that is set after `init_app`", [200, 200], [500, 500])
async def _(sort: Sort) -> Any:
    side = Side(sort)
    side.app.config["RATELIMIT_DEFAULT"] = "1/day"
    side.view("/")
    return await side.ask("/", 2)


@row("An error of your key function", [200, 429], [500, 500])
async def _(sort: Sort) -> Any:
    side = Side(sort, in_memory_fallback=["1/day"])
    failing = [True]

    def key() -> str:
        if failing:
            raise ZeroDivisionError
        return "ann"

    side.view("/", side.limiter.limit("5/day", key_func=key))
    return await side.ask("/", 2)


@row("Redis away, no switch set", [500, 500], [200, 429])
async def _(sort: Sort) -> Any:
    return await _declared(sort, "1/day", **AWAY)


@row("`swallow_errors=True`", [200, 200], [200, 200])
async def _(sort: Sort) -> Any:
    return await _declared(sort, "1/day", swallow_errors=True, **AWAY)


@row("A default limit, where a view calls limited helpers", [200, 200], [200, 429])
async def _(sort: Sort) -> Any:
    side = Side(sort, default_limits=["1/day"])
    side.calling("/", side.limiter.limit("9/day")(side.function(lambda: None)))
    await side.ask("/")
    return await side.ask("/?alone", 2, who="bob")


@row("A default limit, where a class-based view limits one", [200, 200], [200, 429])
async def _(sort: Sort) -> Any:
    side = Side(sort, default_limits=["1/day"])
    methods = {"get": side.function(lambda _: "got"), "post": side.function(lambda _: "made")}
    methods["get"].__name__ = methods["get"].__qualname__ = "get_only"
    methods["get"] = side.limiter.limit("9/day")(methods["get"])
    views = importlib.import_module(f"{sort.framework.__name__}.views")
    kind = type("Items", (views.MethodView,), methods)
    side.app.add_url_rule("/", view_func=kind.as_view("items"))
    await side.ask("/")
    return await side.ask("/", 2, method="POST")


@row("A default limit, where a view has an overriding limit for", [200, 200], [200, 429])
async def _(sort: Sort) -> Any:
    side = Side(sort, default_limits=["1/day"])
    limit = side.limiter.limit
    side.view("/", limit("5/day", methods=["GET"]), limit("9/day", override_defaults=False))
    return await side.ask("/", 2, method="POST")


@row("A helper with `override_defaults=False`", [200, 429], [200, 200])
async def _(sort: Sort) -> Any:
    side = Side(sort, default_limits=["1/day"])
    helper = side.limiter.limit("9/day", override_defaults=False)(side.function(lambda: None))
    side.calling("/", helper, side.limiter.limit("8/day"))
    return await side.ask("/", 2)


async def _in_blueprint(side: Side, *, outer: bool = False) -> list[int]:
    blueprint = side.sort.framework.Blueprint("shop", "shop")
    inner = side.sort.framework.Blueprint("inner", "inner")
    if outer:
        side.limiter.limit("1/day")(blueprint)
        side.limiter.limit("9/day", methods=["GET"])(inner)
        side.view("/", on=inner)
        blueprint.register_blueprint(inner)
    else:
        side.limiter.limit("1/day")(blueprint)
        side.view("/", side.limiter.limit("9/day", methods=["GET"]), on=blueprint)
    side.app.register_blueprint(blueprint)
    return await side.ask("/", 2, method="POST")


@row("A blueprint's limits, where a view calls limited helpers", [200, 429], [200, 200])
async def _(sort: Sort) -> Any:
    side = Side(sort)
    blueprint = sort.framework.Blueprint("shop", "shop")
    side.limiter.limit("2/day")(blueprint)
    helper = side.limiter.limit("9/day", override_defaults=False)(side.function(lambda: None))
    side.calling("/", helper, on=blueprint)
    side.app.register_blueprint(blueprint)
    return await side.ask("/", 2)


@row("A blueprint's limits, where the view's limit is for", [200, 200], [200, 429])
async def _(sort: Sort) -> Any:
    return await _in_blueprint(Side(sort))


@row("An outer blueprint's limits", [200, 200], [200, 429])
async def _(sort: Sort) -> Any:
    return await _in_blueprint(Side(sort), outer=True)


@row("`in_memory_fallback=[Limit(…)]`", [500, 500], [200, 429])
async def _(sort: Sort) -> Any:
    fallback = [sort.limiter.Limit("1/day")]
    return await _declared(sort, "5/day", in_memory_fallback=fallback, **AWAY)


async def _refusal(sort: Sort, **settings: Any) -> Any:
    side = Side(sort, **settings)
    side.view("/", side.limiter.limit("1/day"))
    await side.ask("/")
    return await side.answer("/")


@row("`Retry-After`", False, True)
async def _(sort: Sort) -> Any:
    return "Retry-After" in (await _refusal(sort)).headers


@row("`Cache-Control` of a 429", None, "no-store")
async def _(sort: Sort) -> Any:
    return (await _refusal(sort)).headers.get("Cache-Control")


@row("`on_breach` returns a text", "1 per 1 day", "mine")
async def _(sort: Sort) -> Any:
    answer = await _refusal(sort, on_breach=lambda _: "mine")
    text = answer.get_data(as_text=True)
    text = await text if sort.is_ours else text
    return text if text == "mine" else "1 per 1 day" * ("1 per 1 day" in text)


@row("Two limiters in one app, and response fields", 2, 1)
async def _(sort: Sort) -> Any:
    side = Side(sort, headers_enabled=True)
    more: dict[str, Any] = {"doctor": False} if sort.is_ours else {"storage_uri": "memory://"}
    other = sort.limiter.Limiter(lambda: "all", app=side.app, headers_enabled=True, **more)
    side.view("/", side.limiter.limit("5/day"), other.limit("9/day"))
    return len((await side.answer("/")).headers.getlist("X-RateLimit-Limit"))


@row("`deduct_when`, and another limiter of the app refuses", 2, 3)
async def _(sort: Sort) -> Any:
    side = Side(sort, headers_enabled=True)
    more: dict[str, Any] = {"doctor": False} if sort.is_ours else {"storage_uri": "memory://"}
    other = sort.limiter.Limiter(lambda: "all", app=side.app, **more)
    shared = side.limiter.shared_limit("5/day", scope="both", deduct_when=lambda _: True)
    side.view("/a", shared, other.limit("1/day"))
    side.view("/b", shared)
    await side.ask("/a", 2)
    return await side.left("/b")


@row("`RateLimitExceeded.retry_after`", "NoneType", "int")
async def _(sort: Sort) -> Any:
    side = Side(sort)
    kinds: list[str] = []

    def handler(error: Any) -> Any:
        kinds.append(type(error.retry_after).__name__)
        return "slow", 429

    side.app.register_error_handler(429, handler)
    side.view("/", side.limiter.limit("1/day"))
    await side.ask("/", 2)
    return kinds[0]


@row("`RATELIMIT_KEY_FUNC`", [500, 500], [200, 200])
async def _(sort: Sort) -> Any:
    side = Side(sort)
    side.app.config["RATELIMIT_KEY_FUNC"] = lambda: side.request.headers["X-User"]
    more: dict[str, Any] = {"doctor": False} if sort.is_ours else {"storage_uri": "memory://"}
    limiter = sort.limiter.Limiter(None, app=side.app, **more)
    side.view("/", limiter.limit("1/day"))
    return [*await side.ask("/", X_User="x"), *await side.ask("/", X_User="y")]


@row("`key_func`", "TypeError", "Limiter")
async def _(sort: Sort) -> Any:
    try:
        return type(sort.limiter.Limiter()).__name__
    except TypeError as error:
        return type(error).__name__


@row("`key_prefix`", False, True)
async def _(sort: Sort) -> Any:
    side = Side(sort, key_prefix="mine", meta_limits=["9/hour"])
    side.view("/", side.limiter.limit("1/day"))
    await side.ask("/", 3)
    return all("mine" in key for key in side.stored_keys())


@row("Keys in the store", ["LIMITER/a|b/index/1/1/day"], ["{a%7Cb}|index"])
async def _(sort: Sort) -> Any:
    side = Side(sort)
    side.view("/", side.limiter.limit("1/day"))
    await side.ask("/", who="a|b")
    return side.stored_keys()


@row("A key of `0`", [200, 200], [200, 429])
async def _(sort: Sort) -> Any:
    return await _declared(sort, "1/day", key_func=lambda: 0)


@row("A key function that returns `None`, an empty text", [200, 200], [200, 429])
async def _(sort: Sort) -> Any:
    return await _declared(sort, "1/day", key_func=lambda: None)


@row("A function that takes other arguments", [200, 500], "ConfigurationError")
async def _(sort: Sort) -> Any:
    return await _declared(sort, "1/day", on_breach=lambda: None)


@row("`request_identifier`", [200, 429], [200, 200])
async def _(sort: Sort) -> Any:
    settings = {"default_limits": ["1/day"], "request_identifier": lambda: "all"}
    return await _declared(sort, "5/day", **settings)


@row("`MetaLimit` without a `key_function`", [429], [200])
async def _(sort: Sort) -> Any:
    side = Side(sort)
    user = lambda: side.request.headers["X-User"]  # noqa: E731
    metas = [sort.limiter.MetaLimit("1/day")]
    side.view("/", side.limiter.limit("1/day", key_func=user, meta_limits=metas))
    await side.ask("/", 2, X_User="x")
    return await side.ask("/", X_User="y")


@row("The same limit twice in one request", [200, 429], [200, 200])
async def _(sort: Sort) -> Any:
    side = Side(sort)
    limit = side.limiter.limit
    side.view("/", limit("2/day"), limit("2/day", error_message="slow"))
    return await side.ask("/", 2)


@row("`MetaLimit(cost=…)`", [False, False, False], [False, False, True])
async def _(sort: Sort) -> Any:
    side = Side(sort)
    metas = [sort.limiter.MetaLimit("4/day", cost=2)]
    side.view("/", side.limiter.limit("1/day", meta_limits=metas))
    await side.ask("/")
    return ["4 per 1 day" in await side.text("/") for _ in range(3)]


@row("META exemption", [429], [200])
async def _(sort: Sort) -> Any:
    side = Side(sort, meta_limits=["1/day"])
    blueprint = sort.framework.Blueprint("free", "free")
    side.limiter.exempt(blueprint, flags=sort.limiter.ExemptionScope.META)
    side.view("/free", side.limiter.limit("1/day"), on=blueprint)
    side.app.register_blueprint(blueprint)
    side.view("/", side.limiter.limit("5/day"))
    assert await side.ask("/free", 3) == [200, 429, 429]
    return await side.ask("/")


@row("`meta_limits` of a blueprint's limit", "1 per 1 day", "1 per 1 hour")
async def _(sort: Sort) -> Any:
    side = Side(sort)
    blueprint = sort.framework.Blueprint("shop", "shop")
    side.limiter.limit("1/day", meta_limits=["1/hour"])(blueprint)
    side.view("/", on=blueprint)
    side.app.register_blueprint(blueprint)
    await side.ask("/", 2)
    text = await side.text("/")
    return next(one for one in ("1 per 1 day", "1 per 1 hour") if one in text)


@row("Limits of an endpoint that calls limited helpers, exempt", [200, 429], [200, 200])
async def _(sort: Sort) -> Any:
    side = Side(sort, default_limits=["1/day"])
    helper = side.limiter.limit("9/day", override_defaults=False)(side.function(lambda: None))
    side.calling("/", helper, side.limiter.exempt)
    await side.ask("/", who="bob")
    return await side.ask("/", 2)


@row("`limiter.exempt` and limits", [200, 200], [200, 429])
async def _(sort: Sort) -> Any:
    side = Side(sort, default_limits=["1/day"])
    for path in ("/a", "/b"):
        view = side.function(lambda: "ok")
        view.__name__ = view.__qualname__ = "same"
        if path == "/a":
            view = side.limiter.exempt(view)
        side.app.add_url_rule(path, path.strip("/"), view)
    return await side.ask("/b", 2)


@row("`exempt_when`, a request filter or `shadow=` returns", [200, 200], [200, 429])
async def _(sort: Sort) -> Any:
    side = Side(sort)
    side.view("/", side.limiter.limit("1/day", exempt_when=lambda: "false"))
    return (await side.ask("/", 1)) + (await side.ask("/", 1))


@row("`limiter.exempt(flags=…)` on a view with a limit", [200, 200], [200, 429])
async def _(sort: Sort) -> Any:
    side = Side(sort, default_limits=["9/day"])
    exempt = side.limiter.exempt(flags=sort.limiter.ExemptionScope.DEFAULT)
    side.view("/", exempt, side.limiter.limit("1/day"))
    return await side.ask("/", 2)


def _rejecting(sort: Sort) -> Any:
    """A decorator that answers every request itself."""

    def decorate(view: Any) -> Any:
        def rejected() -> Any:
            return "who are you?", 401

        async def later() -> Any:
            return rejected()

        return functools.wraps(view)(later if sort.is_ours else rejected)

    return decorate


@row("Two limits on one view with a decorator between", [401, 401, 401], [401, 401, 429])
async def _(sort: Sort) -> Any:
    side = Side(sort)
    side.view("/", side.limiter.limit("2/day"), _rejecting(sort), side.limiter.limit("9/day"))
    return await side.ask("/", 3)


@row(
    "A request that ends before its view's only limit",
    [[401] * 3, [401] * 3, [200] * 3],
    [[401, 429, 429], [401, 401, 429], [200, 429, 429]],
)
async def _(sort: Sort) -> Any:
    side = Side(sort, default_limits=["1/day"])
    blueprint = sort.framework.Blueprint("blue", "blue", url_prefix="/blue")
    side.limiter.limit("2/day")(blueprint)
    side.view("/own", _rejecting(sort), side.limiter.limit("9/day"))
    side.view("/of", _rejecting(sort), side.limiter.limit("9/day"), on=blueprint)
    side.view("/plain", side.limiter.limit("9/day"))
    side.app.register_blueprint(blueprint)
    return [
        await side.ask("/own", 3),
        await side.ask("/blue/of", 3),
        await side.ask("/plain", 3, method="OPTIONS"),
    ]


@row("One limiter in two apps", [200, 429], [200, 200])
async def _(sort: Sort) -> Any:
    side = Side(sort, default_limits=[])
    first, second = sort.App("first"), sort.App("second")
    first.config["RATELIMIT_DEFAULT"] = "1/day"
    second.config["RATELIMIT_DEFAULT"] = "5/day"
    more: dict[str, Any] = {"doctor": False} if sort.is_ours else {"storage_uri": "memory://"}
    side.limiter = sort.limiter.Limiter(lambda: "all", **more)
    for side.app in (first, second):
        side.limiter.init_app(side.app)
        side.view("/")
    side.app = second
    return await side.ask("/", 2)


@row("A limiter never bound to an app", [200, 200], [200, 200])
async def _(sort: Sort) -> Any:
    side = Side(sort)
    unbound = sort.limiter.Limiter(lambda: "all")
    side.view("/", unbound.limit("1/day"))
    return await side.ask("/", 2)


@row("Log of a breach", True, False)
async def _(sort: Sort) -> Any:
    side = Side(sort)
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    logger, level = side.limiter.logger, side.limiter.logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        side.view("/", side.limiter.limit("1/day"))
        await side.ask("/", 2, who="ann-by-name")
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    return any("ann-by-name" in record.getMessage() for record in records)


@row('"In-memory storage" warning', 1, 0)
async def _(sort: Sort) -> Any:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sort.limiter.Limiter(lambda: "all", app=sort.App("warned"))
    return len(caught)


@row("Logger", "flask-limiter", "quart_ratelimit")
async def _(sort: Sort) -> Any:
    return Side(sort).limiter.logger.name


@row("Requests that match no route", [404, 404], [404, 429])
async def _(sort: Sort) -> Any:
    more = {"limit_unmatched": True} if sort.is_ours else {}
    return await Side(sort, default_limits=["1/day"], **more).ask("/nowhere", 2)


@row("An IPv6 client", [200, 200], [200, 429])
async def _(sort: Sort) -> Any:
    key = None if sort.is_ours else sort.limiter.util.get_remote_address
    side = Side(sort, key_func=key)
    side.view("/", side.limiter.limit("1/day"))
    found = []
    for number in (1, 2):
        address = f"2001:db8::{number}"
        if sort.is_ours:
            answer = await side.app.test_client().get("/", scope_base={"client": (address, 1)})
        else:
            base = {"REMOTE_ADDR": address}
            answer = side.app.test_client().get("/", environ_overrides=base)
        found.append(answer.status_code)
    return found


@row("`limiter.limit_manager`, `limiter.context`", True, False)
async def _(sort: Sort) -> Any:
    return hasattr(Side(sort).limiter, "limit_manager")


@row("`get_remote_address_cloudflare`", [200, 429, 200], [200, 429, 200])
async def _(sort: Sort) -> Any:
    util = importlib.import_module(f"{sort.limiter.__name__}.contrib.util")
    side = Side(sort, key_func=util.get_remote_address_cloudflare)
    side.view("/", side.limiter.limit("1/day"))
    names = ("192.0.2.1", "192.0.2.1", "192.0.2.2")
    return [(await side.answer("/", CF_Connecting_IP=name)).status_code for name in names]


@pytest.mark.filterwarnings("ignore:Using the in-memory storage")
@pytest.mark.parametrize("number", range(len(ROWS)), ids=[start for start, *_ in ROWS])
async def test_a_row_is_what_both_libraries_do(number: int) -> None:
    _, theirs, ours, show = ROWS[number]
    assert (await show(THEIRS), await show(OURS)) == (theirs, ours)


def test_every_row_of_the_table_is_shown() -> None:
    text = (ROOT / "docs" / "howto" / "migrating.md").read_text("utf-8")
    table = text.partition("### What is different, and why")[2].partition("\nThe limiter calls")[0]
    cells = [line.split(" | ")[0].removeprefix("| ") for line in table.splitlines()[4:] if line]
    starts = [*(start for start, *_ in ROWS), *ELSEWHERE]
    assert [cell for cell in cells if not cell.startswith(tuple(starts))] == []
    assert [start for start in starts if not any(cell.startswith(start) for cell in cells)] == []
    for place in ELSEWHERE.values():
        assert (ROOT / place).exists()
