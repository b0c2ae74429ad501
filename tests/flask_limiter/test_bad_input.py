"""Mistakes: found as early as they can be, and named."""

from typing import Any

import pytest
from quart import Blueprint, Quart

from quart_ratelimit import (
    ConfigurationError,
    FixedWindow,
    InvalidLimit,
    Limit,
    Limiter,
    MetaLimit,
    MovingWindow,
    rate_limit,
)
from quart_ratelimit.clients import key_functions

from ..support.apps import Make, ask, view
from ..support.quart_client import app_raises


@pytest.mark.parametrize("text", ["2/sec", "", "0/minute", "nonsense"])
def test_a_malformed_static_limit_names_its_function_and_its_text(make: Make, text: str) -> None:
    _, limiter = make()

    async def index() -> str:
        return "here"

    for limit in (limiter.limit(text), limiter.shared_limit(text, scope="x")):
        with pytest.raises(InvalidLimit, match=r"function .*\.index: ") as caught:
            limit(index)
        assert repr(text) in str(caught.value)
        assert "10/minute" in str(caught.value)


def test_a_malformed_static_limit_names_its_blueprint(make: Make) -> None:
    _, limiter = make()
    with pytest.raises(InvalidLimit, match=r"blueprint bp: '2/sec' is not a limit"):
        limiter.limit("2/sec")(Blueprint("bp", __name__))


@pytest.mark.parametrize("meta", ["2/sec", MetaLimit("2/sec")])
def test_a_malformed_meta_limit_is_found_with_its_limit(make: Make, meta: Any) -> None:
    _, limiter = make()
    with pytest.raises(InvalidLimit, match="'2/sec' is not a limit"):
        limiter.limit("2/second", meta_limits=[meta])(lambda: "here")
    with pytest.raises(InvalidLimit, match="default_limits: '2/sec' is not a limit"):
        make(default_limits=[Limit("1/second", meta_limits=[meta])])


async def test_a_blocks_malformed_limit_names_its_place(make: Make) -> None:
    app, limiter = make()
    async with app.test_request_context("/"):
        with pytest.raises(InvalidLimit, match=r"test_bad_input\.py:.*: '2/sec' is not a limit"):
            async with limiter.limit("2/sec"):
                pass


@pytest.mark.parametrize("on_blueprint", [False, True])
async def test_a_malformed_dynamic_limit_is_logged_once_and_the_defaults_apply(
    make: Make, caplog: pytest.LogCaptureFixture, on_blueprint: bool
) -> None:
    app, limiter = make(default_limits=["2/minute"])
    limit = limiter.limit(lambda: "2 per sec")
    blueprint = Blueprint("bp", __name__)
    if on_blueprint:
        view(blueprint, "/")
        limit(blueprint)
    else:
        view(blueprint, "/", limit, name="index")
    app.register_blueprint(blueprint)
    assert await ask(app, "/", 3) == [200, 200, 429]
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    where = "blueprint bp" if on_blueprint else "function tests.support.apps.index"
    assert record.getMessage().startswith(f"failed to load ratelimit for {where}: '2 per sec'")


async def test_what_is_no_text_is_logged_by_its_kind_and_who_answered_with_it(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    def by_plan() -> Any:
        return [f"1/minute of {next(clients)}"]

    clients = iter(["ann", "bob"])
    app, limiter = make(default_limits=["1/day"])
    view(app, "/", limiter.limit(by_plan))
    assert await ask(app, "/", 2) == [200, 429]
    (record,) = caplog.records
    text = record.getMessage()
    assert ": list is not a limit; write '10/minute'" in text
    assert "by_plan returned it" in text
    assert "ann" not in text


async def test_an_empty_list_is_no_limit_either(make: Make) -> None:
    app, limiter = make(default_limits=["1/day"])
    nothing: Any = list
    view(app, "/", limiter.limit(nothing))
    assert await ask(app, "/", 2) == [200, 429]


async def test_several_limits_in_a_list_are_one_limit_nowhere(make: Make) -> None:
    _, limiter = make()
    several: Any = ["1/minute", "5/hour"]
    with pytest.raises(InvalidLimit, match=r"\['1/minute', '5/hour'\] is not a limit"):
        limiter.limit(several)
    with pytest.raises(InvalidLimit, match=r"\['1/minute', '5/hour'\] is not a limit"):
        await limiter.hit(several, "ann")


async def test_a_malformed_dynamic_default_is_logged_and_left_out(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    app, _ = make(default_limits=[lambda: "2 per sec", "1/minute"])
    view(app, "/")
    assert await ask(app, "/", 2) == [200, 429]
    assert [record.levelname for record in caplog.records] == ["ERROR"]


@pytest.mark.parametrize("key", [None, ""])
async def test_a_limit_without_a_key_counts_the_address_and_is_logged_once(
    make: Make, caplog: pytest.LogCaptureFixture, key: str | None
) -> None:
    key_functions._logged._texts.clear()
    app, limiter = make()
    view(app, "/", limiter.limit("1/minute", key_func=lambda: key))
    assert await ask(app, "/", 2) == [200, 429]
    (record,) = [one for one in caplog.records if one.levelname == "ERROR"]
    assert "returned no client" in record.getMessage()


@pytest.mark.parametrize("key", [0, 7, "7"])
async def test_a_key_may_be_any_value(make: Make, key: Any) -> None:
    app, limiter = make()
    view(app, "/", limiter.limit("1/minute", key_func=lambda: key))
    assert await ask(app, "/", 2) == [200, 429]


@pytest.mark.parametrize("cost", [-1, 1.5, "2"])
async def test_a_cost_that_is_no_whole_number_is_named(make: Make, cost: Any) -> None:
    _, limiter = make()
    with pytest.raises(ConfigurationError, match=f"cost={cost!r} is not a whole number"):
        limiter.limit("1/minute", cost=cost)
    app, limiter = make()
    app.config["PROPAGATE_EXCEPTIONS"] = True
    view(app, "/", limiter.limit("1/minute", cost=lambda: cost))
    with app_raises(ConfigurationError, match=f"cost={cost!r} is not a whole number"):
        await ask(app, "/", 1)


@pytest.mark.parametrize("snippets", [False, True])
async def test_a_limit_above_its_route_is_found_out(make: Make, snippets: bool) -> None:
    app, limiter = make()
    decorate = rate_limit("1/minute") if snippets else limiter.limit("1/minute")

    @decorate
    @app.get("/")
    async def index() -> str:
        return "here"

    message = r"the limit of .*index stands above its route and never runs"
    with pytest.raises(ConfigurationError, match=message):
        await app.startup()
    app.config["PROPAGATE_EXCEPTIONS"] = True
    for _ in range(2):
        with app_raises(ConfigurationError, match=message):
            await ask(app, "/", 1)


async def test_a_function_may_be_a_view_with_and_without_its_limit(make: Make) -> None:
    app, limiter = make()

    @app.get("/free")
    async def index() -> str:
        return "here"

    limited = limiter.limit("1/minute")(index)
    app.add_url_rule("/limited", endpoint="limited", view_func=limited)
    assert await ask(app, "/free", 2) == [200, 200]
    assert await ask(app, "/limited", 2) == [200, 429]


async def test_a_limit_that_the_strategy_cannot_keep_is_found_at_start() -> None:
    app = Quart(__name__)
    limiter = Limiter()
    view(app, "/", limiter.limit("9000000/day"), name="index")
    app.config["RATELIMIT_STRATEGY"] = "moving-window"
    limiter.init_app(app)
    with pytest.raises(InvalidLimit, match=r"index: .*9000000"):
        await app.startup()
    with pytest.raises(InvalidLimit):
        MovingWindow(9_000_000, 86_400)


def test_a_cost_that_its_limit_can_never_allow_is_named_as_it_decorates(make: Make) -> None:
    _, limiter = make()

    async def index() -> str:
        return "here"

    with pytest.raises(InvalidLimit, match=r"index: cost=20 can never be allowed by '10 per 1 min"):
        limiter.limit("10/minute", cost=20)(index)
    with pytest.raises(InvalidLimit, match=r"default_limits: cost=5 can never"):
        make(default_limits=["100/hour;4/second"], default_limits_cost=5)


METHODS = ["hit", "test", "get_window_stats", "clear"]


@pytest.mark.parametrize("method", METHODS)
async def test_flask_limiters_strategy_takes_a_number_as_a_key(make: Make, method: str) -> None:
    _, limiter = make()
    for part in (5, "5"):
        await getattr(limiter.limiter, method)(FixedWindow(2, 60), "user", part)
    assert await limiter.limiter.clear(FixedWindow(2, 60), "user", 5) == (method == "hit")


@pytest.mark.parametrize("method", METHODS)
async def test_flask_limiters_strategy_names_what_no_count_has(make: Make, method: str) -> None:
    _, limiter = make()
    call = getattr(limiter.limiter, method)
    with pytest.raises(ConfigurationError, match="has no text"):
        await call(FixedWindow(2, 60), object())
    with pytest.raises(InvalidLimit, match="is not a quota; write"):
        await call("2/minute", "ann")


@pytest.mark.parametrize("cost", [-1, "1", 1.0, True, None])
async def test_flask_limiters_strategy_refuses_such_a_cost(make: Make, cost: Any) -> None:
    _, limiter = make()
    for method in (limiter.limiter.hit, limiter.limiter.test):
        with pytest.raises(InvalidLimit, match="cost="):
            await method(FixedWindow(2, 60), "ann", cost=cost)
