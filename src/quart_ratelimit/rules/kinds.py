"""The kinds of values that arguments and settings take: what fits, and how an error says so.

A kind is called with the argument's name and its value. It returns the value as it is kept, or
raises `ConfigurationError`. Call it through `checked`, so that the error begins with the name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TypeVar

from ..callables import check_user_function, name_of
from ..clients.forwarded import TOKEN
from ..clients.keys import has_text
from ..errors import ConfigurationError, InvalidLimit
from ..quotas.policies import check_policy
from .naming import check_name

T = TypeVar("T")

#: Checks one value; see the module.
Kind = Callable[[str, object], T]


def switch(name: str, value: object) -> bool:
    """Check for on or off. A text is refused, because "False" would be true."""
    if isinstance(value, str):
        raise ConfigurationError(
            f"{name}={value!r} is text; write True or False, and in the environment true or false"
        )
    if not isinstance(value, int):
        raise ConfigurationError(f"{name}: {kind_of(value)} is neither True nor False")
    if value not in {0, 1}:
        raise ConfigurationError(f"{name}={value!r} is neither True nor False")
    return bool(value)


def switch_or_function(name: str, value: object) -> object:
    """Check for on or off, or a function that decides it for each request."""
    if not callable(value):
        return switch(name, value)
    check_user_function(value, name)
    return value


def text(name: str, value: object) -> str:
    """Check for any text. Another value is not shown: a URI may hold a password."""
    if not isinstance(value, str):
        raise ConfigurationError(f"{name}: {kind_of(value)} is not text")
    return value


def options(name: str, value: object) -> Mapping[str, object]:
    """Check for values by their names."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ConfigurationError(
            f"{name}: {kind_of(value)} is not a dict of names; write {{'name': 1}}"
        )
    return value


def function(name: str, value: object) -> object:
    """Check for a function that is called in a request, without arguments."""
    check_user_function(value, name)
    return value


def function_of_one(name: str, value: object) -> object:
    """Check for a function that is called with one argument: a response, a `RequestLimit`."""
    check_user_function(value, name, object())
    return value


def cost(name: str, value: object) -> object:
    """Check for a whole number of at least 0, or a function without arguments."""
    return function(name, value) if callable(value) else check_cost(value)


def check_cost(cost: object, *, or_bool: bool = True) -> int:
    """Return the cost. Raises `InvalidLimit` unless it is a whole number of at least 0.

    ``or_bool``: also True and False, which a cost function may compute by a comparison.
    """
    if not isinstance(cost, int) or cost < 0 or (isinstance(cost, bool) and not or_bool):
        raise InvalidLimit(f"cost={cost!r} is not a whole number of at least 0; write e.g. cost=1")
    return cost


def cost_by(function: object, answer: object) -> int:
    """Return the cost that a function of the app answered with.

    Raises `InvalidLimit`, which names the function, unless it is a whole number of at least 0.
    """
    try:
        return check_cost(answer)
    except InvalidLimit as error:
        raise InvalidLimit(f"{name_of(function)} returned {error}") from None


def text_or_function(name: str, value: object) -> object:
    """Check for any text, or a function without arguments that returns it."""
    return function(name, value) if callable(value) else text(name, value)


def scope(name: str, value: object) -> object:
    """Check for a text or a number, or a function of the endpoint that returns one."""
    if callable(value):
        return function_of_one(name, value)
    is_collection = isinstance(value, Collection) and not isinstance(value, str)
    if is_collection or isinstance(value, (bool, float)) or not has_text(value):
        raise ConfigurationError(
            f"{name}={value!r} is neither text nor a whole number; write 'shop'"
        )
    return value


def methods(name: str, value: object) -> Sequence[str]:
    """Check for names of HTTP methods; they are kept in lower case."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ConfigurationError(f"{name}={value!r} is not a list of HTTP methods; write ['GET']")
    found = list(value)
    if not found:
        raise ConfigurationError(f"{name}={value!r} limits no request; write ['GET']")
    for method in found:
        if not isinstance(method, str) or not re.fullmatch(TOKEN, method):
            raise ConfigurationError(f"{name}: {method!r} is not an HTTP method; write ['GET']")
    return tuple(method.lower() for method in found)


def meta_limits(name: str, value: object) -> Sequence[object]:
    """Check for limits: texts, quotas, functions, or rules."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ConfigurationError(f"{name}={value!r} is not a list of limits; write ['5/hour']")
    return tuple(value)


def limit_name(_: str, value: object) -> object:
    """Check for a name that a response field can hold."""
    check_name(value)
    return value


def policy(name: str, value: object) -> str:
    """Check for the name of a policy: what to do while the store is away."""
    if not isinstance(value, str):
        raise ConfigurationError(f"{name}: {kind_of(value)} is not text")
    check_policy(value)
    return value


#: What each argument of a rule takes. What is None was not given. `validation.check_rule` checks
#: the functions that it can name the place of: ``limit_provider``, ``key_func``, ``exempt_when``.
ARGUMENTS: Mapping[str, Kind[object]] = {
    "scope": scope,
    "cost": cost,
    "shared": switch,
    "methods": methods,
    "per_method": switch,
    "error_message": text_or_function,
    "meta_limits": meta_limits,
    "deduct_when": function_of_one,
    "on_breach": function_of_one,
    "name": limit_name,
    "shadow": switch_or_function,
    "override_defaults": switch,
    "on_store_error": policy,
}


def checked(kind: Kind[T], name: str, value: object) -> T:
    """Return the value as the kind keeps it. Raises `ConfigurationError`, which names it."""
    try:
        return kind(name, value)
    except ConfigurationError as error:
        if str(error).startswith(name):
            raise
        raise type(error)(f"{name}: {error}") from error


def kind_of(value: object) -> str:
    """Return the name of a value's type."""
    return type(value).__name__
