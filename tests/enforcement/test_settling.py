"""Charges that the response decides on: settled at once where it is known, else in pieces."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from quart import Quart, Response, stream_with_context, websocket

from quart_ratelimit import Decision, Hit, Limiter
from quart_ratelimit.enforcement import settlement
from quart_ratelimit.enforcement.context import known_context
from quart_ratelimit.stores import MemoryStore


class Noting(MemoryStore):
    """Notes how many units each call gives back."""

    def __init__(self) -> None:
        super().__init__()
        self.given_back: list[int] = []

    async def hit(self, hits: Sequence[Hit]) -> list[Decision]:
        back = sum(hit.cost < 0 for hit in hits)
        if back:
            self.given_back.append(back)
        return await super().hit(hits)


class Site:
    """An app with a helper that is charged if the response has one of these statuses."""

    def __init__(self, *charged: int) -> None:
        self.app = Quart(__name__)
        self.store = Noting()
        self.limiter = Limiter(app=self.app, store=self.store, key_func=lambda: "ann")
        self.asked: list[int] = []

        def is_charged(response: Response) -> bool:
            self.asked.append(response.status_code)
            return response.status_code in charged

        limited = self.limiter.limit("1000/hour", key_func=lambda: "ann", deduct_when=is_charged)

        @limited
        async def helper() -> None:
            """What is limited."""

        self.helper = helper

    def kept(self) -> int:
        """How much the current request keeps."""
        context = known_context(self.limiter._bindings.attribute)
        assert context is not None
        return len(context.reserved) + len(context.limits)


async def count_in_websocket(site: Site, times: int) -> list[int]:
    kept = []

    @site.app.websocket("/")
    async def view() -> None:
        await site.helper()
        await websocket.accept()
        for _ in range(times):
            await site.helper()
            kept.append(site.kept())
        await websocket.send("done")

    async with site.app.test_client().websocket("/") as connection:
        assert await connection.receive() == "done"
    return kept


async def count_in_stream(site: Site, times: int) -> list[int]:
    kept = []

    @site.app.get("/")
    async def view() -> Any:
        await site.helper()

        @stream_with_context
        async def body() -> AsyncIterator[bytes]:
            for _ in range(times):
                await site.helper()
                kept.append(site.kept())
                yield b"."

        return body()

    response = await site.app.test_client().get("/")
    assert len(await response.get_data()) == times
    return kept


async def count_in_stream_only(site: Site, times: int) -> list[int]:
    kept = []

    @site.app.get("/")
    async def view() -> Any:
        @stream_with_context
        async def body() -> AsyncIterator[bytes]:
            for _ in range(times + 1):
                await site.helper()
                kept.append(site.kept())
                yield b"."

        return body()

    response = await site.app.test_client().get("/")
    assert len(await response.get_data()) == times + 1
    return kept


@pytest.mark.parametrize(
    ("count", "status"),
    [(count_in_websocket, 101), (count_in_stream, 200), (count_in_stream_only, 200)],
)
async def test_what_goes_on_without_end_collects_nothing(count: Any, status: int) -> None:
    for charged in ([], [status]):
        site = Site(*charged)
        kept = await count(site, 300)
        assert max(kept) <= 2
        assert site.asked == [status] * 301
        assert max(site.store.given_back, default=0) <= 2
        assert sum(site.store.given_back) == (0 if charged else 301)


async def test_a_request_that_charged_much_gives_it_back_in_pieces() -> None:
    site = Site()

    @site.app.get("/")
    async def view() -> str:
        for _ in range(950):
            await site.helper()
        return ""

    assert (await site.app.test_client().get("/")).status_code == 200
    assert max(site.store.given_back) <= settlement.PIECE
    assert sum(site.store.given_back) == 950
    assert len(site.store) == 0
