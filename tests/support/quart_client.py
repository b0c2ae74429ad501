"""Quart's test client, alike in its versions.

Quart 0.23's is not told of a websocket's close, and raises what an app raised within groups.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
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


@contextmanager
def app_raises(kind: type[Exception], match: str) -> Iterator[None]:
    """As `pytest.raises`, of what an app raises through its client."""
    try:
        yield
    except Exception as caught:
        error: BaseException = caught
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        if not isinstance(error, kind):
            raise
        assert re.search(match, str(error))
    else:
        pytest.fail(f"did not raise {kind.__name__}")


__all__ = ["WebsocketDisconnectError", "app_raises"]
