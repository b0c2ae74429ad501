"""What one stage of a route charges: compiled once, for every request of that route."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from werkzeug.sansio.response import Response

from ..callables import UserFunction
from ..clients.keys import KeyForm
from ..errors import RateLimitExceeded
from ..quotas import Hit, Quota
from ..rules.limits import Limit
from ..rules.resolved import RuntimeLimit
from ..settings.table import Settings

T = TypeVar("T")

#: A key's parts (see `RequestLimit.request_args`) and the key, of a limit, a client and a scope.
MakeKey = Callable[[RuntimeLimit, str, str], tuple[list[str], str]]
#: The app's own body of a refusal.
Body = Callable[[RateLimitExceeded], Response]
#: What one client is charged, and the parts of each key.
ClientHits = tuple[tuple[Hit, ...], tuple[list[str], ...]]


@dataclass(eq=False, slots=True, kw_only=True)
class Stage:
    """The limits that apply before the view, or at a limited function, to one HTTP method.

    There are two kinds. If nothing but the client must be found out, `key_func` names it and
    `scopes` are known. Else `key_func` is None, and the app's functions are called limit by limit.
    """

    #: The limits in force, shortest period first.
    limits: tuple[RuntimeLimit, ...]
    #: Limits on breaches of some of these, peeked at before anything is charged.
    metas: tuple[RuntimeLimit, ...] = ()
    #: Limits on breaches of any limit, peeked at once a request.
    any_breach: tuple[RuntimeLimit, ...] = ()
    #: Limits that are, or by a function may be, in shadow: no others are.
    shadows: tuple[RuntimeLimit, ...] = ()
    #: The rules of those limits that are the app's defaults.
    defaults: tuple[Limit | None, ...] = ()
    key_form: MakeKey
    #: Whether no function of the app says which limits these are.
    fixed: bool = False
    #: Whether every request of the route is charged so, whatever the view's code does.
    of_view: bool = False
    #: The one key function of all limits; None: more must be called.
    key_func: UserFunction[object] | None = None
    #: What each limit counts together, see `RuntimeLimit.full_scope`.
    scopes: tuple[str, ...] = ()
    #: Whether it is made once for many requests, and not for one of them.
    kept: bool = False
    #: The body of its refusals; None: the usual one.
    body: Body | None = None
    #: Whether one of the limits replaces the defaults.
    overrides: bool = field(init=False)
    #: Whether a charge may be given back.
    settles: bool = field(init=False)

    def __post_init__(self) -> None:
        self.overrides = any(limit.override_defaults for limit in self.limits)
        self.settles = bool(self.defaults) or any(
            limit.deduct_when for limit in (*self.limits, *self.shadows)
        )

    @property
    def empty(self) -> bool:
        """Whether nothing applies."""
        return not (self.limits or self.metas or self.any_breach or self.shadows)

    def hits(self, client: str) -> ClientHits:
        """What one request of this client charges."""
        keys = [
            self.key_form(limit, client, scope)
            for limit, scope in zip(self.limits, self.scopes, strict=True)
        ]
        hits = [
            Hit(
                limit.limit,
                key,
                limit.cost,  # type: ignore[arg-type]  # no function: `compiled`
                refundable=bool(limit.deduct_when),
                policy=limit.on_store_error,
            )
            for limit, (_, key) in zip(self.limits, keys, strict=True)
        ]
        return tuple(hits), tuple(args for args, _ in keys)


def rule_keys(settings: Settings) -> MakeKey:
    """How rules name their keys."""
    slot = settings.keys.slot

    def key_form(limit: RuntimeLimit, client: str, scope: str) -> tuple[list[str], str]:
        args = settings.key_parts(limit, client, scope)
        return args, slot(*(_in_shadow(args) if limit.shadow else args))

    return key_form


def rule_form(settings: Settings, limit: RuntimeLimit, scope: str) -> KeyForm:
    """The keys of a limit of a rule in this scope."""
    args = settings.key_parts(limit, "", scope)
    return KeyForm.of_parts(_in_shadow(args) if limit.shadow else args)


def _in_shadow(args: Sequence[str]) -> list[str]:
    """The parts of the key of a limit in shadow.

    They are five or seven. Those in force have four at most, or six, so none is the same.
    """
    before = [*args[:-2], "", ""][: max(2, len(args) - 2)]
    return [*before, "shadow", *args[-2:]]


def compiled(
    limits: Iterable[RuntimeLimit],
    metas: Iterable[RuntimeLimit],
    any_breach: Iterable[RuntimeLimit],
    *,
    method: str,
    identity: str | None,
    settings: Settings,
    key_form: MakeKey,
    fixed: bool,
) -> Stage:
    """The stage of these limits for an HTTP method.

    ``identity`` is what the endpoint is called in keys; None: a function of the app says that.
    """
    in_force = applying(limits, method)
    shadows = tuple(limit for limit in in_force if limit.shadow)
    in_force = tuple(limit for limit in in_force if not limit.shadow)
    stage = Stage(
        limits=in_force,
        metas=applying(metas, method),
        any_breach=applying(any_breach, method),
        shadows=shadows,
        defaults=tuple(
            limit.rule for limit in (*in_force, *shadows) if limit.rule in settings.default_limits
        ),
        key_form=key_form,
        fixed=fixed,
    )
    if identity and not (stage.metas or stage.any_breach or shadows):
        together = settings.fail_on_first_breach or len(in_force) == 1
        if together and _need_only_the_client(in_force):
            named = [(one.full_scope(one.scope, identity, method), one) for one in in_force]
            # The same quota twice is one charge; the last one's options count.
            named = last_of_each(named, lambda one: (one[1].limit.tag, one[0], one[1].cost))
            stage.scopes = tuple(scope for scope, _ in named)
            stage.limits = tuple(one for _, one in named)
            stage.key_func = in_force[0].key_func
    return stage


def last_of_each(items: Sequence[T], name: Callable[[T], Hashable]) -> list[T]:
    """The items in their order, and of those with one name the last alone."""
    places = {name(one): place for place, one in enumerate(items)}
    return [items[place] for place in sorted(places.values())]


def applying(limits: Iterable[RuntimeLimit], method: str) -> tuple[RuntimeLimit, ...]:
    """Those that limit requests with this HTTP method, shortest period first."""
    return tuple(sorted((one for one in limits if not one.exempts(method)), key=_quota))


def _need_only_the_client(limits: Sequence[RuntimeLimit]) -> bool:
    """Whether one call of one key function says all that these limits must know."""
    return bool(limits) and all(
        limit.key_func == limits[0].key_func
        and limit.exempt_when is None
        and not callable(limit.scope)
        and not callable(limit.cost)
        for limit in limits
    )


def _quota(limit: RuntimeLimit) -> Quota:
    return limit.limit
