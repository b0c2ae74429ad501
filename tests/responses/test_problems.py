"""Refusals as the client takes them: a problem in JSON, a page, or what the app itself answers."""

from typing import Any

import pytest
from quart import Quart, ResponseReturnValue

from quart_ratelimit import Limiter, Penalty, RateLimitExceeded, StoreError, rate_limit
from quart_ratelimit.responses.problems import TYPES
from quart_ratelimit.stores import GuardedStore, MemoryStore

from ..support.stores import Moody

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


def site(**options: Any) -> Quart:
    app = Quart(__name__)
    options.setdefault("problem_details", True)
    limiter = Limiter(app=app, **options)

    @app.get("/")
    @limiter.limit("1/minute; 100/hour", name="page")
    async def index() -> str:
        return "OK"

    return app


async def refused(app: Quart, path: str = "/", **headers: str) -> Any:
    client = app.test_client()
    await client.get(path)
    return await client.get(path, headers=headers)


@pytest.mark.parametrize("accept", ["*/*", "application/json", "application/problem+json"])
async def test_a_client_that_takes_json_is_told_which_policies_it_violated(accept: str) -> None:
    response = await refused(site(header_fields="draft-10"), Accept=accept)
    assert response.status_code == 429
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["Cache-Control"] == "no-store"
    problem = await response.get_json(force=True)
    assert problem["type"] == TYPES + "quota-exceeded"
    assert problem["status"] == 429
    assert problem["violated-policies"] == ["page:1/minute"]
    assert problem["retry_after"] <= int(response.headers["Retry-After"])
    assert '"page:1/minute";r=0' in response.headers["RateLimit"]


async def test_all_policies_that_refuse_are_violated() -> None:
    app = Quart(__name__)
    Limiter(app=app, problem_details=True, default_limits=["1/minute; 1/hour; 9/day"])
    app.add_url_rule("/", "page", lambda: "OK")
    problem = await (await refused(app)).get_json(force=True)
    assert problem["violated-policies"] == ["page:1/minute", "page:1/hour"]
    assert problem["retry_after"] > 60


@pytest.mark.parametrize("as_meta_limit", [True, False])
async def test_a_client_that_a_penalty_blocks_is_told_of_abnormal_usage(
    as_meta_limit: bool,
) -> None:
    app = Quart(__name__)
    limiter = Limiter(app=app, problem_details=True, header_fields="draft-11")
    ban = Penalty(1, 60, name="ban")
    rule = (
        limiter.limit("1/minute", name="page", meta_limits=[ban])
        if as_meta_limit
        else limiter.limit(ban)
    )
    app.add_url_rule("/", "page", rule(lambda: "OK"))
    first = await (await refused(app)).get_json(force=True)
    second = await (await refused(app)).get_json(force=True)
    if as_meta_limit:  # its first refusal is the limit's own
        assert (first["type"], first["violated-policies"]) == (TYPES + "quota-exceeded", ["page"])
    assert second["type"] == TYPES + "abnormal-usage-detected"
    assert second["violated-policies"] == ["ban"]
    assert second["title"] == "Request not satisfied due to detection of abnormal request pattern"


async def test_a_browser_gets_a_page() -> None:
    response = await refused(site(), Accept=BROWSER)
    assert response.headers["Content-Type"].startswith("text/html")
    assert "1 per 1 minute" in await response.get_data(as_text=True)


async def test_unless_it_is_asked_for_there_is_a_page_for_all() -> None:
    response = await refused(site(problem_details=None), Accept="application/json")
    assert response.headers["Content-Type"].startswith("text/html")
    assert response.headers["Cache-Control"] == "no-store"


async def test_the_apps_own_handler_comes_first_and_knows_all() -> None:
    app = site()

    @app.errorhandler(429)
    async def handle(error: RateLimitExceeded) -> ResponseReturnValue:
        states = [(str(told.limit), told.breached) for told in error.limits]
        return {"limits": states, "wait": error.retry_after, "limit": str(error.limit.limit)}, 429

    response = await refused(app)
    answer = await response.get_json()
    assert answer["limits"] == [["1 per 1 minute", True]]
    assert answer["limit"] == "1 per 1 minute"
    assert 1 <= answer["wait"] <= 60
    assert response.headers["Cache-Control"] == "no-store"


async def test_an_apps_own_cache_control_stands() -> None:
    app = site()

    @app.errorhandler(429)
    async def handle(_: RateLimitExceeded) -> ResponseReturnValue:
        return "slow down", 429, {"Cache-Control": "private"}

    assert (await refused(app)).headers["Cache-Control"] == "private"


async def test_while_nothing_can_decide_capacity_is_reduced() -> None:
    moody = Moody()
    moody.error = StoreError("away")
    store = GuardedStore(moody, policy="closed", local=MemoryStore())
    response = await refused(site(store=store))
    assert response.status_code == 503
    problem = await response.get_json(force=True)
    assert problem["type"] == TYPES + "temporary-reduced-capacity"
    assert "violated-policies" not in problem
    assert int(response.headers["Retry-After"]) >= 1


async def test_the_snippets_answer_stays_as_it_is() -> None:
    app = site()

    @app.get("/data")
    @rate_limit("1/minute")
    async def data() -> str:
        return "OK"

    response = await refused(app, "/data")
    assert response.headers["Content-Type"] == "application/json"
    assert await response.get_json() == {"message": "Too many requests. Please try again later."}
