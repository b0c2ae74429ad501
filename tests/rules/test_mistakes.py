"""What is often written wrong in an app: an error early, which shows the right form."""

from typing import Any

import pytest
from quart import Blueprint, Quart
from quart.views import MethodView

from quart_ratelimit import ConfigurationError, Limiter, message_bytes, rate_limit

limiter = Limiter()
DECORATORS = {
    "limit": limiter.limit("5/minute"),
    "rate_limit": rate_limit("5/minute"),
    "in_flight": limiter.in_flight(2),
    "messages": limiter.messages("5/minute", cost=message_bytes),
    "exempt": limiter.exempt,
}


class Items(MethodView):
    async def get(self) -> str:
        return "apple"


@pytest.mark.parametrize("name", DECORATORS)
def test_a_class_is_told_where_its_decorators_go(name: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"Items is a class: .*decorators = \[.*{name}"):
        DECORATORS[name](Items)  # type: ignore[operator]


@pytest.mark.parametrize("name", ["rate_limit", "in_flight", "messages"])
def test_a_blueprint_is_limited_by_limit_alone(name: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"{name}.*limiter.limit\(\.\.\.\)\(blueprint\)"):
        DECORATORS[name](Blueprint("shop", __name__))  # type: ignore[operator]


@pytest.mark.parametrize("name", DECORATORS)
def test_an_app_is_told_where_its_limits_go(name: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"{name}.* not an app: write"):
        DECORATORS[name](Quart("shop"))  # type: ignore[operator]


@pytest.mark.parametrize("name", ["in_flight", "messages"])
async def test_what_stands_above_its_route_never_runs_and_is_an_error(name: str) -> None:
    app = Quart(__name__)
    Limiter(app=app)

    @DECORATORS[name]  # type: ignore[operator]
    @app.get("/")
    async def index() -> str:
        return "here"

    with pytest.raises(ConfigurationError, match=r"index stands above its route"):
        await app.startup()


def test_the_app_is_no_key_function() -> None:
    with pytest.raises(ConfigurationError, match=r"write Limiter\(app=app\)"):
        Limiter(Quart(__name__))  # type: ignore[arg-type]


def test_another_frameworks_app_is_no_quart_app() -> None:
    with pytest.raises(ConfigurationError, match=r"is not a Quart app: write app = Quart"):
        Limiter(app=object())  # type: ignore[arg-type]


def test_a_key_function_is_a_function() -> None:
    with pytest.raises(ConfigurationError, match=r"key_func='ip' is not a function"):
        Limiter("ip", app=Quart(__name__))  # type: ignore[arg-type]


SWITCHES: dict[str, dict[str, Any]] = {
    "RATELIMIT_ENABLED": {},
    "RATELIMIT_SHADOW": {},
    "RATELIMIT_HEADERS_ENABLED": {},
    "shadow": {"shadow": "False"},
    "enabled": {"enabled": "False"},
}


@pytest.mark.parametrize("name", SWITCHES)
def test_a_switch_that_is_a_text_would_be_on_and_is_an_error(name: str) -> None:
    app = Quart(__name__)
    if not SWITCHES[name]:
        app.config[name] = "False"
    with pytest.raises(ConfigurationError, match=rf"^{name}='False' is text; write True or False"):
        Limiter(app=app, **SWITCHES[name])


def test_switches_of_the_environment_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUART_RATELIMIT_ENABLED", "false")
    app = Quart(__name__)
    app.config.from_prefixed_env()
    assert not Limiter(app=app).initialized


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("redis://:hunter2/x@localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://localhost:abc/0?password=hunter2", "redis://localhost:abc/0"),
        ("redis://localhost:abc/0?password=h@hunter2", "redis://…"),
        ("http://localhost/?password=hunter2", "http://localhost/"),
    ],
)
def test_a_uri_that_cannot_be_read_is_shown_without_its_password(uri: str, shown: str) -> None:
    with pytest.raises(ConfigurationError, match=r"write '.*redis://") as raised:
        Limiter(app=Quart(__name__), storage_uri=uri)
    assert str(raised.value).startswith(f"storage_uri, storage_options: '{shown}' ")
    assert "hunter2" not in str(raised.value)


def test_a_password_with_a_slash_is_told_how_to_be_written() -> None:
    with pytest.raises(ConfigurationError, match="in a password %2F for /"):
        Limiter(app=Quart(__name__), storage_uri="redis://:a/b@localhost:6379/0")
    Limiter(app=Quart(__name__), storage_uri="redis://:a%2Fb@localhost:6379/0")


@pytest.mark.parametrize(
    ("uri", "options"),
    [
        ("redis://:hunter2@localhost:6379/0", {"dead_line": 1}),
        ("redis://:hunter2@localhost:6379/0?dead_line=1", {}),
        ("rediss://:hunter2@localhost:6379/0", {"dead_line": 1}),
        ("unix:///tmp/redis.sock?password=hunter2", {"dead_line": 1}),
        ("redis+sentinel://ann:hunter2@localhost:26379/mymaster", {"dead_line": 1}),
        ("redis+sentinel://localhost:26379/mymaster", {"dead_line": 1, "password": "hunter2"}),
        ("redis+cluster://:hunter2@localhost:7000", {"dead_line": 1}),
        ("rediss+cluster://:hunter2@localhost:7000", {"dead_line": 1}),
        ("redis+cluster://:hunter2@localhost:7000?dead_line=1", {}),
    ],
)
def test_an_option_that_redis_does_not_have_is_named(uri: str, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"'dead_line'; write deadline") as raised:
        Limiter(app=Quart(__name__), storage_uri=uri, storage_options=options)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    ("uri", "options"),
    [
        ("redis://localhost:6379/0", {"retry": 5}),
        ("redis+sentinel://localhost:26379/mymaster", {"db": 1}),  # it stands in the URI
        ("redis+cluster://localhost:7000", {"db": 1}),
        ("redis+cluster://localhost:7000", {"connection_pool": None}),
    ],
)
def test_so_is_one_of_which_redis_py_makes_nothing(uri: str, options: dict[str, Any]) -> None:
    with pytest.raises(
        ConfigurationError,
        match=r"^storage_uri, storage_options: storage_options, or what stands behind",
    ):
        Limiter(app=Quart(__name__), storage_uri=uri, storage_options=options)


@pytest.mark.parametrize(
    "uri",
    [
        "redis://localhost:6379/0",
        "redis+sentinel://localhost:26379/mymaster",
        "redis+cluster://localhost:7000",
    ],
)
def test_options_that_redis_has_are_taken(uri: str) -> None:
    options = {"deadline": 0.1, "max_connections": 8, "key_prefix": "shop", "password": "hunter2"}
    Limiter(app=Quart(__name__), storage_uri=uri, storage_options=options)
