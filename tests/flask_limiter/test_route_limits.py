"""Limits on views: what they count together, what apart, and what they cost."""

import asyncio
from functools import wraps
from typing import Any

import pytest
from quart import Quart, Response, current_app, g, request
from quart.views import MethodView, View

from quart_ratelimit import FixedWindow, Limiter, RouteLimit
from quart_ratelimit.stores import MemoryStore
from quart_ratelimit.util import get_remote_address

from ..support.apps import Clock, Make, ask, body, view


async def test_stacked_limits_count_for_different_keys(make: Make) -> None:
    app, limiter = make()
    everybody = limiter.limit("10 per minute", key_func=lambda: "everybody")
    view(app, "/", everybody, limiter.limit("5/minute"))
    assert await ask(app, "/", 6, who="ann") == [200] * 5 + [429]
    assert await ask(app, "/", 6, who="bob") == [200] * 5 + [429]
    assert await ask(app, "/", 1, who="eve") == [429]  # all ten are used


async def test_limits_in_one_text_all_hold(make: Make, clock: Clock) -> None:
    app, limiter = make()
    view(app, "/", limiter.limit("1/second; 2/minute"))
    assert await ask(app, "/", 2) == [200, 429]
    clock.forward(1)
    assert await ask(app, "/", 1) == [200]
    clock.forward(1)
    assert await ask(app, "/", 1) == [429]
    clock.forward(58)
    assert await ask(app, "/", 1) == [200]


async def test_a_window_starts_at_the_first_hit(make: Make, clock: Clock) -> None:
    app, limiter = make()
    view(app, "/", limiter.limit("1/minute"))
    assert await ask(app, "/", 1) == [200]
    clock.forward(59.999)
    assert await ask(app, "/", 1) == [429]
    clock.forward(0.001)
    assert await ask(app, "/", 1) == [200]


async def test_a_quota_may_stand_for_a_text(make: Make) -> None:
    app, limiter = make()
    view(app, "/", limiter.limit(FixedWindow(2, 60)))
    assert await ask(app, "/", 3) == [200, 200, 429]


async def test_a_refused_request_charges_no_other_limit(make: Make, clock: Clock) -> None:
    app, limiter = make()
    view(app, "/", limiter.limit("1/second"), limiter.limit("2/minute"))
    assert await ask(app, "/", 10) == [200] + [429] * 9
    clock.forward(1)
    assert await ask(app, "/", 1) == [200]


async def test_the_same_limit_twice_counts_once(make: Make) -> None:
    app, limiter = make()
    limited = view(app, "/", limiter.limit("2/minute"), limiter.limit("2/minute"))
    assert limiter.limit("2/minute")(limited) is limited
    assert await ask(app, "/", 3) == [200, 200, 429]


async def test_a_limit_added_to_a_limited_view_later_holds(make: Make) -> None:
    app, limiter = make()
    limited = view(app, "/", limiter.limit("5/minute"))
    assert await ask(app, "/", 1) == [200]
    limiter.limit("1/day", key_func=lambda: "everybody")(limited)
    assert await ask(app, "/", 2) == [200, 429]


async def test_a_scope_tells_counters_of_one_endpoint_apart(make: Make) -> None:
    app, limiter = make()
    limit = limiter.limit("1/minute", scope=lambda _: request.view_args["name"])
    view(app, "/t/<name>", limit, name="t")
    assert await ask(app, "/t/a", 2) == [200, 429]
    assert await ask(app, "/t/b", 2) == [200, 429]


async def test_views_with_one_shared_scope_have_one_counter(make: Make) -> None:
    app, limiter = make()
    a, b = (limiter.shared_limit("1/minute", scope=scope) for scope in "ab")
    for path, limit in (("/1", a), ("/2", a), ("/3", b)):
        view(app, path, limit)
    assert await ask(app, "/1", 1) == [200]
    assert await ask(app, "/3", 1) == [200]
    assert await ask(app, "/2", 1) == [429]


async def test_a_shared_scope_may_be_a_function_of_the_endpoint(make: Make) -> None:
    app, limiter = make()
    asked: list[str] = []

    async def scope(endpoint: str) -> str:
        asked.append(endpoint)
        return "both"

    limit = limiter.shared_limit("1/minute; 5/hour", scope=scope)
    view(app, "/one", limit)
    view(app, "/two", limit)
    assert await ask(app, "/one", 1) == [200]
    assert await ask(app, "/two", 1) == [429]
    assert asked == ["one", "two"]


async def test_the_limit_itself_may_be_a_function(make: Make, clock: Clock) -> None:
    app, limiter = make({"X": "2 per second"}, default_limits=["1/second"])

    async def by_client() -> str:
        return "3/minute" if request.remote_addr == "ann" else "1/minute"

    view(app, "/", limiter.limit(lambda: current_app.config["X"]), limiter.limit(by_client))
    assert await ask(app, "/", 3, who="ann") == [200, 200, 429]
    assert await ask(app, "/", 2, who="bob") == [200, 429]
    clock.forward(1)
    assert await ask(app, "/", 2, who="ann") == [200, 429]


@pytest.mark.parametrize("nothing", ["", None])
async def test_a_function_that_names_no_limit_limits_nothing(
    make: Make, caplog: pytest.LogCaptureFixture, nothing: str | None
) -> None:
    app, limiter = make()
    view(app, "/", limiter.limit(lambda: nothing))
    assert await ask(app, "/", 3) == [200, 200, 200]
    assert not caplog.records


@pytest.mark.parametrize("shared", [False, True])
async def test_exempt_when_lets_a_request_pass_uncounted(make: Make, shared: bool) -> None:
    app, limiter = make()
    exempt = False

    def limit(**keywords: Any) -> RouteLimit:
        if shared:
            return limiter.shared_limit("1 per day", "scope", **keywords)
        return limiter.limit("1 per day", **keywords)

    view(app, "/always", limit(exempt_when=lambda: True))
    view(app, "/sometimes", limit(exempt_when=lambda: exempt))
    assert await ask(app, "/always", 3) == [200, 200, 200]
    assert await ask(app, "/sometimes", 2) == [200, 429]
    exempt = True
    assert await ask(app, "/sometimes", 1) == [200]
    exempt = False
    assert await ask(app, "/sometimes", 1) == [429]


async def test_a_request_filter_frees_a_request_of_all_limits(make: Make) -> None:
    app, limiter = make(application_limits=["1/minute"], default_limits=["1/minute"])
    view(app, "/")
    view(app, "/limited", limiter.limit("1/minute"))

    @limiter.request_filter
    async def internal() -> bool:
        return request.headers.get("Internal") == "true"

    assert await ask(app, "/", 2) == [200, 429]
    assert await ask(app, "/", 3, Internal="true") == [200, 200, 200]
    assert await ask(app, "/limited", 3, Internal="true") == [200, 200, 200]


async def test_per_method_counts_each_method_apart(make: Make) -> None:
    app, limiter = make()
    view(app, "/", limiter.limit("1/minute", per_method=True), methods=["GET", "POST"])
    assert await ask(app, "/", 2) == [200, 429]
    assert await ask(app, "/", 2, method="POST") == [200, 429]


async def test_methods_limit_only_those_and_leave_the_others_to_the_defaults(make: Make) -> None:
    app, limiter = make(default_limits=["2/minute"])
    view(app, "/", limiter.limit("1/minute", methods=["get"]), methods=["GET", "POST"])
    assert await ask(app, "/", 2) == [200, 429]
    assert await ask(app, "/", 3, method="POST") == [200, 200, 429]


async def test_a_decorator_above_the_limit_runs_first(make: Make) -> None:
    app, limiter = make(default_limits=["1/minute"])

    def login(function: Any) -> Any:
        @wraps(function)
        async def logged_in(*args: Any, **kwargs: Any) -> Any:
            if "User" not in request.headers:
                return "who are you?", 401
            g.limit = "2/minute"
            return await function(*args, **kwargs)

        return logged_in

    def by_user() -> str:
        return request.headers["User"]

    view(app, "/", login, limiter.limit(lambda: g.limit, key_func=by_user))
    shared = limiter.shared_limit(lambda: g.limit, "shared", key_func=by_user)
    view(app, "/shared", login, shared)
    assert await ask(app, "/", 3) == [401, 429, 429]  # by the default
    assert await ask(app, "/", 3, User="ann") == [200, 200, 429]
    assert await ask(app, "/shared", 3, User="ann") == [200, 200, 429]


async def test_limits_above_and_below_another_decorator_all_hold(make: Make) -> None:
    app, limiter = make()

    def passing(function: Any) -> Any:
        @wraps(function)
        async def inner(*args: Any, **kwargs: Any) -> Any:
            return await function(*args, **kwargs)

        return inner

    view(app, "/", limiter.limit("5/minute"), passing, limiter.limit("2/hour"))
    assert await ask(app, "/", 3) == [200, 200, 429]


async def test_sync_views_are_limited(make: Make) -> None:
    app, limiter = make()

    @app.get("/")
    @limiter.limit("1/minute")
    def index() -> str:
        assert limiter.current_limit is not None
        return str(limiter.current_limit.remaining)

    assert await body(app, "/") == "0"
    assert await ask(app, "/", 1) == [429]


async def test_streaming_views_are_limited_and_bear_headers(make: Make) -> None:
    app, limiter = make(headers_enabled=True)

    @app.get("/")
    @limiter.limit("1/minute")
    async def index() -> Response:
        async def parts() -> Any:
            for part in "abc":
                await asyncio.sleep(0)
                yield part

        return Response(parts())

    answer = await app.test_client().get("/", scope_base={"client": ("ann", 1)})
    assert answer.headers["X-RateLimit-Remaining"] == "0"
    assert await answer.get_data(as_text=True) == "abc"
    assert await ask(app, "/", 1) == [429]


async def test_class_based_views_are_limited_by_their_decorators(make: Make, clock: Clock) -> None:
    app, limiter = make(default_limits=["1/hour"])

    class Plain(View):
        methods = ("GET", "POST")
        decorators = (limiter.limit("2/second"),)

        async def dispatch_request(self, **kwargs: Any) -> str:
            return request.method

    class Methods(MethodView):
        decorators = (limiter.limit("1/second, 2/minute"), limiter.limit("9/day", methods=["put"]))

        async def get(self) -> str:
            return "get"

        def put(self) -> str:
            return "put"

    class Free(MethodView):
        async def get(self) -> str:
            return "get"

    for path, kind in (("/plain", Plain), ("/methods", Methods), ("/free", Free)):
        app.add_url_rule(path, view_func=kind.as_view(path.strip("/")))
    assert await ask(app, "/plain", 2) == [200, 200]
    assert await ask(app, "/plain", 1, method="POST") == [429]
    assert await ask(app, "/methods", 2) == [200, 429]
    clock.forward(1)
    assert await ask(app, "/methods", 1, method="PUT") == [200]
    clock.forward(1)
    assert await ask(app, "/methods", 1) == [429]
    assert await ask(app, "/free", 2) == [200, 429]


async def test_a_route_limit_may_be_made_by_hand(make: Make, clock: Clock) -> None:
    app, limiter = make(default_limits=["1/second"])
    limits = (RouteLimit("9/second", limiter=limiter), RouteLimit("2/minute", limiter=limiter))
    view(app, "/", *limits)
    assert await ask(app, "/", 2) == [200, 429]  # it leaves the defaults in force
    clock.forward(1)
    assert await ask(app, "/", 1) == [200]
    clock.forward(1)
    assert await ask(app, "/", 1) == [429]


@pytest.mark.parametrize("cost", [2, lambda: 2])
@pytest.mark.parametrize("shared", [False, True])
async def test_a_request_may_cost_more(make: Make, cost: Any, shared: bool) -> None:
    app, limiter = make()
    if shared:
        limit = limiter.shared_limit("5/minute", "scope", cost=cost)
    else:
        limit = limiter.limit("5/minute", cost=cost)
    view(app, "/", limit)
    assert await ask(app, "/", 3) == [200, 200, 429]


async def test_a_cost_that_does_not_fit_takes_nothing(make: Make) -> None:
    app, limiter = make()
    view(app, "/", limiter.limit("5/minute", cost=lambda: int(request.headers["Cost"])))
    assert await ask(app, "/", 1, Cost="3") == [200]
    assert await ask(app, "/", 1, Cost="3") == [429]
    assert await ask(app, "/", 1, Cost="2") == [200]


async def test_two_limiters_on_one_app_both_hold(clock: Clock) -> None:
    app = Quart(__name__)
    one, two = (
        Limiter(get_remote_address, app=app, key_prefix=prefix, store=MemoryStore(now_ms=clock))
        for prefix in ("one", "two")
    )
    view(app, "/both", one.limit("3/minute"), two.limit("1/second"))
    view(app, "/two", two.limit("1/second"))
    assert await ask(app, "/two", 2) == [200, 429]
    assert await ask(app, "/both", 2) == [200, 429]  # the second one is charged by "one" alone
    clock.forward(1)
    assert await ask(app, "/both", 1) == [200]
    clock.forward(1)
    assert await ask(app, "/both", 1) == [429]
    clock.forward(58)
    assert await ask(app, "/both", 1) == [200]


@pytest.mark.parametrize(("prefixes", "statuses"), [("ab", [200, 200]), ("aa", [200, 429])])
async def test_a_key_prefix_keeps_apps_apart_on_one_store(
    clock: Clock, prefixes: str, statuses: list[int]
) -> None:
    store = MemoryStore(now_ms=clock)
    answers = []
    for prefix in prefixes:
        app = Quart(__name__)
        app.config["RATELIMIT_KEY_PREFIX"] = prefix
        limiter = Limiter(app=app, store=store)
        view(app, "/", limiter.limit("1/minute"))
        answers += await ask(app, "/", 1)
    assert answers == statuses


async def test_one_limiter_on_two_apps_keeps_each_apps_limits(clock: Clock) -> None:
    limiter = Limiter(default_limits=["1/second"], store=MemoryStore(now_ms=clock))
    first, second = Quart("first"), Quart("second")
    second.config["RATELIMIT_HEADERS_ENABLED"] = True
    limiter.init_app(first)
    limiter.init_app(second)
    view(first, "/ping", name="first_ping")
    view(second, "/ping", limiter.limit("2/second"), name="second_ping")
    assert await ask(first, "/ping", 2) == [200, 429]
    assert await ask(second, "/ping", 3) == [200, 200, 429]
    clock.forward(1)
    assert await ask(first, "/ping", 1) == [200]
    answers = [await app.test_client().get("/ping") for app in (first, second)]
    assert ["X-RateLimit-Limit" in answer.headers for answer in answers] == [False, True]


@pytest.mark.parametrize(
    ("strategy", "within_the_next_window"),
    [("fixed-window", [200, 200]), ("moving-window", [200, 429])],
)
async def test_a_strategy_decides_how_windows_move(
    make: Make, clock: Clock, strategy: str, within_the_next_window: list[int]
) -> None:
    app, limiter = make(strategy=strategy)
    view(app, "/", limiter.limit("2/minute"))
    assert await ask(app, "/", 1) == [200]
    clock.forward(59)
    assert await ask(app, "/", 2) == [200, 429]
    clock.forward(1)
    assert await ask(app, "/", 2) == within_the_next_window


async def test_concurrent_requests_get_exactly_the_amount(make: Make) -> None:
    app, limiter = make()
    view(app, "/", limiter.limit("7/minute"), limiter.limit("9/hour"))
    answers = await asyncio.gather(*[ask(app, "/", 1) for _ in range(50)])
    assert answers.count([200]) == 7


async def test_on_redis_as_in_memory(redis_url: str) -> None:
    app = Quart(__name__)
    limiter = Limiter(
        get_remote_address, app=app, storage_uri=redis_url, application_limits=["3/minute"]
    )
    view(app, "/", limiter.limit("2/minute; 5/day"))
    view(app, "/free")
    async with app.test_app():
        assert await ask(app, "/", 3) == [200, 200, 429]
        # The refused request had passed the application's limit when the view was called.
        assert await ask(app, "/free", 1) == [429]
        assert await ask(app, "/free", 1, who="bob") == [200]
        await limiter.reset()
        assert await ask(app, "/", 1) == [200]
