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


def check_asked(function: object, place: str, *arguments: object) -> None:
    """Raise `ConfigurationError` unless it is a function that can be asked with such arguments.

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
    if not takes(function, *arguments):
        count = "one argument" if arguments else "none (the request is quart.request)"
        raise ConfigurationError(
            f"{place}: {name_of(function)} takes other arguments than it is asked with; write a "
            f"function of {count}, or call first what makes one"
        )


def takes(function: Callable[..., Any], *arguments: object) -> bool:
    """Whether it can be called so, as far as its signature tells."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # it has none that can be known
        return True
    try:
        signature.bind(*arguments)
    except TypeError:
        return False
    return True


def name_of(function: object) -> str:
    """What a function is called in messages."""
    own = getattr(function, "__qualname__", None) or getattr(function, "__name__", None)
    return str(own or type(function).__name__)
