"""What blocks of code hold, each found again by the block that leaves.

A block may be left in another task than it was entered in: an async generator that is left early is
finalised by the event loop. What stays the same is the frame that has the ``async with``.
"""

from __future__ import annotations

import sys
from types import FrameType
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
