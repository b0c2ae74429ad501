"""Builds the Quart app of a declaration, and records what each request charges."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import quart
from quart import Quart, current_app
from quart.views import MethodView

from quart_ratelimit import ApplicationLimit, Decision, FixedWindow, Hit, Limit, Limiter, rate_limit
from quart_ratelimit.quotas import Concurrency
from quart_ratelimit.stores import MemoryStore

from .declarations import Declaration, Request, Rule, Step, View


class Recorder(MemoryStore):
    """Sums what is charged and not given back, by the period of its limit; -1: places in flight."""

    def __init__(self) -> None:
        super().__init__(now_ms=lambda: 1_800_000_000_123)
        self.charged: Counter[int] = Counter()

    async def hit(self, hits: Sequence[Hit]) -> list[Decision]:
        decisions = await super().hit(hits)
        if all(decision.allowed for decision in decisions):
            for hit in hits:
                if isinstance(hit.quota, Concurrency):
                    self.charged[-1] += hit.cost
                else:
                    self.charged[round(hit.quota.period)] += hit.cost
        return decisions


def said(word: str) -> bool:
    """Whether this request says a word in its query."""
    return quart.request.args.get(word) == "1"


def user() -> str:
    return quart.request.headers["X-User"]


class DeclaredApp:
    """The app of a declaration, with its recorder."""

    def __init__(self, declaration: Declaration) -> None:
        self.declaration = declaration
        self.store = Recorder()
        self.app = Quart("declared", static_folder=None)
        self.limiter = Limiter(
            lambda: quart.request.headers["X-Who"],
            app=self.app,
            store=self.store,
            doctor=False,
            default_limits=[self._general(Limit, rule) for rule in declaration.defaults],
            application_limits=[
                self._general(ApplicationLimit, rule) for rule in declaration.application
            ],
            meta_limits=[rule.text for rule in declaration.metas],
            limit_unmatched=declaration.unmatched,
        )
        self.limiter.deny(lambda: said("denied"))
        self.limiter.request_filter(lambda: said("filtered"))
        blueprints = []
        for number, declared in enumerate(declaration.blueprints):
            blueprint = quart.Blueprint(f"blue{number}", "declared", url_prefix=f"/blue{number}")
            for rule in declared.rules:
                self._limit(rule)(blueprint)
            if declared.flags:
                self.limiter.exempt(blueprint, flags=declared.flags)
            blueprints.append(blueprint)
        for view in declaration.views:
            target = self.app if view.blueprint is None else blueprints[view.blueprint]
            methods = None if view.is_class else ["GET", "POST"]
            target.add_url_rule(view.path, view_func=self._view(view), methods=methods)
        for number, declared in reversed([*enumerate(declaration.blueprints)]):
            parent = self.app if declared.parent is None else blueprints[declared.parent]
            parent.register_blueprint(blueprints[number])
        self._client = self.app.test_client()

    async def ask(self, request: Request) -> tuple[int, Counter[int]]:
        """The status, and what the request charged."""
        self.store.charged = charged = Counter()
        response = await self._client.open(
            self.declaration.url(request),
            method=request.method,
            headers={"X-Who": request.who, "X-User": request.user},
        )
        assert not charged.pop(-1, 0), "a place in flight is still taken"
        return response.status_code, Counter({each: n for each, n in charged.items() if n})

    @staticmethod
    def _options(rule: Rule) -> dict[str, Any]:
        return {
            "methods": rule.methods or None,
            "per_method": rule.per_method,
            "exempt_when": (lambda: said("exempt")) if rule.exempt else None,
            "cost": (lambda: int(quart.request.args["cost"])) if rule.costs else 1,
            "deduct_when": (lambda response: response.status_code == 200) if rule.deducts else None,
            "meta_limits": [rule.meta.text] if rule.meta else None,
            "shadow": rule.shadow,
        }

    @staticmethod
    def _provider(rule: Rule) -> Any:
        return (lambda: "" if said("none") else rule.text) if rule.dynamic else rule.text

    def _general(self, kind: type[Limit], rule: Rule) -> Limit:
        key = user if rule.by_user else None
        return kind(self._provider(rule), key_function=key, **self._options(rule))

    def _limit(self, rule: Rule) -> Any:
        options = {"key_func": user if rule.by_user else None, **self._options(rule)}
        options["override_defaults"] = rule.override
        if rule.shared:
            return self.limiter.shared_limit(self._provider(rule), f"all{rule.period}", **options)
        return self.limiter.limit(self._provider(rule), **options)

    def _decorator(self, step: Step) -> Callable[[Any], Any]:
        rule = step.rule
        if step.kind == "limit":
            assert rule is not None
            return self._limit(rule)
        if step.kind == "rate_limit":
            assert rule is not None
            return rate_limit(FixedWindow(rule.amount, rule.period))
        if step.kind == "in_flight":
            return self.limiter.in_flight(1)
        if step.kind == "exempt":
            return self.limiter.exempt
        if step.kind == "login":
            return login if step.is_sync else login_async
        return wraps if step.is_sync else wraps_async

    def _calls(self, view: View) -> list[Any]:
        calls: list[Any] = []
        for step in view.calls:
            assert step.rule is not None
            limit = self._limit(step.rule)
            calls.append(limit(helper(is_sync=step.is_sync)) if step.kind == "helper" else limit)
        return calls

    def _body(self, view: View) -> Callable[..., Any]:
        calls = self._calls(view)

        def ended() -> Any:
            return ("bad", 400) if said("fails") else "ok"

        def body() -> Any:
            for number, limited in enumerate(calls):
                if said(f"call{number}"):
                    limited()
            return ended()

        async def body_async() -> Any:
            for number, (step, limited) in enumerate(zip(view.calls, calls, strict=True)):
                if not said(f"call{number}"):
                    continue
                if step.kind == "helper":
                    await limited()
                else:
                    async with limited:
                        pass
            return ended()

        return body if view.is_sync else body_async

    def _view(self, view: View) -> Any:
        name = view.path.strip("/")
        function: Any = self._class(view, name) if view.is_class else self._body(view)
        if not view.is_class:
            function.__name__ = function.__qualname__ = name
        for step in reversed(view.decorators):
            function = self._decorator(step)(function)
        return function

    def _class(self, view: View, name: str) -> Any:
        body = self._body(view)
        methods: dict[str, Any] = {}
        for method, rules in view.of_methods.items():
            function: Any = on_object(body, is_sync=view.is_sync)
            function.__name__, function.__qualname__ = method.lower(), f"{name}.{method}"
            for rule in rules:
                function = self._limit(rule)(function)
            methods[method.lower()] = function
        return type(name, (MethodView,), methods).as_view(name)


def on_object(body: Callable[[], Any], *, is_sync: bool) -> Callable[..., Any]:
    if is_sync:
        return lambda self: body()

    async def handler(self: object) -> Any:
        return await body()

    return handler


def helper(*, is_sync: bool) -> Callable[[], Any]:
    """A new function of the app that views call."""

    def help_sync() -> None: ...

    async def help_async() -> None: ...

    return help_sync if is_sync else help_async


def wraps(view: Callable[..., Any]) -> Callable[..., Any]:
    """An app's own sync decorator."""

    @functools.wraps(view)
    def inner(*args: Any, **kwargs: Any) -> Any:
        return view(*args, **kwargs)

    return inner


def login(view: Callable[..., Any]) -> Callable[..., Any]:
    """An app's own sync decorator that answers some requests itself."""

    @functools.wraps(view)
    def inner(*args: Any, **kwargs: Any) -> Any:
        return ("who?", 401) if said("rejected") else view(*args, **kwargs)

    return inner


def login_async(view: Callable[..., Any]) -> Callable[..., Any]:
    """One that raises its answer."""

    @functools.wraps(view)
    async def inner(*args: Any, **kwargs: Any) -> Any:
        if said("rejected"):
            quart.abort(401)
        return await current_app.ensure_async(view)(*args, **kwargs)

    return inner


def wraps_async(view: Callable[..., Any]) -> Callable[..., Any]:
    """An app's own async decorator, over views of both kinds."""

    @functools.wraps(view)
    async def inner(*args: Any, **kwargs: Any) -> Any:
        return await current_app.ensure_async(view)(*args, **kwargs)

    return inner
