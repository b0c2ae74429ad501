"""Limits in quart-schema's OpenAPI document; ``pip install 'quart-ratelimit[openapi]'``."""

from __future__ import annotations

import weakref
from collections.abc import Coroutine, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

try:
    from quart_schema import OpenAPIProvider
except ImportError as _error:  # pragma: no cover
    raise ImportError(
        f"an OpenAPI document needs quart-schema: pip install 'quart-ratelimit[openapi]' ({_error})"
    ) from _error

from ...errors import RateLimitExceeded
from ...extension.binding import binding_of, limiters_of
from ...extension.enumeration import Enumeration
from ...extension.limiter import Limiter
from ...quotas import Quota
from ...rules.varying import Uncalled
from ...settings.table import Settings
from .schemas import Object, bodies, described, fields, retry_after

if TYPE_CHECKING:
    from quart import Quart
    from quart_schema import QuartSchema
    from werkzeug.routing import Rule

T = TypeVar("T")


class LimitedProvider(OpenAPIProvider):
    """``QuartSchema(app, openapi_provider_class=LimitedProvider)``.

    Limited routes document the fields of all their answers, their 429 with its limits, and under
    the policy "closed" their 503. What a route documents by itself stands. No function of yours is
    called: where one says how much is allowed, or whether, the route is limited. Limits inside a
    view are not known.
    """

    def __init__(self, app: Quart, extension: QuartSchema) -> None:
        super().__init__(app, extension)
        self._limited = weakref.ref(app)

    def build_paths(self, rule: Rule) -> tuple[dict[str, Any], dict[str, Any]]:
        """quart-schema's, with what limits add."""
        paths, components = super().build_paths(rule)
        app = self._limited()
        assert app is not None  # the caller has it
        for operations in paths.values():
            for method, operation in operations.items():
                # quart-schema gives all methods of a route the same responses.
                responses = {
                    status: dict(response) for status, response in operation["responses"].items()
                }
                said = [
                    _says(app, limiter, rule.endpoint, method.upper())
                    for limiter in limiters_of(app)
                    if binding_of(limiter, app) is not None
                ]
                _document(responses, [each for each in said if each.quotas])
                operation["responses"] = responses
        return paths, components


class _Said(NamedTuple):
    """What one limiter says of one operation."""

    quotas: Sequence[Quota]
    #: The schemas of a refusal's body, by its type; none are known if the app answers by itself.
    bodies: Object
    #: Whether it answers with 503 while its store is away.
    closes: bool
    settings: Settings


def _says(app: Quart, limiter: Limiter, endpoint: str, method: str) -> _Said:
    binding = binding_of(limiter, app)
    assert binding is not None
    settings, enumeration = binding.settings, Enumeration(app, binding, Uncalled())
    rules = _rules(enumeration, endpoint, method)
    own = enumeration.own_at(endpoint, method)
    quotas = rules + [quota for one in own for quota in one.quotas(settings.strategy)]
    content = {} if _handled(app, endpoint) else bodies(bool(rules), own, settings)
    closes = settings.on_store_error == "closed" and not binding.in_memory
    return _Said(quotas, content, closes, settings)


def _document(responses: dict[int | str, dict[str, Any]], said: Sequence[_Said]) -> None:
    """Add what limiters say of one operation; where two differ, the first one's stands."""
    if not said:
        return
    quotas = [quota for each in said for quota in each.quotas]
    refusals: dict[int, Object] = {429: {"description": described(quotas)}}
    content = _first_stands(each.bodies for each in said)
    if content:
        refusals[429]["content"] = content
    if any(each.closes for each in said):
        refusals[503] = {"description": "Nothing can decide on the limits at the moment."}
    waits = _first_stands(retry_after(each.settings) for each in said)
    for status, refusal in refusals.items():
        if status not in responses and str(status) not in responses:
            responses[status] = {**refusal, "headers": waits}
    told = _first_stands(fields(each.quotas[0], each.settings) for each in said)
    for response in responses.values():
        headers = {**told, **response.get("headers", {})}
        if headers:
            response["headers"] = headers


def _first_stands(parts: Iterable[Object]) -> Object:
    """All of them in one."""
    found: Object = {}
    for part in parts:
        found = {**part, **found}
    return found


def _rules(enumeration: Enumeration, endpoint: str, method: str) -> list[Quota]:
    """What rules allow there, shortest period first."""
    found = [limit for _, limit in _at_once(enumeration.rules_at(endpoint, method))]
    found += _at_once(enumeration.application_at(endpoint, method))
    return sorted({limit.limit: None for limit in found if limit.shadow is not True})


def _at_once(coroutine: Coroutine[object, None, T]) -> T:
    """What it returns; it calls no function, so it never waits."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        value: T = done.value
        return value
    raise AssertionError("it waits")


def _handled(app: Quart, endpoint: str) -> bool:
    """Whether the app answers refusals by itself, in a form of its own."""
    for scope in (None, endpoint.rpartition(".")[0]):
        handlers = app.error_handler_spec.get(scope, {})
        kinds = [kind for code in (429, None) for kind in handlers.get(code, ())]
        if any(issubclass(RateLimitExceeded, kind) for kind in kinds):
            return True
    return False
