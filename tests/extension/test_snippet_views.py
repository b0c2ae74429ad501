"""What ``@rate_limit`` counts together: a view, a shared scope, or the Flask snippet's own key."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
from quart import Blueprint, Quart
from quart.views import MethodView, View

from quart_ratelimit import ConfigurationError, Hit, Limiter, rate_limit
from quart_ratelimit.clients.key_spaces import space_of
from quart_ratelimit.clients.keys import slot_key
from quart_ratelimit.signals import Decided, limit_decided
from quart_ratelimit.stores import MemoryStore


class Heard(MemoryStore):
    """Notes the keys that it is asked about."""

    def __init__(self) -> None:
        super().__init__(now_ms=lambda: 1_800_000_000_000)
        self.keys: list[str] = []

    async def hit(self, hits: Any) -> Any:
        self.keys += [hit.key for hit in hits]
        return await super().hit(hits)


def named() -> str:
    return "ann"


def site(**options: Any) -> tuple[Quart, Limiter, Heard]:
    app, store = Quart(__name__), Heard()
    return app, Limiter(app=app, store=store, **options), store


async def statuses(app: Quart, path: str, times: int) -> list[int]:
    client = app.test_client()
    return [(await client.get(path)).status_code for _ in range(times)]


def plain() -> Callable[[], Any]:
    async def view() -> str:
        return ""

    return view


async def test_each_view_has_a_count_of_its_own() -> None:
    app, _, store = site()
    app.add_url_rule("/api", "api", rate_limit("9/minute")(plain()))
    app.add_url_rule("/login", "login", rate_limit("2/minute")(plain()))
    assert await statuses(app, "/api", 6) == [200] * 6
    assert await statuses(app, "/login", 3) == [200, 200, 429]
    assert set(store.keys) == {
        "||view|api|{127.0.0.1}|rate_limit", "||view|login|{127.0.0.1}|rate_limit",
    }  # fmt: skip


async def test_views_of_blueprints_and_classes_and_of_one_function_count_apart() -> None:
    app, _, store = site()
    limited = rate_limit("1/minute")(plain())
    blueprint = Blueprint("shop", __name__)
    blueprint.add_url_rule("/shop", "one", limited)
    app.register_blueprint(blueprint)
    app.add_url_rule("/one", "one", limited)

    class ByMethod(MethodView):
        @rate_limit("1/minute")
        async def get(self) -> str:
            return ""

    class Other(ByMethod):
        pass

    class Decorated(View):
        decorators = [rate_limit("1/minute")]  # noqa: RUF012

        async def dispatch_request(self) -> str:
            return ""

    for kind in (ByMethod, Other, Decorated):
        app.add_url_rule(f"/{kind.__name__}", view_func=kind.as_view(kind.__name__))
    for path in ("/shop", "/one", "/ByMethod", "/Other", "/Decorated"):
        assert await statuses(app, path, 2) == [200, 429]
    assert len(set(store.keys)) == 5


async def test_a_helper_has_one_count_whoever_calls_it() -> None:
    app, _, store = site()
    bare = plain()
    helper = rate_limit("1/minute")(bare)

    async def view() -> Any:
        return await helper()

    app.add_url_rule("/a", "a", view)
    app.add_url_rule("/b", "b", view)
    assert [*await statuses(app, "/a", 1), *await statuses(app, "/b", 1)] == [200, 429]
    (key,) = set(store.keys)
    assert key.startswith("||function|")
    assert key == slot_key("", "", "function", space_of(bare), "127.0.0.1", "rate_limit")


@pytest.mark.parametrize("path", ["/one", "/both"])
async def test_helpers_that_one_function_makes_count_apart(path: str) -> None:
    app, _, store = site()

    def partner(name: str) -> Callable[[], Any]:
        @rate_limit("2/minute")
        async def call() -> str:
            return name

        return call

    helpers = {name: partner(name) for name in ("ann", "bob")}

    @app.get("/one/<name>")
    async def one(name: str) -> str:
        return str(await helpers[name]())

    @app.get("/both/<name>")
    async def both(name: str) -> str:
        for helper in helpers.values():
            await helper()
        return name

    assert await statuses(app, f"{path}/ann", 2) == [200, 200]
    assert await statuses(app, f"{path}/bob", 1) == [200 if path == "/one" else 429]
    assert len(set(store.keys)) == 2
    assert {key.rpartition("|")[2] for key in store.keys} == {"rate_limit"}


async def test_a_client_without_a_name_has_one_key_in_the_space_of_addresses() -> None:
    app, _, store = site()
    name: list[str | None] = [None]

    @app.get("/")
    @rate_limit("9/minute", key=lambda: name[0])
    async def index() -> str:
        return ""

    await statuses(app, "/", 2)
    name[0] = "127.0.0.1"  # an account that is called like an address
    await statuses(app, "/", 1)
    nobody, account = dict.fromkeys(store.keys)
    assert nobody != account
    assert {key.rpartition("|")[2] for key in store.keys} == {"rate_limit"}


@pytest.mark.parametrize(
    ("scope", "told"), [("", "shop.index"), (None, "shop.index"), ("spent", "spent")]
)
async def test_logs_and_signals_name_the_endpoint_that_refused(
    caplog: pytest.LogCaptureFixture, scope: str | None, told: str
) -> None:
    caplog.set_level(logging.INFO, "quart_ratelimit")
    app, _, _ = site()
    shop = Blueprint("shop", __name__)
    shop.add_url_rule("/", "index", rate_limit("1/minute", scope=scope)(plain()))
    app.register_blueprint(shop)
    heard: list[tuple[str, str]] = []

    def on_decided(_: object, *, event: Decided, **__: object) -> None:
        heard.append((event.outcome, event.scope))

    with limit_decided.connected_to(on_decided):
        assert await statuses(app, "/", 2) == [200, 429]
    assert heard == [("allowed", told), ("refused", told)]
    (record,) = [one for one in caplog.records if hasattr(one, "ratelimit_event")]
    assert record.getMessage() == f"ratelimit 1 per 1 minute (client) exceeded at endpoint: {told}"
    assert vars(record)["ratelimit_scope"] == told


@pytest.mark.parametrize("scope", ["", "own"])
@pytest.mark.parametrize(
    "texts", [["4/minute", "40/minute"], ["40/minute", "4/minute"], ["4/minute"] * 2]
)
async def test_stacked_limits_are_one_count_each(texts: list[str], scope: str) -> None:
    app, _, _ = site()
    view = plain()
    for text in texts:
        view = rate_limit(text, scope=scope)(view)
    app.add_url_rule("/", "index", view)
    assert await statuses(app, "/", 5) == [200] * 4 + [429]


def test_stacked_limits_on_the_snippets_key_are_an_error_if_both_would_charge_it() -> None:
    rate_limit("4/minute", scope=None)(rate_limit("40/hour", scope=None)(plain()))
    with pytest.raises(ConfigurationError, match="charge one counter twice"):
        rate_limit("4/minute", scope=None)(rate_limit("40/minute", scope=None)(plain()))


@pytest.mark.parametrize(
    "text", ["4/minute; 40/minute", "40/minute; 4/minute", "4/minute; 4/minute"]
)
@pytest.mark.parametrize("scope", ["", "own", None])
async def test_limits_of_one_period_in_one_text_are_charged_once(
    text: str, scope: str | None
) -> None:
    app, limiter, _ = site()
    app.add_url_rule("/", "index", rate_limit(text, scope=scope)(plain()))
    assert await statuses(app, "/", 5) == [200] * 4 + [429]
    hits = [bool(await limiter.hit(text, "job", scope=scope)) for _ in range(5)]
    assert hits == [True] * 4 + [False]


@pytest.mark.parametrize(("prefix", "start"), [("", ""), ("shop", "shop|")])
async def test_the_scope_none_is_the_snippets_own_key_after_the_prefix(
    prefix: str, start: str
) -> None:
    app, limiter, store = site(key_prefix=prefix)
    app.add_url_rule("/", "index", rate_limit("3/minute", scope=None)(plain()))
    assert await statuses(app, "/", 1) == [200]
    charged = await limiter.hit("3/minute", "127.0.0.1", scope=None)
    assert (await limiter.peek("3/minute", "127.0.0.1", scope=None)).remaining == 1
    await limiter.refund("3/minute", "127.0.0.1", charged=charged, scope=None)
    assert (await limiter.wait("3/minute", "127.0.0.1", seconds=0, scope=None)).remaining == 1
    assert await limiter.reset("3/minute", "127.0.0.1", scope=None) == 1
    assert set(store.keys) == {f"{start}127.0.0.1"}


async def test_each_scope_of_a_hit_has_a_count_of_its_own() -> None:
    _, limiter, _ = site()
    for scope in ("", "mail", "sms", None):
        assert await limiter.hit("1/minute", "ann", scope=scope)
        assert not await limiter.hit("1/minute", "ann", scope=scope)


async def test_views_that_share_a_scope_count_together_and_bear_the_prefix() -> None:
    app, _, store = site(key_prefix="shop")
    for name in ("a", "b"):
        app.add_url_rule(f"/{name}", name, rate_limit("1/minute", scope="own")(plain()))
    assert [*await statuses(app, "/a", 1), *await statuses(app, "/b", 1)] == [200, 429]
    assert set(store.keys) == {"shop||shared||{127.0.0.1}|own"}


@pytest.mark.parametrize(
    ("upper", "lower"),
    [
        ({"key": named}, {}),
        ({"limit": "2/hour"}, {"limit": "9/minute"}),
        ({"key": named}, {"key": lambda: "other"}),
    ],
)
async def test_a_shared_scope_is_one_count_with_or_without_another_limit_below(
    upper: dict[str, Any], lower: dict[str, Any]
) -> None:
    app, _, _ = site()
    upper, lower = {"limit": "2/hour", **upper}, {"limit": "9/hour", **lower}

    @app.get("/one")
    @rate_limit(scope="s", **upper)
    async def one() -> str:
        return "x"

    @app.get("/two")
    @rate_limit(scope="s", **upper)
    @rate_limit(scope="s", **lower)
    async def two() -> str:
        return "x"

    assert await statuses(app, "/one", 2) == [200, 200]
    assert await statuses(app, "/two", 1) == [429]


async def test_a_key_function_that_is_the_limiters_own_shares_no_count_twice() -> None:
    app, _, _ = site(key_func=named)

    @app.get("/")
    @rate_limit("4/hour", scope="s", key=named)
    @rate_limit("4/hour", scope="s")
    async def index() -> str:
        return "x"

    assert await statuses(app, "/", 5) == [200] * 4 + [429]


async def test_a_limit_tells_the_parts_of_its_key() -> None:
    app, limiter, store = site()

    @app.get("/")
    @rate_limit("5/minute")
    async def index() -> list[str]:
        (limit,) = limiter.current_limits
        assert limit.request_args[-2:] == ["127.0.0.1", "rate_limit"]
        await store.hit([Hit(limit.limit, limiter.keys.slot(*limit.request_args), 0)])
        return [limit.key]

    answer = await app.test_client().get("/")
    assert await answer.get_json() == ["LIMITER/127.0.0.1/rate_limit/5/1/minute"]
    assert len(set(store.keys)) == 1


async def test_methods_of_a_class_based_view_have_counts_of_their_own() -> None:
    app, _, _ = site()

    class Things(MethodView):
        @rate_limit("9/minute")
        async def get(self) -> str:
            return ""

        @rate_limit("2/minute")
        async def post(self) -> str:
            return ""

    app.add_url_rule("/", view_func=Things.as_view("things"))
    client = app.test_client()
    assert [(await client.get("/")).status_code for _ in range(4)] == [200] * 4
    assert [(await client.head("/")).status_code for _ in range(6)] == [200] * 5 + [429]
    assert [(await client.post("/")).status_code for _ in range(3)] == [200, 200, 429]
