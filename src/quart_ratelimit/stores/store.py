"""What a store is: it keeps state and decides hits. Knows no algorithm and no request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, runtime_checkable

from ..quotas import Decision, Hit
from .breaker import Breakers


class Store(Protocol):
    """Keeps the state of keys. A wrapper of a store, such as `GuardedStore`, is a store too."""

    async def start(self) -> None:
        """Open connections and check the server. Raises `StoreError`."""

    async def aclose(self) -> None:
        """Close the connections. The next hit opens them again."""

    def hit(self, hits: Sequence[Hit]) -> Awaitable[list[Decision]]:
        """Charge all hits or none; return one decision per hit, in order.

        If one hit is refused, the decisions on the other hits are as for a cost of 0. May be an
        ``async def``. Raises `StoreError`.
        """

    def known_refusal(self, hits: Sequence[Hit]) -> list[Decision] | None:
        """Return the decisions if a refusal is known without I/O; else None.

        Charges nothing. A store that remembers no refusals returns None.
        """

    async def reset(self, hits: Sequence[Hit]) -> int:
        """Delete the state of these hits; return the number of keys. Raises `StoreError`."""

    async def clear(self, owns: Callable[[str], bool] | None = None) -> int:
        """Delete the keys for which ``owns`` returns true, or all; return their number.

        ``owns`` is called with a key as it is in its hits; more text may follow. Raises
        `StoreError`.
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
