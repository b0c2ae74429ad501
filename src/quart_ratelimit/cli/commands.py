"""``quart limiter limits | config | clear | doctor``, with Flask-Limiter's options and output.

And with ``--json``, and with exit codes: 1 when something named is not there, when the store does
not answer, or when there is no limiter.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click
from quart import Quart
from quart.cli import ScriptInfo
from werkzeug.exceptions import MethodNotAllowed, NotFound
from werkzeug.routing import RequestRedirect, WebsocketMismatch

from ..errors import ConfigurationError, StoreError
from ..extension.binding import Binding, binding_of, limiters_of
from ..extension.limiter import Limiter
from ..stores import redacted
from .doctor import examine
from .survey import UNAVAILABLE, StorageShown, Survey, Surveyor, settings_dict

if TYPE_CHECKING:
    from rich.console import RenderableType

try:
    from . import render as _render
except ImportError as _error:  # without Rich there is still --json
    if (_error.name or "").partition(".")[0] != "rich":
        raise
    _render = None  # type: ignore[assignment]

#: Seconds between two looks of ``--watch``.
WATCH = 0.4

#: Storage options whose values are shown to nobody.
_SECRET = ("password", "secret", "token", "credential")

Command = Callable[..., Coroutine[object, None, None]]
#: Adds an option to a command.
Option = Callable[[Callable[..., None]], Callable[..., None]]

_JSON: Option = click.option("--json", "as_json", is_flag=True, help="Print JSON")
_FILTERS = (
    click.option("--endpoint", default=None, help="Endpoint to filter by"),
    click.option("--path", default=None, help="Path to filter by"),
    click.option("--method", default=None, help="HTTP Method to filter by"),
)


@click.group(help="Look at rate limits, and clear them")
def cli() -> None:
    """Look at rate limits, and clear them."""


def command(
    name: str, text: str, *options: Option, drawn: bool = True
) -> Callable[[Command], click.Command]:
    """A command that gets the app and its limiters, and runs in an event loop and a request."""

    def register(function: Command) -> click.Command:
        @click.pass_context
        def run(context: click.Context, /, **kwargs: object) -> None:
            if drawn and _render is None and not kwargs["as_json"]:
                raise click.ClickException(
                    "this output needs Rich: pip install 'quart-ratelimit[cli]', or use --json"
                )
            app = context.ensure_object(ScriptInfo).load_app()
            _run(_in_app(app, function, kwargs))

        callback: Callable[..., None] = run
        for option in reversed((*options, _JSON)):
            callback = option(callback)
        return cli.command(name, help=text)(callback)

    return register


@command("config", "View the limiters' configuration")
async def config(app: Quart, limiters: list[Limiter], *, as_json: bool) -> None:
    """Print each limiter's settings."""
    reports: list[dict[str, object]] = []
    for limiter in limiters:
        binding = binding_of(limiter, app)
        if binding is None:
            reports.append({"enabled": False})
            if not as_json:
                click.echo("Enabled: False (RATELIMIT_ENABLED)")
            continue
        settings, healthy = binding.settings, await limiter.storage.check()
        storage = _storage(binding)
        reports.append(
            {
                "enabled": binding.is_active,
                "storage": storage.uri,
                "healthy": healthy,
                **settings_dict(settings),
            }
        )
        if not as_json:
            enabled = binding.is_active
            drawn = _render.settings(settings, enabled=enabled, storage=storage, healthy=healthy)
            _render.console().print(drawn)
    if as_json:
        _print_json(reports)
    if not all(report.get("healthy", True) for report in reports):
        raise SystemExit(1)


@command(
    "limits",
    "Enumerate details about all routes with rate limits",
    *_FILTERS,
    click.option("--key", default=None, help="Test the limit"),
    click.option("--keys", "show_keys", is_flag=True, help="Show the forms of the keys"),
    click.option("--watch/--no-watch", default=False, help="Create a live dashboard"),
)
async def limits(
    app: Quart,
    limiters: list[Limiter],
    *,
    endpoint: str | None,
    path: str | None,
    method: str | None,
    key: str | None,
    show_keys: bool,
    watch: bool,
    as_json: bool,
) -> None:
    """Print each limit, and with a key what is left of it."""
    if watch and as_json:
        raise click.UsageError("--watch draws a dashboard: use it without --json")
    endpoint = find_endpoint(app, endpoint, path, method)

    async def look() -> list[Survey]:
        found = []
        for _, binding in _require_binding(app, limiters):
            surveyor = Surveyor(app, binding, path=path)
            one = await surveyor.survey(endpoint, method)
            found.append(one)
            if key is not None:
                await surveyor.find(one.lines, key)
                await surveyor.look(one.lines)
            if show_keys or (key is None and as_json):
                await surveyor.name_keys(one.lines)
        return found

    if watch:
        await _render.watch(lambda: _drawn(look, app), WATCH)
        return
    surveys = await look()
    if as_json:
        _print_json([one.as_dict() for one in surveys])
    else:
        for one in surveys:
            _render.console().print(_render.survey(one, app.name))
    if any(line.error == UNAVAILABLE for one in surveys for line in one.lines):
        raise SystemExit(1)


@command(
    "clear",
    "Clear limits for a specific key",
    *_FILTERS,
    click.option("--key", required=True, help="Key to reset the limits for"),
    click.option("-y", "yes", is_flag=True, help="Skip prompt for confirmation"),
)
async def clear(
    app: Quart,
    limiters: list[Limiter],
    *,
    endpoint: str | None,
    path: str | None,
    method: str | None,
    key: str,
    yes: bool,
    as_json: bool,
) -> None:
    """Forget what was counted for a key, in exactly the keys of the limits listed."""
    endpoint = find_endpoint(app, endpoint, path, method)
    surveys = []
    for _, binding in _require_binding(app, limiters):
        if binding.in_memory:
            click.echo("Counts are kept in memory: only this process' are cleared.", err=True)
        surveyor = Surveyor(app, binding, path=path)
        found = await surveyor.survey(endpoint, method)
        await surveyor.find(found.lines, key)
        surveys.append((surveyor, found))
    if not yes:
        for surveyor, found in surveys:
            await surveyor.look(found.lines)
            if not as_json:
                _render.console().print(_render.survey(found, app.name))
        click.confirm(f"Proceed with resetting limits for key: {key}?", abort=True)
    for surveyor, found in surveys:
        await surveyor.clear(found.lines)
        if not as_json:
            _render.console().print(_render.survey(found, app.name))
    if as_json:
        _print_json([found.as_dict() for _, found in surveys])
    if any(line.is_left for _, found in surveys for line in found.lines):
        raise SystemExit(1)


@command("doctor", "Look for what is wrong with the set-up", drawn=False)
async def doctor(app: Quart, limiters: list[Limiter], *, as_json: bool) -> None:
    """Print all findings, the worst first; exit code 1 if one is an error."""
    found = [finding for limiter in limiters for finding in await examine(app, limiter)]
    if as_json:
        _print_json([finding.as_dict() for finding in found])
    for finding in () if as_json else found:
        click.echo(f"{finding.code} {finding.severity}: {finding.seen}")
        click.echo(f"    {finding.why}\n    {finding.fix}")
    if not found and not as_json:
        click.echo("Nothing found.")
    if any(finding.severity == "error" for finding in found):
        raise SystemExit(1)


def find_endpoint(
    app: Quart, endpoint: str | None, path: str | None, method: str | None
) -> str | None:
    """The endpoint that the filters name; None without filters. Raises `click.ClickException`."""
    if endpoint is not None:
        if endpoint not in app.view_functions:
            raise click.ClickException(f"{endpoint} not found")
        return endpoint
    if path is None:
        return None
    try:
        return _endpoint_at(app, path, method)
    except NotFound:
        raise click.ClickException(f"{path} could not be matched to an endpoint") from None
    except MethodNotAllowed:
        name = (method or "GET").upper()
        raise click.ClickException(f"{name}: {path} could not be matched to an endpoint") from None


def _endpoint_at(app: Quart, path: str, method: str | None, *, websocket: bool = False) -> str:
    """The endpoint that a path reaches, where a redirect leads. Raises werkzeug's errors."""
    parts = urlsplit(path)
    adapter = app.url_map.bind("localhost")
    try:
        found, _ = adapter.match(
            parts.path, method=method, query_args=parts.query, websocket=websocket
        )
    except WebsocketMismatch:
        return _endpoint_at(app, path, method, websocket=True)
    except RequestRedirect as redirect:
        return _endpoint_at(app, redirect.new_url, method, websocket=websocket)
    return str(found)


def _run(coroutine: Coroutine[object, None, None]) -> None:
    """Run to the end, also where a loop runs already: then in a thread of its own."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(coroutine)
        return
    raised: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(coroutine)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


async def _in_app(app: Quart, function: Command, kwargs: dict[str, object]) -> None:
    limiters: list[Limiter] = limiters_of(app)
    if not limiters:
        # Flask-Limiter's words, for scripts that look for them.
        raise click.ClickException(f"No Flask-Limiter extension installed on {app}")
    async with app.test_request_context("/"):
        try:
            for _, binding in _require_binding(app, limiters):
                # A new connection takes longer than a hit may, so a hit would report an outage.
                await binding.store.start()
            await function(app, limiters, **kwargs)
        except (ConfigurationError, StoreError) as error:
            raise click.ClickException(str(error)) from error
        finally:
            for _, binding in _require_binding(app, limiters):
                await binding.store.aclose()


def _require_binding(app: Quart, limiters: list[Limiter]) -> list[tuple[Limiter, Binding]]:
    pairs = ((limiter, binding_of(limiter, app)) for limiter in limiters)
    return [(limiter, binding) for limiter, binding in pairs if binding is not None]


def _storage(binding: Binding) -> StorageShown:
    settings = binding.settings
    uri = redacted(settings.storage_uri or "memory://")
    options = {
        name: "***" if any(word in name for word in _SECRET) else value
        for name, value in settings.storage_options.items()
    }
    backend = "this process" if binding.in_memory else uri.partition("://")[0]
    return StorageShown(uri, binding.instance, backend, options)


async def _drawn(
    look: Callable[[], Coroutine[object, None, list[Survey]]], app: Quart
) -> list[RenderableType]:
    return [_render.survey(one, app.name) for one in await look()]


def _print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2, default=str))
