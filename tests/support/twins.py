"""Apps on Flask with Flask-Limiter and on Quart with ours, written once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flask
import flask_limiter
import quart

import quart_ratelimit
from quart_ratelimit import Hit
from quart_ratelimit.stores import MemoryStore


class Sort(NamedTuple):
    """A framework with its limiter."""

    framework: Any
    limiter: Any
    App: Any

    @property
    def is_ours(self) -> bool:
        return self.framework is quart


THEIRS = Sort(flask, flask_limiter, flask.Flask)
OURS = Sort(quart, quart_ratelimit, quart.Quart)


class Keys(MemoryStore):
    """Keeps the keys of all hits."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: list[str] = []

    async def hit(self, hits: Sequence[Hit]) -> Any:
        self.keys += [hit.key for hit in hits]
        return await super().hit(hits)


class Side:
    """One of the two, with an app and a limiter; clients are named by the field ``X-Who``."""

    def __init__(self, sort: Sort, **settings: Any) -> None:
        self.sort, self.is_ours = sort, sort.is_ours
        self.request = sort.framework.request
        self.app = sort.App("side")
        self.store = Keys()
        if "storage_uri" not in settings:
            settings.update({"store": self.store} if self.is_ours else {"storage_uri": "memory://"})
        if self.is_ours:
            settings["doctor"] = False
        key = settings.pop("key_func", lambda: self.request.headers["X-Who"])
        self.limiter = sort.limiter.Limiter(key, app=self.app, **settings)

    def stored_keys(self) -> list[str]:
        return self.store.keys if self.is_ours else [*self.limiter.storage.storage]

    def function(self, body: Callable[..., Any]) -> Any:
        """A new function that does the same: a sync one for Flask, an async one for Quart."""

        def now(*args: Any) -> Any:
            return body(*args)

        async def later(*args: Any) -> Any:
            return body(*args)

        return later if self.is_ours else now

    def view(
        self, path: str, *decorators: Any, body: Callable[[], Any] = lambda: "ok", on: Any = None
    ) -> Any:
        """Add a view for GET and POST below these decorators, outermost first."""
        return self._add(path, self.function(body), decorators, on)

    def calling(self, path: str, helper: Any, *decorators: Any, on: Any = None) -> None:
        """Add a view that calls a limited helper, unless the query says ``alone``."""

        def body() -> Any:
            if "alone" not in self.request.args:
                helper()
            return "ok"

        async def later() -> Any:
            if "alone" not in self.request.args:
                await helper()
            return "ok"

        self._add(path, later if self.is_ours else body, decorators, on)

    def _add(self, path: str, view: Any, decorators: Sequence[Any], on: Any) -> Any:
        view.__name__ = view.__qualname__ = path.strip("/").replace("/", "_") or "index"
        for decorator in reversed(decorators):
            view = decorator(view)
        (on or self.app).add_url_rule(path, view_func=view, methods=["GET", "POST"])
        return view

    async def answer(self, path: str, method: str = "GET", who: str = "ann", **fields: str) -> Any:
        """One response."""
        headers = {"X-Who": who, **{name.replace("_", "-"): text for name, text in fields.items()}}
        answer = self.app.test_client().open(path, method=method, headers=headers)
        return await answer if self.is_ours else answer

    async def ask(self, path: str, times: int = 1, **request: str) -> list[int]:
        """The statuses of so many requests."""
        return [(await self.answer(path, **request)).status_code for _ in range(times)]

    async def left(self, path: str, **request: str) -> int:
        """What remains after one more request."""
        return int((await self.answer(path, **request)).headers["X-RateLimit-Remaining"])

    async def text(self, path: str, **request: str) -> str:
        """The body of one response."""
        answer = await self.answer(path, **request)
        text: Any = answer.get_data(as_text=True)
        return str(await text if self.is_ours else text)
