"""The shield answers for the app whom the app just refused, and nobody else."""

import asyncio
from typing import Any

import pytest
from quart import Quart, Response, request, session

from quart_ratelimit import ConfigurationError, Limiter, client_in, rate_limit
from quart_ratelimit.clients.key_functions import client_address
from quart_ratelimit.enforcement.shield import PASSED, PLAIN, Shield
from quart_ratelimit.stores import MemoryStore
from quart_ratelimit.testing import in_memory

from ..support.asgi import Answer, ask
from ..support.sites import ShieldedSite


@pytest.fixture
def site() -> ShieldedSite:
    return ShieldedSite()


async def test_the_answer_is_the_apps_own_and_does_not_reach_it(site: ShieldedSite) -> None:
    assert [(await site.get()).status for _ in range(3)] == [200, 200, 429]
    own = await site.get()
    reached = site.reached
    again = await site.get()
    assert again == own
    assert site.reached == reached
    assert site.shield.answered == 2


async def test_it_ends_with_the_refusal(site: ShieldedSite) -> None:
    for _ in range(4):
        await site.get()
    site.now += 60_000
    assert (await site.get()).status == 200


async def test_an_answer_is_given_for_a_second_and_its_wait_is_right_to_a_second(
    site: ShieldedSite,
) -> None:
    for _ in range(4):
        await site.get()
    reached, waits = site.reached, []
    for _ in range(20):  # of half a second each
        site.now += 500
        waits.append(int(dict((await site.get()).headers)[b"retry-after"]))
    assert site.reached == reached + 10
    assert waits[0] == 60
    assert waits[-1] in (50, 51)


@pytest.mark.parametrize("change", ["exempt", "request_filter", "deny"])
async def test_other_rules_are_seen_within_a_second(site: ShieldedSite, change: str) -> None:
    for _ in range(4):
        await site.get()
    if change == "exempt":
        site.limiter.exempt(site.app.view_functions["index"])
    else:
        getattr(site.limiter, change)(client_in("192.0.2.1"))
    site.now += 1000
    assert (await site.get()).status == (403 if change == "deny" else 200)


async def test_a_reset_is_seen_at_once(site: ShieldedSite) -> None:
    for _ in range(4):
        await site.get()
    await site.limiter.reset()
    assert (await site.get()).status == 200


async def test_other_clients_paths_and_methods_reach_the_app(site: ShieldedSite) -> None:
    for _ in range(4):
        await site.get()
    assert (await site.get(client="192.0.2.2")).status == 200
    assert (await site.get("/free")).status == 200
    assert (await ask(site.app, "/", "192.0.2.1", method="POST")).status == 405


async def test_another_origin_or_kind_of_answer_is_asked_for_anew(site: ShieldedSite) -> None:
    for _ in range(4):
        await site.get()
    reached = site.reached
    await site.get(origin="https://elsewhere.example")
    await site.get(accept="text/html")
    assert site.reached == reached + 2


async def test_a_refusal_at_one_host_is_none_at_another() -> None:
    app = Quart(__name__, host_matching=True, static_host="static.example")
    limiter = Limiter(app=app, store=MemoryStore(now_ms=lambda: 1_000_000))
    limiter.shield(app)

    @app.get("/", host="one.example")
    @limiter.limit("1/minute")
    async def one() -> str:
        return "one"

    @app.get("/", host="two.example")
    async def two() -> str:
        return "two"

    hosts = ["one.example"] * 3 + ["two.example"]
    answers = [await app.test_client().get("/", headers={"host": host}) for host in hosts]
    assert [answer.status_code for answer in answers] == [200, 429, 429, 200]


async def test_who_is_told_by_a_proxy_is_told_apart() -> None:
    site = ShieldedSite(key_func=client_address(trusted_proxies=["10.0.0.0/8"]))

    async def get(who: str) -> int:
        return (await site.get(client="10.0.0.1", **{"x-forwarded-for": who})).status

    assert [await get("192.0.2.1") for _ in range(5)] == [200, 200, 429, 429, 429]
    assert site.shield.answered >= 1
    assert await get("192.0.2.2") == 200


async def test_an_answer_with_a_cookie_is_no_one_elses(site: ShieldedSite) -> None:
    @site.app.after_request
    async def remember(response: Response) -> Response:
        session["visits"] = session.get("visits", 0) + 1
        return response

    for _ in range(6):
        await site.get()
    assert site.shield.answered == 0


async def test_limits_that_ask_functions_are_not_shielded() -> None:
    site = ShieldedSite()

    async def tenant() -> str:
        return "tenant"

    @site.app.get("/own-key")
    @site.limiter.limit("1/minute", key_func=tenant)
    async def own_key() -> str:
        return "OK"

    @site.app.get("/exempt")
    @site.limiter.limit("1/minute", exempt_when=lambda: False)
    async def exempt() -> str:
        return "OK"

    for path in ("/own-key", "/exempt"):
        assert [(await site.get(path)).status for _ in range(4)] == [200, 429, 429, 429]
    assert site.shield.answered == 0


async def test_refusals_that_meta_limits_count_are_not_shielded() -> None:
    site = ShieldedSite(meta_limits=["100/hour"])
    for _ in range(6):
        await site.get()
    assert site.shield.answered == 0


async def test_the_snippets_decorator_is_shielded() -> None:
    site = ShieldedSite()

    @site.app.get("/data")
    @rate_limit("1/minute")
    async def data() -> str:
        return "OK"

    answers = [await site.get("/data") for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 429, 429, 429]
    assert site.shield.answered == 2


async def test_a_stream_of_new_paths_takes_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quart_ratelimit.enforcement.shield.REMEMBERED", 10)
    site = ShieldedSite()

    @site.app.get("/item/<number>")
    @site.limiter.limit("1/minute")
    async def item(number: str) -> str:
        return number

    for number in range(100):
        await site.get(f"/item/{number}")
    assert len(site.shield._answers) <= 22


async def test_answers_that_are_outdated_take_no_memory(site: ShieldedSite) -> None:
    for number in range(20):
        for _ in range(3):
            await site.get(client=f"192.0.2.{number}")
    assert len(site.shield._answers) == 20
    site.now += 1_000
    await site.get("/free")
    assert not site.shield._answers


async def test_fields_of_any_size_take_no_memory(site: ShieldedSite) -> None:
    for _ in range(3):
        await site.get(accept="a" * 9_000)
    assert not site.shield._answers


async def test_a_limiter_that_is_paused_or_counts_elsewhere_has_no_shield(
    site: ShieldedSite,
) -> None:
    for _ in range(4):
        await site.get()
    with site.limiter.paused():
        assert (await site.get()).status == 200
    with in_memory(site.limiter):
        assert (await site.get()).status == 200
    assert (await site.get()).status == 429


async def test_other_connections_pass() -> None:
    passed: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        passed.append(scope["type"])

    shield = Shield(app, MemoryStore().known_refusal)
    for kind in ("lifespan", "websocket"):
        await shield({"type": kind}, None, None)  # type: ignore[arg-type]
    assert passed == ["lifespan", "websocket"]


async def test_many_at_once_are_answered_alike(site: ShieldedSite) -> None:
    for _ in range(4):
        await site.get()
    answers = await asyncio.gather(*[site.get() for _ in range(200)])
    assert {answer.status for answer in answers} == {429}


def test_an_app_that_is_not_bound_has_no_shield() -> None:
    with pytest.raises(ConfigurationError, match="init_app"):
        Limiter().shield(Quart(__name__))


def test_a_shield_needs_the_memory_of_refusals() -> None:
    app = Quart(__name__)
    limiter = Limiter(app=app, storage_uri="redis://localhost", remember_refusals=0)
    with pytest.raises(ConfigurationError, match="remember_refusals"):
        limiter.shield(app)


async def test_answers_of_any_length_are_bounded_in_bytes_and_forgotten_by_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("quart_ratelimit.enforcement.shield.MOST_BYTES", 100_000)
    site = ShieldedSite()

    @site.app.errorhandler(429)
    async def long(_: Exception) -> Response:
        own = {"X-Fill": "x" * (20_000 if "much" in request.query_string.decode() else 5)}
        return Response("x" * 16_000, 429, own)

    def kept() -> int:
        answers = site.shield._answers
        entries = [*answers._young.values(), *answers._old.values()]
        return sum(len(one.body) + sum(map(len, sum(one.start["headers"], ()))) for one in entries)

    await site.get()
    await site.get()
    for number in range(50):
        await site.get(scope={"query_string": f"{number}".encode()})
        await site.get(scope={"query_string": f"much{number}".encode()})
        assert kept() <= 2 * (100_000 + 17_000)
    assert kept() > 50_000
    for _ in range(20):  # a flood without end
        site.now += 200
        await site.get("/", client="192.0.2.2")
    assert kept() < 3 * 17_000


async def report_of(site: ShieldedSite, query: str) -> Answer:
    return await site.get("/report", scope={"query_string": query.encode()})


@pytest.mark.parametrize("kind", ["snippet", "helper", "block", "shared block", "before_request"])
async def test_what_the_view_may_skip_refuses_no_other_request(
    site: ShieldedSite, kind: str
) -> None:
    limit = site.limiter.limit

    @rate_limit("1/hour")
    async def by_snippet() -> None: ...

    @limit("1/hour")
    async def helper() -> None: ...

    async def block() -> None:
        async with limit("1/hour"):
            pass

    async def shared_block() -> None:
        async with site.limiter.shared_limit("1/hour", scope="export"):
            pass

    limited = {"snippet": by_snippet, "helper": helper, "block": block}
    limited |= {"shared block": shared_block, "before_request": by_snippet}

    async def spend() -> None:
        if "free" not in request.args:
            await limited[kind]()

    if kind == "before_request":
        site.app.before_request(spend)

    @site.app.get("/report")
    async def report() -> str:
        if kind != "before_request":
            await spend()
        return "here"

    for number in range(PASSED + 5):
        expected = 429 if number else 200
        assert (await report_of(site, f"n={number}")).status == expected
    assert (await report_of(site, "free")).status == 200
    assert await report_of(site, "n=9") == await report_of(site, "n=9")
    assert site.shield.answered  # an equal request is refused all the same


@pytest.mark.parametrize("scope", ["", "reports", None])
async def test_a_view_under_rate_limit_is_refused_whatever_its_query(
    site: ShieldedSite, scope: str | None
) -> None:
    @site.app.get("/report")
    @rate_limit("1/hour", scope=scope)
    async def report() -> str:
        return "here"

    bodies = [(await report_of(site, f"n={n}")).body for n in range(PASSED + 5)]
    assert bodies[-1] == PLAIN
