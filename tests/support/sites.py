"""Apps with a limiter and their clients: behind a shield, and with websockets."""

from collections.abc import Callable
from typing import Any

from quart import Quart, websocket
from quart.testing.connections import WebsocketResponseError

from quart_ratelimit import Limiter
from quart_ratelimit.stores import MemoryStore
from quart_ratelimit.util import get_remote_address

from .asgi import Answer, ask
from .quart_client import WebsocketDisconnectError


class ShieldedSite:
    """An app behind a shield, that notes what reaches it."""

    def __init__(self, **options: Any) -> None:
        self.app = Quart(__name__)
        self.app.secret_key = "known to the test alone"
        self.now = 1_000_000
        self.reached = 0
        store = MemoryStore(now_ms=lambda: self.now)
        self.limiter = Limiter(app=self.app, store=store, headers_enabled=True, **options)
        self.app.before_request(self._note)
        self.shield = self.limiter.shield(self.app)
        self.shield._now_ms = lambda: self.now

        @self.app.get("/")
        @self.limiter.limit("2/minute")
        async def index() -> str:
            return "OK"

        @self.app.get("/free")
        async def free() -> str:
            return "free"

    async def _note(self) -> None:
        self.reached += 1

    async def get(self, path: str = "/", client: str = "192.0.2.1", **options: Any) -> Answer:
        return await ask(self.app, path, client, **options)


class WebsocketSite:
    """An app with a limiter, and its clients by name."""

    def __init__(self, **options: Any) -> None:
        self.app = Quart(__name__)
        options = {"store": MemoryStore(now_ms=lambda: 1_800_000_000_123), **options}
        options.setdefault("key_func", get_remote_address)  # clients have names here, no addresses
        self.limiter = Limiter(app=self.app, **options)

    def serve(self, path: str, *decorators: Any, at: Any = None, name: str = "greet") -> None:
        """A websocket that says hello, below these decorators, outermost first."""

        async def greet() -> None:
            await websocket.send("hello")
            await websocket.receive()

        greet.__name__ = greet.__qualname__ = name
        view: Callable[..., Any] = greet
        for decorator in reversed(decorators):
            view = decorator(view)
        (at or self.app).websocket(path)(view)

    async def connect(self, path: str = "/ws", who: str = "ann", **scope: Any) -> Any:
        """What a client is told: the greeting, the refusal, or the close code."""
        client: Any = self.app.test_client().websocket(path)
        client.scope.update({"client": (who, 1), **scope})
        async with client as connection:
            try:
                return await connection.receive()
            except WebsocketResponseError as refusal:
                return refusal.response
            except WebsocketDisconnectError as closed:
                return closed.args[0]

    async def outcomes(self, times: int, path: str = "/ws", who: str = "ann") -> list[Any]:
        """Greetings, or statuses."""
        found = [await self.connect(path, who) for _ in range(times)]
        return [getattr(one, "status_code", one) for one in found]
