"""Limits in shadow: they count and report what they would refuse, and harm nobody."""

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from quart import Blueprint, Quart, Response, g, websocket

from quart_ratelimit import (
    ApplicationLimit,
    Decision,
    Hit,
    Limit,
    Limiter,
    MetaLimit,
    StoreError,
)
from quart_ratelimit.cli.survey import Surveyor
from quart_ratelimit.enforcement.shadow import REMEMBERED, ShadowLog
from quart_ratelimit.extension.binding import binding_of
from quart_ratelimit.rules.notation import quotas_of
from quart_ratelimit.signals import Decided, batch_sent, limit_decided
from quart_ratelimit.stores import GuardedStore, MemoryStore, RedisStore
from quart_ratelimit.util import get_remote_address

from ..support.apps import Clock, Make, ask, clock, make, view

__all__ = ["clock", "make"]  # fixtures


@pytest.fixture
def told() -> Iterator[list[Decided]]:
    events: list[Decided] = []

    def hear(_: Any, *, event: Decided, hit: Hit) -> None:
        events.append(event)

    with limit_decided.connected_to(hear):
        yield events


def outcomes(told: list[Decided], limit: str) -> list[str]:
    return [event.outcome for event in told if event.limit == limit]


async def test_it_counts_and_reports_and_refuses_nothing(make: Make, told: list[Decided]) -> None:
    app, limiter = make(headers_enabled=True)
    breaches: list[Any] = []
    tried = limiter.limit("2/minute", shadow=True, on_breach=breaches.append)
    view(app, "/", tried)
    answers = [await app.test_client().get("/") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200] * 4
    assert outcomes(told, "2 per 1 minute") == ["allowed", "allowed", "shadow", "shadow"]
    assert all(event.shadow for event in told)
    assert breaches == []
    assert not [name for name in answers[-1].headers if "limit" in name[0].lower()]


async def test_what_it_would_refuse_is_charged_to_the_limits_in_force(make: Make) -> None:
    app, limiter = make(headers_enabled=True)
    view(app, "/", limiter.limit("4/minute"), limiter.limit("2/minute", shadow=True))
    answers = [await app.test_client().get("/") for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200] * 4 + [429]
    assert [a.headers["X-RateLimit-Remaining"] for a in answers] == ["3", "2", "1", "0", "0"]
    assert {a.headers["X-RateLimit-Limit"] for a in answers} == {"4"}


async def test_what_the_limits_in_force_refuse_is_not_charged_to_it(
    make: Make, told: list[Decided]
) -> None:
    app, limiter = make()
    view(app, "/", limiter.limit("2/minute"), limiter.limit("3/hour", shadow=True))
    assert await ask(app, "/", 5) == [200, 200, 429, 429, 429]
    assert outcomes(told, "3 per 1 hour") == ["allowed", "allowed"]


async def test_each_rule_is_tried_by_itself_and_as_a_whole(
    make: Make, clock: Clock, told: list[Decided]
) -> None:
    app, limiter = make()
    view(
        app,
        "/",
        limiter.limit("1/minute; 3/hour", shadow=True),
        limiter.limit("3/day", shadow=True),
    )
    await ask(app, "/", 2)
    clock.forward(60)
    await ask(app, "/", 2)
    assert outcomes(told, "1 per 1 minute") == ["allowed", "shadow"] * 2
    assert outcomes(told, "3 per 1 hour") == ["allowed"] * 2  # nothing of what the other refused
    assert outcomes(told, "3 per 1 day") == ["allowed"] * 3 + ["shadow"]


async def test_where_all_limits_are_evaluated_each_quota_is_tried_by_itself(
    make: Make, told: list[Decided]
) -> None:
    app, limiter = make(fail_on_first_breach=False)
    view(app, "/", limiter.limit("1/minute; 3/hour", shadow=True))
    await ask(app, "/", 4)
    assert outcomes(told, "3 per 1 hour") == ["allowed"] * 3 + ["shadow"]


@pytest.mark.parametrize("kind", ["shared", "blueprint", "default", "application", "block"])
async def test_a_limit_of_any_kind_may_be_in_shadow(
    make: Make, told: list[Decided], kind: str
) -> None:
    given: dict[str, Any] = {
        "default": {"default_limits": [Limit("1/minute", shadow=True)]},
        "application": {"application_limits": [ApplicationLimit("1/minute", shadow=True)]},
    }.get(kind, {})
    app, limiter = make(**given)
    place: Any = app
    if kind == "blueprint":
        place = Blueprint("shop", __name__)
        limiter.limit("1/minute", shadow=True)(place)
    shared = [limiter.shared_limit("1/minute", "all", shadow=True)] if kind == "shared" else []
    if kind == "block":

        @app.get("/")
        async def index() -> str:
            async with limiter.limit("1/minute", shadow=True):
                return ""
    else:
        view(place, "/", *shared)
    if kind == "blueprint":
        app.register_blueprint(place)
    assert await ask(app, "/", 3) == [200] * 3
    assert outcomes(told, "1 per 1 minute") == ["allowed", "shadow", "shadow"]


async def test_a_websocket_is_accepted_past_a_limit_in_shadow(
    make: Make, told: list[Decided]
) -> None:
    app, limiter = make()

    @app.websocket("/ws")
    @limiter.limit("1/minute", shadow=True)
    async def chat() -> None:
        await websocket.send("hello")

    for _ in range(3):
        async with app.test_client().websocket("/ws") as connection:
            assert await connection.receive() == "hello"
    assert outcomes(told, "1 per 1 minute") == ["allowed", "shadow", "shadow"]


@pytest.mark.parametrize("by", ["argument", "variable"])
async def test_a_whole_limiter_may_be_in_shadow_but_for_some_limits(
    make: Make, told: list[Decided], by: str
) -> None:
    config = {"RATELIMIT_SHADOW": True} if by == "variable" else {}
    given: dict[str, Any] = {"shadow": True} if by == "argument" else {}
    app, limiter = make(config, default_limits=["1/minute"], **given)
    view(app, "/")
    view(app, "/own", limiter.limit("1/minute"))
    view(app, "/bound", limiter.limit("1/minute", shadow=False))
    assert await ask(app, "/", 2) + await ask(app, "/own", 2) == [200] * 4
    assert await ask(app, "/bound", 2) == [200, 429]
    assert [event.outcome for event in told] == ["allowed", "shadow"] * 2 + ["allowed", "refused"]


async def test_a_function_says_in_each_request_whether_it_binds(make: Make) -> None:
    app, limiter = make()
    asked: list[str] = []

    async def in_shadow() -> bool:
        asked.append(g.who)
        return bool(g.who == "ann")

    @app.before_request
    async def know() -> None:
        g.who = app_who.pop(0)

    app_who = ["ann", "bob", "bob", "bob", "ann"]
    view(app, "/", limiter.limit("2/minute; 9/hour", shadow=in_shadow, key_func=lambda: "all"))
    app.before_request_funcs[None].reverse()
    assert await ask(app, "/", 5) == [200, 200, 200, 429, 200]
    assert asked == ["ann", "bob", "bob", "bob", "ann"]


async def test_with_shadow_it_replaces_no_limit_in_force(make: Make) -> None:
    app, limiter = make(default_limits=["2/minute"])
    view(app, "/", limiter.limit("9/minute", shadow=True))
    assert await ask(app, "/", 3) == [200, 200, 429]


async def test_it_charges_no_meta_limit_and_is_none(make: Make) -> None:
    app, limiter = make(meta_limits=["1/hour"])
    view(app, "/", limiter.limit("1/minute", shadow=True, meta_limits=["1/hour"]))
    assert await ask(app, "/", 5) == [200] * 5
    with pytest.raises(TypeError, match="shadow"):
        MetaLimit("1/hour", shadow=True)  # type: ignore[call-arg]


async def test_meta_limits_bind_in_a_limiter_in_shadow(make: Make) -> None:
    app, limiter = make(shadow=True, meta_limits=["1/hour"])
    view(app, "/", limiter.limit("9/minute"))
    view(app, "/bound", limiter.limit("1/minute", shadow=False))
    assert await ask(app, "/bound", 2) == [200, 429]
    assert await ask(app, "/") == [429]


async def test_what_the_response_says_is_not_charged_is_given_back(
    make: Make, told: list[Decided]
) -> None:
    app, limiter = make()

    def failed(response: Response) -> bool:
        return response.status_code >= 400

    view(app, "/", limiter.limit("1/minute", shadow=True, deduct_when=failed))
    await ask(app, "/", 3)
    assert outcomes(told, "1 per 1 minute") == ["allowed"] * 3


@pytest.mark.parametrize(
    "argument",
    ["key_func", "cost", "exempt_when", "deduct_when", "scope", "shadow", "meta_limits",
     "limit_value"],
)  # fmt: skip
async def test_a_function_of_its_own_that_fails_fails_no_request(
    make: Make, caplog: pytest.LogCaptureFixture, argument: str
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("my own fault")

    app, limiter = make()
    functions: dict[str, Any] = {"limit_value": "1/minute", "shadow": True}
    functions[argument] = [broken] if argument == "meta_limits" else broken
    view(app, "/", limiter.limit(**functions))
    assert await ask(app, "/", 2) == [200, 200]
    assert "my own fault" in caplog.text


@pytest.mark.parametrize("shadow", [True, False])
async def test_a_limit_whose_function_failed_counts_when_it_answers_again(
    make: Make, told: list[Decided], shadow: bool
) -> None:
    answers: list[str] = []
    app, limiter = make()
    view(app, "/", limiter.limit(lambda: answers[0], shadow=shadow))
    failed = 200 if shadow else 500
    assert await ask(app, "/") == [failed]
    answers.append("9/minute")
    assert await ask(app, "/") == [200]
    answers.clear()
    assert await ask(app, "/") == [failed]
    answers.append("9/minute")
    assert await ask(app, "/") == [200]
    assert outcomes(told, "9 per 1 minute") == ["allowed"] * 2


class Away(MemoryStore):
    """A store that cannot decide about some limits."""

    def __init__(self, period: int) -> None:
        super().__init__()
        self.period = period

    async def hit(self, hits: Sequence[Hit]) -> list[Decision]:
        if any(hit.quota.period == self.period for hit in hits):
            raise StoreError("away")
        return await super().hit(hits)


async def test_a_store_that_fails_for_it_refuses_nobody() -> None:
    app = Quart(__name__)
    limiter = Limiter(lambda: "ann", app=app, store=Away(3600))
    view(app, "/", limiter.limit("2/minute"), limiter.limit("1/hour", shadow=True))
    assert await ask(app, "/", 3) == [200, 200, 429]


async def test_a_policy_that_refuses_all_refuses_nothing_in_shadow(told: list[Decided]) -> None:
    app = Quart(__name__)
    uri = "redis://127.0.0.1:1"
    limiter = Limiter(lambda: "ann", app=app, storage_uri=uri, on_store_error="closed")
    view(app, "/", limiter.limit("1/minute", shadow=True))
    assert await ask(app, "/", 2) == [200, 200]
    assert {(event.outcome, event.by) for event in told} == {("shadow", "closed")}


async def test_all_rules_in_shadow_are_asked_in_one_batch(redis_url: str) -> None:
    app = Quart(__name__)
    store = RedisStore(redis_url, deadline=5)
    limiter = Limiter(lambda: "ann", app=app, store=store)
    rules = [limiter.limit(f"9/{unit}", shadow=True) for unit in ("minute", "hour", "day")]
    view(app, "/", limiter.limit("9/second"), *rules)
    sizes: list[int] = []

    def hear(_: Any, *, size: int) -> None:
        sizes.append(size)

    with batch_sent.connected_to(hear):
        await ask(app, "/")
    await store.aclose()
    assert sizes == [1, 3]


async def test_its_log_names_no_client_and_speaks_once_a_second(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "quart_ratelimit")
    now = [5_000]
    log, (quota,) = ShadowLog(now_ms=lambda: now[0]), quotas_of("1/minute")
    for at in (5_000, 5_001, 5_999, 6_000, 7_500):
        now[0] = at
        log.note(quota, "index", "store")
    counts = [getattr(record, "ratelimit_count", None) for record in caplog.records]
    assert counts == [1, 3, 1]
    fields = {n: v for n, v in vars(caplog.records[0]).items() if n.startswith("ratelimit_")}
    assert fields == {
        "ratelimit_event": "limit_shadowed",
        "ratelimit_limit": "1 per 1 minute",
        "ratelimit_scope": "index",
        "ratelimit_by": "store",
        "ratelimit_count": 1,
    }
    for number in range(2 * REMEMBERED):
        log.note(quota, f"view {number}", "store")
    assert len(log._last) <= REMEMBERED


async def test_a_request_logs_it_without_its_client(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "quart_ratelimit")
    app, limiter = make()
    view(app, "/", limiter.limit("1/minute", shadow=True))
    await ask(app, "/", 3, who="secret-client")
    assert [r.ratelimit_event for r in caplog.records] == ["limit_shadowed"]  # type: ignore[attr-defined]
    assert "secret-client" not in caplog.text


async def test_a_shield_answers_for_no_limit_that_may_be_in_shadow(make: Make) -> None:
    shadows = [False, False, True]
    app = Quart(__name__)
    limiter = Limiter(
        get_remote_address, app=app, store=GuardedStore(MemoryStore(), remember_ms=1000)
    )
    shield = limiter.shield(app)
    view(app, "/", limiter.limit("1/minute", shadow=lambda: shadows.pop(0)))
    assert await ask(app, "/", 3) == [200, 429, 200]
    assert shield.answered == 0


async def test_the_listing_says_shadow(make: Make) -> None:
    app, limiter = make()
    view(app, "/", limiter.limit("1/minute", shadow=True), name="index")
    view(app, "/own", limiter.limit("2/minute"), name="own")
    binding = binding_of(limiter, app)
    assert binding is not None
    async with app.test_request_context("/"):
        found = await Surveyor(app, binding).survey()
    listed = {line.as_dict()["limit"]: line.as_dict().get("shadow") for line in found.lines}
    assert listed == {"1 per 1 minute": True, "2 per 1 minute": None}
