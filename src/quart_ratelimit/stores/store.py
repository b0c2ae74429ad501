"""What a store is: it keeps state and decides hits. Knows no algorithm and no request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, runtime_checkable

from ..quotas import Decision, Hit
from .breaker import Breakers


class Store(Protocol):
    """Keeps the state of keys. What stands around a store (policy, meter) is a store too."""

    async def start(self) -> None:
        """Open what is needed and see whether it works. Raises `StoreError`."""

    async def aclose(self) -> None:
        """Close what this store opened. It opens again at the next hit."""

    def hit(self, hits: Sequence[Hit]) -> Awaitable[list[Decision]]:
        """Charge all hits or, if one is refused, none; one decision for each, in order.

        In a refused request the other decisions are as for a look. May be an ``async
        def``. Raises `StoreError`.
        """

    def known_refusal(self, hits: Sequence[Hit]) -> list[Decision] | None:
        """The decisions, if these hits are known to be refused without any I/O; else None.

        Charges nothing. A store that does not know such things returns None.
        """

    async def reset(self, hits: Sequence[Hit]) -> int:
        """Forget the state behind these hits; how many keys there were. Raises `StoreError`."""

    async def clear(self, owns: Callable[[str], bool] | None = None) -> int:
        """Forget the keys for which ``owns`` returns true, or every key; how many there were.

        ``owns`` is given a key as it is in its hits; more text may follow. Raises `StoreError`.
        """


@runtime_checkable
class StoreOfNodes(Store, Protocol):
    """A store of several nodes, which stops the calls to one of them alone."""

    #: Where it counts the failures of each node. What stands around it may set others.
    breakers: Breakers


@runtime_checkable
class StoreThatConnects(Store, Protocol):
    """A store that connects in the background."""

    #: Called when it has a connection after it had none, and can decide. What stands around this
    #: store may set another.
    connected: Callable[[], None]
