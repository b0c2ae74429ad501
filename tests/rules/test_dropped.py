"""A limit that is made and dropped, such as one without its @, is an error where it stands."""

import functools
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from quart import Quart

import quart_ratelimit.quart_rate_limiter as other
from quart_ratelimit import ConfigurationError, Limiter, rate_limit
from quart_ratelimit.stores import MemoryStore

app = Quart(__name__)
limiter = Limiter(lambda: "all", app=app, store=MemoryStore())


def by_limit() -> None:
    limiter.limit("1/minute")


def by_limit_in_lines() -> None:
    limiter.limit(
        "1/minute",
        override_defaults=False,
    )


def by_limit_with_options() -> None:
    options: dict[str, Any] = {"cost": 1}
    limiter.limit(*["1/minute"], **options)


def by_limit_under_a_condition() -> None:
    if app.debug is not None:
        limiter.limit("1/minute")


def by_limit_of_an_attribute() -> None:
    holder = type("Holder", (), {"limiter": limiter})()
    holder.limiter.limit("1/minute")


def by_shared_limit() -> None:
    limiter.shared_limit("1/minute", "all")


def by_in_flight() -> None:
    limiter.in_flight(1)


def by_messages() -> None:
    limiter.messages("1/minute")


def by_reserve() -> None:
    limiter.reserve("1/minute", "ann", cost=1)


def by_rate_limit() -> None:
    rate_limit("1/minute")


def by_the_other_rate_limit() -> None:
    other.rate_limit(1, timedelta(minutes=1))


@pytest.mark.parametrize(
    "drop",
    [
        by_limit,
        by_limit_in_lines,
        by_limit_with_options,
        by_limit_under_a_condition,
        by_limit_of_an_attribute,
        by_shared_limit,
        by_in_flight,
        by_messages,
        by_reserve,
        by_rate_limit,
        by_the_other_rate_limit,
    ],
)
def test_a_limit_as_a_statement_is_an_error(drop: Callable[[], None]) -> None:
    with pytest.raises(ConfigurationError, match=r"as a statement limits nothing; write .*\("):
        drop()


async def test_so_is_one_in_a_view_that_lacks_its_async_with() -> None:
    @app.get("/heavy")
    async def heavy() -> str:
        limiter.limit("1/minute")
        return "done"

    assert (await app.test_client().get("/heavy")).status_code == 500


async def test_a_limit_that_is_used_is_none() -> None:
    kept: list[Any] = []
    texts = ["1/minute", "2/minute"]
    kept.extend(map(limiter.limit, texts))
    kept.extend(limiter.limit(text) for text in texts)
    kept.append(limiter.limit("3/minute"))
    kept += [limiter.limit(text) for text in texts]
    kept.append(functools.partial(limiter.limit, "4/minute")())
    places: Callable[[], Any] = lambda: limiter.in_flight(1)  # noqa: E731
    kept.append(places())
    one = two = limiter.limit("5/minute")
    assert one is two
    assert len(kept) == 9

    async def page() -> str:
        return "page"

    limiter.limit("6/minute")(page)
    async with app.test_request_context("/"), limiter.limit("7/minute"):
        pass
