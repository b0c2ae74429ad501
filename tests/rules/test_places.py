"""Each limit is checked where it stands among the decorators of its view."""

from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import pytest
from quart import Quart, abort, current_app, g, request, websocket
from quart.testing.connections import WebsocketResponseError
from quart.views import MethodView

from quart_ratelimit import ConfigurationError, Limiter, rate_limit
from quart_ratelimit.callables import Memo
from quart_ratelimit.extension.binding import binding_of
from quart_ratelimit.extension.enumeration import Enumeration
from quart_ratelimit.stores import MemoryStore

from ..support.apps import ask

Decorator = Callable[[Any], Any]


def new(**settings: Any) -> tuple[Quart, Limiter]:
    app = Quart(__name__)
    settings.setdefault("key_func", lambda: "all")
    return app, Limiter(app=app, store=MemoryStore(), headers_enabled=True, **settings)


def log_in() -> None:
    g.user = request.headers.get("User")
    if g.user is None:
        abort(401)


def login(view: Any) -> Any:
    @wraps(view)
    async def checked(*args: Any, **kwargs: Any) -> Any:
        log_in()
        return await current_app.ensure_async(view)(*args, **kwargs)

    return checked


def sync_login(view: Any) -> Any:
    @wraps(view)
    def checked(*args: Any, **kwargs: Any) -> Any:
        log_in()
        return view(*args, **kwargs)

    return checked


def nameless_login(view: Any) -> Any:
    async def checked(*args: Any, **kwargs: Any) -> Any:
        log_in()
        return await view(*args, **kwargs)

    return checked


class Login:
    """A decorator that is a class, over sync views."""

    def __init__(self, view: Any) -> None:
        self._view = view
        self.__name__ = "page"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        log_in()
        return self._view(*args, **kwargs)


async def page() -> str:
    return "page"


def new_page(*, is_sync: bool = False) -> Any:
    def sync_page() -> str:
        return "page"

    async def async_page() -> str:
        return "page"

    return sync_page if is_sync else async_page


def add(app: Quart, *decorators: Decorator, view: Any = None, path: str = "/") -> Any:
    """Add a view below these decorators, outermost first."""
    view = view or new_page()
    for decorator in reversed(decorators):
        view = decorator(view)
    app.add_url_rule(path, f"page{path}", view)
    return view


def user() -> str:
    return str(g.user)


#: Which views each login calls: sync ones, or async ones.
CALLS = {"async": (False, True), "sync": (True,), "without wraps": (False,), "a class": (True,)}
LOGINS: dict[str, Decorator] = {
    "async": login,
    "sync": sync_login,
    "without wraps": nameless_login,
    "a class": Login,
}


@pytest.mark.parametrize(
    ("kind", "is_sync"), [(kind, is_sync) for kind in LOGINS for is_sync in CALLS[kind]]
)
@pytest.mark.parametrize("above", ["limit", "shared_limit"])
@pytest.mark.parametrize("below", ["limit", "shared_limit"])
async def test_the_upper_limit_counts_what_the_login_rejects(
    kind: str, is_sync: bool, above: str, below: str
) -> None:
    app, limiter = new()
    make = {"limit": limiter.limit, "shared_limit": partial(limiter.shared_limit, scope="all")}
    view = new_page(is_sync=is_sync)
    add(
        app,
        make[above]("5/minute"),
        LOGINS[kind],
        make[below]("2/minute", key_func=user),
        view=view,
    )
    assert await ask(app, "/", 3) == [401] * 3
    assert await ask(app, "/", 1, User="ann") == [200]
    assert await ask(app, "/", 2) == [401, 429]


async def test_the_lower_limit_counts_what_passes_the_login() -> None:
    app, limiter = new()
    add(app, limiter.limit("9/minute"), login, limiter.limit("1/minute", key_func=user))
    assert await ask(app, "/", 4) == [401] * 4
    assert await ask(app, "/", 2, User="ann") == [200, 429]
    assert await ask(app, "/", 2, User="bob") == [200, 429]
    assert await ask(app, "/", 2) == [401, 429]


async def test_each_of_three_places_counts_what_reaches_it() -> None:
    def validate(view: Any) -> Any:
        @wraps(view)
        async def validated() -> Any:
            return ("bad", 400) if "Bad" in request.headers else await view()

        return validated

    app, limiter = new()
    limits = [limiter.limit(f"{amount}/minute") for amount in (6, 4, 1)]
    add(app, limits[0], login, limits[1], validate, limits[2])
    assert await ask(app, "/", 1) == [401]
    assert await ask(app, "/", 2, User="ann", Bad="yes") == [400, 400]
    assert await ask(app, "/", 2, User="ann") == [200, 429]
    assert await ask(app, "/", 1, User="ann", Bad="yes") == [429]
    assert await ask(app, "/", 1) == [429]


async def test_fields_and_current_limits_are_of_all_places_that_were_reached() -> None:
    app, limiter = new(header_fields="draft-10")
    add(app, limiter.limit("5/minute", name="tries"), login, limiter.limit("2/hour", name="users"))
    found: list[list[str | None]] = []

    @app.after_request
    async def note(response: Any) -> Any:
        found.append([status.limit.name for status in limiter.current_limits])
        return response

    client = app.test_client()
    rejected = await client.get("/")
    answered = await client.get("/", headers={"User": "ann"})
    assert found == [["tries"], ["tries", "users"]]
    assert '"users"' not in rejected.headers["RateLimit"]
    assert '"tries"' in answered.headers["RateLimit"]
    assert '"users"' in answered.headers["RateLimit"]


@pytest.mark.parametrize("between", ["rate_limit", "in_flight", "login"])
async def test_a_limit_of_another_kind_between_leaves_each_where_it_stands(between: str) -> None:
    app, limiter = new()
    kinds: dict[str, Decorator] = {
        "rate_limit": rate_limit("3/minute"),
        "in_flight": limiter.in_flight(1),
        "login": login,
    }
    add(app, limiter.limit("4/minute"), kinds[between], limiter.limit("2/minute"))
    assert await ask(app, "/", 5, User="ann") == [200, 200, 429, 429, 429]


async def test_limits_one_upon_the_other_are_one_check() -> None:
    app, limiter = new()
    add(app, limiter.limit("5/minute"), limiter.limit("2/hour"), limiter.limit("3/hour"))
    remaining = []
    for _ in range(4):
        response = await app.test_client().get("/")
        remaining.append(response.headers["X-RateLimit-Remaining"])
    assert remaining == ["4", "3", "0", "0"]


@pytest.mark.parametrize("upper", [False, True])
@pytest.mark.parametrize("lower", [False, True])
async def test_defaults_apply_where_no_limit_that_replaces_them_was_reached(
    upper: bool, lower: bool
) -> None:
    app, limiter = new(default_limits=["3/hour"])
    add(
        app,
        limiter.limit("8/minute", override_defaults=upper),
        login,
        limiter.limit("9/minute", override_defaults=lower),
    )
    if lower or upper:  # the defaults are not charged for what reaches such a limit
        assert await ask(app, "/", 4, User="ann") == [200] * 4
    else:
        assert await ask(app, "/", 4, User="ann") == [200, 200, 200, 429]
        return
    assert await ask(app, "/", 4) == [401] * 4 if upper else [401, 401, 401, 429]


async def test_a_function_of_both_is_called_at_each_place() -> None:
    """The login between them decides what the lower one's function sees."""
    app, limiter = new(key_func=lambda: str(g.get("user") or "nobody"))
    add(app, limiter.limit("9/minute"), login, limiter.limit("1/minute"))
    assert await ask(app, "/", 2, User="ann") == [200, 429]
    assert await ask(app, "/", 2, User="bob") == [200, 429]


async def test_the_same_limit_above_and_below_is_one_charge() -> None:
    app, limiter = new()
    limit = limiter.limit("3/minute")
    add(app, limit, login, limit)
    assert await ask(app, "/", 1) == [401]
    assert await ask(app, "/", 3, User="ann") == [200, 200, 429]


def test_two_of_one_name_that_count_as_one_are_an_error() -> None:
    _, limiter = new()
    below = login(limiter.limit("1/minute", name="tries")(page))
    with pytest.raises(ConfigurationError, match="two limits with name='tries'"):
        limiter.limit("9/hour", name="tries")(below)


async def test_an_exemption_frees_a_view_of_the_limits_at_each_place() -> None:
    places: list[Callable[[Limiter], list[Decorator]]] = [
        lambda x: [x.exempt, x.limit("1/minute"), login, x.limit("1/minute")],
        lambda x: [x.limit("1/minute"), x.exempt, login, x.limit("1/minute")],
        lambda x: [x.limit("1/minute"), login, x.exempt, x.limit("1/minute")],
        lambda x: [x.limit("1/minute"), login, x.limit("1/minute"), x.exempt],
    ]
    for place in places:
        app, limiter = new()
        add(app, *place(limiter))
        assert await ask(app, "/", 3, User="ann") == [200] * 3


async def test_a_class_based_view_is_limited_above_and_below_its_login() -> None:
    app, limiter = new()

    class Page(MethodView):
        decorators = [  # noqa: RUF012
            limiter.limit("3/minute", key_func=user),
            login,
            limiter.limit("6/minute"),
        ]

        @limiter.limit("1/minute", key_func=user)
        async def post(self) -> str:
            return "page"

        async def get(self) -> str:
            return "page"

    app.add_url_rule("/", view_func=Page.as_view("page"))
    assert await ask(app, "/", 2) == [401, 401]
    assert await ask(app, "/", 2, method="POST", User="ann") == [200, 429]
    assert await ask(app, "/", 3, User="ann") == [200, 429, 429]
    assert await ask(app, "/", 1) == [429]


async def test_a_websocket_is_limited_above_and_below_its_login() -> None:
    app, limiter = new()
    reported: list[int] = []

    def socket_login(view: Any) -> Any:
        @wraps(view)
        async def checked() -> Any:
            if "User" not in websocket.headers:
                abort(401)
            return await view()

        return checked

    @app.websocket("/")
    @limiter.limit("4/minute")
    @socket_login
    @limiter.limit("9/hour")
    async def talk() -> None:
        reported.append(len(limiter.current_limits))
        await websocket.send("hello")

    async def connect(**headers: str) -> None:
        async with app.test_client().websocket("/", headers=headers) as connection:
            await connection.receive()

    statuses = []
    for headers in [{}, {"User": "ann"}, {}, {}, {}]:
        try:
            await connect(**headers)
        except WebsocketResponseError as error:
            statuses.append(error.response.status_code)
    assert statuses == [401, 401, 401, 429]
    assert reported == [2]


async def test_an_error_handler_is_limited_at_both_places() -> None:
    app, limiter = new()

    def maybe(view: Any) -> Any:
        @wraps(view)
        async def inner(error: Exception) -> Any:
            return ("hidden", 404) if "Hide" in request.headers else await view(error)

        return inner

    @app.errorhandler(404)
    @limiter.limit("5/minute")
    @maybe
    @limiter.limit("2/minute")
    async def missing(error: Exception) -> tuple[str, int]:
        return "missing", 404

    assert await ask(app, "/none", 3) == [404, 404, 429]
    assert await ask(app, "/none", 3, Hide="yes") == [404, 404, 429]


async def test_a_limit_above_the_route_of_a_limited_view_is_an_error() -> None:
    app, limiter = new()
    limiter.limit("9/minute")(login(app.get("/")(limiter.limit("1/minute")(page))))
    with pytest.raises(ConfigurationError, match="above its route"):
        await app.startup()


async def test_deduct_when_above_a_login_counts_its_failures_alone() -> None:
    app, limiter = new()
    failures = limiter.limit("2/minute", deduct_when=lambda response: response.status_code == 401)
    add(app, failures, login, limiter.limit("9/minute", key_func=user))
    assert await ask(app, "/", 5, User="ann") == [200] * 5
    assert await ask(app, "/", 3) == [401, 401, 429]
    assert await ask(app, "/", 1, User="ann") == [429]


async def test_a_meta_limit_counts_breaches_at_either_place() -> None:
    app, limiter = new(meta_limits=["2/hour"])
    add(app, limiter.limit("3/minute"), login, limiter.limit("1/minute", key_func=user))
    assert await ask(app, "/", 3, User="ann") == [200, 429, 429]
    app.add_url_rule("/other", "other", limiter.limit("9/minute")(page))
    assert await ask(app, "/other", 1) == [429]


async def test_head_and_methods_hold_at_each_place() -> None:
    app, limiter = new()
    add(app, limiter.limit("3/minute", methods=["GET"]), login, limiter.limit("1/minute"))
    assert await ask(app, "/", 1) == [401]
    assert await ask(app, "/", 2, method="HEAD") == [401, 401]
    assert await ask(app, "/", 1, User="ann") == [429]


@pytest.mark.parametrize(
    ("upper", "lower", "defaults"), [(True, False, 0), (False, True, 1), (False, False, 1)]
)
async def test_a_listing_has_the_limits_of_all_places(
    upper: bool, lower: bool, defaults: int
) -> None:
    """The defaults as well, where a request may come under them."""
    app, limiter = new(default_limits=["7/hour"])
    above = limiter.limit("5/minute", override_defaults=upper)
    add(app, above, login, limiter.limit("1/hour", override_defaults=lower))
    binding = binding_of(limiter, app)
    assert binding is not None
    async with app.app_context():
        listing = await Enumeration(app, binding, Memo()).all()
    listed = sorted(f"{one.source} {one.quota}" for one in listing.limits)
    expected = ["route 1 per 1 hour", "route 5 per 1 minute"]
    assert listed == ["default 7 per 1 hour"] * defaults + expected
