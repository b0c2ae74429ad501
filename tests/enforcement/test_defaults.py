"""Default limits apply in each request in which no limit that replaces them was evaluated."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quart import Quart, request
from quart.views import MethodView, View

from quart_ratelimit import Limiter
from quart_ratelimit.stores import MemoryStore
from quart_ratelimit.util import get_remote_address

from ..support.apps import Clock, Make, ask, clock, make

__all__ = ["clock", "make"]  # fixtures

DEFAULTS = ["3/minute"]


def method_view(limiter: Limiter) -> Any:
    class Orders(MethodView):
        @limiter.limit("100/minute")
        async def get(self) -> str:
            return "list"

        async def post(self) -> str:
            return "made"

    return Orders.as_view("orders")


def helper(limiter: Limiter) -> Any:
    @limiter.limit("100/minute")
    async def limited() -> str:
        return "helped"

    async def orders() -> str:
        return await limited() if request.method == "GET" else "made"

    return orders


def block(limiter: Limiter) -> Any:
    async def orders() -> str:
        if request.method == "GET":
            async with limiter.limit("100/minute"):
                return "list"
        return "made"

    return orders


def dynamic_helper(limiter: Limiter) -> Any:
    @limiter.limit(lambda: "100/minute" if request.method == "GET" else "")
    async def limited() -> str:
        return "helped"

    async def orders() -> str:
        return await limited()

    return orders


KINDS = [method_view, helper, block, dynamic_helper]
Kind = Callable[[Limiter], Any]


def built(kind: Kind, **options: Any) -> Quart:
    app = Quart("orders")
    now = Clock()
    limiter = Limiter(
        get_remote_address, app=app, store=MemoryStore(now_ms=now), doctor=False, **options
    )
    app.add_url_rule("/", "orders", kind(limiter), methods=["GET", "POST"])
    return app


@pytest.mark.parametrize("kind", KINDS)
async def test_what_another_client_does_switches_no_default_off(kind: Kind) -> None:
    app = built(kind, default_limits=DEFAULTS)
    assert await ask(app, "/", 5, method="POST") == [200, 200, 200, 429, 429]
    assert await ask(app, "/", 1, who="bob") == [200]
    assert await ask(app, "/", 2, method="POST") == [429, 429]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, deadline=None)
@given(orders=st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["GET", "POST"]))))
async def test_a_default_counts_exactly_the_requests_without_another_limit(
    kind: Kind, orders: list[tuple[str, str]]
) -> None:
    app = built(kind, default_limits=DEFAULTS)
    posts = {"a": 0, "b": 0}
    for who, method in orders:
        counted = method == "POST"
        spent = posts[who] >= 3
        # A view that calls a limited helper is not known to do so before it runs.
        refused = spent and (counted or kind is not method_view)
        (status,) = await ask(app, "/", 1, method=method, who=who)
        assert status == (429 if refused else 200)
        posts[who] += counted and not refused


@pytest.mark.parametrize("kind", KINDS)
async def test_the_limit_that_replaces_the_defaults_is_reported_from_the_first_response(
    kind: Kind,
) -> None:
    app = built(kind, default_limits=DEFAULTS, headers_enabled=True)
    for left in (99, 98):
        response = await app.test_client().get("/")
        assert response.headers.getlist("X-RateLimit-Limit") == ["100"]
        assert response.headers.getlist("X-RateLimit-Remaining") == [str(left)]
    response = await app.test_client().post("/")
    assert response.headers.getlist("X-RateLimit-Limit") == ["3"]
    assert response.headers.getlist("X-RateLimit-Remaining") == ["2"]


@pytest.mark.parametrize("option", [{}, {"default_limits_deduct_when": lambda _: True}])
async def test_a_default_that_was_replaced_is_given_back_once(option: dict[str, Any]) -> None:
    app = built(helper, default_limits=DEFAULTS, **option)
    assert await ask(app, "/", 2, method="POST") == [200, 200]
    assert await ask(app, "/", 5) == [200] * 5
    assert await ask(app, "/", 2, method="POST") == [200, 429]


async def test_a_refusal_by_the_limit_that_replaces_a_default_leaves_the_default_uncharged(
    make: Make,
) -> None:
    app, limiter = make(default_limits=["2/minute"])

    @limiter.limit("1/minute")
    async def limited() -> str:
        return "helped"

    @app.route("/", methods=["GET", "POST"])
    async def index() -> str:
        return await limited() if request.method == "GET" else "plain"

    assert await ask(app, "/", 4) == [200, 429, 429, 429]
    assert await ask(app, "/", 3, method="POST") == [200, 200, 429]


async def test_a_default_stays_charged_where_the_other_limit_was_not_evaluated(make: Make) -> None:
    app, limiter = make(default_limits=["2/minute"])

    @limiter.limit("1/minute", exempt_when=lambda: True)
    async def exempt() -> str:
        return "exempt"

    @limiter.limit("1/minute", methods=["POST"])
    async def for_posts() -> str:
        return "for posts"

    @app.get("/")
    async def index() -> str:
        return await exempt() + await for_posts()

    assert await ask(app, "/", 3) == [200, 200, 429]


async def test_a_helper_that_adds_to_the_defaults_leaves_them_in_force(make: Make) -> None:
    app, limiter = make(default_limits=["2/minute"])

    @limiter.limit("100/minute", override_defaults=False)
    async def adding() -> str:
        return "added"

    @app.get("/")
    async def index() -> str:
        return await adding()

    assert await ask(app, "/", 3) == [200, 200, 429]


@pytest.mark.parametrize("first", ["adding", "replacing"])
async def test_the_order_of_helpers_in_a_request_does_not_matter(make: Make, first: str) -> None:
    app, limiter = make(default_limits=["1/minute"])

    @limiter.limit("100/minute", override_defaults=False)
    async def adding() -> str:
        return "added"

    @limiter.limit("100/hour")
    async def replacing() -> str:
        return "replaced"

    @app.get("/")
    async def index() -> str:
        helpers = [adding, replacing] if first == "adding" else [replacing, adding]
        return "".join([await one() for one in helpers])

    assert await ask(app, "/", 3) == [200, 200, 200]


async def test_a_limit_for_some_methods_beside_one_that_adds_leaves_the_defaults(
    make: Make,
) -> None:
    app, limiter = make(default_limits=["2/minute"])

    @app.route("/", methods=["GET", "POST"])
    @limiter.limit("100/minute", methods=["GET"])
    @limiter.limit("50/minute", override_defaults=False)
    async def index() -> str:
        return "here"

    assert await ask(app, "/", 3) == [200, 200, 200]
    assert await ask(app, "/", 3, method="POST") == [200, 200, 429]


@pytest.mark.parametrize("overridden", [False, True])
async def test_a_class_based_views_limited_dispatch_replaces_the_defaults(
    make: Make, overridden: bool
) -> None:
    app, limiter = make(default_limits=["1/minute"], headers_enabled=True)
    parent: Any = MethodView if overridden else View

    class Index(parent):  # type: ignore[misc]
        @limiter.limit("2/minute")
        async def dispatch_request(self) -> str:
            return "here"

        @limiter.limit("9/minute")
        async def get(self) -> str:
            return "never called"

    app.add_url_rule("/", view_func=Index.as_view("index"))
    response = await app.test_client().get("/", scope_base={"client": ("ann", 1)})
    assert response.headers["X-RateLimit-Limit"] == "2"
    assert await ask(app, "/", 2) == [200, 429]


async def test_a_method_that_a_view_may_not_call_leaves_the_defaults(make: Make) -> None:
    app, limiter = make(default_limits=["1/minute"])

    class Index(MethodView):
        async def dispatch_request(self) -> str:  # type: ignore[override]
            return "here"

        @limiter.limit("9/minute")
        async def get(self) -> str:
            return "never called"

    app.add_url_rule("/", view_func=Index.as_view("index"))
    assert await ask(app, "/", 2) == [200, 429]
