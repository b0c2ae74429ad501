"""Calls what the user handed us: sync functions directly, in no thread, and async ones awaited."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

#: Types of most answers; `inspect.isawaitable` takes ten times as long to say no.
_PLAIN = frozenset({str, int, bool, type(None)})


async def ask(function: Callable[..., Any], *args: Any) -> Any:
    """The function's answer, awaited if it is awaitable."""
    answer = function(*args)
    if type(answer) in _PLAIN or not inspect.isawaitable(answer):
        return answer
    return await answer


class Memo:
    """Answers of the user's functions: each function is asked once in this memo's life."""

    __slots__ = ("_answers", "asked")

    def __init__(self) -> None:
        #: While somebody wants to know: the functions asked, in order, and their answers.
        self.asked: list[tuple[Callable[..., Any], Any]] | None = None
        # The function is kept beside its answer, so that no other can take over its id.
        self._answers: dict[int, tuple[Callable[..., Any], Any]] = {}

    async def ask(self, function: Callable[..., Any], *args: Any) -> Any:
        """The function's first answer. The arguments must depend on the function alone."""
        known = self._answers.get(id(function))
        answer = await self._settle(function, function(*args)) if known is None else known[1]
        if self.asked is not None:
            self.asked.append((function, answer))
        return answer

    def note(self, function: Callable[..., Any], answer: Any) -> None:
        """Take over an answer that was asked for elsewhere."""
        self._answers[id(function)] = (function, answer)

    async def _settle(self, function: Callable[..., Any], answer: Any) -> Any:
        if type(answer) not in _PLAIN and inspect.isawaitable(answer):
            answer = await answer
        self.note(function, answer)
        return answer
