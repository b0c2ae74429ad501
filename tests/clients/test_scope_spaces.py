"""A scope of one kind never meets a scope of another kind, and an empty scope is no free pass."""

from collections.abc import Callable
from typing import Any

import pytest
from quart import Quart

from quart_ratelimit import ApplicationLimit, Limiter, MetaLimit, Penalty
from quart_ratelimit.stores import MemoryStore

from ..support.apps import ask


def site(**options: Any) -> tuple[Quart, Limiter]:
    app = Quart(__name__)
    return app, Limiter(lambda: "ann", app=app, **{"storage_uri": "memory://", **options})


def serve(app: Quart, path: str, endpoint: str, *limits: Callable[[Any], Any]) -> None:
    async def view() -> str:
        return ""

    limited: Any = view
    for limit in limits:
        limited = limit(limited)
    app.add_url_rule(path, endpoint, limited)


@pytest.mark.parametrize("empty", ["", None])
@pytest.mark.parametrize("is_function", [True, False])
async def test_an_empty_shared_scope_counts_the_endpoint_and_nothing_else(
    empty: object, is_function: bool
) -> None:
    app, limiter = site()
    scope: Any = (lambda _: empty) if is_function else empty
    serve(app, "/", "index", limiter.shared_limit("2/minute", scope))
    serve(app, "/own", "own", limiter.limit("2/minute"), limiter.shared_limit("9/minute", scope))
    serve(app, "/other", "other", limiter.shared_limit("2/minute", "index"))
    assert await ask(app, "/", 3) == [200, 200, 429]
    assert await ask(app, "/own", 3) == [200, 200, 429]
    assert await ask(app, "/other", 3) == [200, 200, 429]


@pytest.mark.parametrize("empty", ["", None])
async def test_an_empty_shared_scope_and_the_views_own_limit_are_two_counts(empty: object) -> None:
    app, limiter = site()
    shared = limiter.shared_limit("2/minute", lambda _: empty)
    serve(app, "/", "index", limiter.limit("2/minute"), shared)
    assert await ask(app, "/", 3) == [200, 200, 429]


@pytest.mark.parametrize("scope", [0, 7, -1, 10**80, "x" * 100_000, " ", "index", "|", "%", ":"])
async def test_any_scope_that_a_function_returns_is_counted(scope: object) -> None:
    app, limiter = site()
    serve(app, "/", "index", limiter.shared_limit("2/minute", lambda _: scope))
    serve(app, "/one", "one", limiter.limit("2/minute", scope=lambda _: scope))
    assert await ask(app, "/", 3) == [200, 200, 429]
    assert await ask(app, "/one", 3) == [200, 200, 429]


@pytest.mark.parametrize("endpoint", ["global", "meta", "app", "shared", "hit", "block", "|", "%"])
async def test_a_view_may_be_called_like_anything(endpoint: str) -> None:
    app, limiter = site(
        application_limits=[ApplicationLimit("4/minute")], meta_limits=[MetaLimit("9/minute")]
    )
    serve(app, "/", endpoint, limiter.limit("4/minute"), limiter.shared_limit("4/minute", endpoint))
    assert await ask(app, "/", 5) == [200] * 4 + [429]


async def test_no_endpoint_stands_for_requests_without_a_route() -> None:
    app, limiter = site(default_limits=["2/minute"], limit_unmatched=True)
    serve(app, "/", "<unmatched>", limiter.limit("2/minute"))
    with pytest.raises(Exception, match="write endpoint='unmatched'"):
        async with app.test_app():
            pass


@pytest.mark.parametrize("nothing", ["", None])
async def test_a_request_identifier_that_names_nothing_frees_no_request(nothing: object) -> None:
    app, limiter = site(
        default_limits=["2/minute"],
        application_limits=["3/minute"],
        request_identifier=lambda: nothing,
    )
    serve(app, "/", "index")
    serve(app, "/own", "own", limiter.limit("2/minute"))
    assert await ask(app, "/", 3) == [200, 200, 429]
    assert await ask(app, "/own", 2) == [200, 429]


@pytest.mark.parametrize("who", ["", None, "ann"])
async def test_a_breach_counts_in_its_meta_limit_also_without_a_name(who: object) -> None:
    app, limiter = site(default_limits=[])
    limit = limiter.limit("1/minute", key_func=lambda: who, meta_limits=["1/hour"])
    serve(app, "/", "index", limit)
    serve(app, "/other", "other", limiter.limit("9/minute", key_func=lambda: who,
                                                meta_limits=["1/hour"]))  # fmt: skip
    assert await ask(app, "/", 2) == [200, 429]
    assert await ask(app, "/other", 1) == [429]


@pytest.mark.parametrize("scope", ["mail", 7, lambda _: "mail"])
async def test_a_penalty_of_a_shared_limit_blocks_what_shares_it_and_nothing_else(
    scope: Any,
) -> None:
    app, limiter = site()
    penalty = Penalty(1, 60, blocks=(600,))
    shared = {"meta_limits": [penalty]}
    serve(app, "/", "index", limiter.shared_limit("1/minute", scope, **shared))
    serve(app, "/free", "free", limiter.shared_limit("1/minute", "else", **shared))
    by_scope = limiter.limit("9/minute", meta_limits=[MetaLimit(penalty, scope="mail")])
    serve(app, "/mail", "mail", by_scope)
    assert await ask(app, "/", 2) == [200, 429]
    assert await ask(app, "/free", 1) == [200]
    assert await ask(app, "/mail", 1) == [200]


@pytest.mark.parametrize("prefix", ["shadow", "|", "shop", "{shop}", "shop|", "*", "s?op"])
async def test_a_reset_forgets_no_other_limiters_counts(prefix: str) -> None:
    store = MemoryStore()
    mine, own = site(store=store, key_prefix=prefix)
    apps = {}
    for other in ("shadow", "shop", "bank", "shop||", "sho", "s"):
        apps[other], limiter = site(store=store, key_prefix=other)
        for number, shadow in enumerate((False, True)):
            rule = limiter.limit("5/minute", shadow=shadow)
            serve(apps[other], f"/{number}", f"of {number}", rule)
            assert await ask(apps[other], f"/{number}") == [200]
        await limiter.hit("5/minute", "ann")
        await limiter.hit("5/minute", "ann", scope=None)
    size = len(store)
    serve(mine, "/", "index", own.limit("5/minute"))
    await ask(mine, "/")
    assert await own.reset() == (size / 6 + 1 if prefix in apps else 1)
