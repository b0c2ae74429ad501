"""Connections to an ASGI app by hand: the client may leave, the server may fail to send."""

import asyncio
from collections.abc import Sequence
from typing import Any

from quart import Quart

SCOPE = {
    "asgi": {"version": "3.0", "spec_version": "2.3"},
    "http_version": "1.1",
    "query_string": b"",
    "root_path": "",
    "headers": [(b"host", b"h")],
    "client": ("203.0.113.1", 1),
    "server": ("h", 80),
    "extensions": {},
}


#: With these an app ends its answer, unless more of the body follows.
LAST = ("http.response.body", "websocket.http.response.body", "websocket.close")


class Connection:
    """One request, or one websocket that sends these messages."""

    def __init__(
        self,
        app: Quart,
        path: str,
        *,
        messages: Sequence[str] | None = None,
        fails_at: int | None = None,
    ) -> None:
        self.gone = asyncio.Event()
        self.sent: list[Any] = []
        self._fails_at = fails_at
        kind = "http" if messages is None else "websocket"
        self._inbox: list[dict[str, Any]] = [
            {"type": "http.request", "body": b"", "more_body": False},
        ]
        if messages is not None:
            self._inbox = [{"type": "websocket.connect"}]
            self._inbox += [{"type": "websocket.receive", "text": text} for text in messages]
        own = {"type": kind, "path": path, "raw_path": path.encode()}
        own |= {"method": "GET", "scheme": "http"} if messages is None else {"scheme": "ws"}
        self.scope: dict[str, Any] = {**SCOPE, **own}
        self._kind = kind
        self.task = asyncio.create_task(app(self.scope, self._receive, self._send))  # type: ignore[arg-type]

    async def end(self) -> None:
        """Wait for the app's call, whatever comes of it."""
        await asyncio.wait([self.task])
        if not self.task.cancelled():
            self.task.exception()

    async def _receive(self) -> Any:
        if self._inbox:
            return self._inbox.pop(0)
        await self.gone.wait()
        return {"type": f"{self._kind}.disconnect", "code": 1005}

    async def _send(self, message: Any) -> None:
        await asyncio.sleep(0)
        if len(self.sent) == self._fails_at:
            self.gone.set()
            raise ConnectionResetError
        self.sent.append(message)
        if message["type"] in LAST and not message.get("more_body"):
            self.gone.set()  # as servers say; from Quart 0.23 on its call waits for that
