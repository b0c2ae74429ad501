"""The app's own functions: called whether sync or async, and checked when they are handed over.

Sync functions are called directly, in no thread. Knows functions by their signatures, and nothing
of rate limits.
"""

from __future__ import annotations

import dis
import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from itertools import takewhile
from types import FunctionType, MethodType
from typing import Any, ParamSpec, TypeVar, get_origin, get_type_hints

from .errors import ConfigurationError, MissingParentheses

P = ParamSpec("P")
T = TypeVar("T")
#: A function of the app, sync or async.
UserFunction = Callable[..., T | Awaitable[T]]
#: A coroutine; what it is sent and yields is its event loop's.
Running = Coroutine[Any, Any, T]

#: Types of most answers; `inspect.isawaitable` takes ten times as long to say no.
_PLAIN = frozenset({str, int, bool, type(None)})


async def call(function: UserFunction[T], *args: object) -> T:
    """Return the function's answer. Raises `ConfigurationError` for an ``await`` that it lacks."""
    answer: Any = started(function, *args)
    if _is_to_await(function, answer):
        answer = await answer
    result: T = answer
    return result


async def call_to_send(function: UserFunction[T], *args: object) -> T:
    """As `call`, where the answer is sent and decides nothing.

    A sync function may return a coroutine then, such as Quart's ``render_template(...)``.
    """
    answer: Any = started(function, *args)
    if inspect.isawaitable(answer):
        answer = await answer
    result: T = answer
    return result


def started(function: Callable[..., T], *args: object) -> T:
    """Call the function. Raises `ConfigurationError` for an ``await`` that it lacks."""
    try:
        return function(*args)
    except (AttributeError, TypeError) as error:
        if "'coroutine' object" not in str(error):
            raise
        raise ConfigurationError(
            f"{name_of(function)} uses a coroutine as a value ({error}); write async def, and "
            "await each coroutine, such as await request.get_json()"
        ) from error


def _is_to_await(function: Callable[..., object], answer: object) -> bool:
    """Return whether a function's answer is awaited.

    Raises `ConfigurationError` for a coroutine that a sync function returns. What comes of it, such
    as None for a request without JSON, would else be taken for what the function decided.
    """
    if type(answer) in _PLAIN or not inspect.isawaitable(answer):
        return False
    if isinstance(answer, Coroutine) and not _is_async(function):
        answer.close()
        what = getattr(answer, "__qualname__", "it")
        raise ConfigurationError(
            f"{name_of(function)} is sync and returns a coroutine ({what}) without await; write "
            "async def, and return await ..."
        )
    return True


def _is_async(function: object) -> bool:
    """Return whether a function, or one inside it, is declared as async."""
    return any(
        inspect.iscoroutinefunction(one) or hasattr(one, "_is_coroutine")  # of an AsyncMock
        for one in chain(function)
    )


class Unawaited(Running[T]):
    """What an async method returns. It has no truth value before it is awaited.

    A coroutine is true, so ``if not limiter.hit(...)`` without its await would never refuse.
    """

    __slots__ = ("_coroutine", "_name")

    def __init__(self, coroutine: Running[T], name: str) -> None:
        self._coroutine = coroutine
        self._name = name

    def __bool__(self) -> bool:
        self._coroutine.close()
        raise ConfigurationError(f"{self._name} is not awaited; write await {self._name}")

    def __await__(self) -> Generator[object, object, T]:
        return self._coroutine.__await__()

    def send(self, value: object) -> object:
        """Continue the coroutine."""
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> object:
        """Raise an error in the coroutine."""
        return self._coroutine.throw(*error)

    def close(self) -> None:
        """End the coroutine."""
        self._coroutine.close()


def to_await(
    name: str,
) -> Callable[[Callable[P, Running[T]]], Callable[P, Unawaited[T]]]:
    """Decorate an async method, so that what it returns has no truth value before its await."""

    def decorate(method: Callable[P, Running[T]]) -> Callable[P, Unawaited[T]]:
        @functools.wraps(method)
        def start(*args: P.args, **kwargs: P.kwargs) -> Unawaited[T]:
            return Unawaited(method(*args, **kwargs), name)

        return start

    return decorate


class Memo:
    """Answers of the app's functions: each function is called once in this memo's life."""

    __slots__ = ("_answers",)

    def __init__(self) -> None:
        # The function is kept with its result, so that no other function can take over its id.
        self._answers: dict[int, tuple[Callable[..., object], Any]] = {}

    def answer(self, function: UserFunction[T], *args: object) -> T | Awaitable[T]:
        """The function's first answer, or an awaitable of it.

        The arguments must depend on the function alone.
        """
        known = self._answers.get(id(function))
        if known is not None:
            first: T = known[1]
            return first
        answer: Any = started(function, *args)
        if _is_to_await(function, answer):
            return self._settle(function, answer)
        self._answers[id(function)] = (function, answer)
        result: T = answer
        return result

    async def call(self, function: UserFunction[T], *args: object) -> T:
        """As `answer`, awaited if it is awaitable."""
        answer: Any = self.answer(function, *args)
        if type(answer) not in _PLAIN and inspect.isawaitable(answer):
            answer = await answer
        result: T = answer
        return result

    def keep(self, function: Callable[..., object], answer: object) -> None:
        """Take this for the function's answer."""
        self._answers[id(function)] = (function, answer)

    async def _settle(self, function: Callable[..., object], answer: Awaitable[T]) -> T:
        settled = await answer
        self.keep(function, settled)
        return settled


def check_called(given: object, decorator: str, form: str) -> None:
    """Raise `MissingParentheses` for a function where a decorator's own argument belongs."""
    if callable(given):
        raise bare(given, decorator, form)


def bare(function: Callable[..., object], decorator: str, form: str) -> MissingParentheses:
    """The error of ``@decorator`` on a function."""
    return MissingParentheses(
        f"@{decorator} lacks its parentheses above {name_of(function)}; write @{form}"
    )


def check_user_function(function: object, place: str, *arguments: object) -> None:
    """Raise `ConfigurationError` unless it is a function that takes such arguments.

    ``place`` is where it was given: ``key_func``, ``limiter.deny``.
    """
    if not callable(function):
        raise ConfigurationError(
            f"{place}: {type(function).__name__} is not a function; write def answer(): ..."
        )
    if _returns_function(function):
        name, given = name_of(function), "" if takes(function) else "..."
        raise ConfigurationError(f"{place}: {name} lacks its parentheses; write {name}({given})")
    lacking = unawaited(function)
    if lacking is not None:
        raise ConfigurationError(
            f"{place}: {name_of(function)} uses {lacking} without await; write async def, and "
            f"await {lacking}"
        )
    if not takes(function, *arguments):
        how = "with one argument" if arguments else "without arguments (it may use quart.request)"
        raise ConfigurationError(
            f"{place}: {name_of(function)} must be callable {how}. If it returns such a function, "
            "pass its result instead"
        )


def _returns_function(function: Callable[..., object]) -> bool:
    """Return whether its declared answer is a function of none, so that it must be called first.

    A response is callable too, but only with arguments.
    """
    try:
        answer = get_type_hints(function).get("return")
    except Exception:  # it names what only type checkers know, or is an object without hints
        return False
    kind = get_origin(answer) or answer
    classes = inspect.getmro(kind) if isinstance(kind, type) else ()
    return any("__call__" in vars(one) and takes(vars(one)["__call__"], None) for one in classes)


#: What Quart's request has to be awaited for.
_METHODS = frozenset({"get_data", "get_json"})
_AWAITED = _METHODS | {"data", "files", "form", "json", "values"}
#: Operations that use a value. A coroutine among them is a mistake, and it would be true.
_USES = (
    "BINARY_", "COMPARE_", "CONTAINS_", "FORMAT_", "GET_ITER", "IS_OP", "JUMP_IF", "LOAD_ATTR",
    "LOAD_METHOD", "POP_JUMP", "TO_BOOL", "UNARY_", "UNPACK_",
)  # fmt: skip
#: Functions that do so.
_USED_BY = frozenset({"all", "any", "bool", "dict", "int", "len", "list", "set", "str"})
#: What may come between a value and its use: the call that makes it, and constants.
_BETWEEN = (
    "BUILD_",
    "CALL",
    "COPY",
    "KW_NAMES",
    "LOAD_CONST",
    "LOAD_SMALL_INT",
    "NOP",
    "PRECALL",
    "PUSH_NULL",
)


def unawaited(function: object) -> str | None:
    """Return what of the request a sync function uses without await: ``request.get_json``.

    None: nothing, as far as its own code shows.
    """
    if not inspect.isfunction(function) or inspect.iscoroutinefunction(function):
        return None
    steps = list(dis.get_instructions(function))
    kept: dict[object, str] = {}  # by local variable
    for place, step in enumerate(steps):
        before = steps[place - 1] if place else step
        source = kept.get(step.argval) if step.opname.startswith("LOAD_FAST") else None
        if step.argval in _AWAITED and before.argval in ("request", "websocket"):
            source = f"{before.argval}.{step.argval}"
        if source is None:
            continue
        between = list(takewhile(lambda one: one.opname.startswith(_BETWEEN), steps[place + 1 :]))
        use = steps[place + 1 + len(between)]
        callees = {one.argval for one in steps[max(0, place - 3) : place]}
        if use.opname.startswith(_USES) or callees & _USED_BY:
            return source
        # Another call than the method's is given the coroutine, and may await it.
        calls = sum(one.opname.startswith("CALL") for one in between)
        if use.opname.startswith("RETURN_") and calls == (step.argval in _METHODS):
            return source
        if use.opname.startswith("STORE_FAST"):
            kept[use.argval] = source
    return None


def chain(function: object) -> Iterator[object]:
    """Yield a function and all functions inside it, the outermost first.

    Inside are what ``functools.wraps`` wrapped, the function of a partial, and the ``__call__`` of
    an object's class. The function of a bound method stands for the method.
    """
    seen: set[int] = set()
    while function is not None and id(function) not in seen:
        function = core(function)
        seen.add(id(function))
        yield function
        function = _inside(function)


def core(function: object) -> object:
    """Return the function of a bound method, which is made at each access."""
    return function.__func__ if isinstance(function, MethodType) else function


def _inside(function: object) -> object:
    wrapped: object = getattr(function, "__wrapped__", None)
    if wrapped is not None:
        return wrapped
    if isinstance(function, functools.partial):
        return function.func
    call = getattr(type(function), "__call__", None)  # noqa: B004  # it is read, not called
    return call if isinstance(call, FunctionType) else None


def takes(function: Callable[..., object], *arguments: object) -> bool:
    """Whether it can be called so, as far as its signature shows."""
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
    if own is None and isinstance(function, functools.partial):
        return name_of(function.func)
    return str(own or type(function).__name__)
