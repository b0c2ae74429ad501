"""Commands that a worker sends along with a batch that goes out anyway: its registration, its sums.

They cost no exchange and no timer of their own, so a worker without traffic sends none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

#: One command: its name and its arguments.
Command = tuple[str | int, ...]


class Piggyback(Protocol):
    """What goes out with a batch now and then, at most once each time."""

    #: Names the key of its commands; no client can choose a key of such a name.
    key_name: str

    def is_due(self) -> bool:
        """Whether the next batch is to take commands along. Called for each batch."""

    def commands(self, key: str, now_ms: int) -> Sequence[Command]:
        """The commands, all on that key; ``now_ms`` is the server's time."""

    def read(self, replies: Sequence[object], now_ms: int) -> None:
        """Note the replies to the commands, errors of single commands among them.

        Not called if the exchange failed: then none, some or all commands were carried out.
        """


@runtime_checkable
class CarryingStore(Protocol):
    """A store whose batches take commands along."""

    #: What its batches take along. What stands around it may add to these.
    piggybacks: list[Piggyback]

    async def carry(self) -> None:
        """Send what is due now, without a batch. Raises `StoreError`."""


def pairs_of(reply: object) -> dict[str, object]:
    """The fields and values of a hash, by the reply to ``HGETALL``; none of another reply."""
    if isinstance(reply, list):
        reply = dict(zip(reply[::2], reply[1::2], strict=True))
    if not isinstance(reply, dict):
        return {}
    return {text_of(name): value for name, value in reply.items()}


def text_of(part: object) -> str:
    """A part of a reply as text, whether the client decodes replies or not."""
    return part.decode("utf-8", "replace") if isinstance(part, bytes) else str(part)
