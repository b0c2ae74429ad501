"""Loads rules: what each comes to in a request, as quotas with all that the rule says.

Loading is a generator: it yields each function of the app that says how much is allowed, and is
sent the function's answer. So loading itself has no `await`, and its caller decides whether the
function is called.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Generator, Iterable, Sequence
from dataclasses import replace
from typing import Any, TypeVar
from weakref import WeakSet

from ..callables import Memo, UserFunction
from ..quotas import Penalty, Quota
from ..rules.answers import LimitAnswers
from ..rules.limits import BlockLimit, Limit, MetaLimit, Provider
from ..rules.limits_file import FileLimit
from ..rules.naming import derived_name
from ..rules.notation import quotas_of
from ..rules.resolved import RuntimeLimit
from ..rules.varying import Varying
from ..settings.table import Settings

_log = logging.getLogger("quart_ratelimit")

T = TypeVar("T")
#: Yields functions of the app, is sent their answers, and returns what they come to.
Steps = Generator[UserFunction[Any], Any, T]

#: What meta limits count together unless they say otherwise.
META_SCOPE = MetaLimit("1/day").scope
#: Rules with their texts that are kept.
KEPT = 1024
#: The longest text and scope that are kept, in characters: a client may have a say in them.
LONGEST_KEPT = 256


async def finish(steps: Steps[T], memo: Memo, function: UserFunction[Any]) -> T:
    """What the steps return, from the first function that they yielded."""
    try:
        while True:
            try:
                answer = await memo.call(function)
            except Exception as error:
                function = steps.throw(error)
            else:
                function = steps.send(answer)
    except StopIteration as done:
        result: T = done.value
        return result


async def run(steps: Steps[T], memo: Memo) -> T:
    """What the steps return."""
    try:
        function = next(steps)
    except StopIteration as done:
        result: T = done.value
        return result
    return await finish(steps, memo, function)


class Loader:
    """Loads the rules of one app."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._kept = functools.lru_cache(maxsize=KEPT)(self._runtime_limits)
        self._answers = LimitAnswers(settings.strategy, settings.default_limits)
        #: Rules that were loaded at least once.
        self._loaded: WeakSet[Limit] = WeakSet()
        #: Rules that were loaded at least twice. One made for a request is loaded once, so
        #: nothing that it holds is kept.
        self._loaded_again: WeakSet[Limit] = WeakSet()

    def load_all(
        self, limits: Iterable[Limit], where: str = "default limits"
    ) -> Steps[list[RuntimeLimit]]:
        """What these rules come to; ``where`` is for the log."""
        found: list[RuntimeLimit] = []
        for limit in limits:
            found += yield from self.load(limit, where)
        return found

    def load(self, limit: Limit, where: str) -> Steps[Sequence[RuntimeLimit]]:
        """What a rule comes to; see `LimitAnswers` for what functions answer with."""
        try:
            given = yield from self._given(limit.limit_provider, where)
            if not given:
                return ()
            metas: list[str | Quota] = []
            for meta in _metas(limit):
                metas.append((yield from self._given(meta.limit_provider, where)))
        except Exception:
            if (self._settings.shadow if limit.shadow is None else limit.shadow) is not True:
                raise
            _log.exception("a limit in shadow could not be tried")
            return ()
        texts = (given, *metas)
        if limit in self._loaded:
            self._loaded_again.add(limit)
        self._loaded.add(limit)
        if not _is_short(limit, texts):
            self._loaded_again.discard(limit)
        load = self._kept if self.keeps(limit) else self._runtime_limits
        return load(limit, texts, _policy(limit))

    def keeps(self, limit: Limit | None) -> bool:
        """Whether what this rule came to is kept: neither it nor its text is one request's."""
        return limit in self._loaded_again

    def _given(self, provider: Provider, where: str) -> Steps[str | Quota]:
        """The text or the quota that a rule gives; "" if there is none."""
        if not callable(provider):
            return provider
        answer = yield provider
        if isinstance(answer, Varying):  # no answer of the function, so none to fall back to
            return answer
        return self._answers.usable(provider, answer, where)

    def _runtime_limits(
        self, limit: Limit, texts: tuple[str | Quota, ...], policy: str
    ) -> Sequence[RuntimeLimit]:
        own, *of_metas = texts
        metas: list[RuntimeLimit] = []
        for meta, text in zip(_metas(limit), of_metas, strict=True):
            if text:
                quotas = self._quotas(meta, text)
                found = self._resolved(meta, quotas, (), meta.on_store_error or "", limit)
                metas += [_of_its_rule(one, limit) for one in found]
        return self._resolved(limit, self._quotas(limit, own), tuple(metas), policy)

    def _resolved(
        self,
        limit: Limit,
        quotas: Sequence[Quota],
        metas: tuple[RuntimeLimit, ...],
        policy: str = "",
        parent: Limit | None = None,
    ) -> list[RuntimeLimit]:
        key = limit.key_function or (parent and parent.key_function) or self._settings.key_func
        return [
            RuntimeLimit(
                quota,
                key,
                limit.scope,
                limit.per_method,
                None if limit.methods is None else tuple(limit.methods),
                limit.error_message,
                limit.exempt_when,
                limit.override_defaults,
                limit.deduct_when,
                limit.on_breach,
                1 if limit.cost is None else limit.cost,
                _shares(limit),
                metas,
                self._settings.shadow if limit.shadow is None else limit.shadow,
                _place(limit),
                policy,
                limit,
            )
            for quota in _named(quotas, limit)
        ]

    def _quotas(self, limit: Limit, text: str | Quota) -> Sequence[Quota]:
        """The quotas of a text or a quota; "0/minute" is one only as a function's answer."""
        zero = callable(limit.limit_provider)
        return quotas_of(text, self._settings.strategy, zero=zero)


def _is_short(limit: Limit, texts: Iterable[str | Quota]) -> bool:
    """Whether the texts and the scope of a rule are at most `LONGEST_KEPT`."""
    scope = "" if limit.scope is None else str(limit.scope)
    longest = max(len(text) for text in (*texts, scope) if not isinstance(text, Quota))
    return longest <= LONGEST_KEPT


def _named(quotas: Sequence[Quota], limit: Limit) -> Sequence[Quota]:
    """The quotas by the rule's name, under which their states are kept if their periods differ."""
    name = limit.name
    if name is None and isinstance(limit.limit_provider, FileLimit):
        name = limit.limit_provider.limit_name
    if name is None:
        return quotas
    if len(quotas) == 1:
        return [replace(quota, name=name, counted_as=name) for quota in quotas]
    apart = len({quota.period for quota in quotas}) == len(quotas)
    kept = name if apart else None
    return [replace(one, name=derived_name(name, one), counted_as=kept) for one in quotas]


def _of_its_rule(meta: RuntimeLimit, limit: Limit) -> RuntimeLimit:
    """A meta limit of a rule; a penalty blocks only what the rule limits."""
    if not isinstance(meta.limit, Penalty) or meta.scope != META_SCOPE:
        return meta
    if not _shares(limit):
        return replace(meta, shared=False, place=_place(limit))
    return replace(meta, scope=limit.scope)


def _shares(limit: Limit) -> bool:
    """Whether a rule has one counter for all that it limits; without a scope it has not."""
    return limit.shared and limit.scope not in (None, "")


def _place(limit: Limit) -> str:
    """See `BlockLimit.place`; a shared limit counts by its scope alone."""
    return limit.place if isinstance(limit, BlockLimit) and not _shares(limit) else ""


def _policy(limit: Limit) -> str:
    """What decides a rule while the store is away: its own word, else its file's; "": neither."""
    if limit.on_store_error is None and isinstance(limit.limit_provider, FileLimit):
        return limit.limit_provider.on_store_error
    return limit.on_store_error or ""


def _metas(limit: Limit) -> list[MetaLimit]:
    return [
        meta if isinstance(meta, MetaLimit) else MetaLimit(meta) for meta in limit.meta_limits or ()
    ]
