"""What clients do at a worker: code that checks limits itself, and requests to its app."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from quart_ratelimit import LimiterUnavailable, RateLimitExceeded, StoreError

from .plan import Action
from .site import limit_of

if TYPE_CHECKING:
    from .worker import Worker

#: Limits whose refusals end soon enough to wait for.
SOON = ("turning", "fast bucket", "bucket")
#: Views of the app, by the action's limit.
VIEWS = ("plain", "script", "login", "place", "sync", "turning", "turning")


class ViewFailed(Exception):
    """What a block of the app's own code raises."""


async def act(worker: Worker, action: Action) -> None:
    """Do what the action says, as a client that may see refusals and errors of the store."""
    with contextlib.suppress(RateLimitExceeded, LimiterUnavailable, StoreError, ViewFailed):
        await ACTIONS[action.kind](worker, action)


async def _hit(worker: Worker, action: Action) -> None:
    await worker.limiter.hit(limit_of(action.limit), action.key, cost=min(action.cost, 3))


async def _costly(worker: Worker, action: Action) -> None:
    await worker.limiter.hit(limit_of(action.limit), action.key, cost=action.cost)


async def _peek(worker: Worker, action: Action) -> None:
    await worker.limiter.peek(limit_of(action.limit), action.key)


async def _burst(worker: Worker, action: Action) -> None:
    count = 140 if action.cost == 20 else 5 * action.cost + 3
    limit = limit_of(action.limit)
    answers = [
        worker.limiter.hit(limit, action.key if n % 3 else f"{action.key}-{n}")
        for n in range(count)
    ]
    for answer in await asyncio.gather(*answers, return_exceptions=True):
        if isinstance(answer, Exception) and not isinstance(answer, StoreError):
            raise answer


async def _reset(worker: Worker, action: Action) -> None:
    if action.how == "raise":  # of one that has spent all
        for _ in range(8):
            await worker.limiter.hit(limit_of(action.limit), action.key)
    if action.cost == 20:
        await worker.limiter.reset()
    else:
        await worker.limiter.reset(limit_of(action.limit), action.key)


async def _refund(worker: Worker, action: Action) -> None:
    limit = limit_of(action.limit)
    charged = await worker.limiter.hit(limit, action.key, cost=min(action.cost, 3))
    await asyncio.sleep(action.takes)
    await worker.limiter.refund(limit, action.key, charged=charged, cost=min(action.cost, 3))


async def _reserve(worker: Worker, action: Action) -> None:
    async with worker.limiter.reserve(
        limit_of(action.limit), action.key, cost=min(action.cost, 3)
    ) as reservation:
        await asyncio.sleep(action.takes)
        if action.how == "raise":
            raise ViewFailed
        if action.how != "401":
            reservation.settle(action.number % 5)


async def _in_flight(worker: Worker, action: Action) -> None:
    amount = 1 if action.number % 2 else 3
    name = f"{action.key} of {amount}"
    async with worker.limiter.in_flight(amount, name, scope="block", lease=60):
        with worker.oracle.holding(worker, name, amount):
            await asyncio.sleep(action.takes)
            if action.how == "raise":
                raise ViewFailed


async def _wait(worker: Worker, action: Action) -> None:
    limit = limit_of(SOON[action.number % 3])
    await worker.limiter.wait(limit, action.key, seconds=3.0, cost=min(action.cost, 2))


async def _patient(worker: Worker, action: Action) -> None:
    """Wait as told after each refusal; nobody else uses the key."""
    limit = limit_of(SOON[action.number % 3])
    for _ in range(8):
        refusal = await worker.limiter.hit(limit, action.key)
        if refusal.allowed or refusal.by not in ("store", "memory") or not refusal.retry_ms:
            continue
        must_wait = True
        while must_wait and refusal.retry_ms:
            since = worker.oracle.world.now
            await asyncio.sleep(refusal.retry_ms / 1000 + 0.001)
            retried = await worker.limiter.hit(limit, action.key)
            must_wait = worker.oracle.waited_as_told(worker, action, refusal, retried, since)
            refusal = retried


async def _request(worker: Worker, action: Action) -> None:
    view = VIEWS[(action.number + action.cost) % len(VIEWS)]
    fields = {
        "client": action.key,
        "how": action.how,
        "takes": f"{action.takes:.4f}",
        "after": "0.001" if action.number % 2 else "0",
    }
    status = await _ask(worker.site.app, f"/{view}", fields, action)
    worker.oracle.responded(worker, action, view, status)


async def _ask(app: Any, path: str, fields: dict[str, str], action: Action) -> int | None:
    """The status of one request; its client may be gone before, or its connection broken."""
    gone, answered = asyncio.Event(), asyncio.Event()
    statuses: list[int] = []
    asked = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Any:
        if asked:
            return asked.pop()
        waiting = [asyncio.ensure_future(one.wait()) for one in (gone, answered)]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waiting:
                one.cancel()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            if action.how == "unentered":
                raise ConnectionResetError("the client is gone")
            statuses.append(message["status"])
        elif not message.get("more_body", False):
            answered.set()

    serving = asyncio.ensure_future(app(_scope("http", path, fields), receive, send))
    try:
        if action.leaves is not None:
            await _moment(action.leaves)
            gone.set()
        await serving
    except (ConnectionResetError, RuntimeError):
        pass
    return statuses[0] if statuses else None


async def _websocket(worker: Worker, action: Action) -> None:
    inbox: asyncio.Queue[Any] = asyncio.Queue()
    inbox.put_nowait({"type": "websocket.connect"})
    for number in range(6):
        inbox.put_nowait({"type": "websocket.receive", "text": f"message {number}"})

    async def receive() -> Any:
        if inbox.empty():
            await asyncio.sleep(action.takes)
            return {"type": "websocket.disconnect", "code": 1001}
        return inbox.get_nowait()

    async def send(message: Any) -> None:
        if action.how == "unentered" and message["type"] == "websocket.send":
            raise ConnectionResetError("the client is gone")

    scope = _scope("websocket", "/chat", {"client": action.key})
    serving = asyncio.ensure_future(worker.site.app(scope, receive, send))
    try:
        if action.leaves is not None:
            await _moment(action.leaves)
            inbox.put_nowait({"type": "websocket.disconnect", "code": 1006})
        await serving
    except (ConnectionResetError, RuntimeError):
        pass


def _scope(kind: str, path: str, fields: dict[str, str]) -> dict[str, Any]:
    return {
        "type": kind,
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http" if kind == "http" else "ws",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"test"), *((k.encode(), v.encode()) for k, v in fields.items())],
        "client": ("192.0.2.1", 50_000),
        "server": ("127.0.0.1", 80),
        "subprotocols": [],
        "extensions": {},
        "state": {},
    }


async def _moment(leaves: float) -> None:
    """So many turns of the event loop, or seconds."""
    if isinstance(leaves, int):
        for _ in range(leaves):
            await asyncio.sleep(0)
    else:
        await asyncio.sleep(leaves)


ACTIONS: dict[str, Callable[[Any, Action], Awaitable[None]]] = {
    "hit": _hit,
    "costly": _costly,
    "peek": _peek,
    "burst": _burst,
    "reset": _reset,
    "refund": _refund,
    "reserve": _reserve,
    "in_flight": _in_flight,
    "wait": _wait,
    "patient": _patient,
    "request": _request,
    "websocket": _websocket,
}
