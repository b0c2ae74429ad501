"""Runs a command on an app and its limiters, in an event loop and in a request context."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import Callable, Coroutine
from contextlib import nullcontext, redirect_stdout, suppress
from typing import NamedTuple

import click
from quart import Quart
from quart.cli import ScriptInfo

from ..errors import ConfigurationError, StoreError
from ..extension.binding import Binding, binding_of, limiters_of
from ..extension.limiter import Limiter
from ..stores.fleet import fleet_of
from ..stores.piggyback import CarryingStore


class Answer(NamedTuple):
    """What a command found."""

    #: For ``--json``.
    value: object
    #: Whether the exit code is 1.
    failed: bool = False
    #: What is wrong, for standard error.
    reason: str = ""


Command = Callable[..., Coroutine[object, None, Answer]]


def run_command(context: click.Context, command: Command, options: dict[str, object]) -> None:
    """Run a command; with ``--json`` nothing but JSON is printed on standard output."""
    as_json = bool(options["as_json"])
    # What the app and its functions print goes to standard error.
    with redirect_stdout(sys.stderr) if as_json else nullcontext():
        try:
            app = context.ensure_object(ScriptInfo).load_app()
        except ConfigurationError as error:
            raise click.ClickException(str(error)) from error
        answer = _run(_in_app(app, command, options))
    if as_json:
        click.echo(json.dumps(answer.value, indent=2, default=str))
    if answer.reason:
        click.echo(f"Error: {answer.reason}", err=True)
    if answer.failed:
        raise SystemExit(1)


def bindings_in(app: Quart, limiters: list[Limiter]) -> list[tuple[Limiter, Binding]]:
    """The limiters that are switched on, with their bindings."""
    pairs = ((limiter, binding_of(limiter, app)) for limiter in limiters)
    return [(limiter, binding) for limiter, binding in pairs if binding is not None]


def _run(coroutine: Coroutine[object, None, Answer]) -> Answer:
    """Run to the end, also where a loop runs already: then in a thread of its own."""
    running = None
    with suppress(RuntimeError):
        running = asyncio.get_running_loop()
    # Not in an ``except``: what the store raises would have that error for its cause.
    return asyncio.run(coroutine) if running is None else _run_in_a_thread(coroutine)


def _run_in_a_thread(coroutine: Coroutine[object, None, Answer]) -> Answer:
    answers: list[Answer] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            answers.append(asyncio.run(coroutine))
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]
    return answers[0]


async def _in_app(app: Quart, command: Command, options: dict[str, object]) -> Answer:
    limiters: list[Limiter] = limiters_of(app)
    if not limiters:
        # Flask-Limiter's words, for scripts that look for them.
        raise click.ClickException(f"No Limiter is installed on {app}")
    bindings = bindings_in(app, limiters)
    async with app.test_request_context("/"):
        try:
            for _, binding in bindings:
                if isinstance(binding.backend, CarryingStore):  # this process is not a worker
                    fleet_of(binding.backend).registers = False
                # A new connection takes longer than a hit may, so a hit would report an outage.
                with suppress(StoreError):  # the command says what is wrong
                    await binding.backend.start()
            return await command(app, limiters, **options)
        except (ConfigurationError, StoreError) as error:
            raise click.ClickException(str(error)) from error
        finally:
            for _, binding in bindings:
                await binding.store.aclose()
