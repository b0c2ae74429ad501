"""The counters of an app's limits: what they are called, what is in them, and how they are cleared.

A function that names a counter is called in a request to the very route.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from ..callables import UserFunction, call
from ..clients.key_functions import address_function
from ..clients.keys import KeyForm, has_text
from ..enforcement.hooks import UNMATCHED
from ..enforcement.stage import rule_form
from ..errors import StoreError
from ..quotas import Decision, Hit
from ..quotas.quota import tightness
from ..rules.resolved import RuntimeLimit
from ..rules.varying import Varying
from .binding import Binding
from .enumeration import Listed, methods_of

if TYPE_CHECKING:
    from quart import Quart
    from werkzeug.routing import Rule

#: What is said of a limit or a counter that no empty request shows.
VARIES = "varies by request"
#: What is said of the limits of what is sent on a websocket, one by one.
EACH_CONNECTION = "counts each connection by itself"
#: What is said of the limits of ``in_memory_fallback``.
EACH_WORKER = "counted by each worker, while the store is away"
#: Paths of requests whose route is not known: what differs between them varies.
SOME_PATHS = ("/", "/another")
#: `Decision.by` of what the store said, now or a moment ago.
_OF_STORE = ("store", "memory")
#: Counters that are looked at or cleared at once.
TOGETHER = 64


class Unknown(LookupError):
    """An empty request is not enough to find a limit's counter."""


class Uncounted(LookupError):
    """A limit has no counter for this client that could be cleared from outside."""


class Look(NamedTuple):
    """How a client stands at a limit."""

    #: Its decision that says most.
    decision: Decision

    @property
    def allowed(self) -> bool:
        """Whether a hit of cost 1 would be allowed."""
        return self.decision.allowed and self.decision.remaining >= 1


class Counters:
    """The counters of one limiter in one app, within a context of the app.

    ``path``: the request's path, if one is meant: functions that name a counter are called in a
    request of it (default: None, the path of the route).
    """

    def __init__(self, app: Quart, binding: Binding, *, path: str | None = None) -> None:
        self._app = app
        self._binding = binding
        self._path = path

    async def hits(self, listed: Listed, who: str) -> list[Hit]:
        """What looks at each counter of a limit for this client.

        Raises `Unknown`, and `Uncounted` if there is none for this client.
        """
        if isinstance(listed.quota, Varying):
            raise Unknown(VARIES)
        forms = await self.forms(listed)
        own = [form for form in forms if form.who is None or form.who == who]
        if not own:
            others = ", ".join(repr(form.who) for form in forms)
            raise Uncounted(f"counts {others} alone" if others else EACH_CONNECTION)
        keys = self._binding.settings.keys
        return [Hit(listed.quota, key, 0) for key in dict.fromkeys(f.of(keys, who) for f in own)]

    async def forms(self, listed: Listed) -> list[KeyForm]:
        """The keys of a limit, without the client. Raises `Unknown`, `Uncounted`."""
        if listed.source == "fallback":
            raise Uncounted(EACH_WORKER)
        if listed.form is not None:
            return [listed.form]
        method = listed.method or next(iter(listed.methods), "GET")
        found: list[KeyForm] = []
        if listed.own is not None:
            for endpoint in self._endpoints(listed):
                found += listed.own.counters(endpoint, method)
        elif listed.limit is not None:
            found = await self._of_rule(listed.limit, listed, method)
        return list(dict.fromkeys(found))

    async def look(self, hits: Sequence[Hit]) -> Look | None:
        """How the client stands that these hits are of; None: the store does not answer."""
        found: list[Decision] = []
        for first in range(0, len(hits), TOGETHER):
            try:
                found += await self._binding.store.hit(hits[first : first + TOGETHER])
            except StoreError:
                return None
        if any(decision.by not in _OF_STORE for decision in found):
            return None
        return Look(min(found, key=tightness))

    async def clear(self, hits: Sequence[Hit]) -> int:
        """Forget these counters; how many there were. Raises `StoreError`."""
        return await self._binding.store.reset(hits)

    def _endpoints(self, listed: Listed) -> list[str]:
        """Where a limit counts: at its view, or for a function wherever it may be called."""
        if listed.endpoint or not listed.function:
            return [listed.endpoint]
        return [*self._app.view_functions, ""]

    async def _of_rule(self, limit: RuntimeLimit, listed: Listed, method: str) -> list[KeyForm]:
        found: list[KeyForm] = []
        for rule, endpoint in self._places(listed):
            own: object = limit.scope
            if callable(own):
                own = await self._named("scope", own, rule, method, endpoint)
                own = own if has_text(own) else None
            shared = limit.shared and own not in (None, "")
            counted = limit if shared == limit.shared else replace(limit, shared=False)
            identity = "" if shared else await self._identity(rule, endpoint, method)
            scope = counted.full_scope(own, identity, method)
            if scope:
                found += self._rule_forms(counted, scope)
        return found

    def _places(self, listed: Listed) -> list[tuple[Rule | None, str]]:
        """The routes, with their endpoints, at which a limit may count apart."""
        if listed.rule is not None or listed.endpoint:
            return [(listed.rule, listed.endpoint)]
        limit = listed.limit
        if limit is not None and limit.shared and not callable(limit.scope):
            return [(None, "")]
        found: list[tuple[Rule | None, str]] = [
            (rule, rule.endpoint) for rule in self._app.url_map.iter_rules()
        ]
        found.append((None, UNMATCHED))
        if listed.function:  # where no view runs, as in an error handler
            found.append((None, f"<{listed.function}>"))
        return found

    def _rule_forms(self, limit: RuntimeLimit, scope: str) -> list[KeyForm]:
        """Also of clients that the key function does not name, and in and out of shadow."""
        settings = self._binding.settings
        names = (limit.key_func, address_function(settings.key_func))
        shadows = (True, False) if callable(limit.shadow) else (limit.shadow,)
        return [
            rule_form(settings, replace(limit, key_func=name, shadow=shadow), scope)
            for name in names
            for shadow in shadows
        ]

    async def _identity(self, rule: Rule | None, endpoint: str, method: str) -> str:
        """What the route is called in keys."""
        identifier = self._binding.settings.request_identifier
        if identifier is None or endpoint.startswith("<"):
            return endpoint
        given = await self._named("request_identifier", identifier, rule, method)
        return ("" if given is None else str(given)) or endpoint

    async def _named(
        self,
        setting: str,
        function: UserFunction[object],
        rule: Rule | None,
        method: str,
        *args: str,
    ) -> object:
        """What a function of the app names a counter, in requests that may reach this route.

        Raises `Unknown` if they differ, or if the function needs more of a request.
        """
        paths = SOME_PATHS if rule is None or rule.arguments else (rule.rule,)
        if self._path is not None:
            paths = (self._path,)
        found: dict[str, object] = {}
        method = method or (methods_of(rule)[0] if rule is not None else "GET")
        for path in paths:
            async with self._app.test_request_context(path, method=method):
                try:
                    answer = await call(function, *args)
                except Exception as error:
                    text = f"{setting} not known outside a request: {type(error).__name__}"
                    raise Unknown(text) from error
            found[str(answer)] = answer
        if len(found) > 1:
            raise Unknown(f"{setting} {VARIES}")
        (name,) = found.values()
        return name
