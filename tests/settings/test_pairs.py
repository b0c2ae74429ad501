"""Every two settings, and every two arguments of a decorator, hold together.

No request fails, the declared limit refuses each client past its amount, and each response field
is sent once and can be read.
"""

import itertools
from email.utils import parsedate_to_datetime
from typing import Any

import http_sf
import pytest
from quart import Blueprint, Quart, Response, request
from quart.views import MethodView

from quart_ratelimit import FixedWindow, HeaderNames, Limit, Limiter, Penalty
from quart_ratelimit.settings.table import ENABLED, ROWS, VARIABLES

from ..support.asgi import Answer, ask
from ..support.covering import pairwise

AMOUNT = 3


def header() -> str:
    return request.headers["X-Who"]


def nobody() -> Any:
    return None


async def never() -> bool:
    return False


async def is_charged(response: Response) -> bool:
    return response.status_code == 200


def own_response(_: object) -> Response:
    return Response("own", 429)


async def told(_: object) -> None: ...


KEPT_OFF = [None, lambda: False, never]
CHARGED = [None, lambda response: response.status_code == 200, is_charged]
COSTS = [None, 1, lambda: 1]
CALLBACKS = [None, own_response, told]
SWITCH = [None, True, False]

#: Values of each setting by its keyword; None: not given.
SETTINGS: dict[str, list[Any]] = {
    "enabled": [True, False],
    "key_func": [None, header, nobody],
    "key_prefix": ["", "app:"],
    "key_secret": [None, "a secret of 16 bytes or more"],
    "strategy": [None, "moving-window", "sliding-window-counter", "gcra"],
    "storage_uri": [None, "memory://", "redis"],
    "storage_options": [None, {}],
    "default_limits": [["3/day"], [Limit("3/day")], "3/day; 1000/month"],
    "default_limits_per_method": SWITCH,
    "default_limits_exempt_when": KEPT_OFF,
    "default_limits_deduct_when": CHARGED,
    "default_limits_cost": COSTS,
    "application_limits": [None, ["1000/day"], ["2/day"]],
    "application_limits_per_method": SWITCH,
    "application_limits_exempt_when": KEPT_OFF,
    "application_limits_deduct_when": CHARGED,
    "application_limits_cost": COSTS,
    "meta_limits": [None, ["100/day"], [Penalty(100, 60)]],
    "in_memory_fallback": [None, ["3/day"]],
    "in_memory_fallback_enabled": SWITCH,
    "on_store_error": [None, "raise", "local", "closed"],
    "on_breach": CALLBACKS,
    "on_meta_breach": CALLBACKS,
    "headers_enabled": SWITCH,
    "header_name_mapping": [None, {HeaderNames.LIMIT: "X-Limit"}],
    "header_fields": [None, "x-ratelimit", ["x-ratelimit", "draft-10"], "draft-6"],
    "partition_secret": [None, "a secret of 16 bytes or more"],
    "retry_after": [None, "delta-seconds", "http-date"],
    "retry_jitter": [0, 0.5, 1],
    "swallow_errors": SWITCH,
    "fail_on_first_breach": SWITCH,
    "request_identifier": [None, lambda: request.path],
    "limit_unmatched": [True, False],
    "limit_preflights": [True, False],
    "shadow": [None, True, False, never],
    "problem_details": SWITCH,
    "doctor": SWITCH,
    "remember_refusals": [0, 1.0],
    "workers": [1, 4],
    "drain_refused_bodies": [0, 1_000],
}
#: Whether what has a variable is given by it.
BY_VARIABLE = "by variable"


def is_no_contradiction(row: dict[str, Any]) -> bool:
    """The fallback replaces all limits while Redis is away, so no other policy stands beside it."""
    return not row.get("in_memory_fallback") or row.get("on_store_error") in (None, "raise")


ROWS_OF_SETTINGS = list(pairwise({**SETTINGS, BY_VARIABLE: [False, True]}, is_no_contradiction))


def test_the_array_holds_every_setting_and_every_pair() -> None:
    given = {row.keyword for row in ROWS.values()} | {ENABLED.keyword}
    assert given == set(SETTINGS)
    for one, other in itertools.combinations(SETTINGS, 2):
        met = {(repr(row[one]), repr(row[other])) for row in ROWS_OF_SETTINGS}
        wanted = {
            (repr(a), repr(b))
            for a in SETTINGS[one]
            for b in SETTINGS[other]
            if is_no_contradiction({one: a, other: b})
        }
        assert wanted <= met


def check(answer: Answer) -> None:
    """No failure, and each field once, in the right form."""
    assert answer.status in (200, 404, 429), answer
    names = [name.lower() for name, _ in answer.headers]
    fields = {name.decode().lower(): value.decode() for name, value in answer.headers}
    once = {name for name in names if b"rate" in name or name in (b"retry-after", b"x-limit")}
    assert len([name for name in names if name in once]) == len(once), names
    for name, value in fields.items():
        if name.startswith("x-ratelimit") or name == "x-limit":
            assert int(value) >= 0
        elif name in ("ratelimit", "ratelimit-policy"):
            assert http_sf.parse(value.encode(), tltype="list")
    if answer.status == 429:
        wait = fields["retry-after"]
        assert wait.isdigit() or parsedate_to_datetime(wait)
        assert fields["cache-control"] == "no-store"


async def allowed(app: Quart, path: str, who: str, accept: str) -> int:
    """How many of five requests are allowed."""
    client = {"ann": "192.0.2.1", "bob": "192.0.2.2"}[who]
    fields = {"x-who": who, "accept": accept}
    answers = [await ask(app, path, client, **fields) for _ in range(5)]
    for answer in answers:
        check(answer)
    return sum(answer.status != 429 for answer in answers)


def build(row: dict[str, Any], redis_url: str) -> tuple[Quart, Limiter]:
    app = Quart("pairs")
    given = {name: value for name, value in row.items() if name != BY_VARIABLE}
    if given["storage_uri"] == "redis":
        given["storage_uri"] = redis_url
    by_variable = {
        keyword: variable
        for keyword, variable in {**VARIABLES, ENABLED.keyword: ENABLED.variable}.items()
        if row[BY_VARIABLE] and given[keyword] is not None
    }
    for keyword, variable in by_variable.items():
        app.config[variable] = given.pop(keyword)
    limiter = Limiter(app=app, **given)

    @app.get("/own")
    @limiter.limit("3/day")
    async def own() -> str:
        return "own"

    @app.get("/default")
    def default() -> str:
        return "default"

    class Items(MethodView):
        @limiter.limit("3/day; 500/month")
        async def get(self) -> str:
            return "items"

    app.add_url_rule("/items", view_func=Items.as_view("items"))

    @limiter.limit("3/day")
    async def helper() -> None: ...

    @app.get("/helped")
    @limiter.exempt
    async def helped() -> str:
        await helper()
        return "helped"

    return app, limiter


@pytest.mark.parametrize("number", range(len(ROWS_OF_SETTINGS)))
async def test_any_two_settings_limit_each_client(number: int, redis_url: str) -> None:
    row = ROWS_OF_SETTINGS[number]
    app, _ = build(row, redis_url)
    free = not row["enabled"] or row["shadow"] is True
    async with app.test_app():
        for who in ("ann", "bob"):
            left = 2 if row["application_limits"] == ["2/day"] else 1000
            for path in ("/own", "/default", "/items", "/helped", "/nowhere"):
                found = await allowed(app, path, who, ("application/json", "*/*")[number % 2])
                assert found == (5 if free else amount(row, path, left)), (path, who, row)
                left -= found if path != "/helped" else 0  # exempt from the application's limit


def amount(row: dict[str, Any], path: str, left: int) -> int:
    """How many of five requests are allowed, if the application's limit has so many left."""
    if path == "/helped":
        return AMOUNT
    if path != "/nowhere":
        return min(AMOUNT, left)
    if not row["limit_unmatched"]:
        return 5
    # What deducts a 200 alone does not count a 404; a `Limit` has options of its own.
    deducts = row["default_limits_deduct_when"] and isinstance(row["default_limits"][0], str)
    by_default = 5 if deducts else AMOUNT
    by_application = 5 * (left > 0) if row["application_limits_deduct_when"] else left
    return min(by_default, by_application)


#: Values of each argument of `Limiter.limit`, and what is limited.
ARGUMENTS: dict[str, list[Any]] = {
    "limit_value": ["3/day", FixedWindow(3, 86_400), lambda: "3/day", "3/day; 1000/month"],
    "key_func": [None, header, nobody],
    "per_method": [False, True],
    "methods": [None, ["GET"], ("get", "POST")],
    "error_message": [None, "slow", lambda: "slow"],
    "exempt_when": KEPT_OFF,
    "override_defaults": [True, False],
    "deduct_when": CHARGED,
    "on_breach": CALLBACKS,
    "cost": [1, lambda: 1],
    "scope": [None, "place", lambda endpoint: f"at {endpoint}"],
    "meta_limits": [None, ["100/day"], [Penalty(100, 60)]],
    "name": [None, "mine"],
    "shadow": [None, False, never],
}
TARGET = "target"


def async_view(app: Quart, limit: Any) -> None:
    @app.get("/")
    @limit
    async def index() -> str:
        return "async"


def sync_view(app: Quart, limit: Any) -> None:
    @app.get("/")
    @limit
    def index() -> str:
        return "sync"


def helper(app: Quart, limit: Any) -> None:
    @limit
    async def helper() -> str:
        return "helped"

    @app.get("/")
    async def index() -> str:
        return await helper()  # type: ignore[no-any-return]


def block(app: Quart, limit: Any) -> None:
    @app.get("/")
    async def index() -> str:
        async with limit:
            return "block"


def blueprint(app: Quart, limit: Any) -> None:
    shop = Blueprint("shop", __name__)
    limit(shop)

    @shop.get("/")
    async def index() -> str:
        return "shop"

    app.register_blueprint(shop)


def class_view(app: Quart, limit: Any) -> None:
    class Index(MethodView):
        decorators = [limit]  # noqa: RUF012  # as Quart has it

        def get(self) -> str:
            return "class"

    app.add_url_rule("/", view_func=Index.as_view("index"))


def method(app: Quart, limit: Any) -> None:
    class Index(MethodView):
        @limit
        async def get(self) -> str:
            return "method"

    app.add_url_rule("/", view_func=Index.as_view("index"))


TARGETS = [async_view, sync_view, helper, block, blueprint, class_view, method]
ROWS_OF_ARGUMENTS = list(pairwise({**ARGUMENTS, TARGET: TARGETS}))


@pytest.mark.parametrize("number", range(len(ROWS_OF_ARGUMENTS)))
async def test_any_two_arguments_limit_each_client(number: int) -> None:
    row = dict(ROWS_OF_ARGUMENTS[number])
    app = Quart("pairs")
    limiter = Limiter(app=app, default_limits=["1000/day"], headers_enabled=True, doctor=False)
    target = row.pop(TARGET)
    target(app, limiter.limit(row.pop("limit_value"), **row))
    async with app.test_app():
        for who in ("ann", "bob"):
            assert await allowed(app, "/", who, "*/*") == AMOUNT, (target, row)
