"""Every argument of everything that limits: a wrong value is an error that names it, when given.

Never a 500 in a request, and never a limit that was declared and is off.
"""

import inspect
import sys
from collections.abc import Callable
from typing import Any

import pytest
from quart import Quart

from quart_ratelimit import (
    ApplicationLimit,
    ConfigurationError,
    Decision,
    Limit,
    Limiter,
    MetaLimit,
    client_address,
    client_in,
    rate_limit,
)

from ..support.apps import ask


class OfOneArgument:
    """A class, where a function belongs."""

    def __init__(self, given: object) -> None:
        """Take what a function of one argument takes."""


async def coroutine() -> None:
    """Be a coroutine, where a function or a value belongs."""


def wrong_values() -> list[Any]:
    """Values that some argument takes, and most do not."""
    return [
        None, 0, -1, 1.5, "no", "false", "", [], {}, object(), lambda a, b, c: None, OfOneArgument,
        coroutine(), [[1]], {1}, float("nan"), b"x", True, (1,), sys,
    ]  # fmt: skip


def parameters(function: Callable[..., Any]) -> list[str]:
    """The names of a function's parameters."""
    names = inspect.signature(function).parameters
    return [name for name in names if name not in ("self", "app", "store")]


Views = Callable[[Any], Any]


def limiter_of(app: Quart, **keywords: Any) -> Limiter:
    return Limiter(app=app, doctor=False, **keywords)


def by_limit(app: Quart, **given: Any) -> Views:
    return limiter_of(app).limit(**{"limit_value": "2/minute", **given})


def by_shared_limit(app: Quart, **given: Any) -> Views:
    return limiter_of(app).shared_limit(**{"limit_value": "2/minute", "scope": "s", **given})


def by_rate_limit(app: Quart, **given: Any) -> Views:
    limiter_of(app)
    limit = {} if "requests" in given or "duration" in given else {"limit": "2/minute"}
    return rate_limit(**{**limit, **given})


def by_default_limit(app: Quart, **given: Any) -> Views:
    limiter_of(app, default_limits=[Limit(**{"limit_provider": "2/minute", **given})])
    return lambda view: view


def by_application_limit(app: Quart, **given: Any) -> Views:
    rule = ApplicationLimit(**{"limit_provider": "2/minute", **given})
    limiter_of(app, application_limits=[rule])
    return lambda view: view


def by_meta_limit(app: Quart, **given: Any) -> Views:
    rule = MetaLimit(**{"limit_provider": "2/minute", **given})
    return limiter_of(app, meta_limits=[rule]).limit("2/minute")


def by_exemption(app: Quart, **given: Any) -> Views:
    limiter = limiter_of(app, application_limits=["2/minute"])
    if "obj" in given:
        limiter.exempt(given["obj"])
        return lambda view: view
    decorator: Views = limiter.exempt(**given)
    return decorator


def by_limiter(app: Quart, **given: Any) -> Views:
    given.setdefault("doctor", False)
    return Limiter(app=app, **given).limit("2/minute")


def by_filter(app: Quart, **given: Any) -> Views:
    limiter = limiter_of(app)
    limiter.request_filter(**given)
    return limiter.limit("2/minute")


def by_denial(app: Quart, **given: Any) -> Views:
    limiter = limiter_of(app)
    limiter.deny(**given)
    return limiter.limit("2/minute")


def by_address(app: Quart, **given: Any) -> Views:
    return limiter_of(app, key_func=client_address(**given)).limit("2/minute")


def by_network(app: Quart, **given: Any) -> Views:
    limiter = limiter_of(app)
    limiter.deny(client_in(*[given.pop("networks", "192.0.2.0/24")], **given))
    return limiter.limit("2/minute")


def by_place(app: Quart, **given: Any) -> Views:
    limiter = limiter_of(app)
    place = limiter.in_flight(**{"amount": 1, **given})
    return lambda view: limiter.limit("2/minute")(place(view))


def by_messages(app: Quart, **given: Any) -> Views:
    limiter = limiter_of(app)
    limiter.messages(**{"limit": "2/minute", **given})
    return limiter.limit("2/minute")


DECLARED: dict[Callable[..., Views], list[str]] = {
    by_limit: parameters(Limiter.limit),
    by_shared_limit: parameters(Limiter.shared_limit),
    by_rate_limit: parameters(rate_limit),
    by_default_limit: parameters(Limit),
    by_application_limit: parameters(ApplicationLimit),
    by_meta_limit: parameters(MetaLimit),
    by_exemption: parameters(Limiter.exempt),
    by_limiter: parameters(Limiter.__init__),
    by_filter: parameters(Limiter.request_filter),
    by_denial: parameters(Limiter.deny),
    by_address: parameters(client_address),
    by_network: parameters(client_in),
    by_place: parameters(Limiter.in_flight),
    by_messages: parameters(Limiter.messages),
}

#: Values that say that a limit is not to refuse.
SWITCHED_OFF: dict[str, list[object]] = {
    "shadow": [True],
    "enabled": [0],
    "obj": [None],
    "fn": [True],
}


def check_named(error: Exception, name: str, value: object) -> None:
    """See that a reader of the error finds what is wrong: the argument, its value or its type."""
    given = getattr(value, "__qualname__", type(value).__name__)
    texts = [name, repr(value), given, "key_func", "no limit is given"]
    texts += [repr(one) for one in value] if isinstance(value, list) else []
    assert any(text in str(error) for text in texts), (value, error)


@pytest.mark.parametrize(
    ("declare", "name"), [(how, name) for how, names in DECLARED.items() for name in names]
)
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
async def test_a_wrong_argument_is_named_when_it_is_given(
    declare: Callable[..., Views], name: str
) -> None:
    for value in wrong_values():
        app = Quart(__name__)

        async def index() -> str:
            return ""

        try:
            decorator = declare(app, **{name: value})
            app.add_url_rule("/", "index", decorator(index))
        except ConfigurationError as error:
            check_named(error, name, value)
        else:
            statuses = await ask(app, "/", 4, who="198.51.100.1")
            assert 500 not in statuses, value
            if value not in SWITCHED_OFF.get(name, []):
                assert 429 in statuses, value
        if inspect.iscoroutine(value):
            value.close()


CHECKS: dict[str, Callable[..., Any]] = {
    "hit": Limiter.hit,
    "peek": Limiter.peek,
    "refund": Limiter.refund,
    "wait": Limiter.wait,
    "reset": Limiter.reset,
}


@pytest.mark.parametrize(
    ("check", "name"),
    [(check, name) for check, method in CHECKS.items() for name in parameters(method)],
)
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
async def test_a_wrong_argument_of_a_check_in_code_is_named(check: str, name: str) -> None:
    limiter = limiter_of(Quart(__name__))
    for value in wrong_values():
        given: dict[str, Any] = {"limit": "2/minute", "key": "ann"}
        if name in ("requests", "duration"):
            del given["limit"]
        if check == "refund":
            given["charged"] = Decision(True, 1, 0, 0, at_ms=1)
        if check == "wait":
            given["seconds"] = 0
        given[name] = value
        try:
            answer = await getattr(limiter, check)(**given)
        except ConfigurationError as error:
            check_named(error, name, value)
        else:
            assert isinstance(answer, (Decision, int))
        if inspect.iscoroutine(value):
            value.close()
