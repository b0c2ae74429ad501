"""What the client sees: headers, bodies, callbacks, and limits that the response decides on."""

import asyncio
import json
import time
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from quart import Quart, Response, abort, jsonify, make_response, request
from quart.typing import ResponseReturnValue

from quart_ratelimit import (
    ConfigurationError,
    HeaderNames,
    Limiter,
    RateLimitExceeded,
    RequestLimit,
)
from quart_ratelimit.stores import MemoryStore

from ..support.apps import Clock, Make, ask, body, view


async def headers(app: Quart, path: str) -> Any:
    return (await app.test_client().get(path, scope_base={"client": ("ann", 1)})).headers


def limit_headers(found: Any) -> tuple[int, int, int, int]:
    """Limit, remaining, seconds until the reset, and how long to wait."""
    return (
        int(found["X-RateLimit-Limit"]),
        int(found["X-RateLimit-Remaining"]),
        round(int(found["X-RateLimit-Reset"]) - time.time()),
        int(found["Retry-After"]),
    )


# Headers


async def test_headers_tell_of_the_shortest_limit_that_is_not_shared(make: Make) -> None:
    app, limiter = make(
        application_limits=["60/second"], default_limits=["10/minute"], headers_enabled=True
    )
    view(app, "/")
    view(app, "/own", limiter.limit("20/hour; 5 per minute; 7/minute"))
    assert (await headers(app, "/"))["X-RateLimit-Limit"] == "10"
    limit, remaining, reset, wait = limit_headers(await headers(app, "/own"))
    assert (limit, remaining) == (5, 4)
    assert 59 <= reset <= 61
    assert 60 <= wait <= 61


async def test_headers_tell_of_the_applications_limit_where_there_is_no_other(make: Make) -> None:
    app, limiter = make(application_limits=["60/minute"], headers_enabled=True)
    view(app, "/")
    view(app, "/own", limiter.limit("2/second"))
    view(app, "/skipped", limiter.limit("2/second", exempt_when=lambda: True))
    assert limit_headers(await headers(app, "/"))[:2] == (60, 59)
    assert limit_headers(await headers(app, "/own"))[:2] == (2, 1)
    assert limit_headers(await headers(app, "/skipped"))[:2] == (60, 57)


async def test_headers_tell_of_the_limit_that_refused(make: Make, clock: Clock) -> None:
    app, limiter = make(headers_enabled=True)
    view(app, "/", limiter.limit("2/second; 10 per minute; 20/hour"))
    for _ in range(10):
        assert await ask(app, "/", 1) == [200]
        clock.forward(1)
    limit, remaining, reset, wait = limit_headers(await headers(app, "/"))
    assert (limit, remaining) == (10, 0)
    assert 49 <= reset <= 51
    assert 50 <= wait <= 51


async def test_a_client_that_waits_as_told_is_allowed(make: Make, clock: Clock) -> None:
    app, _ = make(default_limits=["1/minute"], headers_enabled=True)
    view(app, "/")
    clock.forward(0.4567)
    await ask(app, "/", 1)
    clock.forward(12.3456)
    refused = await app.test_client().get("/", scope_base={"client": ("ann", 1)})
    assert refused.status_code == 429
    clock.forward(int(refused.headers["Retry-After"]))
    assert await ask(app, "/", 1) == [200]


async def test_of_several_limits_that_refuse_the_longest_wait_is_told(
    make: Make, clock: Clock
) -> None:
    app, limiter = make(headers_enabled=True)
    view(app, "/", limiter.limit("1/minute; 1/hour"))
    await ask(app, "/", 1)
    refused = await headers(app, "/")
    assert refused["X-RateLimit-Limit"] == "1"
    assert 3600 <= int(refused["Retry-After"]) <= 3601


async def test_a_refusal_bears_retry_after_also_without_the_other_headers(make: Make) -> None:
    app, _ = make(default_limits=["1/minute"])
    view(app, "/")
    assert "Retry-After" not in await headers(app, "/")
    refused = await headers(app, "/")
    assert refused["Retry-After"] == "60"
    assert "X-RateLimit-Limit" not in refused


@pytest.mark.parametrize("existing", ["1000000", "Sun, 06 Nov 2032 01:01:01 GMT"])
async def test_a_later_retry_after_of_the_view_stands(make: Make, existing: str) -> None:
    app, _ = make(default_limits=["1/minute"], headers_enabled=True)

    @app.get("/")
    async def index() -> ResponseReturnValue:
        return "", 200, {"Retry-After": existing}

    assert int((await headers(app, "/"))["Retry-After"]) > 100_000


@pytest.mark.parametrize("existing", ["1", "Sun, 06 Nov 1994 08:49:37 GMT", "soon"])
async def test_an_earlier_or_unreadable_retry_after_does_not(make: Make, existing: str) -> None:
    app, _ = make(default_limits=["1/minute"], headers_enabled=True)

    @app.get("/")
    async def index() -> ResponseReturnValue:
        return "", 200, {"Retry-After": existing}

    assert (await headers(app, "/")).getlist("Retry-After") in (["60"], ["61"])


async def test_retry_after_may_be_a_date(make: Make) -> None:
    app, _ = make(default_limits=["1/minute"], headers_enabled=True, retry_after="http-date")
    view(app, "/")
    date = parsedate_to_datetime((await headers(app, "/"))["Retry-After"])
    assert 59 <= date.timestamp() - time.time() <= 61


@pytest.mark.parametrize("by_config", [False, True])
async def test_headers_may_have_other_names(make: Make, by_config: bool) -> None:
    names = {HeaderNames.LIMIT: "A", HeaderNames.REMAINING: "B", HeaderNames.RESET: "C"}
    names |= {HeaderNames.RETRY_AFTER: "D"}
    config = {
        "RATELIMIT_HEADER_LIMIT": "A",
        "RATELIMIT_HEADER_REMAINING": "B",
        "RATELIMIT_HEADER_RESET": "C",
        "RATELIMIT_HEADER_RETRY_AFTER": "D",
    }
    limits: dict[str, Any] = {"headers_enabled": True, "default_limits": ["3/second"]}
    app, _ = make(config, **limits) if by_config else make(header_name_mapping=names, **limits)
    view(app, "/")
    found = await headers(app, "/")
    assert (found["A"], found["B"]) == ("3", "2")
    assert "C" in found
    assert "D" in found
    assert "X-RateLimit-Limit" not in found


async def test_two_limiters_write_each_field_once(clock: Clock) -> None:
    """Flask-Limiter adds the fields of both; a client that reads one line reads either."""
    app = Quart(__name__)
    for limit in ("5/minute", "9/minute"):
        store = MemoryStore(now_ms=clock)
        Limiter(app=app, default_limits=[limit], headers_enabled=True, store=store)
    view(app, "/")
    assert (await headers(app, "/")).getlist("X-RateLimit-Limit") == ["9"]


async def test_a_view_slower_than_the_window_is_told_that_it_is_over(make: Make) -> None:
    app, limiter = make(headers_enabled=True)

    @app.get("/")
    @limiter.limit("5/second")
    async def index() -> str:
        limit = limiter.current_limit
        assert limit is not None
        assert limit.remaining == 4
        limit._ticks -= 1  # as if the view had taken a second
        return ""

    found = await headers(app, "/")
    assert found["X-RateLimit-Remaining"] == "5"
    assert int(found["X-RateLimit-Reset"]) <= time.time() + 1


async def test_what_remains_of_a_counter_that_is_charged_twice_is_what_both_leave(
    make: Make,
) -> None:
    app, limiter = make(headers_enabled=True)
    view(app, "/", limiter.limit("5/minute"), limiter.limit("5/minute", cost=2))
    assert (await headers(app, "/"))["X-RateLimit-Remaining"] == "2"


# What was decided


async def test_a_view_sees_the_limits_of_its_request(make: Make) -> None:
    app, limiter = make(application_limits=["9/hour"], key_prefix="pre")

    @app.get("/")
    @limiter.limit("5/minute")
    async def index() -> ResponseReturnValue:
        told = limiter.current_limit
        assert told is not None
        return {
            "keys": [limit.key for limit in limiter.current_limits],
            "shared": [limit.shared for limit in limiter.current_limits],
            "current": told.key,
            "remaining": told.remaining,
            "window": told.window.remaining,
            "amount": told.limit.amount,
            "expiry": told.limit.get_expiry(),
            "wait": told.reset_at - time.time(),
        }

    told = json.loads(await body(app, "/"))
    assert told["keys"] == ["LIMITER/pre/ann/global/9/1/hour", "LIMITER/pre/ann/index/5/1/minute"]
    assert told["shared"] == [True, False]
    assert told["current"] == told["keys"][1]
    assert (told["remaining"], told["window"], told["amount"], told["expiry"]) == (4, 4, 5, 60)
    assert 59 <= told["wait"] <= 61


async def test_before_a_limit_was_evaluated_there_is_none(make: Make) -> None:
    app, limiter = make()
    assert limiter.current_limit is None
    assert limiter.current_limits == []
    async with app.test_request_context("/"):
        assert limiter.current_limit is None
        assert limiter.current_limits == []


@pytest.mark.parametrize(
    ("first_only", "breached", "after_a_second"),
    [(True, [True], 200), (False, [True, False], 429)],
)
async def test_fail_on_first_breach_decides_whether_the_others_are_evaluated(
    make: Make, clock: Clock, first_only: bool, breached: list[bool], after_a_second: int
) -> None:
    app, limiter = make(fail_on_first_breach=first_only)
    view(app, "/", limiter.limit("1/second"), limiter.limit("2/minute"))
    seen: list[list[bool]] = []

    @app.after_request
    async def note(response: Response) -> Response:
        seen.append([limit.breached for limit in limiter.current_limits])
        return response

    assert await ask(app, "/", 2) == [200, 429]
    assert seen == [[False, False], breached]
    clock.forward(1)
    assert await ask(app, "/", 1) == [after_a_second]


# Bodies and callbacks


async def test_an_error_handler_is_told_the_limit(make: Make) -> None:
    app, _ = make({"RATELIMIT_DEFAULT": "1 per day"})
    view(app, "/")

    @app.errorhandler(429)
    async def refused(error: RateLimitExceeded) -> ResponseReturnValue:
        return jsonify(error=f"rate limit {error.description}", scope=error.limit.scope), 429

    await ask(app, "/", 1)
    assert json.loads(await body(app, "/")) == {"error": "rate limit 1 per 1 day", "scope": None}


async def test_without_a_handler_the_body_names_the_limit(make: Make) -> None:
    app, _ = make(default_limits=["1 per 5 minutes"])
    view(app, "/")
    await ask(app, "/", 1)
    assert "<p>1 per 5 minute</p>" in await body(app, "/")


async def test_a_limit_may_have_its_own_message(make: Make) -> None:
    app, limiter = make()

    @app.errorhandler(429)
    async def refused(error: RateLimitExceeded) -> ResponseReturnValue:
        return error.description or "", 429

    async def later() -> str:
        return "dos"

    view(app, "/1", limiter.limit("1/day", error_message="uno"))
    view(app, "/2", limiter.limit(lambda: "1/day", error_message=later))
    view(app, "/3", limiter.shared_limit("1/day", scope="x", error_message=lambda: "tres"))
    for path, message in (("/1", "uno"), ("/2", "dos"), ("/3", "tres")):
        await ask(app, path, 1)
        assert await body(app, path) == message


async def test_a_callback_hears_of_each_breach(make: Make) -> None:
    heard: list[str] = []
    app, limiter = make(on_breach=lambda limit: heard.append(limit.key), default_limits=["2/day"])
    view(app, "/", name="root")
    view(app, "/sub", limiter.limit("1/second"))
    await ask(app, "/", 3)
    await ask(app, "/sub", 3)
    assert heard == ["LIMITER/ann/root/2/1/day"] + ["LIMITER/ann/sub/1/1/second"] * 2


async def test_a_callbacks_response_is_sent_and_the_limits_own_wins(make: Make) -> None:
    def for_all(limit: RequestLimit) -> Any:
        return make_response(f"all: {limit.limit} @ {request.path}", 429)

    async def for_one(limit: RequestLimit) -> Any:
        return await make_response(f"one: {limit.limit} @ {request.path}", 200)

    app, limiter = make(on_breach=for_all)
    view(app, "/silent", limiter.limit("1/second", on_breach=lambda limit: None))
    view(app, "/plain", limiter.limit("1/second"))
    view(app, "/own", limiter.limit("1/second", on_breach=for_one))
    assert await ask(app, "/own", 2) == [200, 200]
    for path, text in (
        ("/silent", "all: 1 per 1 second @ /silent"),
        ("/plain", "all: 1 per 1 second @ /plain"),
        ("/own", "one: 1 per 1 second @ /own"),
    ):
        await ask(app, path, 1)
        assert await body(app, path) == text


async def test_a_callback_for_both_is_called_once(make: Make) -> None:
    heard: list[RequestLimit] = []
    app, limiter = make(on_breach=heard.append)
    view(app, "/", limiter.limit("1/second", on_breach=heard.append))
    callback = limiter._bindings.given["on_breach"]
    view(app, "/same", limiter.limit("1/second", on_breach=callback))
    await ask(app, "/same", 2)
    assert len(heard) == 1


async def test_a_callback_that_fails_is_the_apps_error(make: Make) -> None:
    app, limiter = make()
    view(app, "/", limiter.limit("1/second", on_breach=lambda limit: 1 / 0))
    assert await ask(app, "/", 2) == [200, 500]


def test_a_callback_without_a_parameter_is_an_error_where_it_is_given(make: Make) -> None:
    _, limiter = make()
    with pytest.raises(ConfigurationError, match=r"on_breach: .*callable with one argument"):
        limiter.limit("1/second", on_breach=lambda: None)


# Limits that the response decides on


async def test_only_responses_that_deduct_when_names_are_charged(make: Make, clock: Clock) -> None:
    app, _ = make(
        {
            "RATELIMIT_DEFAULT": "1 per hour",
            "RATELIMIT_DEFAULTS_DEDUCT_WHEN": lambda response: response.status_code != 200,
        }
    )

    @app.get("/<path>")
    async def index(path: str) -> str:
        return path if path == "good" else abort(400)

    assert await ask(app, "/good", 3) == [200, 200, 200]
    assert await ask(app, "/bad", 2) == [400, 429]
    assert await ask(app, "/good", 1) == [429]
    clock.forward(3600)
    assert await ask(app, "/good", 1) == [200]
    assert await ask(app, "/bad", 1) == [400]


async def test_each_limit_decides_by_itself_what_it_charges(make: Make, clock: Clock) -> None:
    app, limiter = make()

    async def when_good(response: Response) -> bool:
        return response.status_code == 200

    bad = limiter.limit("1/minute", deduct_when=lambda response: response.status_code == 400)

    @app.get("/<path>")
    @limiter.limit("1/second", deduct_when=when_good)
    @bad
    async def index(path: str) -> str:
        return path if path == "good" else abort(400)

    assert await ask(app, "/good", 2) == [200, 429]
    clock.forward(1)
    assert await ask(app, "/bad", 1) == [400]
    clock.forward(1)
    assert await ask(app, "/good", 1) == [429]
    clock.forward(59)
    assert await ask(app, "/good", 1) == [200]


async def test_a_shared_limit_on_view_and_blueprint_may_be_decided_by_the_response(
    make: Make,
) -> None:
    from quart import Blueprint

    app, limiter = make()
    limit = limiter.shared_limit(
        "2/minute", "bad", deduct_when=lambda response: response.status_code == 400
    )

    async def index(path: str) -> str:
        return path if path == "good" else abort(400)

    blueprint = Blueprint("bp", __name__, url_prefix="/bp")
    blueprint.get("/<path>")(index)
    limit(blueprint)
    app.get("/<path>")(limit(index))
    app.register_blueprint(blueprint)
    assert await ask(app, "/bp/good", 2) + await ask(app, "/good", 2) == [200] * 4
    assert await ask(app, "/bp/bad", 1) + await ask(app, "/bad", 1) == [400, 400]
    assert await ask(app, "/bp/good", 1) + await ask(app, "/good", 1) == [429, 429]


async def test_headers_tell_what_remains_after_the_response_decided(make: Make) -> None:
    app, limiter = make(default_limits=["3/second"], headers_enabled=True)
    refund = limiter.limit("2/hour", deduct_when=lambda response: response.status_code != 200)

    @app.get("/<path>")
    @refund
    async def index(path: str) -> str:
        return path if path == "good" else abort(400)

    assert limit_headers(await headers(app, "/good"))[:2] == (2, 2)
    assert limit_headers(await headers(app, "/bad"))[:2] == (2, 1)


async def test_a_refusal_by_another_limit_gives_back_what_was_reserved(make: Make) -> None:
    app, limiter = make(
        application_limits=["3/day"], application_limits_deduct_when=lambda response: True
    )
    view(app, "/own", limiter.limit("1/minute"))
    view(app, "/")
    assert await ask(app, "/own", 6) == [200] + [429] * 5
    assert await ask(app, "/", 3) == [200, 200, 429]


async def test_a_cost_is_reserved_while_the_view_runs(make: Make) -> None:
    app, limiter = make()
    inside, leave = asyncio.Event(), asyncio.Event()

    @app.get("/")
    @limiter.limit("20/minute", cost=15, deduct_when=lambda response: False)
    async def index() -> str:
        inside.set()
        await leave.wait()
        return "here"

    first = asyncio.create_task(ask(app, "/", 1))
    await inside.wait()
    assert await ask(app, "/", 1) == [429]  # no second request slips through meanwhile
    leave.set()
    assert await first == [200]
    assert await ask(app, "/", 1) == [200]


async def test_what_a_moving_window_reserved_is_kept_or_given_back(make: Make) -> None:
    app, limiter = make(strategy="moving-window")
    keep = limiter.limit("20/minute", cost=15, deduct_when=lambda r: r.status_code == 200)

    @app.get("/<path>")
    @keep
    async def index(path: str) -> str:
        return path if path == "good" else abort(400)

    assert await ask(app, "/bad", 3) == [400, 400, 400]
    assert await ask(app, "/good", 2) == [200, 429]


async def test_an_error_of_the_view_is_a_response_that_decides(make: Make) -> None:
    app, limiter = make()

    @app.get("/")
    @limiter.limit("1/minute", deduct_when=lambda response: response.status_code == 500)
    async def index() -> str:
        raise RuntimeError("broken")

    assert await ask(app, "/", 2) == [500, 429]


async def test_a_client_that_goes_away_stays_charged(make: Make) -> None:
    app, limiter = make()
    inside = asyncio.Event()

    @app.get("/")
    @limiter.limit("1/minute", deduct_when=lambda response: False)
    async def index() -> str:
        inside.set()
        await asyncio.Event().wait()
        return "never"

    connection = app.test_client().request("/")
    async with connection:
        await inside.wait()
        await connection.disconnect()
    refused = await app.test_client().get("/")
    assert refused.status_code == 429
