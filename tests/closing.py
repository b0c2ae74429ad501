"""Quart's test client for websockets, told of the server's close, whatever Quart's version.

Quart 0.23 took that, and `WebsocketDisconnectError`, out of its client.
"""

from __future__ import annotations

from typing import Any

from quart.testing.client import QuartClient
from quart.testing.connections import TestWebsocketConnection

try:
    from quart.testing.connections import WebsocketDisconnectError
except ImportError:

    class WebsocketDisconnectError(Exception):  # type: ignore[no-redef]
        """The server closed, with this code."""

    class _Connection(TestWebsocketConnection):
        async def _asgi_send(self, message: Any) -> None:
            if message["type"] == "websocket.close":
                closed = WebsocketDisconnectError(message.get("code", 1000))
                await self._receive_queue.put(closed)
            else:
                await super()._asgi_send(message)

        async def __aexit__(self, *exc_info: Any) -> None:
            await self.disconnect()
            await self._task
            while not self._receive_queue.empty():
                data = self._receive_queue.get_nowait()
                if isinstance(data, Exception) and not isinstance(data, WebsocketDisconnectError):
                    raise data

    QuartClient.websocket_connection_class = _Connection

__all__ = ["WebsocketDisconnectError"]
