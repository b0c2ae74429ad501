"""Makes limits of what functions of the app answer: no answer ever means "unlimited" by mistake."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from ..callables import name_of
from ..errors import InvalidLimit
from ..quotas import Quota
from ..recent import Once
from .limits import Limit
from .notation import FORM, quotas_of
from .registry import WeakTable

#: Characters of a failure that are logged: a client may have chosen the answer.
LONGEST = 500
#: The longest text that is kept as a function's last good answer, in characters.
LONGEST_KEPT = 256
#: The limit if there is no other: it refuses.
NOTHING = "0/minute"

_log = logging.getLogger("quart_ratelimit")


class LimitAnswers:
    """The answers of one app's limit functions.

    ``defaults`` are the limits that replace an answer that is not a limit, if the function has
    given no good one before.
    """

    def __init__(self, strategy: str, defaults: Iterable[Limit] = ()) -> None:
        self._strategy = strategy
        self._default = _first(defaults)
        self._good: WeakTable[str | Quota] = WeakTable()
        self._logged = Once()

    def usable(self, provider: object, answer: object, where: str) -> str | Quota:
        """Return a limit that `quotas_of` reads with ``zero=True``; "" if there is no limit.

        None and "" mean unlimited, and "0/minute" refuses. Another answer that is not a limit is
        logged once, and the function's last good answer, else the default limit, else a refusal
        takes its place.
        """
        if answer is None or answer == "":
            return ""
        try:
            quotas_of(answer, self._strategy, zero=True)
        except InvalidLimit as error:
            # Anything but text may name its client, so only its type is logged.
            kind = type(answer).__name__
            seen = error if isinstance(answer, str) else f"{kind} is not a limit; {FORM}"
            text = f"{where}: {seen}; {name_of(provider)} returned it"[:LONGEST]
            if self._logged.is_new(text):
                _log.error("failed to load ratelimit for %s", text)
            return self._good.get(provider) or self._default
        assert isinstance(answer, (str, Quota))
        if isinstance(answer, Quota) or len(answer) <= LONGEST_KEPT:
            self._good.set(provider, answer)
        return answer


def _first(defaults: Iterable[Limit]) -> str | Quota:
    for limit in defaults:
        if isinstance(limit.limit_provider, (str, Quota)):
            return limit.limit_provider
    return NOTHING
