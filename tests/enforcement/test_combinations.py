"""Settings in combination: no request fails, and no limit is silently off or charged twice."""

import functools
from typing import Any

import pytest
from quart import Blueprint, Quart, request

from quart_ratelimit import FixedWindow, Limiter, Penalty
from quart_ratelimit.stores import Store

from ..support.apps import Clock, Make, ask, clock, make, view
from ..support.stores import store

__all__ = ["clock", "make", "store"]  # fixtures


@pytest.mark.parametrize("swallow", [False, True])
@pytest.mark.parametrize("where", ["general", "own"])
async def test_a_block_refuses_where_every_limit_is_evaluated(
    make: Make, swallow: bool, where: str
) -> None:
    metas = {"meta_limits": ["1/hour"]}
    app, limiter = make(
        fail_on_first_breach=False,
        swallow_errors=swallow,
        **(metas if where == "general" else {}),
    )
    view(app, "/", limiter.limit("1/minute; 5/hour", **(metas if where == "own" else {})))
    assert await ask(app, "/", 4) == [200, 429, 429, 429]


@pytest.mark.parametrize(
    "limit",
    ["6/hour", FixedWindow(6, 3600, aligned=True), FixedWindow(6, 3600, name="six")],
    ids=["text", "by the clock", "named"],
)
@pytest.mark.parametrize("strategy", ["fixed-window", "moving-window", "gcra"])
async def test_a_limit_in_shadow_counts_apart_from_the_one_in_force(
    store: Store, limit: Any, strategy: str
) -> None:
    app = Quart("tried")
    limiter = Limiter(app=app, store=store, strategy=strategy, doctor=False)
    view(app, "/", limiter.limit(limit), limiter.limit(limit, shadow=True))
    assert await ask(app, "/", 7) == [200] * 6 + [429]
    view(app, "/some", limiter.limit(limit), limiter.limit(limit, shadow=lambda: True))
    assert await ask(app, "/some", 7) == [200] * 6 + [429]


async def test_the_same_quota_twice_is_one_charge(make: Make) -> None:
    app, limiter = make(default_limits=["2/minute"])
    view(app, "/both", limiter.limit("2/minute", override_defaults=False))
    view(app, "/twice", limiter.limit("2/minute"), limiter.limit("2/minute", error_message="slow"))
    view(app, "/asked", limiter.limit("2/minute"), limiter.limit("2/minute", cost=lambda: 1))
    for path in ("/both", "/twice", "/asked"):
        assert await ask(app, path, 3) == [200, 200, 429]


async def test_a_penalty_for_one_route_blocks_that_route_only(make: Make) -> None:
    app, limiter = make()
    penalty = Penalty(1, 60)
    view(app, "/login", limiter.limit("1/hour", meta_limits=[penalty]))
    view(app, "/other", limiter.limit("9/hour", meta_limits=[penalty]))
    view(app, "/a", limiter.shared_limit("1/hour", "group", meta_limits=[penalty]))
    view(app, "/b", limiter.shared_limit("9/hour", "group", meta_limits=[penalty]))
    assert await ask(app, "/login", 3) == [200, 429, 429]
    assert await ask(app, "/other", 1) == [200]
    assert await ask(app, "/a", 2) == [200, 429]
    assert await ask(app, "/b", 1) == [429]  # what counts together is blocked together


@pytest.mark.parametrize("meta", [Penalty(2, 60, blocks=(60,)), "2/hour"])
async def test_a_meta_limit_given_generally_and_on_the_route_counts_once(
    make: Make, clock: Clock, meta: Any
) -> None:
    app, limiter = make(meta_limits=[meta])
    view(app, "/", limiter.limit("1/second", meta_limits=[meta]))
    assert await ask(app, "/", 2) == [200, 429]
    clock.forward(1)
    assert await ask(app, "/", 2) == [200, 429]  # one breach was counted, so there was no block
    clock.forward(1)
    assert await ask(app, "/", 1) == [429]


async def test_who_is_denied_is_denied_while_limiting_is_paused_or_off(make: Make) -> None:
    app, limiter = make()
    view(app, "/", limiter.limit("9/hour"))
    limiter.deny(lambda: True)
    assert await ask(app, "/", 1) == [403]
    with limiter.paused():
        assert await ask(app, "/", 1) == [403]
    limiter.enabled = False
    assert await ask(app, "/", 1) == [403]
    assert await ask(app, "/nowhere", 1) == [403]


def wrapped(function: Any) -> Any:
    async def outer(*args: Any) -> Any:  # without functools.wraps, so a limit above it is another
        return await function(*args)

    return outer


@pytest.mark.parametrize("strategy", ["fixed-window", "moving-window", "gcra"])
@pytest.mark.parametrize(
    "where",
    ["helper", "block", "shared helper", "below another decorator", "blueprint and helper",
     "default and helper", "default and block", "application and default"],
)  # fmt: skip
async def test_the_same_quota_in_several_checks_is_one_charge(
    make: Make, where: str, strategy: str
) -> None:
    general: dict[str, Any] = {}
    if where.startswith("default"):
        general = {"default_limits": ["4/minute"]}
    if where.startswith("application"):
        general = {"default_limits": ["4/minute"], "application_limits": ["4/minute"]}
    app, limiter = make(strategy=strategy, **general)
    limit = limiter.limit("4/minute", override_defaults="blueprint" not in where)
    if "shared" in where:
        limit = limiter.shared_limit("4/minute", "shared")

    @limit
    async def helper() -> str:
        return "helped"

    async def index() -> str:
        if "helper" in where:
            return await helper()
        if "block" in where:
            async with limiter.limit("4/minute"):
                return "entered"
        return ""

    limited: Any = index
    if where == "below another decorator":
        limited = limit(wrapped(limit(index)))
    elif not general and "blueprint" not in where:
        limited = limit(index)
    if "blueprint" in where:
        blueprint = Blueprint("shop", __name__)
        blueprint.add_url_rule("/", "index", limited)
        limit(blueprint)
        app.register_blueprint(blueprint)
    else:
        app.add_url_rule("/", "index", limited)
    assert await ask(app, "/", 6) == [200] * 4 + [429] * 2


async def test_a_helper_that_is_called_again_charges_again(make: Make) -> None:
    app, limiter = make()

    @limiter.limit("6/minute")
    async def helper() -> None:
        """Does what is limited."""

    @app.get("/")
    @limiter.limit("6/minute")
    async def index() -> str:
        for _ in range(3):
            await helper()
        return ""

    @app.get("/block")
    async def block() -> str:
        for _ in range(3):
            async with limiter.limit("6/minute"):
                pass
        return ""

    assert await ask(app, "/", 3) == [200, 200, 429]
    assert await ask(app, "/block", 3) == [200, 200, 429]


async def test_a_default_that_a_helper_shares_stays_charged_and_others_are_given_back(
    make: Make,
) -> None:
    app, limiter = make(default_limits=["4/minute", "5/hour"])

    @limiter.limit("4/minute")
    async def helper() -> None:
        """Does what is limited."""

    @app.route("/", methods=["GET", "POST"])
    async def index() -> str:
        if request.method == "GET":
            await helper()
        return ""

    assert await ask(app, "/", 4) == [200] * 4
    assert await ask(app, "/", 1, method="POST") == [429]


def yes(_: object) -> bool:
    return True


def no(_: object) -> bool:
    return False


@pytest.mark.parametrize("strategy", ["fixed-window", "moving-window", "gcra"])
@pytest.mark.parametrize("between", [True, False])
@pytest.mark.parametrize(
    ("upper", "lower", "statuses"),
    [
        (yes, yes, [200, 200, 429, 429]),
        (no, no, [200] * 4),
        (yes, no, [200, 200, 429, 429]),
        (no, yes, [200, 200, 429, 429]),
        (None, no, [200, 200, 429, 429]),
        (no, None, [200, 200, 429, 429]),
        (no, lambda _: False, [200] * 4),
    ],
)
async def test_a_charge_that_the_response_decides_on_is_shared_and_stays_if_one_limit_says_so(
    store: Store, upper: Any, lower: Any, statuses: list[int], strategy: str, between: bool
) -> None:
    app = Quart("decided")
    limiter = Limiter(app=app, store=store, strategy=strategy, doctor=False)
    above, below = (limiter.limit("2/hour", deduct_when=when) for when in (upper, lower))
    if between:
        view(app, "/", above, wrapped, below)
    else:

        @below
        async def helper() -> str:
            return ""

        @app.get("/")
        @above
        async def index() -> str:
            return await helper()

    assert await ask(app, "/", 4) == statuses


async def test_a_shared_charge_is_decided_once_by_the_response(make: Make) -> None:
    app, limiter = make()
    decided: list[int] = []

    async def failed(response: Any) -> bool:
        decided.append(response.status_code)
        return False

    limit = functools.partial(limiter.limit, "2/minute", deduct_when=failed)
    view(app, "/", limit(), wrapped, limit())
    assert await ask(app, "/", 3) == [200] * 3
    assert decided == [200] * 3


@pytest.mark.parametrize(("kept", "statuses"), [(None, [429, 429]), (no, [200, 429])])
async def test_a_refusal_below_gives_back_what_no_limit_would_keep(
    make: Make, kept: Any, statuses: list[int]
) -> None:
    app, limiter = make()
    shared = functools.partial(limiter.shared_limit, "2/minute", "all")
    view(app, "/", shared(deduct_when=yes), wrapped, shared(deduct_when=kept), wrapped,
         limiter.limit("1/hour"))  # fmt: skip
    view(app, "/all", shared())
    assert await ask(app, "/", 2) == [200, 429]
    assert await ask(app, "/all", 2) == statuses


async def test_a_default_that_the_response_decides_on_is_shared_as_well(make: Make) -> None:
    app, limiter = make(default_limits=["2/minute"], default_limits_deduct_when=yes)

    @limiter.limit("2/minute", deduct_when=no)
    async def helper() -> str:
        return ""

    @app.get("/")
    async def index() -> str:
        return await helper()

    assert await ask(app, "/", 3) == [200, 200, 429]


async def test_who_has_another_key_is_charged_apart(make: Make) -> None:
    app, limiter = make()
    limit = limiter.limit("2/minute", key_func=lambda: request.headers["User"])

    @app.get("/")
    @limit
    async def index() -> str:
        async with limiter.limit("2/minute", key_func=lambda: "all"):
            return ""

    assert await ask(app, "/", 2, User="ann") == [200, 200]
    assert await ask(app, "/", 1, User="bob") == [429]
