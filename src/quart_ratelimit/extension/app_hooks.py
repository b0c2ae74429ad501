"""Where a limiter stands in a Quart app: around each request, and at the app's start and end."""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, ParamSpec, TypeVar

from quart import Quart
from quart.typing import ResponseTypes
from werkzeug.sansio.response import Response

from ..callables import UserFunction
from ..current import RESPONSE_PLACE, AsgiCall, current_call
from ..direct.websocket_connection import current_connection
from ..enforcement.breach import unless_denied
from ..enforcement.error_handlers import answer_refusals_of_handlers
from ..errors import ConfigurationError, LimiterUnavailable, RateLimitExceeded
from ..responses.drain import Drain
from .binding import Binding, bindings_of
from .startup import startup_findings

P = ParamSpec("P")
R = TypeVar("R", bound=Response)

#: A method of the app, and what makes its arguments others after an error.
_Process = Callable[..., Awaitable[Any]]
_OnError = Callable[[Exception, Sequence[Any]], Awaitable[Sequence[Any]]]

#: A finding's severity -> the level that it is logged at.
LEVELS = {"error": logging.ERROR, "warning": logging.WARNING, "info": logging.INFO}

_log = logging.getLogger("quart_ratelimit")


def app_by_keyword(init: Callable[P, None]) -> Callable[P, None]:
    """Make an app that is given by its place, as to other extensions, an error that says so."""

    @functools.wraps(init)
    def checked(*args: P.args, **kwargs: P.kwargs) -> None:
        if any(isinstance(given, Quart) for given in args):
            raise ConfigurationError("the app is given by its keyword: write Limiter(app=app)")
        init(*args, **kwargs)

    return checked


def check_app(app: object) -> None:
    """Raise `ConfigurationError` unless it is a Quart app."""
    if not isinstance(app, Quart):
        raise ConfigurationError(f"{app!r} is not a Quart app: write app = Quart(__name__)")


def hook_into(app: Quart, attribute: str) -> None:
    """Have the app call its latest binding, which it keeps by this name in its ``extensions``."""
    layers = AsgiCall(Drain(app.asgi_app, functools.partial(most_drained, app, attribute)))
    app.asgi_app = layers  # type: ignore[assignment, method-assign]
    answer_refusals_of_handlers(app)
    _hook_into_requests(app, attribute)
    _hook_into_responses(app, attribute)
    app.before_serving(functools.partial(_start, app, attribute))
    app.after_serving(functools.partial(_close, app, attribute))


def hook_denials_into(app: Quart, denials: Iterable[UserFunction[bool]]) -> None:
    """Have an app that starts without limits call what `Limiter.deny` was given."""

    async def deny() -> None:
        await unless_denied(denials)

    app.before_request(deny)
    app.before_websocket(deny)


def _hook_into_requests(app: Quart, attribute: str) -> None:
    extensions = app.extensions

    async def before_request() -> None:
        call = current_call()
        if call is not None:
            call.served_by_this_task()
        binding: Binding = extensions[attribute]
        if not binding.hooks.nothing_before():
            checking = binding.hooks.before_request(limiting=binding.is_active)
            if checking is not None:
                await checking

    async def after_request(response: R) -> R:
        binding: Binding = extensions[attribute]
        settling = binding.hooks.after_request(response)
        if settling is not None:
            await settling
        return response

    async def before_websocket() -> None:
        current_connection()  # watched from its handshake on
        await before_request()

    async def after_websocket(response: ResponseTypes | None) -> ResponseTypes | None:
        if response is not None:
            response = await after_request(response)
            await current_connection().end_as(response.status_code)
        return response

    async def teardown_websocket(_: BaseException | None) -> None:
        response = current_connection().response
        if response is not None:
            await after_request(response)

    app.before_request(before_request)
    app.after_request(after_request)
    app.before_websocket(before_websocket)
    app.after_websocket(after_websocket)
    app.teardown_websocket(teardown_websocket)


def _hook_into_responses(app: Quart, attribute: str) -> None:
    """Charge requests that ended before the limits of their view.

    A refusal replaces the response before any ``after_request`` function sees that, as these run in
    an order that the app chooses. If the client went away, there is only a teardown.
    """
    quart: Any = app
    extensions = app.extensions

    async def replaced(error: Exception, args: Sequence[Any]) -> Sequence[Any]:
        """The arguments with the answer to the error in the response's place."""
        before, after = args[:RESPONSE_PLACE], args[RESPONSE_PLACE + 1 :]
        answer = await quart.handle_user_exception(*before, error)
        return [*before, await quart.make_response(answer), *after]

    async def unchanged(error: Exception, args: Sequence[Any]) -> Sequence[Any]:
        if not isinstance(error, (RateLimitExceeded, LimiterUnavailable)):
            _log.error("a request without a response could not be charged", exc_info=error)
        return args

    def charging(process: _Process, on_error: _OnError) -> _Process:
        async def charge_and_process(charge: Awaitable[None], *args: Any, **kwargs: Any) -> Any:
            given: Sequence[Any] = args
            try:
                await charge
            except Exception as error:
                given = await on_error(error, args)
            return await process(*given, **kwargs)

        def charging_process(*args: Any, **kwargs: Any) -> Awaitable[Any]:
            binding: Binding = extensions[attribute]
            context = binding.hooks.unreached()
            if context is None or not binding.is_active:
                return process(*args, **kwargs)
            return charge_and_process(binding.hooks.charge_unreached(context), *args, **kwargs)

        return charging_process

    quart.process_response = charging(quart.process_response, replaced)
    quart.postprocess_websocket = charging(quart.postprocess_websocket, replaced)
    quart.do_teardown_request = charging(quart.do_teardown_request, unchanged)
    quart.do_teardown_websocket = charging(quart.do_teardown_websocket, unchanged)


def most_drained(app: Quart, attribute: str) -> int:
    """How many bytes of a refused body are drained in the app of this binding."""
    binding: Binding = app.extensions[attribute]
    return binding.settings.drain_refused_bodies


async def _start(app: Quart, attribute: str) -> None:
    binding: Binding = app.extensions[attribute]
    binding.hooks.check_views()
    if binding.settings.doctor:
        for finding in startup_findings(app, binding):
            _log.log(LEVELS[finding.severity], "%s", finding)
    await binding.store.start()


async def _close(app: Quart, attribute: str) -> None:
    binding: Binding = app.extensions[attribute]
    await binding.ledger.finish()
    bindings_of(binding.limiter).sums.close()
    await binding.store.aclose()
