"""Decorators without their parentheses, and functions in place of what they make.

What else is often written wrong is in test_mistakes.py.
"""

from typing import Any

import pytest
from quart import Blueprint, Quart

from quart_ratelimit import (
    ConfigurationError,
    InvalidLimit,
    Limit,
    Limiter,
    client_address,
    client_in,
    rate_limit,
)
from quart_ratelimit.errors import MissingParentheses
from quart_ratelimit.util import get_remote_address

limiter: Any = Limiter()
BARE: dict[str, Any] = {
    "limiter.limit": limiter.limit,
    "limiter.in_flight": limiter.in_flight,
    "limiter.messages": limiter.messages,
    "rate_limit": rate_limit,
}


def view() -> Any:
    async def index() -> str:
        return "here"

    return index


async def item(number: int) -> str:
    return f"item {number}"


@pytest.mark.parametrize("name", BARE)
def test_without_parentheses_a_decorator_shows_its_form(name: str) -> None:
    with pytest.raises(
        TypeError, match=rf'^@{name} lacks its parentheses above item; write @{name}\("?1'
    ):
        BARE[name](item)


def test_such_an_error_is_caught_as_any_limit_that_cannot_be_read() -> None:
    with pytest.raises(InvalidLimit):
        limiter.limit(item)


def test_a_view_without_arguments_might_say_how_much_is_allowed_until_it_has_a_route() -> None:
    app = Quart(__name__)
    with pytest.raises(MissingParentheses, match=r'write @limiter.limit\("10/minute"\)'):
        app.get("/")(limiter.limit(view()))


async def test_a_route_with_an_endpoint_of_its_own_asks_no_name_and_is_found_at_start() -> None:
    app = Quart(__name__)
    Limiter(app=app)
    app.add_url_rule("/", "index", limiter.limit(view()))
    with pytest.raises(MissingParentheses, match=r"lacks its parentheses above .*index"):
        await app.startup()


async def test_above_its_route_it_would_limit_nothing_and_is_found_at_start() -> None:
    app = Quart(__name__)
    own: Any = Limiter(app=app)
    own.limit(app.get("/")(view()))
    with pytest.raises(MissingParentheses, match=r"above .*index.*below its route"):
        await app.startup()


async def test_a_function_that_says_how_much_is_allowed_is_none_of_that() -> None:
    app = Quart(__name__)
    own = Limiter(app=app)

    def by_plan(plan: str = "free") -> str:
        return f"1/minute;{len(plan)}/hour"

    app.get("/")(own.limit(by_plan)(view()))
    client = app.test_client()
    assert [(await client.get("/")).status_code for _ in range(2)] == [200, 429]


def test_a_rule_by_text_has_no_name_as_ever() -> None:
    assert not hasattr(limiter.limit("5/minute"), "__name__")


@pytest.mark.parametrize("given", [Blueprint("shop", __name__), 5, None])
def test_what_is_no_limit_is_an_error_where_it_is_written(given: Any) -> None:
    with pytest.raises(InvalidLimit, match="is not a limit; write '10/minute'"):
        limiter.limit(given)


def test_exempt_works_with_and_without_parentheses() -> None:
    assert limiter.exempt(item) is item
    assert limiter.exempt()(item) is item


KEY_PLACES: dict[str, Any] = {
    "key_func": lambda key: Limiter(key, app=Quart(__name__)),
    "default_limits: key_func": lambda key: Limiter(
        app=Quart(__name__), default_limits=[Limit("5/minute", key)]
    ),
    "function .*item: key_func": lambda key: limiter.limit("5/minute", key_func=key)(item),
    "blueprint shop: key_func": lambda key: limiter.limit("5/minute", key_func=key)(
        Blueprint("shop", __name__)
    ),
    r"rate_limit\(key=": lambda key: rate_limit("5/minute", key=key),
    r"limiter.in_flight\(key_func=": lambda key: limiter.in_flight(5, key_func=key),
    r"limiter.messages\(key_func=": lambda key: limiter.messages("5/second", key_func=key),
}


@pytest.mark.parametrize("place", KEY_PLACES)
def test_client_address_makes_key_functions_and_is_none(place: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"^{place}.* write client_address\(\)"):
        KEY_PLACES[place](client_address)
    KEY_PLACES[place](client_address())
    KEY_PLACES[place](get_remote_address)


@pytest.mark.parametrize("place", KEY_PLACES)
def test_a_key_function_is_given_no_request(place: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"^{place}.*without arguments .it may use"):
        KEY_PLACES[place](lambda request: request.remote_addr)


@pytest.mark.parametrize("name", ["request_filter", "deny"])
def test_a_filter_is_a_function_without_arguments(name: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"limiter.{name}: .* write client_in\("):
        getattr(limiter, name)(client_in)
    with pytest.raises(ConfigurationError, match=rf"limiter.{name}: bool is not a function"):
        getattr(limiter, name)(True)


def test_so_is_what_exempts() -> None:
    with pytest.raises(ConfigurationError, match=r"item: exempt_when: .* write client_in\("):
        limiter.limit("5/minute", exempt_when=client_in)(item)


async def test_a_key_that_is_a_function_would_limit_nobody_and_is_an_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = Quart(__name__)

    def by_user(default: str = "nobody") -> Any:
        return lambda: default

    Limiter(by_user, app=app, default_limits=["1/minute"])
    app.get("/")(view())
    assert (await app.test_client().get("/")).status_code == 500
    assert "the key function returned a function" in caplog.text
