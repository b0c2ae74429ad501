"""An app with a limit of every kind that there is, and requests that charge each of them."""

from __future__ import annotations

from typing import Any

from quart import Blueprint, Quart, g, request, websocket
from quart.views import MethodView

from quart_ratelimit import (
    GCRA,
    ApplicationLimit,
    Limit,
    Limiter,
    MetaLimit,
    MovingWindow,
    Penalty,
    SlidingWindow,
    StrictWindow,
    rate_limit,
)
from quart_ratelimit.util import get_remote_address

#: Every limit's amount is a number of its own, so that a test can tell them apart.
AMOUNTS = {
    "application": 900, "application meta": 901, "default": 902, "blueprint": 903,
    "inner blueprint": 904, "route": 905, "method": 906, "shared": 907, "scope function": 908,
    "shadow": 909, "penalty": 910, "any breach": 911, "helper": 912, "before_request": 913,
    "block": 914, "rate_limit": 915, "rate_limit above": 916, "rate_limit of a helper": 917,
    "snippet": 918, "rate_limit by key": 919, "class": 920, "class rate_limit": 921,
    "in_flight": 922, "in_flight of a helper": 923, "in_flight block": 924, "messages": 925,
    "messages block": 926, "hit": 927, "wait": 928, "reserve": 929, "own key": 930,
    "moving": 931, "sliding": 932, "strict": 933, "gcra": 934, "in_flight of a scope": 935,
    "shared rate_limit": 936, "named": 937, "hit without a scope": 938, "sync": 939,
    "error handler": 940, "shadow by a function": 941, "default meta": 942,
}  # fmt: skip


def day(kind: str) -> str:
    """The limit of a kind."""
    return f"{AMOUNTS[kind]}/day"


def user() -> str | None:
    """The user, if the request has one."""
    return request.headers.get("User")


def by_plan() -> str:
    """A limit that only a real request has."""
    return f"{g.plan}/day"


async def plan() -> None:
    """Note what `by_plan` reads."""
    g.plan = 7


def every_limit(**settings: Any) -> tuple[Quart, Limiter]:
    """The app, and its first limiter."""
    app = Quart("everything")
    meta = MetaLimit(day("application meta"))
    limiter = Limiter(
        get_remote_address,
        app=app,
        application_limits=[
            ApplicationLimit(day("application"), meta_limits=[meta]),
        ],
        default_limits=[Limit(day("default"), meta_limits=[day("default meta")])],
        meta_limits=[day("any breach")],
        in_memory_fallback=["3/day"],
        **settings,
    )
    app.before_request(plan)
    _add_rules(app, limiter)
    _add_decorated(app, limiter)
    _add_code(app, limiter)
    return app, limiter


def _add_rules(app: Quart, limiter: Limiter) -> None:
    @app.before_request
    @limiter.limit(day("before_request"))
    async def before() -> None: ...

    @app.errorhandler(404)
    @limiter.limit(day("error handler"))
    async def missing(_: object) -> tuple[str, int]:
        return "", 404

    @limiter.limit(day("helper"))
    async def helper() -> None: ...

    app.add_url_rule("/default", view_func=_answer("default"))
    outer = Blueprint("outer", __name__, url_prefix="/outer")
    inner = Blueprint("inner", __name__, url_prefix="/inner")
    outer.add_url_rule("/", view_func=_answer("of_outer"))
    inner.add_url_rule("/", view_func=_answer("of_inner"))
    limiter.limit(day("blueprint"), override_defaults=False)(outer)
    limiter.limit(day("inner blueprint"), override_defaults=False)(inner)
    outer.register_blueprint(inner)
    app.register_blueprint(outer)

    def add(name: str, *limits: Any, **options: Any) -> None:
        view: Any = _answer(name)
        for limit in limits:
            view = limit(view)
        app.add_url_rule(f"/{name}", view_func=view, **options)

    add("route", limiter.limit(day("route")))
    add("methods", limiter.limit(day("method"), per_method=True), methods=["GET", "POST"])
    add("shared", limiter.shared_limit(day("shared"), scope="both"))
    add("scoped", limiter.limit(day("scope function"), scope=lambda endpoint: f"of {endpoint}"))
    add("shadow", limiter.limit(day("shadow"), shadow=True))
    add("perhaps", limiter.limit(day("shadow by a function"), shadow=lambda: True))
    add("login", limiter.limit("9000/day", meta_limits=[Penalty(AMOUNTS["penalty"], 60)]))
    add("user", limiter.limit(day("own key"), key_func=user))
    add("plan", limiter.limit(by_plan))
    add("named", limiter.limit(day("named"), name="own"))
    for name, quota in (
        ("moving", MovingWindow(AMOUNTS["moving"], 3600)),
        ("sliding", SlidingWindow(AMOUNTS["sliding"], 3600)),
        ("strict", StrictWindow(AMOUNTS["strict"], 3600)),
        ("gcra", GCRA(AMOUNTS["gcra"], 3600, burst=900)),
    ):
        add(name, limiter.limit(quota))

    @app.get("/helped")
    async def helped() -> str:
        await helper()
        return ""

    class Thing(MethodView):
        decorators = [rate_limit(day("rate_limit above"))]  # noqa: RUF012

        @limiter.limit(day("class"))
        async def get(self) -> str:
            return ""

        @rate_limit(day("class rate_limit"))
        async def post(self) -> str:
            return ""

    app.add_url_rule("/thing", view_func=Thing.as_view("thing"))


def _add_decorated(app: Quart, limiter: Limiter) -> None:
    @app.get("/snippet")
    @rate_limit(requests=AMOUNTS["snippet"], duration=3600, scope=None)
    @rate_limit(day("rate_limit"))
    @rate_limit(day("shared rate_limit"), scope="together")
    async def snippet() -> str:
        return ""

    @app.get("/sync")
    @rate_limit(day("sync"))
    def sync() -> str:
        return ""

    @rate_limit(day("rate_limit of a helper"))
    async def helper() -> None: ...

    @limiter.in_flight(AMOUNTS["in_flight of a helper"])
    async def busy() -> None: ...

    @app.get("/keyed")
    @rate_limit(day("rate_limit by key"), key=user)
    async def keyed() -> str:
        await helper()
        await busy()
        return ""

    @app.get("/flight")
    @limiter.in_flight(AMOUNTS["in_flight"])
    @limiter.in_flight(AMOUNTS["in_flight of a scope"], scope="export")
    async def flight() -> str:
        return ""

    @app.websocket("/chat")
    @limiter.messages(day("messages"))
    @limiter.messages("99/day", per_connection=True)
    async def chat() -> None:
        while True:
            await websocket.receive()
            await websocket.send("")


def _add_code(app: Quart, limiter: Limiter) -> None:
    @app.get("/code")
    async def code() -> str:
        async with limiter.limit(day("block")):
            pass
        async with limiter.in_flight(AMOUNTS["in_flight block"]):
            pass
        await limiter.hit(day("hit"), scope="mail")
        await limiter.hit(day("hit without a scope"), scope=None)
        await limiter.wait(day("wait"), seconds=1)
        async with limiter.reserve(day("reserve"), cost=2):
            pass
        return ""

    @app.websocket("/block")
    async def block() -> None:
        async with limiter.messages(day("messages block")):
            while True:
                await websocket.receive()
                await websocket.send("")


def _answer(name: str) -> Any:
    async def view() -> str:
        return ""

    view.__name__ = view.__qualname__ = name
    return view


async def use(app: Quart, who: str) -> None:
    """Charge each limit, as this client."""
    scope = {"client": (who, 1)}
    headers = {"User": who}
    client = app.test_client()
    for rule in app.url_map.iter_rules():
        if rule.websocket:
            async with client.websocket(rule.rule, scope_base=scope) as connection:
                await connection.send("hello")
                await connection.receive()
            continue
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"} if "<" not in rule.rule else ():
            for given in (headers, {}):
                await client.open(rule.rule, method=method, scope_base=scope, headers=given)
    await client.get("/nowhere", scope_base=scope)
