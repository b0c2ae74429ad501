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

from ..clients.key_spaces import module_name
from ..errors import ConfigurationError

T = TypeVar("T")

#: What stands behind an instruction for Python's own use.
CACHE = 0

#: Blocks of an ``AsyncExitStack``: its frames at entry and at exit differ.
_STACKED = 0


def block_of(depth: int = 2) -> int:
    """The block that runs the caller's ``__aenter__`` or ``__aexit__``.

    A frame lives until its block has been left, so no other block has its number meanwhile.
    """
    frame: FrameType = sys._getframe(depth)
    return _STACKED if frame.f_globals.get("__name__") == "contextlib" else id(frame)


@functools.lru_cache(512)
def _position(code: CodeType, instruction: int) -> str:
    """Lines below the function's start, the column, and which of several that stand there.

    Two blocks of one ``async with`` stand in one place, and Python's code may have no columns.
    """
    operations, place = code.co_code[::2], instruction // 2
    while operations[place] == CACHE:
        place -= 1
    before = list(islice(code.co_positions(), place + 1))
    line, _, column, _ = here = before.pop()
    same = [index for index, one in enumerate(before) if one == here]
    number = sum(operations[index] == operations[place] for index in same)
    below = (line or code.co_firstlineno) - code.co_firstlineno
    return f"{below}:{column or 0}" + (f":{number}" if number else "")


def place_in_code(depth: int = 2) -> str:
    """Where the caller was called: module, function, lines below its start, column.

    It changes with that function only, and not with the code around it. What enters a block for
    its caller (`AsyncExitStack`) is passed over.
    """
    frame: FrameType = sys._getframe(depth)
    while frame.f_globals.get("__name__") == "contextlib" and frame.f_back is not None:
        frame = frame.f_back
    code, module = frame.f_code, module_name(frame.f_globals.get("__name__", ""))
    return f"{module}.{code.co_qualname}:{_position(code, frame.f_lasti)}"


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
                "several clients enter one object through an AsyncExitStack; make an object for "
                "each: stack.enter_async_context(limiter.in_flight(5))"
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
