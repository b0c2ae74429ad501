"""Response bodies that hold something until they are sent."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable
from types import TracebackType
from typing import Any

from quart import Response
from quart.wrappers.response import DataBody, ResponseBody


class HeldBody(ResponseBody):
    """A body that lets go when it has been sent, or when its client has gone."""

    def __init__(self, body: ResponseBody, let_go: Callable[[], Awaitable[None]]) -> None:
        self._body = body
        self._let_go = let_go

    async def __aenter__(self) -> AsyncIterable[Any]:
        return await self._body.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException], error: BaseException, traceback: TracebackType
    ) -> None:
        try:
            await self._body.__aexit__(kind, error, traceback)
        finally:
            await self._let_go()


def hold_while_sent(response: Any, let_go: Callable[[], Awaitable[None]]) -> bool:
    """Let go once this response's stream has been sent; False if it is no stream."""
    if not isinstance(response, Response) or isinstance(response.response, DataBody):
        return False
    response.response = HeldBody(response.response, let_go)
    return True
