"""Looks a limiter over: what `checkup` sees, the server, the keys and the limits of every route."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from quart import Quart

from ..callables import UserFunction, call
from ..errors import ConfigurationError, StoreError
from ..extension.binding import Binding, binding_of
from ..extension.enumeration import Listed
from ..extension.limiter import Limiter
from ..extension.startup import startup_findings
from ..findings import SEVERITIES, Finding
from ..quotas import GCRA, FixedWindow, MovingWindow, Quota, SlidingWindow, StrictWindow
from ..rules.varying import Varying
from ..stores import ClusterStore, RedisStore
from .survey import Line, Surveyor, store_error

#: Clients that a key function is tried with: addresses kept for documentation by RFC 5737.
CLIENTS = ("192.0.2.1", "198.51.100.2", "203.0.113.3")


async def examine(app: Quart, limiter: Limiter) -> list[Finding]:
    """All findings on a limiter in an app, the worst first. Needs a request context of the app."""
    binding = binding_of(limiter, app)
    if binding is None or not binding.is_active:
        seen = "the limiter is disabled, by RATELIMIT_ENABLED or enabled=False"
        return [Finding("QRL034", seen, "Write RATELIMIT_ENABLED = True.")]
    found = [*startup_findings(app, binding), *await _of_server(binding)]
    lines = (await Surveyor(app, binding).survey()).lines
    found += await _of_keys(app, binding, lines)
    try:
        binding.hooks.check_views()
    except ConfigurationError as error:
        found.append(
            Finding("QRL032", str(error), "Put the decorators in the order that is shown.")
        )
    found += _of_limits(lines)
    return sorted(dict.fromkeys(found), key=lambda one: (SEVERITIES.index(one.severity), one.code))


async def _of_server(binding: Binding) -> list[Finding]:
    store, found = binding.backend, list[Finding]()
    fix = "Start it, or correct storage_uri."
    away = await store_error(binding)  # first, as the distance is measured by it
    if isinstance(store, (RedisStore, ClusterStore)):
        try:
            found += await store.server_findings()
            fix = "Correct what the server names as the reason."
        except StoreError as error:
            if away is None:  # else it is the same reason
                fix_info = "Allow the user +info by ACL SETUSER."
                found.append(Finding("QRL015", f"INFO: {error}", fix_info))
    # A replica decides nothing, for the reason that is found.
    if away is not None and not any(finding.code == "QRL012" for finding in found):
        found.append(Finding("QRL014", f"the store does not decide: {away}", fix))
    return found


async def _of_keys(app: Quart, binding: Binding, lines: Sequence[Line]) -> list[Finding]:
    """What each key function says of three clients, each with an address of its own.

    Quart hands the address to its requests as a field of that name.
    """
    functions = {id(binding.settings.key_func): (binding.settings.key_func, "key_func")}
    for line in lines:
        listed = line.listed
        rule = listed.limit or listed.own
        key_func = None if rule is None else rule.key_func
        if key_func is not None:
            functions.setdefault(id(key_func), (key_func, f"the key function of {_where(listed)}"))
    found: list[Finding] = []
    for function, name in functions.values():
        found += await _of_key_function(app, function, name)
    return found


async def _of_key_function(app: Quart, function: UserFunction[object], name: str) -> list[Finding]:
    keys = []
    for client in CLIENTS:
        async with app.test_request_context("/", headers={"Remote-Addr": client}):
            try:
                keys.append(await call(function))
            except Exception:  # it may need more of a request than there is
                return []
    fix = "Fall back on client_address(), as in user or address()."
    if any(key is None or not str(key) for key in keys):
        return [Finding("QRL022", f"{name} returns no key for a request without a user", fix)]
    if len({str(key) for key in keys}) == 1:
        return [Finding("QRL021", f"{name} returns one key for three clients", fix)]
    return []


def _of_limits(lines: Sequence[Line]) -> Iterator[Finding]:
    if not lines:
        yield Finding("QRL033", "there is no limit", "Write default_limits=['100/minute'].")
    places: dict[object, list[Listed]] = {}
    for line in lines:
        listed, rule = line.listed, line.listed.limit
        if isinstance(listed.quota, Varying):
            continue
        if rule is None:
            if listed.own is not None:
                places.setdefault((listed.endpoint, id(listed.own)), []).append(listed)
            continue
        if rule.shadow:
            if rule.rule is not None and rule.rule.shadow:
                seen = f"{_where(listed)}: '{listed.quota}' is in shadow"
                yield Finding("QRL035", seen, "Leave shadow= out once you know enough.")
            continue
        for method in listed.methods:
            place = (
                listed.endpoint, listed.function, listed.source == "meta", listed.method, method,
                rule.key_func, str(rule.scope), rule.exempt_when, rule.deduct_when, rule.cost,
                rule.shared,
            )  # fmt: skip
            places.setdefault(place, []).append(listed)
    for together in places.values():
        yield from _never_reached(together)
    yield from _of_snippet_keys(lines)


def _of_snippet_keys(lines: Sequence[Line]) -> Iterator[Finding]:
    """Views whose ``@rate_limit`` has ``scope=None``, by the counter that they share."""
    views: dict[str, list[str]] = {}
    for line in lines:
        listed = line.listed
        if listed.own is None or listed.own.kind != "rate_limit":
            continue
        forms = listed.own.counters(listed.endpoint, next(iter(listed.methods), "GET"))
        if any(form.scope is None for form in forms):
            views.setdefault(listed.quota.counter, []).append(_where(listed))
    for names in views.values():
        if len(set(names)) > 1:
            seen = f"{', '.join(sorted(set(names)))} have @rate_limit(..., scope=None)"
            fix = "Leave scope=None out, unless a Flask process counts in the same keys."
            yield Finding("QRL036", seen, fix)


def _where(listed: Listed) -> str:
    return listed.endpoint or listed.function or listed.source


def _never_reached(together: Sequence[Listed]) -> Iterator[Finding]:
    """Findings of limits that another limit on the same requests always reaches first."""
    for listed in together:
        quota = listed.quota
        for other in together:
            first = other.quota
            if refuses_first(quota, first) or not refuses_first(first, quota):
                continue
            seen = f"{_where(listed)}: '{quota}' is never reached, '{first}' is"
            yield Finding("QRL031", seen, f"Leave '{quota}' out, or allow less in it.")
            break


def refuses_first(first: Quota, quota: Quota) -> bool:
    """Whether ``first`` refuses every hit that ``quota`` refuses; False if that is not certain.

    A window by the clock, or one that starts with a key's first hit, may lie across the edge of a
    longer one. Then both halves count for the shorter one, and the longer one has begun again.
    A moving window holds all hits of any window that is equally long or shorter.
    """
    if isinstance(first, GCRA) and isinstance(quota, GCRA):
        slower = first.amount * quota.period <= quota.amount * first.period
        return slower and first.capacity <= quota.capacity
    if first.amount > quota.amount or first.period < quota.period:
        return False
    if isinstance(first, (MovingWindow, StrictWindow)):
        return isinstance(quota, (FixedWindow, MovingWindow))
    if isinstance(first, FixedWindow) and isinstance(quota, FixedWindow):
        if first.aligned is quota.aligned and first.period == quota.period:
            return True
        nested = first.aligned and quota.aligned and first.period % quota.period == 0
        return nested or 2 * first.amount <= quota.amount
    nested = first.period % quota.period == 0
    return nested and isinstance(first, SlidingWindow) and isinstance(quota, SlidingWindow)
