"""Requests to an ASGI app without a server, from any client address."""

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple


class Answer(NamedTuple):
    """One response."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


async def ask(
    app: Any,
    path: str = "/",
    client: str = "192.0.2.1",
    method: str = "GET",
    *,
    scope: Mapping[str, Any] | None = None,
    body: bytes = b"",
    **fields: str,
) -> Answer:
    """What an app answers; header fields by keyword, and other parts of the scope by name.

    Only HTTP/2 has a ``body`` that no field announces.
    """
    headers = [(b"host", b"test"), *((k.encode(), v.encode()) for k, v in fields.items())]
    connection = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.1"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": (client, 50_000),
        "server": ("127.0.0.1", 80),
        "extensions": {},
        "state": {},
        **(scope or {}),
    }
    told = [{"type": "http.request", "body": body, "more_body": False}]
    sent: list[Any] = []
    answered = asyncio.Event()

    async def receive() -> Any:
        if told:
            return told.pop()
        await answered.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            answered.set()

    await app(connection, receive, send)
    start, *parts = sent
    return Answer(start["status"], start["headers"], b"".join(part["body"] for part in parts))
