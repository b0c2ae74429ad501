"""Lists every setting, one row each: keyword, variable, kind and default.

A new setting needs three places: a keyword of `Limiter`, a row here, a row of the docs' table.
Source of Flask-Limiter's names and defaults: version 4.1.1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, get_type_hints

from ..callables import UserFunction
from ..clients.key_spaces import space_of
from ..clients.keys import Keys, key_parts
from ..constants import ConfigVars, HeaderNames
from ..responses.drain import MOST
from ..rules.kinds import (
    Kind,
    cost,
    function,
    function_of_one,
    options,
    policy,
    switch,
    switch_or_function,
    text,
)
from ..rules.limits import ApplicationLimit, Limit, MetaLimit
from ..rules.resolved import RuntimeLimit
from . import kinds


@dataclass(frozen=True, slots=True)
class Setting:
    """One row: where a setting is given, and what fits it."""

    #: The app's variable; "" if there is none.
    variable: str
    #: Checks a given value, and converts it to what `Settings` holds.
    kind: Kind[object]
    #: What `Settings` holds if neither was given.
    default: object = None
    #: The constructor's keyword, if it is not the field's name.
    keyword: str = ""

    @property
    def is_required(self) -> bool:
        """Whether None is refused: its keyword has another default, and no variable sets it."""
        return not self.variable and self.default is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that the developer configured for one app."""

    key_func: Annotated[UserFunction[object], Setting(ConfigVars.KEY_FUNC, kinds.key_function)]
    #: The space that keys do not name: of the ``key_func`` of the app's first limiter. A second
    #: limiter's clients are others if its function is another.
    unnamed_space: str
    key_prefix: Annotated[str, Setting(ConfigVars.KEY_PREFIX, text, "")]
    #: How keys are made, by the ``key_secret``.
    keys: Annotated[Keys, Setting(ConfigVars.KEY_SECRET, kinds.keys, Keys(), keyword="key_secret")]
    strategy: Annotated[str, Setting(ConfigVars.STRATEGY, kinds.strategy_name, "fixed-window")]
    storage_uri: Annotated[str | None, Setting(ConfigVars.STORAGE_URI, text)]
    storage_options: Annotated[
        Mapping[str, object], Setting(ConfigVars.STORAGE_OPTIONS, options, {})
    ]
    #: The arguments or the variables that gave the last two, for messages.
    storage_given: str
    default_limits: Annotated[
        tuple[Limit, ...], Setting(ConfigVars.DEFAULT_LIMITS, kinds.limits(Limit), ())
    ]
    default_limits_per_method: Annotated[
        bool, Setting(ConfigVars.DEFAULT_LIMITS_PER_METHOD, switch, False)
    ]
    default_limits_exempt_when: Annotated[
        UserFunction[bool] | None, Setting(ConfigVars.DEFAULT_LIMITS_EXEMPT_WHEN, function)
    ]
    default_limits_deduct_when: Annotated[
        UserFunction[bool] | None, Setting(ConfigVars.DEFAULT_LIMITS_DEDUCT_WHEN, function_of_one)
    ]
    default_limits_cost: Annotated[
        int | UserFunction[int], Setting(ConfigVars.DEFAULT_LIMITS_COST, cost, 1)
    ]
    application_limits: Annotated[
        tuple[Limit, ...],
        Setting(ConfigVars.APPLICATION_LIMITS, kinds.limits(ApplicationLimit), ()),
    ]
    application_limits_per_method: Annotated[
        bool, Setting(ConfigVars.APPLICATION_LIMITS_PER_METHOD, switch, False)
    ]
    application_limits_exempt_when: Annotated[
        UserFunction[bool] | None, Setting(ConfigVars.APPLICATION_LIMITS_EXEMPT_WHEN, function)
    ]
    application_limits_deduct_when: Annotated[
        UserFunction[bool] | None,
        Setting(ConfigVars.APPLICATION_LIMITS_DEDUCT_WHEN, function_of_one),
    ]
    application_limits_cost: Annotated[
        int | UserFunction[int], Setting(ConfigVars.APPLICATION_LIMITS_COST, cost, 1)
    ]
    meta_limits: Annotated[
        tuple[Limit, ...], Setting(ConfigVars.META_LIMITS, kinds.limits(MetaLimit), ())
    ]
    in_memory_fallback: Annotated[
        tuple[Limit, ...], Setting(ConfigVars.IN_MEMORY_FALLBACK, kinds.limits(Limit), ())
    ]
    in_memory_fallback_enabled: Annotated[
        bool, Setting(ConfigVars.IN_MEMORY_FALLBACK_ENABLED, switch, False)
    ]
    #: What to do while the store is away: one of the store's policies, or "raise".
    on_store_error: Annotated[str, Setting("", policy)]
    #: How many workers share each limit while the store is away, if it has not reported it.
    workers: Annotated[int | None, Setting("", kinds.workers)]
    on_breach: Annotated[
        UserFunction[object] | None, Setting(ConfigVars.ON_BREACH, function_of_one)
    ]
    on_meta_breach: Annotated[
        UserFunction[object] | None, Setting(ConfigVars.ON_META_BREACH, function_of_one)
    ]
    headers_enabled: Annotated[bool, Setting(ConfigVars.HEADERS_ENABLED, switch)]
    header_names: Annotated[
        Mapping[HeaderNames, str],
        Setting("", kinds.header_names, keyword="header_name_mapping"),
    ]
    #: "x-ratelimit", the name of one of the IETF's drafts, or both.
    header_fields: Annotated[
        Sequence[str], Setting(ConfigVars.HEADER_FIELDS, kinds.header_fields, ("x-ratelimit",))
    ]
    #: Makes the partition keys in a draft's fields; None: there are none.
    pseudonym: Annotated[
        Callable[[str], str] | None,
        Setting(ConfigVars.PARTITION_SECRET, kinds.pseudonym, keyword="partition_secret"),
    ]
    retry_after: Annotated[
        str | None, Setting(ConfigVars.HEADER_RETRY_AFTER_VALUE, kinds.retry_after)
    ]
    #: The share of itself by which ``Retry-After`` is lengthened at random; 0: not at all.
    retry_jitter: Annotated[float, Setting("", kinds.share, 0)]
    swallow_errors: Annotated[bool, Setting(ConfigVars.SWALLOW_ERRORS, switch, False)]
    fail_on_first_breach: Annotated[bool, Setting(ConfigVars.FAIL_ON_FIRST_BREACH, switch, True)]
    request_identifier: Annotated[
        UserFunction[str] | None, Setting(ConfigVars.REQUEST_IDENTIFIER, function)
    ]
    limit_unmatched: Annotated[bool, Setting("", switch, False)]
    #: Whether CORS preflights are charged that are answered without their view.
    limit_preflights: Annotated[bool, Setting("", switch, False)]
    #: Whether limits that do not say so themselves are in shadow.
    shadow: Annotated[
        bool | UserFunction[bool], Setting(ConfigVars.SHADOW, switch_or_function, False)
    ]
    #: Whether refusals are JSON for clients that accept it.
    problem_details: Annotated[bool, Setting(ConfigVars.PROBLEM_DETAILS, switch, False)]
    #: Whether what looks wrong is logged at start.
    doctor: Annotated[bool, Setting(ConfigVars.DOCTOR, switch, True)]
    #: How long a refusal is remembered, in ms; 0: not at all.
    remember_refusals: Annotated[int, Setting("", kinds.memory_ms, 1000)]
    #: How much of a refused request's body is read and dropped, in bytes; 0: nothing.
    drain_refused_bodies: Annotated[int, Setting("", kinds.number_of_bytes, MOST)]

    @property
    def x_ratelimit(self) -> bool:
        """Whether ``X-RateLimit-*`` is among the response fields."""
        return "x-ratelimit" in self.header_fields

    @property
    def draft(self) -> str | None:
        """The name of the IETF's draft whose fields are among the response fields."""
        return next((name for name in self.header_fields if name != "x-ratelimit"), None)

    def space(self, key_func: UserFunction[object]) -> str:
        """Return the space of clients that this function names, as keys have it.

        Clients that another function names are in a space of their own: who chooses an account's
        name must not choose another client's address.
        """
        space = space_of(key_func)
        return "" if space == self.unnamed_space else space

    def key_parts(self, limit: RuntimeLimit, who: str, scope: str) -> list[str]:
        """Return the parts of the key that a rule counts a client under.

        The kind of the scope, if it is not a view's, stands before the space.
        """
        space = self.space(limit.key_func)
        kind = limit.scope_kind
        if limit.place:
            return key_parts(self.key_prefix, space, who, scope, kind=kind, place=limit.place)
        return key_parts(self.key_prefix, f"{kind}:{space}" if kind else space, who, scope)


def _rows() -> dict[str, Setting]:
    found = {}
    for name, hint in get_type_hints(Settings, include_extras=True).items():
        for row in getattr(hint, "__metadata__", ()):
            found[name] = replace(row, keyword=row.keyword or name)
    return found


#: The settings, by the fields of `Settings` that hold them.
ROWS = _rows()

#: Whether anything is limited: `Limiter.init_app` reads it before all others, and at each request.
ENABLED = Setting(ConfigVars.ENABLED, switch, True, keyword="enabled")

#: Each response field's variable, next to ``header_name_mapping``.
HEADER_VARIABLES = {
    HeaderNames.LIMIT: ConfigVars.HEADER_LIMIT,
    HeaderNames.REMAINING: ConfigVars.HEADER_REMAINING,
    HeaderNames.RESET: ConfigVars.HEADER_RESET,
    HeaderNames.RETRY_AFTER: ConfigVars.HEADER_RETRY_AFTER,
}

#: Each keyword's variable, if it has one.
VARIABLES = {row.keyword: row.variable for row in ROWS.values() if row.variable}
