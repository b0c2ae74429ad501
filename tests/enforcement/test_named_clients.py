"""No answer of a key function or of a limit function leaves a request unlimited."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
from quart import Blueprint, request

from quart_ratelimit import ConfigurationError, Limit, client_address
from quart_ratelimit.clients import key_functions
from quart_ratelimit.recent import Once

from ..support.apps import Make, ask, clock, make, view

__all__ = ["clock", "make"]  # fixtures


@pytest.fixture(autouse=True)
def _unlogged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_functions, "_logged", Once())


def by_header() -> str | None:
    return request.headers.get("X-Key")


async def by_header_later() -> str | None:
    return request.headers.get("X-Key")


def by_empty_header() -> str:
    return request.headers.get("X-Key", "")


#: Of answers that name nobody.
KINDS = ["None", "text", "bytes", "object"]
KEY_FUNCTIONS = [by_header, by_header_later, by_empty_header]


@pytest.mark.parametrize("key_func", KEY_FUNCTIONS)
@pytest.mark.parametrize("how", ["own", "with others", "default", "by cost", "limiter's"])
async def test_a_request_without_a_key_counts_for_its_address(
    make: Make, caplog: pytest.LogCaptureFixture, key_func: Any, how: str
) -> None:
    general: dict[str, Any] = {}
    decorators: list[Any] = []
    if how == "default":
        general = {"default_limits": [Limit("2/minute", key_func)]}
    if how == "limiter's":
        general = {"key_func": key_func}
    app, limiter = make(**general)
    if how in ("own", "by cost", "limiter's"):
        cost: Any = (lambda: 1) if how == "by cost" else 1
        given = {} if how == "limiter's" else {"key_func": key_func}
        decorators = [limiter.limit("2/minute", cost=cost, **given)]
    if how == "with others":
        decorators = [limiter.limit("2/minute", key_func=key_func), limiter.limit("9/minute")]
    view(app, "/", *decorators)
    assert await ask(app, "/", 4, who="192.0.2.1") == [200, 200, 429, 429]
    assert await ask(app, "/", 3, who="192.0.2.2") == [200, 200, 429]
    assert await ask(app, "/", 3, x_key="ann") == [200, 200, 429]
    named = [one for one in caplog.records if "returned no client" in one.getMessage()]
    assert len(named) == 1


async def test_it_counts_for_the_address_that_trusted_proxies_name(make: Make) -> None:
    app, limiter = make(key_func=client_address(1))
    view(app, "/", limiter.limit("1/minute", key_func=by_header))
    for who in ("192.0.2.1", "192.0.2.2"):
        assert await ask(app, "/", 2, who="10.0.0.1", x_forwarded_for=who) == [200, 429]


async def test_no_key_is_the_same_client_as_that_address_and_no_account_can_take_it(
    make: Make,
) -> None:
    app, limiter = make(key_func=client_address())
    view(app, "/", limiter.limit("1/minute", key_func=by_header))
    assert await ask(app, "/", 2, who="192.0.2.1") == [200, 429]
    assert await ask(app, "/", 2, who="192.0.2.2", x_key="192.0.2.1") == [200, 429]


@pytest.mark.parametrize("place", ["route", "default", "application", "blueprint", "shared"])
@pytest.mark.parametrize("answer", ["0/minute", "5/fortnight", 0, False, 5, ["5/minute"]])
async def test_an_answer_that_allows_nothing_or_is_no_limit_refuses(
    make: Make, place: str, answer: Any
) -> None:
    def plan() -> Any:
        return answer

    general = {f"{place}_limits": [plan]} if place in ("default", "application") else {}
    app, limiter = make(headers_enabled=True, **general)
    decorate: dict[str, Callable[..., Any]] = {
        "route": limiter.limit, "shared": lambda provider: limiter.shared_limit(provider, "all")
    }  # fmt: skip
    blueprint = Blueprint("blue", __name__)
    view(blueprint, "/", *([decorate[place](plan)] if place in decorate else []))
    if place == "blueprint":
        limiter.limit(plan)(blueprint)
    app.register_blueprint(blueprint)
    assert await ask(app, "/", 2) == [429, 429]


async def test_a_malformed_answer_is_replaced_by_the_last_good_one(make: Make) -> None:
    answers: list[Any] = ["2/minute", "2/fortnight", 7, "1 apple"]
    app, limiter = make(default_limits=["9/minute"])
    view(app, "/", limiter.limit(lambda: answers.pop(0)))
    assert await ask(app, "/", 4) == [200, 200, 429, 429]


async def test_or_by_the_default_limit(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    app, limiter = make(default_limits=["2/minute"])
    view(app, "/", limiter.limit(lambda: "1 apple"))
    with caplog.at_level(logging.ERROR):
        assert await ask(app, "/", 3) == [200, 200, 429]
    assert len([one for one in caplog.records if "1 apple" in one.getMessage()]) == 1


@pytest.mark.parametrize("answer", ["", None])
async def test_an_answer_of_nothing_is_no_limit(make: Make, answer: Any) -> None:
    app, limiter = make(default_limits=["2/minute"])
    view(app, "/free", limiter.limit(lambda: answer))
    assert await ask(app, "/free", 3) == [200, 200, 429]  # by the default
    app, limiter = make()
    view(app, "/free", limiter.limit(lambda: answer))
    assert await ask(app, "/free", 3) == [200, 200, 200]


@pytest.mark.parametrize(
    "answer", [None, "", b"", object()], ids=["None", "text", "bytes", "object"]
)
@pytest.mark.parametrize("by", ["hit", "wait", "reserve", "in_flight", "in_flight's own"])
async def test_a_check_in_code_without_a_key_counts_for_the_address(
    make: Make, by: str, answer: Any
) -> None:
    app, limiter = make(key_func=lambda: answer if "X-Key" not in request.headers else "ann")
    held = []

    @app.get("/")
    async def index() -> Any:
        if by == "hit":
            return "", 200 if await limiter.hit("1/minute") else 429
        if by == "wait":
            return "", 200 if await limiter.wait("1/minute", seconds=0) else 429
        if by == "reserve":
            async with limiter.reserve("1/minute", cost=1):
                return ""
        own = {"key_func": lambda: answer} if "own" in by else {}
        held.append(await limiter.in_flight(1, scope="s", **own).__aenter__())  # type: ignore[arg-type]
        return ""

    assert await ask(app, "/", 2, who="192.0.2.1") == [200, 429]
    assert await ask(app, "/", 2, who="192.0.2.2") == [200, 429]


@pytest.mark.parametrize("key", [5, b"ann", 1.5, ("a", 1)])
async def test_a_key_is_written_as_text(make: Make, key: Any) -> None:
    app, limiter = make()
    async with app.app_context():
        assert [bool(await limiter.hit("1/minute", key)) for _ in range(2)] == [True, False]
        assert not await limiter.hit("1/minute", str(key))
        assert await limiter.reset("1/minute", key) == 1


async def test_a_key_without_a_text_is_named(make: Make) -> None:
    app, limiter = make()
    async with app.app_context():
        with pytest.raises(ConfigurationError, match="key=<object"):
            await limiter.hit("1/minute", object())  # type: ignore[arg-type]
