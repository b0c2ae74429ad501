"""Apps that count in memory, by a clock that the test turns."""

from collections.abc import Callable
from typing import Any

import pytest
from quart import Quart

from quart_ratelimit import Limiter
from quart_ratelimit.stores import MemoryStore
from quart_ratelimit.util import get_remote_address

#: Builds an app and its limiter: ``make({"RATELIMIT_DEFAULT": "1/minute"}, headers_enabled=True)``.
Make = Callable[..., tuple[Quart, Limiter]]


class Clock:
    """Milliseconds that a test turns, in seconds."""

    def __init__(self) -> None:
        self.now_ms = 1_800_000_000_123

    def __call__(self) -> int:
        return self.now_ms

    def forward(self, seconds: float) -> None:
        self.now_ms += round(seconds * 1000)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make(clock: Clock) -> Make:
    def build(config: dict[str, Any] | None = None, **keywords: Any) -> tuple[Quart, Limiter]:
        app = Quart(__name__)
        app.config.update(config or {})
        keywords = {"store": MemoryStore(now_ms=clock), **keywords}
        return app, Limiter(keywords.pop("key_func", get_remote_address), app=app, **keywords)

    return build


async def ask(
    app: Quart, path: str, times: int = 1, *, method: str = "GET", who: str = "ann", **headers: str
) -> list[int]:
    """The statuses of so many requests of one client."""
    client = app.test_client()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return [
        (
            await client.open(path, method=method, scope_base={"client": (who, 1)}, headers=named)
        ).status_code
        for _ in range(times)
    ]


async def body(app: Quart, path: str, who: str = "ann") -> str:
    """The body of one answer."""
    answer = await app.test_client().get(path, scope_base={"client": (who, 1)})
    return await answer.get_data(as_text=True)


def view(app: Any, path: str, *decorators: Any, name: str | None = None, **options: Any) -> Any:
    """Add a view that answers with its path, below these decorators, outermost first."""

    async def answer(**kwargs: Any) -> str:
        return path

    answer.__name__ = answer.__qualname__ = name or path.strip("/").replace("/", "_") or "index"
    limited = answer
    for decorator in reversed(decorators):
        limited = decorator(limited)
    app.add_url_rule(path, view_func=limited, **options)
    return limited
