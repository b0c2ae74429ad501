"""What is easily handed over in place of what is meant: an error early, which shows the right form.

Knows functions by their signatures, and nothing of rate limits.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from .errors import ConfigurationError, MissingParentheses


def check_called(given: object, decorator: str, form: str) -> None:
    """Raise `MissingParentheses` for a function where a decorator's own argument belongs."""
    if callable(given):
        raise bare(given, decorator, form)


def bare(function: Callable[..., Any], decorator: str, form: str) -> MissingParentheses:
    """The error of ``@decorator`` on a function."""
    return MissingParentheses(
        f"@{decorator} is given the function {name_of(function)}; write @{form}"
    )


def check_asked(function: object, place: str) -> None:
    """Raise `ConfigurationError` unless it is a function that can be asked in a request.

    ``place`` is where it was given: ``key_func``, ``limiter.deny``.
    """
    if not callable(function):
        raise ConfigurationError(
            f"{place}: {type(function).__name__} is no function; write def answer(): ..."
        )
    made = getattr(function, "makes_functions", None)
    if made is not None:
        raise ConfigurationError(
            f"{place}: {name_of(function)} lacks its parentheses; write {made}"
        )
    if needs_arguments(function):
        raise ConfigurationError(
            f"{place}: {name_of(function)} is asked without arguments, and takes some; write a "
            "function of none (the request is quart.request), or call it first"
        )


def needs_arguments(function: Callable[..., Any]) -> bool:
    """Whether a call without arguments fails, as far as its signature tells."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # it has none that can be known
        return False
    try:
        signature.bind()
    except TypeError:
        return True
    return False


def name_of(function: object) -> str:
    """What a function is called in messages."""
    own = getattr(function, "__qualname__", None) or getattr(function, "__name__", None)
    return str(own or type(function).__name__)
