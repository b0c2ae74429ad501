"""What an operator does to a client: every counter of the app's limits is found and cleared.

Any worker does it, as the limits are the app's and not those that this worker has seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ...extension.binding import Binding
from ...extension.counters import Counters, Uncounted, Unknown
from ...extension.enumeration import Enumeration, Listed
from ...quotas import Hit
from ...rules.varying import Tried
from ...signals import limit_name

if TYPE_CHECKING:
    from quart import Quart


@dataclass(frozen=True, slots=True)
class Stand:
    """One limit, and what looks at its counters."""

    limit: str
    scope: str
    hits: Sequence[Hit]


@dataclass(slots=True)
class Found:
    """The counters that are meant."""

    places: list[Stand] = field(default_factory=list)
    #: Limits whose counter no empty request shows, and why.
    unknown: list[str] = field(default_factory=list)


class Unblocking:
    """Finds and clears counters of one limiter in one app.

    Limits are looked up in an empty request: what a function says of the operator's own request
    is not what it says of the client's.
    """

    def __init__(self, app: Quart, binding: Binding) -> None:
        self._app = app
        self._enumeration = Enumeration(app, binding, Tried())
        self._counters = Counters(app, binding)

    async def of_client(self, who: str) -> Found:
        """Every counter of this client."""
        async with self._app.app_context(), self._app.test_request_context("/"):
            return await self._of_client(who)

    async def of_key(self, limit: str, key: str) -> Found:
        """The counter of this key at the limit of that name."""
        async with self._app.app_context(), self._app.test_request_context("/"):
            return await self._of_key(limit, key)

    async def _of_client(self, who: str) -> Found:
        found = Found()
        known: set[tuple[str, str]] = set()
        for listed in await self._limits():
            try:
                hits = await self._counters.hits(listed, who)
            except Unknown as error:
                found.unknown.append(f"{_name(listed)}: {error}")
            except Uncounted:
                continue
            else:
                new = [one for one in hits if (one.quota.tag, one.key) not in known]
                known |= {(one.quota.tag, one.key) for one in new}
                if new:
                    found.places.append(Stand(limit_name(listed.quota), _scope(listed), new))
        return found

    async def _of_key(self, limit: str, key: str) -> Found:
        for listed in await self._limits():
            if limit_name(listed.quota) != limit:
                continue
            with suppress(Unknown, Uncounted):
                if any(form.fits(key) for form in await self._counters.forms(listed)):
                    hits = [Hit(listed.quota, key, 0)]
                    return Found([Stand(limit, _scope(listed), hits)])
        return Found()

    async def clear(self, found: Found) -> dict[str, object]:
        """Forget these counters, and look whether that worked. Raises `StoreError`."""
        counters = self._counters
        count, left = 0, []
        for place in found.places:
            count += await counters.clear(place.hits)
            look = await counters.look(place.hits)
            if look is None or not look.allowed:
                left.append(f"{place.limit} at {place.scope}" if place.scope else place.limit)
        said: dict[str, object] = {"counters": count}
        if left:
            said["left"] = left
        if found.unknown:
            said["unknown"] = found.unknown
        return said

    async def _limits(self) -> list[Listed]:
        return (await self._enumeration.all_of_fleet()).limits


def _scope(listed: Listed) -> str:
    """What is counted together, as the rows of a dashboard call it."""
    rule = listed.limit
    if rule is not None and rule.shared and not callable(rule.scope):
        return str(rule.scope)
    return listed.endpoint or listed.function or listed.source


def _name(listed: Listed) -> str:
    return f"{limit_name(listed.quota)} at {_scope(listed)}"
