"""What blocks of code hold, each found again by the block that leaves.

A block may be left in another task than it was entered in: an async generator that is left early is
finalised by the event loop. What stays the same is the frame that has the ``async with``.
"""

from __future__ import annotations

import functools
import sys
from itertools import islice
from types import CodeType, FrameType
from typing import Generic, TypeVar

from ..errors import ConfigurationError

T = TypeVar("T")

#: Blocks of an ``AsyncExitStack``: its frames at entry and at exit differ.
_STACKED = 0


def block_of(depth: int = 2) -> int:
    """The block that runs the caller's ``__aenter__`` or ``__aexit__``.

    A frame lives until its block has been left, so no other block has its number meanwhile.
    """
    frame: FrameType = sys._getframe(depth)
    return _STACKED if frame.f_globals.get("__name__") == "contextlib" else id(frame)


@functools.lru_cache(512)
def _place(code: CodeType, instruction: int) -> str:
    line, _, column, _ = next(islice(code.co_positions(), instruction // 2, None))
    below = (line or code.co_firstlineno) - code.co_firstlineno
    return f"{code.co_qualname}:{below}:{column or 0}"


def place_in_code(depth: int = 2) -> str:
    """Where the caller was called: module, function, lines below its start, column.

    It changes with that function only, and not with the code around it.
    """
    frame = sys._getframe(depth)
    return f"{frame.f_globals.get('__name__', '')}.{_place(frame.f_code, frame.f_lasti)}"


class Blocks(Generic[T]):
    """What the blocks hold that one object guards, which several tasks may have entered at once."""

    def __init__(self) -> None:
        self._held: dict[int, list[tuple[str, T]]] = {}

    def enter(self, block: int, key: str, held: T) -> T:
        """Note what a block holds, of this key.

        Raises `ConfigurationError` if it could not be said which one such a block leaves.
        """
        known = self._held.setdefault(block, [])
        if block == _STACKED and known and known[0][0] != key:
            raise ConfigurationError(
                "several clients enter one object through an AsyncExitStack; make one for each: "
                "stack.enter_async_context(limiter.in_flight(5))"
            )
        known.append((key, held))
        return held

    def leave(self, block: int) -> T:
        """What this block entered last."""
        held = self._held[block]
        _, last = held.pop()
        if not held:
            del self._held[block]
        return last
