"""All limits of an app as the command line shows them: listed, tried for a client, cleared.

Functions that say how much is allowed are called in an empty request, as Flask-Limiter calls them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import NamedTuple

from quart import Quart

from ..clients.keys import slot_key
from ..errors import StoreError
from ..extension.binding import Binding
from ..extension.counters import VARIES, Counters, Uncounted, Unknown
from ..extension.enumeration import Enumeration, Listed, Listing
from ..quotas import FixedWindow, Hit
from ..rules.limits import Limit
from ..rules.resolved import RuntimeLimit
from ..rules.varying import Tried, Varying
from ..settings.table import Settings

#: What ``state`` says of a limit that could not be read.
UNAVAILABLE = "Storage not available"
#: What is said of a limit that refuses although it was cleared.
REFUSED = "still refused"


class StorageShown(NamedTuple):
    """A limiter's storage as `config` shows it, without passwords."""

    uri: str
    #: The store's class.
    instance: str
    #: "redis", or "this process".
    backend: str
    options: dict[str, object]


@dataclass(slots=True)
class Line:
    """One limit in one place, for one client if there is one."""

    listed: Listed
    #: What looks at its counters; none if no client was given or they are not known.
    hits: Sequence[Hit] = ()
    #: The forms of its keys, if they were requested and are known.
    keys: Sequence[str] = ()
    allowed: bool | None = None
    remaining: int | None = None
    cleared: bool = False
    error: str | None = None
    #: Why it has no counter of this client that could be cleared.
    note: str | None = None

    @property
    def text(self) -> str:
        """How much is allowed."""
        quota = self.listed.quota
        return VARIES if isinstance(quota, Varying) else str(quota)

    @property
    def is_left(self) -> bool:
        """Whether it should be cleared and was not."""
        varies = isinstance(self.listed.quota, Varying)
        return not self.cleared and (self.error is not None or varies)

    def as_dict(self) -> dict[str, object]:
        """For JSON: what is not known is left out."""
        listed = self.listed
        known = {
            "function": listed.function or None,
            "method": listed.method,
            "keys": list(self.keys) or None,
            "allowed": self.allowed,
            "remaining": self.remaining,
            "cleared": self.cleared or None,
            "error": self.error,
            "note": self.note,
            "shadow": None if listed.limit is None else shadow_text(listed.limit),
        }
        return {
            "limit": self.text,
            "source": listed.source,
            **{name: value for name, value in known.items() if value is not None},
        }


@dataclass(slots=True)
class Place:
    """The limits of one route."""

    endpoint: str
    rule: str
    exempt: bool
    lines: list[Line]

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "endpoint": self.endpoint,
            "rule": self.rule,
            "exempt": self.exempt,
            "limits": [line.as_dict() for line in self.lines],
        }


@dataclass(slots=True)
class Survey:
    """The limits of one limiter in one app."""

    meta: list[Line] = field(default_factory=list)
    application: list[Line] = field(default_factory=list)
    #: The app's name or a blueprint's -> its routes.
    groups: dict[str, list[Place]] = field(default_factory=dict)
    functions: list[Line] = field(default_factory=list)
    code: list[Line] = field(default_factory=list)
    fallback: list[Line] = field(default_factory=list)

    @classmethod
    def of(cls, found: Listing, method: str | None) -> Survey:
        """A listing's limits, or those that limit this HTTP method."""

        def lines(limits: Sequence[Listed]) -> list[Line]:
            return [Line(one) for one in limits if _limits(one, method)]

        return cls(
            lines(found.meta),
            lines(found.application),
            {
                name: [Place(r.endpoint, r.rule, r.exempt, lines(r.limits)) for r in routes]
                for name, routes in found.groups.items()
            },
            lines(found.functions),
            lines(found.code),
            lines(found.fallback),
        )

    @property
    def lines(self) -> list[Line]:
        """All lines."""
        places = [place for group in self.groups.values() for place in group]
        of_places = [line for place in places for line in place.lines]
        general = [*self.meta, *self.application]
        return [*general, *of_places, *self.functions, *self.code, *self.fallback]

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "meta": [line.as_dict() for line in self.meta],
            "application": [line.as_dict() for line in self.application],
            "groups": {
                name: [place.as_dict() for place in places] for name, places in self.groups.items()
            },
            "functions": [line.as_dict() for line in self.functions],
            "code": [line.as_dict() for line in self.code],
            "fallback": [line.as_dict() for line in self.fallback],
        }


class Surveyor:
    """Looks at one limiter in one app, within a request context of the app.

    ``path``: the request's path, if one is meant; see `Counters`.
    """

    def __init__(self, app: Quart, binding: Binding, *, path: str | None = None) -> None:
        self._binding = binding
        self._enumeration = Enumeration(app, binding, Tried())
        self._counters = Counters(app, binding, path=path)

    async def survey(self, endpoint: str | None = None, method: str | None = None) -> Survey:
        """All limits, or the limits of one endpoint, or of one HTTP method."""
        if endpoint is None:
            return Survey.of(await self._enumeration.all_of_fleet(), method)
        return Survey.of(await self._enumeration.all(endpoint), method)

    async def name_keys(self, lines: Sequence[Line]) -> None:
        """Fill in the forms of the keys."""
        for line in lines:
            try:
                line.keys = [str(form) for form in await self._counters.forms(line.listed)]
            except (Unknown, Uncounted) as error:
                line.note = str(error)

    async def find(self, lines: Sequence[Line], key: str) -> None:
        """Find the counters of a client. Where that cannot be, a line says why."""
        for line in lines:
            try:
                line.hits = await self._counters.hits(line.listed, key)
            except Unknown as error:
                line.error = None if isinstance(line.listed.quota, Varying) else str(error)
            except Uncounted as error:
                line.note = str(error)

    async def look(self, lines: Sequence[Line]) -> list[StoreError]:
        """Fill in what is left for the client whose counters were found.

        Returns why the store does not answer; nothing, if it does.
        """
        away = await store_error(self._binding)
        for line in lines:
            found = await self._counters.look(line.hits) if away is None and line.hits else None
            if found is not None:
                line.allowed, line.remaining = found.allowed, found.decision.remaining
            elif away is not None or line.hits:
                line.error = line.error or UNAVAILABLE
        if away is None and any(line.error == UNAVAILABLE for line in lines):
            away = await store_error(self._binding) or StoreError(UNAVAILABLE)
        return [] if away is None else [away]

    async def clear(self, lines: Sequence[Line]) -> None:
        """Forget what was counted for the client, then look whether it is allowed.

        Raises `StoreError`.
        """
        for line in lines:
            line.allowed = None
            if line.hits:
                await self._counters.clear(line.hits)
                found = await self._counters.look(line.hits)
                line.cleared = found is not None and found.allowed
                line.error = None if line.cleared else REFUSED if found else UNAVAILABLE


async def store_error(binding: Binding) -> StoreError | None:
    """Why the store itself decides nothing, with its host; None: it does."""
    try:
        await binding.backend.hit([Hit(FixedWindow(1, 1), slot_key("check"), 0)])
    except StoreError as error:
        return error
    return None


def _limits(listed: Listed, method: str | None) -> bool:
    """Whether it limits requests with this HTTP method; None: with any."""
    if method is None or not listed.methods:
        return True
    name = method.upper()
    return name in listed.methods or (name == "HEAD" and "GET" in listed.methods)


def shadow_text(limit: RuntimeLimit) -> bool | str | None:
    """True for a limit in shadow, the function's name if one decides; None: it binds."""
    return function_name(limit.shadow) if callable(limit.shadow) else limit.shadow or None


def function_name(value: object) -> str:
    """A user's function by its module and name, anything else as Python writes it."""
    if not callable(value):
        return repr(value)
    name = getattr(value, "__name__", type(value).__name__)
    module = getattr(value, "__module__", "")
    return f"<lambda>({module})" if name == "<lambda>" else f"{module}.{name}()"


def provider_text(limit: Limit) -> str:
    """How much a rule allows, as it was given."""
    given = limit.limit_provider
    return function_name(given) if callable(given) else str(given)


def settings_dict(settings: Settings) -> dict[str, object]:
    """The settings for JSON, but those that may hold a password."""
    shown: dict[str, object] = {}
    for field_ in fields(settings):
        value = getattr(settings, field_.name)
        if field_.name in ("storage_uri", "storage_options", "keys"):
            continue
        if isinstance(value, tuple):
            value = [provider_text(one) if isinstance(one, Limit) else one for one in value]
        elif isinstance(value, dict):
            value = {header.name.lower(): name for header, name in value.items()}
        elif callable(value):
            value = function_name(value)
        shown[field_.name] = value
    return shown
