"""What functions' answers came to once is found again by the same answers, without working it out.

A plan's limit is looked up in each request, and nearly always it is one of a few. Knows functions
and their answers, nothing of limits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..callables import Memo

#: Answers remembered: where a function has ever new ones, all are forgotten now and then.
REMEMBERED = 256


class _Outcome(NamedTuple):
    found: Any


class Answers:
    """One question's outcomes, each by the answers of the functions that it takes.

    Which function is asked next may depend on the answers before; the order is that of the first
    time.
    """

    def __init__(self) -> None:
        #: The answers so far -> the function to ask next, or what they came to.
        self._known: dict[tuple[Any, ...], Callable[..., Any] | _Outcome] = {}

    async def find(self, memo: Memo) -> Any:
        """What the functions' present answers came to before; None: nothing that is known."""
        answers: tuple[Any, ...] = ()
        while True:
            known = self._known.get(answers)
            if known is None:
                return None
            if isinstance(known, _Outcome):
                return known.found
            answers = (*answers, await memo.call(known))

    def keep(self, asked: Sequence[tuple[Callable[..., Any], Any]], found: Any) -> None:
        """Note what these functions, in this order, answered, and what it came to."""
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        answers: tuple[Any, ...] = ()
        for function, answer in asked:
            self._known[answers] = function
            answers = (*answers, answer)
        self._known[answers] = _Outcome(found)
