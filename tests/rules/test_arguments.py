"""Every argument of a decorator and of a limiter is checked when it is given."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from quart import Quart, request

from quart_ratelimit import (
    ApplicationLimit,
    ConfigurationError,
    FixedWindow,
    Limit,
    Limiter,
    MetaLimit,
    Penalty,
)
from quart_ratelimit.stores import MemoryStore

from ..support.apps import ask, view

limiter: Any = Limiter()


def nothing() -> None:
    """A function without a parameter."""


def one(_: object) -> str:
    return "one"


WRONG: dict[str, list[Any]] = {
    "methods": ["GET", "get", 5, [5], ["GET "], [""], [None]],
    "shadow": ["false", "False", 0.0, one],
    "per_method": ["no", "False", 0.0, [], nothing],
    "override_defaults": ["no", 0.0, [], {}, nothing],
    "on_breach": [nothing, "tell", 5, True],
    "deduct_when": [nothing, "yes", True],
    "cost": [one, "1", 1.5, -1, float("nan"), []],
    "scope": [nothing, 0.5, b"x", ["x"], {"x": 1}, True],
    "error_message": [one, 5, b"x", ["x"]],
    "name": ["", "a\r\nb", "a\nb", "é", "x" * 65, 5, b"x", True, one],
    "meta_limits": ["1/hour", 5, True],
}


def cases() -> list[tuple[str, Any]]:
    return [(name, value) for name, values in WRONG.items() for value in values]


@pytest.mark.parametrize(("name", "value"), cases())
def test_a_value_of_the_wrong_kind_is_named(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"^{name}"):
        limiter.limit("2/minute", **{name: value})
    if name == "scope":
        with pytest.raises(ConfigurationError, match=f"^{name}"):
            limiter.shared_limit("2/minute", value)
        return
    with pytest.raises(ConfigurationError, match=f"^{name}"):
        limiter.shared_limit("2/minute", "shop", **{name: value})


@pytest.mark.parametrize(("name", "value"), cases())
@pytest.mark.parametrize("kind", [Limit, ApplicationLimit, MetaLimit])
def test_so_is_one_of_a_rule(kind: type[Limit], name: str, value: Any) -> None:
    fields = {field.name for field in dataclasses.fields(kind) if field.init}
    if name not in fields:
        return
    rule: Callable[..., Limit] = kind
    with pytest.raises(ConfigurationError, match=f"^{name}"):
        rule("2/minute", **{name: value})


@pytest.mark.parametrize("name", WRONG)
def test_none_is_as_if_it_were_not_given(name: str) -> None:
    if name not in ("per_method", "override_defaults"):
        limiter.limit("2/minute", **{name: None})


def test_what_fits_is_taken() -> None:
    limiter.limit(
        "2/minute",
        methods={"get", "POST"},
        shadow=lambda: False,
        per_method=True,
        override_defaults=False,
        on_breach=one,
        deduct_when=one,
        cost=lambda: 2,
        scope=one,
        error_message=lambda: "no",
        name="x" * 64,
        meta_limits=["1/hour", MetaLimit("1/day"), FixedWindow(1, 60), lambda: "1/hour"],
    )


NAMES = ["", "a\r\nb", "a\nb", "é", 5, b"x", True, "\x00"]


@pytest.mark.parametrize("name", NAMES)
def test_a_quotas_own_name_is_checked_as_a_limits(name: Any) -> None:
    for make in (FixedWindow, Penalty):
        with pytest.raises(ConfigurationError, match="name="):
            make(5, 60, name=name)
    with pytest.raises(ConfigurationError, match="counted_as="):
        FixedWindow(5, 60, counted_as=name)


def test_a_quotas_name_may_be_no_longer_than_a_limits() -> None:
    with pytest.raises(ConfigurationError, match="name="):
        limiter.limit(FixedWindow(5, 60, name="x" * 65))(nothing)
    with pytest.raises(ConfigurationError, match="name="):
        Limiter(app=Quart(__name__), default_limits=[FixedWindow(5, 60, name="x" * 65)])


@dataclasses.dataclass
class ByHeader:
    """A function that has no hash."""

    name: str
    answer: Any = None

    def __call__(self, *_: object) -> Any:
        return request.headers.get(self.name, "?") if self.answer is None else self.answer


UNHASHABLE: dict[str, dict[str, Any]] = {
    "key_func": {"key_func": ByHeader("X")},
    "cost": {"cost": ByHeader("X", 1)},
    "exempt_when": {"exempt_when": ByHeader("X", False)},
    "scope": {"scope": ByHeader("X", "all")},
    "error_message": {"error_message": ByHeader("X", "no")},
    "shadow": {"shadow": ByHeader("X", False)},
    "deduct_when": {"deduct_when": ByHeader("X", True)},
}


@pytest.mark.parametrize("name", UNHASHABLE)
@pytest.mark.parametrize("place", ["route", "default", "application"])
async def test_a_function_without_a_hash_works(name: str, place: str) -> None:
    app, given = Quart(__name__), dict(UNHASHABLE[name])
    if place == "route":
        own = Limiter(app=app, store=MemoryStore())
        view(app, "/", own.limit("2/minute", **given))
    else:
        given["key_function"] = given.pop("key_func", None)
        kind: Any = Limit if place == "default" else ApplicationLimit
        if place == "application":
            given.pop("scope", None)
        limits = {f"{place}_limits": [kind("2/minute", **given)]}
        Limiter(app=app, store=MemoryStore(), **limits)
        view(app, "/")
    assert await ask(app, "/", 3) == [200, 200, 429]


async def test_so_does_a_limit_by_one() -> None:
    app = Quart(__name__)
    own = Limiter(app=app, store=MemoryStore())
    view(app, "/", own.limit(ByHeader("X", "2/minute")))
    assert await ask(app, "/", 3) == [200, 200, 429]


def test_equal_rules_with_functions_without_a_hash_are_one() -> None:
    def rules() -> list[Any]:
        return [
            limiter.limit("2/minute", key_func=ByHeader("X"), cost=ByHeader("X", 1)),
            Limit("2/minute", ByHeader("X")),
            ApplicationLimit("2/minute", key_function=ByHeader("X")),
            MetaLimit("2/minute", key_function=ByHeader("X")),
        ]

    first, second = rules(), rules()
    assert first == second
    assert list(map(hash, first)) == list(map(hash, second))


def test_the_app_by_its_place_is_an_error_of_ours() -> None:
    make: Any = Limiter
    for given in ({}, {"key_func": nothing}, {"default_limits": ["1/day"]}):
        with pytest.raises(ConfigurationError, match=r"write Limiter\(app=app\)"):
            make(Quart(__name__), **given)


def test_a_block_is_entered_by_async_with() -> None:
    block = limiter.limit("2/minute")
    with pytest.raises(ConfigurationError, match=r"write async with limiter.limit"), block:
        pass
