"""An ASGI layer that owns what a request holds, and releases it when the request's call ends.

A view's own ``finally`` is not enough: a client that resets its connection ends the call between
the view and the first byte of its response, where no code of the view runs any more.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

App = Callable[[Any, Any, Any], Awaitable[None]]

#: Where the layer keeps what a request holds, in the connection's scope.
HELD = "quart_ratelimit.held"


class Held(Protocol):
    """What is taken for a request."""

    def release(self) -> Awaitable[None]:
        """Start to give it back, once; the result ends when it is given back."""


class AsgiCall:
    """Stands before an ASGI app; see the module."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Serve the connection, then release what its request still holds."""
        if HELD in scope or scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        held: list[Held] = []
        scope[HELD] = held
        try:
            await self._app(scope, receive, send)
        finally:
            # All releases begin before the first is awaited: a second cancellation skips none.
            for release in [one.release() for one in held]:
                await release


def hold(scope: Any, held: Held) -> None:
    """Release this when the ASGI call of that scope ends, if a layer watches it."""
    if scope is not None and HELD in scope:
        scope[HELD].append(held)
