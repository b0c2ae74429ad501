"""``quart limiter``: what it prints, what it clears, and how it exits."""

import asyncio
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result
from quart import Blueprint, Quart, g, request

from quart_ratelimit import ExemptionScope, Limiter, commands
from quart_ratelimit.cli import commands as cli
from quart_ratelimit.extension.binding import binding_of
from quart_ratelimit.util import get_remote_address

from ..support.apps import Clock, Make, ask, view

pytest.importorskip("rich", reason="the extra 'cli' is not installed")


def dynamic() -> str:
    return "10/minute" if "Evil" in request.headers else "20/minute"


def exempt() -> bool:
    return "Internal" in request.headers


def furnish(app: Quart, limiter: Limiter) -> Quart:
    app.name = "kitchen"
    view(app, "/", name="root")
    limit = limiter.limit("2/minute", per_method=True)
    view(app, "/resource", limit, methods=["GET", "POST"])
    health = Blueprint("health", __name__, url_prefix="/health")
    view(health, "/", name="health")
    app.register_blueprint(health)
    flags = ExemptionScope.DEFAULT | ExemptionScope.APPLICATION | ExemptionScope.ANCESTORS
    limiter.exempt(health, flags=flags)
    return app


SETTINGS: dict[str, Any] = {
    "default_limits": ["10/second", "1000/hour", dynamic],
    "default_limits_exempt_when": exempt,
    "application_limits": ["5000/hour"],
    "meta_limits": ["2/day"],
    "headers_enabled": True,
}


@pytest.fixture
def app(make: Make) -> Quart:
    return furnish(*make(**SETTINGS))


def run(app: Quart, *args: str, exit_code: int = 0, **options: Any) -> str:
    result: Result = app.test_cli_runner().invoke(cli.cli, list(args), **options)
    assert result.exit_code == exit_code, result.output
    return result.output


@pytest.mark.parametrize("command", [["config"], ["limits"], ["clear", "--key=ann", "-y"]])
def test_an_app_without_a_limiter_is_an_error(command: list[str]) -> None:
    output = run(Quart("bare"), *command, exit_code=1)
    assert "No Limiter is installed on <Quart 'bare'>" in output


def test_config_shows_settings_beside_their_variables(app: Quart) -> None:
    output = run(app, "config")
    for pattern in (
        r"Enabled.*RATELIMIT_ENABLED.*True",
        r"Key Function.*RATELIMIT_KEY_FUNC.*get_remote_address\(\)",
        r"RATELIMIT_STRATEGY.*fixed-window",
        r"└── Status.*└── OK",
        r"Default Limits.*RATELIMIT_DEFAULT .*'10/second', '1000/hour'",
        r"RATELIMIT_DEFAULTS_EXEMPT_WHEN.*test_cli\.exempt\(\)",
        r"RATELIMIT_HEADERS_ENABLED.*True",
    ):
        assert re.search(pattern, output), pattern


def test_config_of_a_limiter_without_settings(make: Make) -> None:
    app, _ = make()
    assert re.search("Enabled.*True", run(app, "config"))


def test_config_of_a_disabled_limiter() -> None:
    app = Quart(__name__)
    Limiter(app=app, enabled=False)
    assert "Enabled: False" in run(app, "config")
    assert json.loads(run(app, "config", "--json")) == [{"enabled": False}]


def test_config_shows_no_password() -> None:
    app = Quart(__name__)
    uri, options = "redis://me:hunter2@127.0.0.1:1/0", {"sentinel_password": "hunter3"}
    app.config["RATELIMIT_STORAGE_OPTIONS"] = {"deadline": 0.05}
    limiter = Limiter(app=app, storage_uri=uri)
    binding = binding_of(limiter, app)
    assert binding is not None
    binding.settings.storage_options.update(options)  # type: ignore[attr-defined]
    output = run(app, "config", exit_code=1) + run(app, "config", "--json", exit_code=1)
    assert "hunter" not in output
    assert re.search(r"└── Status.*└── Error", output)


def test_limits_shows_each_route_with_its_limits(app: Quart) -> None:
    output = run(app, "limits")
    assert re.search(
        r"Meta Limits\n└── 2 per 1 day\nApplication Limits\n└── 5000 per 1 hour", output
    )
    assert "root: /" in output
    assert re.search(r"20 per 1 minute \{exempt_when: .*test_cli\.exempt\(\)\}", output)
    assert "2 per 1 minute (POST)" in output
    assert re.search(r"health.health: /health/\n\s*└── Exempt", output)


@pytest.mark.parametrize("chosen", ["--endpoint=root", "--path=/"])
def test_limits_may_show_one_endpoint(app: Quart, chosen: str) -> None:
    output = run(app, "limits", chosen)
    assert "root: /" in output
    assert "resource" not in output
    assert "Application Limits" not in output


@pytest.mark.parametrize(
    ("chosen", "error"),
    [
        (["--endpoint=groot"], "Error: groot not found"),
        (["--path=/groot"], "/groot could not be matched to an endpoint"),
        (["--path=/", "--method=post"], "POST: / could not be matched to an endpoint"),
    ],
)
@pytest.mark.parametrize("command", [["limits"], ["clear", "--key=ann", "-y"]])
def test_what_is_not_there_is_an_error(
    app: Quart, command: list[str], chosen: list[str], error: str
) -> None:
    assert error in run(app, *command, *chosen, exit_code=1)


@pytest.mark.parametrize("prefix", ["", "pre"])
def test_limits_tries_a_key_in_the_very_counter_of_its_requests(make: Make, prefix: str) -> None:
    app = furnish(*make(key_prefix=prefix, **SETTINGS))
    assert "5000 per 1 hour: Pass (5000 out of 5000 remaining)" in run(app, "limits", "--key=ann")
    asyncio.run(ask(app, "/resource", 3, method="POST"))
    output = run(app, "limits", "--key=ann")
    assert "5000 per 1 hour: Pass (4997 out of 5000 remaining)" in output
    assert "2 per 1 minute (POST): Fail (0 out of 2 remaining)" in output
    assert "2 per 1 minute (GET): Pass (2 out of 2 remaining)" in output
    assert "2 per 1 day: Pass (1 out of 2 remaining)" in output  # one breach
    assert "Fail" not in run(app, "limits", "--key=bob")


def test_a_store_that_is_away_is_said_and_an_error(app: Quart) -> None:
    away = Quart("away")
    limiter = Limiter(app=away, storage_uri="redis://127.0.0.1:1/0", default_limits=["1/day"])
    view(away, "/")
    assert limiter.initialized
    output = run(away, "limits", "--key=ann", exit_code=1)
    assert "1 per 1 day: Storage not available" in output
    assert "Redis could not be called" in run(away, "clear", "--key=ann", "-y", exit_code=1)


@pytest.mark.parametrize("prefix", ["", "pre"])
@pytest.mark.parametrize("secret", [None, "a secret of 16 bytes or more"])
def test_clear_forgets_a_keys_counts_and_no_others(
    redis_url: str, prefix: str, secret: str | None
) -> None:
    app = Quart("kitchen")
    given = {"storage_uri": redis_url, "key_prefix": prefix, "key_secret": secret, **SETTINGS}
    furnish(app, Limiter(get_remote_address, app=app, **given))

    async def flood() -> None:
        async with app.test_app():
            for who in ("ann", "bob"):
                await ask(app, "/", 5, who=who)
                await ask(app, "/resource", 3, who=who)
                await ask(app, "/resource", 3, method="POST", who=who)

    asyncio.run(flood())
    assert "2 per 1 minute (POST): Fail (0 out of 2" in run(app, "limits", "--key=ann")
    output = run(app, "clear", "--key=ann", "-y")
    for text in ("2 per 1 day", "5000 per 1 hour", "2 per 1 minute", "10 per 1 second"):
        assert f"{text}: Cleared" in output
    assert "Fail" not in run(app, "limits", "--key=ann")
    after = run(app, "limits", "--key=ann")
    assert "2 per 1 day: Pass (2 out of 2 remaining)" in after  # meta limits, too
    assert "(POST): Fail" in run(app, "limits", "--key=bob")
    output = run(app, "clear", "--key=bob", "--endpoint=root", "-y")
    assert "10 per 1 second: Cleared" in output
    assert "5000 per 1 hour" not in output
    assert "(POST): Fail" in run(app, "limits", "--key=bob")
    output = run(app, "clear", "--key=bob", "--path=/resource", "--method=post", "-y")
    after = run(app, "limits", "--key=bob")
    assert "(POST): Pass" in after
    assert "(GET): Fail" in after


def test_clear_asks_first(app: Quart) -> None:
    asyncio.run(ask(app, "/resource", 2))
    output = run(app, "clear", "--key=ann", input="n\n", exit_code=1)
    assert "Proceed with resetting limits for key: ann?" in output
    assert "(GET): Fail" in output
    assert "Cleared" not in output
    assert "Cleared" in run(app, "clear", "--key=ann", input="y\n")
    assert "Fail" not in run(app, "limits", "--key=ann")


def test_json_says_the_same(app: Quart) -> None:
    asyncio.run(ask(app, "/resource", 1))
    (survey,) = json.loads(run(app, "limits", "--key=ann", "--endpoint=resource", "--json"))
    (place,) = survey["groups"]["kitchen"]
    assert (place["endpoint"], place["rule"], place["exempt"]) == ("resource", "/resource", False)
    get = next(line for line in place["limits"] if line["method"] == "GET")
    assert get == {
        "limit": "2 per 1 minute", "source": "route", "method": "GET", "allowed": True,
        "remaining": 1,
    }  # fmt: skip
    (survey,) = json.loads(run(app, "clear", "--key=ann", "-y", "--json").partition("\n")[2])
    assert survey["application"] == [
        {"limit": "5000 per 1 hour", "source": "application", "cleared": True}
    ]
    (settings,) = json.loads(run(app, "config", "--json"))
    assert settings["default_limits"][:2] == ["10/second", "1000/hour"]
    assert settings["healthy"] is True


def test_every_limiter_of_an_app_is_shown(clock: Clock) -> None:
    app = Quart("two")
    for limit in ("5/day", "7/day"):
        Limiter(app=app, storage_uri="memory://", default_limits=[limit])
    view(app, "/")
    output = run(app, "limits")
    assert output.index("5 per 1 day") < output.index("7 per 1 day")


def test_a_scope_that_needs_a_request_is_left_out(make: Make) -> None:
    app, limiter = make()
    limit = limiter.limit("1/day", scope=lambda _: request.view_args["name"])
    view(app, "/<name>", limit, name="named")
    assert "scope not known outside a request: TypeError" in run(app, "limits", "--key=ann")


async def test_it_runs_where_an_event_loop_runs_already(app: Quart) -> None:
    assert "root: /" in run(app, "limits")


def test_without_rich_only_json_is_printed(app: Quart, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "_render", None)
    assert "pip install 'quart-ratelimit[cli]'" in run(app, "limits", exit_code=1)
    assert json.loads(run(app, "limits", "--json"))


def test_watch_draws_no_json(app: Quart) -> None:
    assert "--watch draws a dashboard" in run(app, "limits", "--watch", "--json", exit_code=2)


async def test_watch_looks_again_and_again() -> None:
    from rich.text import Text

    from quart_ratelimit.cli import render

    looks = 0

    async def look() -> list[Any]:
        nonlocal looks
        looks += 1
        if looks == 4:
            raise KeyboardInterrupt
        return [Text(f"look {looks}")]

    with pytest.raises(KeyboardInterrupt):
        await render.watch(look, 0)
    assert looks == 4


def test_flask_limiters_module_names_lead_here() -> None:
    assert commands.cli is cli.cli
    command: Callable[..., Any] = cli.cli.commands["limits"]
    options = {option for parameter in command.params for option in parameter.opts}  # type: ignore[attr-defined]
    assert {"--endpoint", "--path", "--method", "--key", "--watch"} <= options


def test_a_limit_in_shadow_is_listed_as_such(make: Make) -> None:
    app, limiter = make()
    view(app, "/", limiter.limit("1/minute", shadow=True))
    view(app, "/some", limiter.limit("2/minute", shadow=exempt))
    output = run(app, "limits")
    assert "1 per 1 minute {shadow}" in output
    assert re.search(r"2 per 1 minute \{shadow: .*test_cli\.exempt\(\)\}", output)
    found = json.loads(run(app, "limits", "--json"))
    assert '"shadow": true' in json.dumps(found)


# Limits and counters that depend on the request


def by_tenant() -> str:
    return f"{g.tenant} per minute"


def test_a_limit_that_reads_g_varies_by_request_and_the_rest_is_listed(make: Make) -> None:
    app, limiter = make(default_limits=["7/day"])
    view(app, "/tenant", limiter.limit(by_tenant))
    view(app, "/", name="root")
    output = run(app, "limits")
    assert "varies by request" in output
    assert "7 per 1 day" in output
    place = json.loads(run(app, "limits", "--endpoint=root", "--json"))[0]["groups"]
    assert place
    found = json.loads(run(app, "limits", "--json", "--key=ann"))
    assert '"limit": "varies by request"' in json.dumps(found)
    result = app.test_cli_runner().invoke(cli.cli, ["doctor"])
    assert result.exception is None, result.output


def test_what_varies_is_not_cleared_and_that_is_an_error(make: Make) -> None:
    app, limiter = make()
    view(app, "/<name>", limiter.limit("1/day", scope=lambda _: request.view_args["name"]))
    output = run(app, "clear", "--key=ann", "-y", exit_code=1)
    assert "scope not known outside a request" in output
    assert "Cleared" not in output


@pytest.mark.parametrize(
    "scope",
    [lambda endpoint: f"of {endpoint}", lambda _: request.path, lambda _: request.method],
)
def test_clear_finds_the_counter_of_a_function_as_scope(make: Make, scope: Any) -> None:
    app, limiter = make()
    view(app, "/", name="root")
    view(app, "/resource", limiter.limit("2/day", scope=scope), name="resource")
    asyncio.run(ask(app, "/resource", 3))
    assert "2 per 1 day: Fail (0 out of 2 remaining)" in run(app, "limits", "--key=ann")
    assert "2 per 1 day: Cleared" in run(app, "clear", "--key=ann", "-y")
    assert "2 per 1 day: Pass (2 out of 2 remaining)" in run(app, "limits", "--key=ann")


def test_clear_finds_the_counter_that_a_request_identifier_names(make: Make) -> None:
    app, limiter = make(request_identifier=lambda: f"{request.method} {request.path}")
    view(app, "/resource", limiter.limit("2/day"))
    view(app, "/named/<name>", limiter.limit("3/day"), name="named")
    asyncio.run(ask(app, "/resource", 3))
    output = run(app, "limits", "--key=ann")
    assert "2 per 1 day: Fail (0 out of 2 remaining)" in output
    assert "3 per 1 day: request_identifier varies by request" in output
    assert "Cleared" in run(app, "clear", "--key=ann", "--path=/resource", "-y")
    assert "2 per 1 day: Pass" in run(app, "limits", "--key=ann")
    assert "varies by request" in run(app, "clear", "--key=ann", "-y", exit_code=1)


def test_clear_says_so_when_the_client_is_refused_as_before(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, limiter = make()
    view(app, "/resource", limiter.limit("2/day"))
    asyncio.run(ask(app, "/resource", 3))

    async def forget_nothing(*_: object) -> int:
        return 0

    monkeypatch.setattr(limiter.store, "reset", forget_nothing)
    output = run(app, "clear", "--key=ann", "-y", exit_code=1)
    assert "2 per 1 day: still refused" in output
    assert "Cleared" not in output


@pytest.mark.parametrize("path", ["/health", "/health/", "/socket"])
def test_a_path_may_redirect_or_be_a_websockets(app: Quart, path: str) -> None:
    @app.websocket("/socket")
    async def socket() -> None: ...

    endpoint = "socket" if path == "/socket" else "health.health"
    assert f"{endpoint}: " in run(app, "limits", f"--path={path}")


def test_config_fails_when_the_store_is_away() -> None:
    away = Quart("away")
    Limiter(app=away, storage_uri="redis://127.0.0.1:1/0", default_limits=["1/day"])
    assert re.search(r"└── Status.*└── Error", run(away, "config", exit_code=1))
    result = away.test_cli_runner().invoke(cli.cli, ["config", "--json"])
    assert result.exit_code == 1
    (settings,) = json.loads(result.stdout)
    assert settings["healthy"] is False
    assert "127.0.0.1:1 (connecting: ConnectionError: Connection refused)" in result.stderr
