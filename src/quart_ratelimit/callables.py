"""The app's own functions: called whether sync or async, and checked when they are handed over.

Sync functions are called directly, in no thread. Knows functions by their signatures, and nothing
of rate limits.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, get_origin, get_type_hints

from .errors import ConfigurationError, MissingParentheses

T = TypeVar("T")
#: A function of the app, sync or async.
UserFunction = Callable[..., T | Awaitable[T]]

#: Types of most answers; `inspect.isawaitable` takes ten times as long to say no.
_PLAIN = frozenset({str, int, bool, type(None)})


async def call(function: Callable[..., Any], *args: Any) -> Any:
    """The function's answer, awaited if it is awaitable."""
    answer = function(*args)
    if type(answer) in _PLAIN or not inspect.isawaitable(answer):
        return answer
    return await answer


class Memo:
    """Answers of the app's functions: each function is called once in this memo's life."""

    __slots__ = ("_answers",)

    def __init__(self) -> None:
        # The function is kept beside its answer, so that no other can take over its id.
        self._answers: dict[int, tuple[Callable[..., Any], Any]] = {}

    def answer(self, function: Callable[..., Any], *args: Any) -> Any:
        """The function's first answer, or an awaitable of it.

        The arguments must depend on the function alone.
        """
        known = self._answers.get(id(function))
        if known is not None:
            return known[1]
        answer = function(*args)
        if type(answer) not in _PLAIN and inspect.isawaitable(answer):
            return self._settle(function, answer)
        self._answers[id(function)] = (function, answer)
        return answer

    async def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """As `answer`, awaited if it is awaitable."""
        answer = self.answer(function, *args)
        if type(answer) in _PLAIN or not inspect.isawaitable(answer):
            return answer
        return await answer

    async def _settle(self, function: Callable[..., Any], answer: Awaitable[Any]) -> Any:
        settled = await answer
        self._answers[id(function)] = (function, settled)
        return settled


def check_called(given: object, decorator: str, form: str) -> None:
    """Raise `MissingParentheses` for a function where a decorator's own argument belongs."""
    if callable(given):
        raise bare(given, decorator, form)


def bare(function: Callable[..., Any], decorator: str, form: str) -> MissingParentheses:
    """The error of ``@decorator`` on a function."""
    return MissingParentheses(
        f"@{decorator} is given the function {name_of(function)}; write @{form}"
    )


def check_user_function(function: object, place: str, *arguments: object) -> None:
    """Raise `ConfigurationError` unless it is a function that can be asked with such arguments.

    ``place`` is where it was given: ``key_func``, ``limiter.deny``.
    """
    if not callable(function):
        raise ConfigurationError(
            f"{place}: {type(function).__name__} is no function; write def answer(): ..."
        )
    if not arguments and _returns_function(function):
        name, given = name_of(function), "" if takes(function) else "..."
        raise ConfigurationError(f"{place}: {name} lacks its parentheses; write {name}({given})")
    if not takes(function, *arguments):
        count = "one argument" if arguments else "none (the request is quart.request)"
        raise ConfigurationError(
            f"{place}: {name_of(function)} takes other arguments than it is asked with; write a "
            f"function of {count}, or call first what makes one"
        )


def _returns_function(function: Callable[..., object]) -> bool:
    """Return whether its declared answer is a function, so that it has to be called first."""
    try:
        answer = get_type_hints(function).get("return")
    except Exception:  # it names what only type checkers know, or is an object without hints
        return False
    kind = get_origin(answer) or answer
    classes = inspect.getmro(kind) if isinstance(kind, type) else ()
    return any("__call__" in vars(one) for one in classes)


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
