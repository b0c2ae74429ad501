"""The examples of Flask-Limiter's README and documentation, moved to Quart."""

import json
import time
from typing import Any

from quart import (
    Blueprint,
    Quart,
    Response,
    current_app,
    jsonify,
    make_response,
    render_template_string,
    request,
)
from quart.typing import ResponseReturnValue
from quart.views import MethodView

from quart_ratelimit import ExemptionScope, Limiter, RateLimitExceeded, RequestLimit
from quart_ratelimit.stores import MemoryStore
from quart_ratelimit.util import get_remote_address

from ..support.apps import Clock, Make, ask, body, view


async def test_the_quick_start(clock: Clock) -> None:
    app = Quart(__name__)
    limiter = Limiter(
        get_remote_address,
        app=app,
        default_limits=["4 per day", "3 per hour"],
        store=MemoryStore(now_ms=clock),
    )

    @app.route("/slow")
    @limiter.limit("1 per day")
    async def slow() -> str:
        return ":("

    @app.route("/medium")
    @limiter.limit("1/second", override_defaults=False)
    async def medium() -> str:
        return ":|"

    @app.route("/fast")
    async def fast() -> str:
        return ":)"

    @app.route("/ping")
    @limiter.exempt
    async def ping() -> str:
        return "PONG"

    assert await ask(app, "/slow", 2) == [200, 429]
    assert await ask(app, "/medium", 2) == [200, 429]
    assert await ask(app, "/fast", 4) == [200, 200, 200, 429]
    assert await ask(app, "/ping", 9) == [200] * 9
    clock.forward(3600)
    assert await ask(app, "/fast", 2) == [200, 429]
    assert "<p>1 per 1 day</p>" in await body(app, "/slow")


async def test_deferred_set_up(clock: Clock) -> None:
    limiter = Limiter(get_remote_address, store=MemoryStore(now_ms=clock))

    def create_app() -> Quart:
        app = Quart(__name__)
        limiter.init_app(app)
        view(app, "/", limiter.limit("100/day;10/hour;1/minute"))
        return app

    assert await ask(create_app(), "/", 2) == [200, 429]


async def test_a_limit_by_user_below_login_required(make: Make) -> None:
    app, limiter = make()

    def login_required(function: Any) -> Any:
        async def checked(*args: Any, **kwargs: Any) -> Any:
            if "User" not in request.headers:
                return "", 401
            return await function(*args, **kwargs)

        checked.__name__ = function.__name__
        return checked

    limit = limiter.limit("1 per day", key_func=lambda: request.headers["User"])
    view(app, "/test", login_required, limit)
    assert await ask(app, "/test", 2) == [401, 401]
    assert await ask(app, "/test", 2, User="ann") == [200, 429]
    assert await ask(app, "/test", 1, User="bob") == [200]


async def test_all_requests_by_country(make: Make) -> None:
    countries = {"ann": "AT", "bob": "BE", "eve": "AT"}
    app, _ = make(key_func=lambda: countries[request.remote_addr], default_limits=["1/hour"])
    view(app, "/")
    assert [await ask(app, "/", 1, who=who) for who in countries] == [[200], [200], [429]]


async def test_a_refusal_as_json(make: Make) -> None:
    app, _ = make(default_limits=["1/day"])
    view(app, "/")

    @app.errorhandler(429)
    async def refused(error: RateLimitExceeded) -> ResponseReturnValue:
        return await make_response(jsonify(error=f"exceeded {error.description}"), 429)

    await ask(app, "/", 1)
    assert json.loads(await body(app, "/")) == {"error": "exceeded 1 per 1 day"}


async def test_a_refusal_as_a_template_and_one_views_own(make: Make) -> None:
    async def for_all(request_limit: RequestLimit) -> Any:
        text = await render_template_string("no more than {{ limit.limit }}", limit=request_limit)
        return await make_response(text, 429)

    def for_index(request_limit: RequestLimit) -> Response:
        return jsonify(error="rate_limit_exceeded")

    app, limiter = make(default_limits=["1/minute"], on_breach=for_all)
    view(app, "/")
    view(app, "/json", limiter.limit("1/minute", on_breach=for_index))
    await ask(app, "/", 1)
    assert await body(app, "/") == "no more than 1 per 1 minute"
    assert await ask(app, "/json", 2) == [200, 200]
    assert json.loads(await body(app, "/json")) == {"error": "rate_limit_exceeded"}


async def test_an_error_handler_that_leaves_canned_responses_alone(make: Make) -> None:
    app, limiter = make()
    canned = limiter.limit("1/day", on_breach=lambda limit: Response("canned", 429))
    view(app, "/canned", canned)
    view(app, "/plain", limiter.limit("1/day"))

    @app.errorhandler(RateLimitExceeded)
    async def careful(error: RateLimitExceeded) -> ResponseReturnValue:
        return error.response or ("built", 429)  # type: ignore[return-value]

    for path, text in (("/canned", "canned"), ("/plain", "built")):
        await ask(app, path, 1)
        assert await body(app, path) == text


async def test_meta_limits_against_a_client_that_keeps_trying(make: Make, clock: Clock) -> None:
    app, limiter = make(meta_limits=["2/hour", "4/day"], default_limits=["10/minute"])
    view(app, "/fast")
    view(app, "/slow", limiter.limit("1/minute"))
    assert await ask(app, "/fast", 1) == [200]
    for _ in range(2):
        assert await ask(app, "/slow", 1) == [200]
        assert "<p>1 per 1 minute</p>" in await body(app, "/slow")
        clock.forward(60)
    assert "<p>2 per 1 hour</p>" in await body(app, "/slow")
    assert "<p>2 per 1 hour</p>" in await body(app, "/fast")


async def test_a_request_that_costs_double_for_some_reason(make: Make) -> None:
    def cost() -> int:
        return 2 if "Expensive" in request.args else 1

    app, limiter = make()
    view(app, "/", limiter.limit("4/second", cost=cost))
    assert await ask(app, "/?Expensive", 2) == [200, 200]
    assert await ask(app, "/", 1) == [429]


async def test_only_answers_that_are_no_success_count(make: Make) -> None:
    app, limiter = make()

    @app.route("/<int:status>")
    @limiter.limit("1/second", deduct_when=lambda response: response.status_code != 200)
    async def route(status: int) -> ResponseReturnValue:
        return "", status

    assert await ask(app, "/200", 3) == [200, 200, 200]
    assert await ask(app, "/404", 2) == [404, 429]


async def test_a_class_based_view(make: Make) -> None:
    app, limiter = make()

    class MyView(MethodView):
        decorators = (limiter.limit("2/second"),)

        async def get(self) -> str:
            return "get"

        async def put(self) -> str:
            return "put"

    app.add_url_rule("/", view_func=MyView.as_view("mine"))
    assert await ask(app, "/", 1) == [200]
    assert await ask(app, "/", 2, method="PUT") == [200, 429]


async def test_blueprints_limited_exempt_and_regular(make: Make) -> None:
    app, limiter = make(default_limits=["1/second"])
    for name in ("login", "regular", "doc"):
        blueprint = Blueprint(name, __name__, url_prefix=f"/{name}")
        view(blueprint, "/", name=f"{name}_index")
        if name == "login":
            limiter.limit("2/hour")(blueprint)
        if name == "doc":
            limiter.exempt(blueprint)
        app.register_blueprint(blueprint)
    assert await ask(app, "/login/", 3) == [200, 200, 429]
    assert await ask(app, "/regular/", 2) == [200, 429]
    assert await ask(app, "/doc/", 3) == [200, 200, 200]


async def test_nested_blueprints(make: Make, clock: Clock) -> None:
    app, limiter = make(default_limits=["1/hour"], application_limits=["100/minute"])
    made = {
        name: Blueprint(name, __name__, url_prefix=f"/{name}")
        for name in ("parent", "child", "grandchild", "health")
    }
    for name, blueprint in made.items():
        view(blueprint, "/", name=f"{name}_index")
    parent, child, grandchild, health = made.values()
    parent.register_blueprint(health)
    child.register_blueprint(health)
    grandchild.register_blueprint(health)
    child.register_blueprint(grandchild)
    parent.register_blueprint(child)
    app.register_blueprint(parent)
    limiter.limit("2/minute")(parent)
    limiter.limit("1/second", override_defaults=False)(child)
    limiter.limit("3/minute")(grandchild)
    flags = ExemptionScope.DEFAULT | ExemptionScope.APPLICATION | ExemptionScope.ANCESTORS
    limiter.exempt(health, flags=flags)
    assert await ask(app, "/parent/", 3) == [200, 200, 429]
    assert await ask(app, "/parent/child/", 2) == [200, 429]
    clock.forward(1)
    assert await ask(app, "/parent/child/", 1) == [200]
    clock.forward(1)
    assert await ask(app, "/parent/child/", 1) == [429]
    assert await ask(app, "/parent/child/grandchild/", 4) == [200, 200, 200, 429]
    for path in ("/parent", "/parent/child", "/parent/child/grandchild"):
        assert await ask(app, f"{path}/health/", 4) == [200] * 4


async def test_own_messages(make: Make) -> None:
    app, limiter = make({"MESSAGE": "slow down"})
    view(app, "/", limiter.limit("1/day", error_message="chill!"))

    def message() -> str:
        return str(current_app.config["MESSAGE"])

    view(app, "/ping", limiter.limit("1/day", error_message=message))
    for path, text in (("/", "chill!"), ("/ping", "slow down")):
        await ask(app, path, 1)
        assert text in await body(app, path)


async def test_own_headers(make: Make) -> None:
    app, limiter = make()
    view(app, "/", limiter.limit("1/second"))

    @app.after_request
    async def add_headers(response: Response) -> Response:
        if limiter.current_limit:
            response.headers["RemainingLimit"] = limiter.current_limit.remaining
            response.headers["ResetAt"] = limiter.current_limit.reset_at
            response.headers["MaxRequests"] = limiter.current_limit.limit.amount
            response.headers["WindowSize"] = limiter.current_limit.limit.get_expiry()
            response.headers["Breached"] = limiter.current_limit.breached
        return response

    await ask(app, "/", 1)
    headers = (await app.test_client().get("/", scope_base={"client": ("ann", 1)})).headers
    told = {name: headers[name] for name in ("RemainingLimit", "MaxRequests", "WindowSize")}
    assert told == {"RemainingLimit": "0", "MaxRequests": "1", "WindowSize": "1"}
    assert headers["Breached"] == "True"
    assert 0 <= int(headers["ResetAt"]) - time.time() <= 2


async def test_requests_of_ones_own_are_filtered(make: Make) -> None:
    app, limiter = make(default_limits=["1/day"])
    view(app, "/")

    @limiter.request_filter
    def by_header() -> bool:
        return request.headers.get("X-Internal", "") == "true"

    @limiter.request_filter
    def by_address() -> bool:
        return request.remote_addr == "127.0.0.1"

    assert await ask(app, "/", 2, X_Internal="true") == [200, 200]
    assert await ask(app, "/", 2, who="127.0.0.1") == [200, 200]
    assert await ask(app, "/", 2) == [200, 429]


async def test_a_limit_by_host_and_one_from_the_config(make: Make) -> None:
    app, limiter = make({"CUSTOM_LIMIT": "2/day"})
    by_host = limiter.shared_limit("2/hour", scope=lambda endpoint: request.host)
    view(app, "/1", by_host)
    view(app, "/2", by_host)
    view(app, "/3", limiter.limit(lambda: current_app.config.get("CUSTOM_LIMIT", "10/s")))
    assert await ask(app, "/1", 1, Host="a") + await ask(app, "/2", 2, Host="a") == [200, 200, 429]
    assert await ask(app, "/2", 1, Host="b") == [200]
    assert await ask(app, "/3", 3) == [200, 200, 429]
