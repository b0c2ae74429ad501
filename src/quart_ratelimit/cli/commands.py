"""``quart limiter limits | config | clear | doctor | top``, with Flask-Limiter's options.

And with ``--json``, and with exit codes: 1 when something named is not there, when the store does
not answer, or when there is no limiter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem
from quart import Quart
from quart.cli import ScriptInfo

from ..errors import StoreError
from ..extension.binding import Binding, binding_of, bindings_of
from ..extension.fleet_rows import FleetView
from ..extension.limiter import Limiter
from ..stores import redacted
from .doctor import examine
from .paths import find_target
from .running import Answer, Command, bindings_in, run_command
from .survey import StorageShown, Survey, Surveyor, settings_dict, store_error

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

#: Seconds between two looks of ``top``, and after which ``--once`` looks.
TOP, TOP_ONCE = 1.0, 3.0

#: Storage options whose values are never shown.
_SECRET = ("password", "secret", "token", "credential")

#: Adds an option to a command.
Option = Callable[[Callable[..., None]], Callable[..., None]]


def _endpoints(context: click.Context, _: click.Parameter, start: str) -> list[CompletionItem]:
    """The app's endpoints, for the shell's completion."""
    try:
        app = context.ensure_object(ScriptInfo).load_app()
    except Exception:  # a shell shows no traceback
        return []
    return [CompletionItem(name) for name in sorted(app.view_functions) if name.startswith(start)]


_JSON: Option = click.option("--json", "as_json", is_flag=True, help="Print JSON")
_FILTERS = (
    click.option(
        "--endpoint", default=None, help="Endpoint to filter by", shell_complete=_endpoints
    ),
    click.option(
        "--path", default=None, help="Path to filter by, or an address with host and path"
    ),
    click.option("--method", default=None, help="HTTP Method to filter by"),
)


@click.group(help="Show rate limits, and clear them")
def cli() -> None:
    """Show rate limits, and clear them."""


def command(
    name: str, text: str, *options: Option, examples: str, drawn: bool = True
) -> Callable[[Command], click.Command]:
    """A command that gets the app and its limiters, and runs in an event loop and a request."""

    def register(function: Command) -> click.Command:
        @click.pass_context
        def run(context: click.Context, /, **kwargs: object) -> None:
            if drawn and _render is None and not kwargs["as_json"]:
                raise click.ClickException(
                    "this output needs Rich: pip install 'quart-ratelimit[cli]', or use --json"
                )
            run_command(context, function, kwargs)

        callback: Callable[..., None] = run
        for option in reversed((*options, _JSON)):
            callback = option(callback)
        lines = "\n".join(f"  quart --app app limiter {one}" for one in examples.splitlines())
        return cli.command(name, help=text, epilog=f"\b\nExamples:\n{lines}")(callback)

    return register


@command("config", "View the limiters' configuration", examples="config\nconfig --json")
async def config(app: Quart, limiters: list[Limiter], *, as_json: bool) -> Answer:
    """Print each limiter's settings."""
    reports: list[dict[str, object]] = []
    reasons: list[str] = []
    for limiter in limiters:
        binding = binding_of(limiter, app)
        if binding is None:
            reports.append({"enabled": False})
            if not as_json:
                click.echo("Enabled: False (RATELIMIT_ENABLED)")
            continue
        settings, away = binding.settings, await store_error(binding)
        storage, healthy = _storage(binding), away is None
        reports.append(
            {
                "enabled": binding.is_active,
                "storage": storage.uri,
                "healthy": healthy,
                **settings_dict(settings),
            }
        )
        reasons += [] if away is None else [str(away)]
        if not as_json:
            enabled = binding.is_active
            drawn = _render.settings(settings, enabled=enabled, storage=storage, healthy=healthy)
            _render.console().print(drawn)
    return Answer(reports, bool(reasons), "; ".join(reasons))


@command(
    "limits",
    "Enumerate details about all routes with rate limits",
    *_FILTERS,
    click.option("--key", default=None, help="Test the limit"),
    click.option("--keys", "show_keys", is_flag=True, help="Show the key of each limit"),
    click.option("--watch/--no-watch", default=False, help="Create a live dashboard"),
    examples="limits\nlimits --path /api/data --method POST --key 203.0.113.9\n"
    "limits --path wss://example.com/chat --keys",
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
) -> Answer:
    """Print each limit, and with a key what is left of it."""
    if watch and as_json:
        raise click.UsageError("--watch draws a dashboard: use it without --json")
    target = find_target(app, endpoint, path, method)

    async def look() -> tuple[list[Survey], list[StoreError]]:
        found, errors = [], []
        for _, binding in bindings_in(app, limiters):
            surveyor = Surveyor(app, binding, path=target.path)
            one = await surveyor.survey(target.endpoint, method)
            found.append(one)
            if key is not None:
                await surveyor.find(one.lines, key)
                errors += await surveyor.look(one.lines)
            if show_keys or (key is None and as_json):
                await surveyor.name_keys(one.lines)
        return found, errors

    if watch and _render.console().is_terminal:
        await _render.watch(lambda: _drawn(look, app), WATCH)
    surveys, errors = await look()
    for one in () if as_json else surveys:
        _render.console().print(_render.survey(one, app.name))
    reason = "; ".join(dict.fromkeys(map(str, errors)))
    return Answer([one.as_dict() for one in surveys], bool(errors), reason)


@command(
    "clear",
    "Clear limits for a specific key",
    *_FILTERS,
    click.option("--key", required=True, help="Key to reset the limits for"),
    click.option("-y", "yes", is_flag=True, help="Skip prompt for confirmation"),
    examples="clear --key 203.0.113.9\nclear --key 203.0.113.9 --path /login -y --json",
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
) -> Answer:
    """Forget what was counted for a key, in exactly the keys of the limits listed."""
    target = find_target(app, endpoint, path, method)
    surveys = []
    for _, binding in bindings_in(app, limiters):
        if binding.in_memory:
            click.echo(
                "Counts are kept in memory: only those in this process are cleared.", err=True
            )
        surveyor = Surveyor(app, binding, path=target.path)
        found = await surveyor.survey(target.endpoint, method)
        await surveyor.find(found.lines, key)
        surveys.append((surveyor, found))
    if not yes:
        for surveyor, found in surveys:
            await surveyor.look(found.lines)
            if not as_json:
                _render.console().print(_render.survey(found, app.name))
        click.confirm(f"Proceed with resetting limits for key: {key}?", abort=True, err=as_json)
    for surveyor, found in surveys:
        await surveyor.clear(found.lines)
        if not as_json:
            _render.console().print(_render.survey(found, app.name))
    is_left = any(line.is_left for _, found in surveys for line in found.lines)
    return Answer([found.as_dict() for _, found in surveys], is_left)


@command(
    "doctor",
    "Report mistakes in the set-up",
    drawn=False,
    examples="doctor\ndoctor --json",
)
async def doctor(app: Quart, limiters: list[Limiter], *, as_json: bool) -> Answer:
    """Print all findings, the worst first; exit code 1 if one is an error."""
    found = [finding for limiter in limiters for finding in await examine(app, limiter)]
    for finding in () if as_json else found:
        click.echo(f"{finding.code} {finding.severity}: {finding.seen}")
        click.echo(f"    {finding.why}\n    {finding.fix}")
    if not found and not as_json:
        click.echo("Nothing found.")
    failed = any(finding.severity == "error" for finding in found)
    return Answer([finding.as_dict() for finding in found], failed)


@command(
    "top",
    "Show what the limits do in all workers",
    click.option("--once", is_flag=True, help="Look once, after 3 seconds, and print"),
    click.option("--workers", "with_workers", is_flag=True, help="Show each worker's part"),
    examples="top\ntop --once --workers\ntop --json",
)
async def top(
    app: Quart, limiters: list[Limiter], *, once: bool, with_workers: bool, as_json: bool
) -> Answer:
    """Print what all workers counted: live, or once."""
    looks = [
        (bindings_of(limiter).sums, binding.backend)
        for limiter, binding in bindings_in(app, limiters)
        if not binding.in_memory
    ]
    if not looks:
        reason = "counts are kept in memory: each worker has its own, which its dashboard shows"
        return Answer([], failed=True, reason=reason)

    async def look() -> list[FleetView]:
        found = [await sums.look(backend) for sums, backend in looks]
        return [one for one in found if one is not None]

    views = await look()
    if not once and not as_json and _render.console().is_terminal:

        async def drawn() -> list[RenderableType]:
            return [_render.fleet(view, with_workers=with_workers) for view in await look()]

        await _render.watch(drawn, TOP)
    await asyncio.sleep(TOP_ONCE)  # workers write once they have seen the mark
    views = await look()
    for view in () if as_json else views:
        _render.console().print(_render.fleet(view, with_workers=with_workers))
    return Answer([view.as_dict(with_workers=with_workers) for view in views])


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
    look: Callable[[], Coroutine[object, None, tuple[list[Survey], list[StoreError]]]], app: Quart
) -> list[RenderableType]:
    surveys, _ = await look()
    return [_render.survey(one, app.name) for one in surveys]
