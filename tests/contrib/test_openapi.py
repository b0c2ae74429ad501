"""Limits in quart-schema's OpenAPI document, read by a validator."""

from dataclasses import dataclass
from typing import Any

import pytest
from openapi_spec_validator import validate
from quart import Blueprint, Quart
from quart_schema import QuartSchema, document_response

from quart_ratelimit import ExemptionScope, Limiter, rate_limit
from quart_ratelimit.contrib.openapi import LimitedProvider
from quart_ratelimit.responses.problems import JSON
from quart_ratelimit.stores import GuardedStore, MemoryStore

from ..support.stores import Moody


@dataclass
class Cart:
    """What is in it."""

    items: int


@dataclass
class Calm:
    """Our own words."""

    please: str


def site(**options: Any) -> tuple[Quart, Limiter]:
    app = Quart(__name__)
    QuartSchema(app, openapi_provider_class=LimitedProvider)
    options.setdefault("default_limits", ["100/hour"])
    return app, Limiter(app=app, **options)


def view(app: Any, path: str, *decorators: Any, methods: tuple[str, ...] = ("GET",)) -> None:
    """A view below these decorators, outermost first."""

    async def answer() -> Any:
        return {"items": 3}

    answer.__name__ = path.strip("/")
    for decorator in (document_response(Cart), *reversed(decorators)):
        answer = decorator(answer)
    app.route(path, methods=list(methods))(answer)


async def document(app: Quart) -> Any:
    response = await app.test_client().get("/openapi.json")
    found = await response.get_json()
    validate(found)
    return found["paths"]


async def answers(app: Quart, path: str = "/it", method: str = "get") -> Any:
    return (await document(app))[path][method]["responses"]


async def test_a_limit_in_shadow_is_not_documented_but_one_that_may_bind_is() -> None:
    app, limiter = site(default_limits=[])
    view(app, "/it", limiter.limit("10/minute", shadow=True))
    assert "429" not in await answers(app)
    view(app, "/own", limiter.limit("9/minute", shadow=lambda: True))
    assert "9 per 1 minute" in (await answers(app, "/own"))["429"]["description"]


async def test_a_limited_route_documents_its_refusal_with_its_limits() -> None:
    app, limiter = site()
    view(app, "/it", limiter.limit("10/minute; 50/day"))
    refusal = (await answers(app))["429"]
    assert refusal["description"] == "Too many requests. Limits: 10 per 1 minute, 50 per 1 day."
    assert set(refusal["content"]) == {"text/html"}
    assert refusal["headers"]["Retry-After"]["schema"] == {"type": "integer"}


async def test_defaults_and_the_applications_limits_are_a_routes_too() -> None:
    app, _ = site(application_limits=["7/second"])
    view(app, "/it")
    refusal = (await answers(app))["429"]
    assert refusal["description"] == "Too many requests. Limits: 7 per 1 second, 100 per 1 hour."


async def test_an_exempt_route_documents_no_limit() -> None:
    app, limiter = site(application_limits=["7/second"], header_fields="draft-10")
    view(app, "/it", limiter.exempt)
    view(app, "/half", lambda view: limiter.exempt(view, flags=ExemptionScope.DEFAULT))
    (answer,) = (await answers(app)).values()
    assert "headers" not in answer
    assert "7 per 1 second." in (await answers(app, "/half"))["429"]["description"]


async def test_a_blueprints_limits_are_those_of_its_routes() -> None:
    app, limiter = site()
    blueprint = Blueprint("shop", __name__)
    view(blueprint, "/it")
    limiter.limit("3/minute")(blueprint)
    app.register_blueprint(blueprint)
    assert "Limits: 3 per 1 minute." in (await answers(app))["429"]["description"]


async def test_a_limit_on_some_methods_is_documented_there() -> None:
    app, limiter = site(default_limits=None)
    view(app, "/it", limiter.limit("3/minute", methods=["POST"]), methods=("GET", "POST"))
    assert set(await answers(app)) == {"200"}
    assert set(await answers(app, method="post")) == {"200", "429"}


async def test_a_limit_in_shadow_refuses_nothing() -> None:
    app, limiter = site(default_limits=None)
    view(app, "/it", limiter.limit("1/minute", shadow=True))
    view(app, "/both", limiter.limit("9/minute"), limiter.limit("1/minute", shadow=True))
    assert set(await answers(app)) == {"200"}
    both = (await answers(app, "/both"))["429"]["description"]
    assert both == "Too many requests. Limits: 9 per 1 minute."


async def test_functions_are_not_asked() -> None:
    app, limiter = site()

    def never() -> Any:
        raise AssertionError("asked")

    view(app, "/it", limiter.limit(never, name="plan", exempt_when=never, cost=never))
    assert "Limits: one that varies." in (await answers(app))["429"]["description"]


async def test_the_snippets_decorator_and_places_in_flight_are_limits() -> None:
    app, limiter = site(default_limits=None)
    view(app, "/it", rate_limit("10/minute"))
    view(app, "/both", limiter.in_flight(2), rate_limit(requests=5, duration=60))
    refusal = (await answers(app))["429"]
    assert refusal["description"] == "Too many requests. Limits: 10 per 1 minute."
    assert set(refusal["content"]) == {"application/json"}
    both = (await answers(app, "/both"))["429"]
    assert both["description"] == "Too many requests. Limits: 5 per 1 minute, 2 at a time."
    assert set(both["content"]) == {"application/json", "text/html"}


async def test_what_a_route_documents_by_itself_stands() -> None:
    app, limiter = site(header_fields="draft-7")
    view(app, "/it", document_response(Calm, 429), limiter.limit("10/minute"))
    found = await answers(app)
    assert found["429"]["description"] == "Our own words."
    assert set(found["429"]["content"]) == {"application/json"}
    assert found["200"]["description"] == "What is in it."
    for response in found.values():
        assert set(response["headers"]) == {"RateLimit", "RateLimit-Policy"}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, set()),
        (
            {"headers_enabled": True, "retry_after": "http-date"},
            {"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "Retry-After"},
        ),
        ({"header_fields": "draft-10"}, {"RateLimit", "RateLimit-Policy"}),
    ],
)
async def test_the_fields_are_those_that_the_app_sends(
    options: dict[str, Any], told: set[str]
) -> None:
    app, limiter = site(store=MemoryStore(), **options)
    view(app, "/it", limiter.limit("10/minute"))
    documented = set((await answers(app))["200"].get("headers", ()))
    assert documented == told
    sent = {name.lower() for name, _ in (await app.test_client().get("/it")).headers}
    assert sent - {"content-type", "content-length"} == {name.lower() for name in told}


async def test_a_problem_is_documented_as_it_is_sent() -> None:
    app, limiter = site(problem_details=True)
    view(app, "/it", limiter.limit("1/minute"))
    schema = (await answers(app))["429"]["content"][JSON]["schema"]
    problem = [await app.test_client().get("/it") for _ in range(2)][-1]
    sent = await problem.get_json(force=True)
    assert set(schema["required"]) <= set(sent) == set(schema["properties"])


async def test_an_answer_of_the_apps_own_has_no_form_that_is_known() -> None:
    app, limiter = site()
    view(app, "/it", limiter.limit("1/minute"))

    @app.errorhandler(429)
    async def refused(_: Exception) -> Any:
        return "slow down", 429

    assert "content" not in (await answers(app))["429"]


async def test_the_policy_closed_documents_its_503() -> None:
    store = GuardedStore(Moody(), policy="closed", local=MemoryStore())
    app, limiter = site(store=store, on_store_error="closed")
    view(app, "/it", limiter.limit("1/minute"))
    found = await answers(app)
    assert set(found) == {"200", "429", "503"}
    assert set(found["503"]["headers"]) == {"Retry-After"}


async def test_all_limiters_of_an_app_are_told_of() -> None:
    app, _ = site(default_limits=["100/hour"], headers_enabled=True)
    tenants = Limiter(
        app=app,
        default_limits=["9/minute", "100/hour"],
        header_fields=["draft-10"],
        problem_details=True,
        store=GuardedStore(Moody()),
        on_store_error="closed",
    )
    view(app, "/it")
    view(app, "/free", tenants.exempt)
    found = await answers(app)
    assert found["429"]["description"] == (
        "Too many requests. Limits: 100 per 1 hour, 9 per 1 minute."
    )
    assert set(found["429"]["content"]) == {"text/html", JSON}
    assert "503" in found
    assert {"X-RateLimit-Limit", "RateLimit-Policy", "RateLimit"} <= set(found["200"]["headers"])
    free = await answers(app, "/free")
    assert free["429"]["description"] == "Too many requests. Limits: 100 per 1 hour."
    assert "503" not in free


async def test_without_a_limiter_the_document_is_quart_schemas() -> None:
    app = Quart(__name__)
    QuartSchema(app, openapi_provider_class=LimitedProvider)
    view(app, "/it")
    plain = await answers(app)
    assert set(plain) == {"200"}
    app.config["RATELIMIT_ENABLED"] = False
    Limiter(app=app, default_limits=["1/minute"])
    assert await answers(app) == plain
