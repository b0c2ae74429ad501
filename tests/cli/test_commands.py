"""``quart limiter`` from a shell: exit codes, what stands on standard output, and what is meant."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from quart import Quart, request

from quart_ratelimit import Limiter
from quart_ratelimit.cli import cli, render
from quart_ratelimit.cli.paths import find_target
from quart_ratelimit.stores import MemoryStore

from ..support.servers import RedisServer
from ..support.serving import ROOT

pytest.importorskip("rich", reason="the extra 'cli' is not installed")

FACTORY = """
import os
from quart import Quart
from quart_ratelimit import Limiter

def create_app():
    app = Quart(__name__)
    print("the app is made")
    limiter = Limiter(app=app, storage_uri=os.environ["STORE"], default_limits=["9/day"])

    @app.get("/")
    @limiter.limit(amount)
    async def index():
        return ""

    return app

def amount():
    print("the amount is looked up")
    return "3/day"
"""
UNMATCHED = """
from quart import Quart
from quart_ratelimit import Limiter

app = Quart(__name__)
Limiter(app=app, storage_uri="memory://", default_limits=["9/day; 3/hour"], limit_unmatched=True)
"""
AWAY = "redis://127.0.0.1:1/0"


@pytest.fixture
def shell(tmp_path: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Runs ``quart limiter`` in a process of its own, on an app that a factory makes."""
    (tmp_path / "shop.py").write_text(FACTORY, "utf-8")

    def run(*args: str, store: str = "memory://", **variables: str) -> Any:
        env = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "STORE": store, **variables}
        words = [] if "QUART_APP" in variables else ["--app", "shop:create_app"]
        command = [sys.executable, "-m", "quart", *words, "limiter", *args]
        return subprocess.run(
            command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False
        )

    return run


@pytest.mark.parametrize(
    ("args", "store", "code"),
    [
        (["limits"], "memory://", 0),
        (["limits"], AWAY, 0),  # they are listed without the store
        (["limits", "--key=ann"], AWAY, 1),
        (["clear", "--key=ann", "-y"], "memory://", 0),
        (["clear", "--key=ann", "-y"], AWAY, 1),
        (["config"], "memory://", 0),
        (["config"], AWAY, 1),
        (["doctor"], "memory://", 0),
        (["doctor"], AWAY, 1),
        (["limits", "--endpoint=groot"], "memory://", 1),
        (["limits", "--nonsense"], "memory://", 2),
    ],
)
def test_the_exit_code_tells_whether_it_worked(
    shell: Any, args: list[str], store: str, code: int
) -> None:
    done = shell(*args, store=store)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    if store == AWAY and code:
        said = done.stdout + done.stderr
        assert "127.0.0.1:1 (" in said
        assert "Connection refused" in said


@pytest.mark.parametrize("store", ["memory://", AWAY])
@pytest.mark.parametrize(
    "args", [["limits"], ["limits", "--key=ann"], ["clear", "--key=ann"], ["config"], ["doctor"]]
)
def test_json_stands_alone_on_standard_output(shell: Any, args: list[str], store: str) -> None:
    done = shell(*args, *(["-y"] if "clear" in args else []), "--json", store=store)
    if args[0] == "clear" and store == AWAY:
        assert done.stdout == ""
    else:
        assert isinstance(json.loads(done.stdout), list)
    assert "the app is made" in done.stderr


def test_json_stands_alone_also_when_clear_asks_first() -> None:
    app = Quart(__name__)
    Limiter(app=app, store=MemoryStore(), default_limits=["9/day"])
    result = app.test_cli_runner().invoke(cli, ["clear", "--key=ann", "--json"], input="y\n")
    assert isinstance(json.loads(result.stdout), list)
    assert "Proceed" in result.stderr


def test_the_app_may_be_named_by_a_variable(shell: Any) -> None:
    assert "3 per 1 day" in shell("limits", QUART_APP="shop:create_app").stdout


def test_an_app_that_cannot_be_made_is_an_error_without_a_traceback(shell: Any) -> None:
    done = shell("limits", store="nonsense://")
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "nonsense" in done.stderr


def test_a_refused_password_is_a_finding(
    shell: Any, start_redis: Callable[..., RedisServer]
) -> None:
    server = start_redis()
    store = server.url.replace("redis://", "redis://:wrong@")
    done = shell("doctor", store=store)
    assert done.returncode == 1
    assert "QRL014 error" in done.stdout
    assert "wrong" not in done.stdout + done.stderr


@pytest.mark.parametrize("command", ["limits", "clear", "config", "doctor"])
def test_help_shows_examples(shell: Any, command: str) -> None:
    assert f"quart --app app limiter {command}" in shell(command, "--help").stdout


@pytest.mark.parametrize(("value", "colors"), [("1", False), ("", True)])
def test_no_color_is_heeded(monkeypatch: pytest.MonkeyPatch, value: str, colors: bool) -> None:
    monkeypatch.setenv("NO_COLOR", value)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    drawn = render.console()
    with drawn.capture() as captured:
        drawn.print("text", style="red")
    assert ("\x1b[31m" in captured.get()) is colors


def test_endpoints_are_completed() -> None:
    app = Quart(__name__)
    Limiter(app=app)
    app.add_url_rule("/", "shop.index", lambda: "")
    script = {"_CLI_COMPLETE": "bash_complete", "COMP_WORDS": "cli limits --endpoint sh"}
    result = app.test_cli_runner().invoke(cli, [], env={**script, "COMP_CWORD": "3"})
    assert "shop.index" in result.output


# Paths


def routes(**options: Any) -> Quart:
    app = Quart(__name__, **options)

    async def view(**_: str) -> str:
        return ""

    app.add_url_rule("/slash/", "slash", view)
    app.add_url_rule("/post", "post", view, methods=["POST"])
    app.add_url_rule("/both", "page", view)
    app.add_url_rule("/both", "socket", view, websocket=True)
    app.add_url_rule("/chat", "chat", view, websocket=True)
    app.add_url_rule("/list/", "list", view, defaults={"page": 1})
    app.add_url_rule("/list/<int:page>", "list", view)
    return app


@pytest.mark.parametrize(
    ("path", "endpoint"),
    [
        ("/slash", "slash"), ("/slash/", "slash"), ("/slash?page=2", "slash"), ("/list/1", "list"),
        ("/post", "post"), ("/chat", "chat"), ("/both", "page"), ("ws://localhost/both", "socket"),
        ("http://localhost/both", "page"),
    ],
)  # fmt: skip
def test_a_path_names_the_endpoint_that_a_client_reaches(path: str, endpoint: str) -> None:
    assert find_target(routes(), None, path, None).endpoint == endpoint


@pytest.mark.parametrize(
    ("path", "endpoint"),
    [
        ("/api", "api"), ("http://api.shop.test/api", "api"), ("/tenant", "tenant"),
        ("//ann.shop.test/tenant", "tenant"), ("/", "root"),
    ],
)  # fmt: skip
def test_a_path_may_be_one_of_a_subdomain(path: str, endpoint: str) -> None:
    app = Quart(__name__)
    app.config["SERVER_NAME"] = "shop.test"
    app.add_url_rule("/", "root", lambda: "")
    app.add_url_rule("/api", "api", lambda: "", subdomain="api")
    app.add_url_rule("/tenant", "tenant", lambda **_: "", subdomain="<tenant>")
    assert find_target(app, None, path, None).endpoint == endpoint


@pytest.mark.parametrize(
    ("path", "endpoint"), [("http://a.test/", "a"), ("http://b.test/", "b"), ("/only", "only")]
)
def test_a_path_may_be_one_of_a_host(path: str, endpoint: str) -> None:
    app = Quart(__name__, host_matching=True, static_host="static.test")
    app.add_url_rule("/", "a", lambda: "", host="a.test")
    app.add_url_rule("/", "b", lambda: "", host="b.test")
    app.add_url_rule("/only", "only", lambda: "", host="c.test")
    assert find_target(app, None, path, None).endpoint == endpoint


async def test_a_path_names_the_counter_of_a_scope_that_depends_on_it() -> None:
    app = Quart(__name__)
    limiter = Limiter(lambda: "ann", app=app, store=MemoryStore())

    @app.get("/of/<name>")
    @limiter.limit("2/day", scope=lambda _: request.view_args["name"])
    async def of(name: str) -> str:
        return name

    statuses = [(await app.test_client().get("/of/bob")).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
    runner = app.test_cli_runner()
    assert runner.invoke(cli, ["clear", "--key=ann", "-y"]).exit_code == 1
    other = runner.invoke(cli, ["clear", "--key=ann", "--path=/of/eve", "-y"])
    assert other.exit_code == 0
    assert (await app.test_client().get("/of/bob")).status_code == 429
    done = runner.invoke(cli, ["clear", "--key=ann", "--path=/of/bob", "-y"])
    assert "2 per 1 day: Cleared" in done.output
    assert (await app.test_client().get("/of/bob")).status_code == 200


def test_requests_that_match_no_route_are_listed_with_their_limits(
    shell: Callable[..., "subprocess.CompletedProcess[str]"], tmp_path: Path
) -> None:
    (tmp_path / "gate.py").write_text(UNMATCHED, "utf-8")
    done = shell("limits", "--json", QUART_APP="gate:app")
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)
    (group,) = found["groups"]["<unmatched>"]
    assert [limit["limit"] for limit in group["limits"]] == ["9 per 1 day", "3 per 1 hour"]
