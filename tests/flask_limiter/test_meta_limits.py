"""Limits on how often limits may be breached."""

import functools

from quart import Response, make_response, request

from quart_ratelimit import Limit, MetaLimit, RequestLimit

from ..support.apps import Clock, Make, ask, body, view


async def test_a_client_that_breached_too_often_gets_nothing(make: Make, clock: Clock) -> None:
    app, limiter = make(
        default_limits=["2/second"],
        meta_limits=["2/minute", MetaLimit("3/hour"), lambda: "4/day"],
        on_meta_breach=lambda limit: make_response("have some tea", 429),
        headers_enabled=True,
    )
    view(app, "/")
    view(app, "/exempt", limiter.exempt)
    for _ in range(2):
        assert await ask(app, "/", 3) == [200, 200, 429]
        clock.forward(1)
    assert await ask(app, "/", 1) == [429]  # two breaches a minute
    assert await ask(app, "/exempt", 1) == [200]
    assert await ask(app, "/", 1, who="bob") == [200]
    clock.forward(60)
    assert await ask(app, "/", 3) == [200, 200, 429]
    clock.forward(60)
    answer = await app.test_client().get("/", scope_base={"client": ("ann", 1)})
    assert answer.status_code == 429  # three an hour
    assert await answer.get_data(as_text=True) == "have some tea"
    assert answer.headers["X-RateLimit-Limit"] == "3"
    assert answer.headers["X-RateLimit-Remaining"] == "0"
    clock.forward(3600)
    assert await ask(app, "/", 3) == [200, 200, 429]
    clock.forward(3600)
    answer = await app.test_client().get("/", scope_base={"client": ("ann", 1)})
    assert answer.headers["X-RateLimit-Limit"] == "4"  # four a day
    clock.forward(86_400)
    assert await ask(app, "/", 1) == [200]


async def test_a_views_limit_may_have_its_own(make: Make, clock: Clock) -> None:
    app, limiter = make()
    view(app, "/", limiter.limit("1/second", meta_limits=["2/day"]))
    view(app, "/other", limiter.limit("1/second"))
    for _ in range(2):
        assert await ask(app, "/", 2) == [200, 429]
        clock.forward(1)
    assert await ask(app, "/", 1) == [429]
    assert await ask(app, "/other", 1) == [200]


async def test_each_has_its_own_key_callback_and_exemption(make: Make, clock: Clock) -> None:
    def user() -> str:
        return request.headers.get("User", "guest")

    def told(limit: RequestLimit, by: str) -> Response:
        return Response(by, 429)

    def meta(limit: str, by: str, **keywords: object) -> MetaLimit:
        return MetaLimit(limit, on_breach=functools.partial(told, by=by), **keywords)  # type: ignore[arg-type]

    app, limiter = make(
        default_limits=[
            Limit("1/second", key_function=user, meta_limits=[meta("2/minute", "default")])
        ],
        meta_limits=["9/minute"],
        fail_on_first_breach=False,
        on_breach=lambda limit: Response("limit", 429),
    )
    own = meta("1/hour", "own", exempt_when=lambda: user() == "admin")
    view(app, "/")
    view(app, "/own", limiter.limit("1/second", meta_limits=[own]))

    async def texts(path: str, name: str) -> list[str]:
        client = app.test_client()
        answers = [await client.get(path, headers={"User": name}) for _ in range(2)]
        return [await answer.get_data(as_text=True) for answer in answers]

    assert await texts("/", "ann") == ["/", "limit"]
    clock.forward(1)
    assert await texts("/", "ann") == ["/", "limit"]
    clock.forward(1)
    assert await texts("/", "ann") == ["default", "default"]
    assert await texts("/", "bob") == ["/", "limit"]  # it counts whom its limit counts
    assert await texts("/own", "ann") == ["/own", "limit"]
    clock.forward(1)
    assert await texts("/own", "bob") == ["own", "own"]  # here: the address
    assert await texts("/own", "admin") == ["/own", "limit"]


async def test_a_breach_that_costs_more_than_is_left_still_counts(make: Make, clock: Clock) -> None:
    app, _ = make(default_limits=["1/second"], meta_limits=[MetaLimit("3/day", cost=2)])
    view(app, "/")
    for _ in range(2):
        assert await ask(app, "/", 2) == [200, 429]
        clock.forward(1)
    assert await ask(app, "/", 1) == [429]


async def test_a_meta_limit_refuses_before_anything_is_charged(make: Make, clock: Clock) -> None:
    app, limiter = make(application_limits=["4/day"], meta_limits=["1/minute"])
    view(app, "/own", limiter.limit("1/minute"))
    view(app, "/")
    assert await ask(app, "/own", 5) == [200] + [429] * 4
    clock.forward(60)
    assert await ask(app, "/", 3) == [200, 200, 429]  # two were charged before


async def test_the_key_prefix_is_in_its_key_too(make: Make) -> None:
    keys: list[str] = []
    app, _ = make(
        default_limits=["1/minute"],
        meta_limits=["1/day"],
        key_prefix="pre",
        on_meta_breach=lambda limit: keys.append(limit.key),
    )
    view(app, "/")
    assert await ask(app, "/", 3) == [200, 429, 429]
    assert keys == ["LIMITER/pre/ann/meta/1/1/day"]


async def test_its_message_is_its_own(make: Make) -> None:
    app, _ = make(
        default_limits=["1/minute"], meta_limits=[MetaLimit("1/day", error_message="enough")]
    )
    view(app, "/")
    assert await ask(app, "/", 2) == [200, 429]
    assert "enough" in await body(app, "/")
