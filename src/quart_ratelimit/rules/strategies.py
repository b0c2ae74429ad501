"""The algorithms by the names of Flask-Limiter's strategies, and limits in any spelling."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from ..errors import ConfigurationError, InvalidLimit
from ..quotas import GCRA, FixedWindow, MovingWindow, Quota, SlidingWindow, StrictWindow
from .notation import FORM, parse_many

#: The strategies by name, Flask-Limiter's first, and what makes a quota of each.
STRATEGIES: dict[str, Callable[..., Quota]] = {
    "fixed-window": FixedWindow,
    "moving-window": MovingWindow,
    "sliding-window-counter": SlidingWindow,
    # ours
    "strict-window": StrictWindow,
    "gcra": GCRA,
    "token-bucket": GCRA,
}

#: For limits by the snippet's rule: windows by the clock, in the snippet's own keys.
aligned_window = functools.partial(FixedWindow, aligned=True)


def strategy(name: str | None) -> Callable[..., Quota]:
    """What makes a quota of that strategy. Raises `ConfigurationError`."""
    try:
        return STRATEGIES[name or "fixed-window"]
    except KeyError:
        known = ", ".join(STRATEGIES)
        raise ConfigurationError(f"{name!r} is not a strategy; write one of {known}") from None


def quotas_of(limit: object, strategy_name: str | None = None) -> Sequence[Quota]:
    """A limit given as text or as a quota. Raises `InvalidLimit`."""
    return _quotas(limit, strategy(strategy_name))


def read_limit(
    limit: str | Quota | None,
    requests: int | None = None,
    duration: int | None = None,
    strategy_name: str | None = None,
) -> Sequence[Quota]:
    """A limit given as text, a quota or the Flask snippet's numbers. Raises `InvalidLimit`."""
    make = aligned_window if strategy_name in (None, "fixed-window") else strategy(strategy_name)
    if limit is not None:
        if requests is not None or duration is not None:
            raise InvalidLimit("give either a limit or requests and duration, not both")
        return _quotas(limit, make)
    if requests is None and duration is None:
        raise InvalidLimit(f"no limit is given; {FORM}, or requests=10, duration=60")
    for name, value in (("requests", requests), ("duration", duration)):
        if type(value) is not int or value < 1:
            raise InvalidLimit(
                f"{name}={value!r} is not a positive whole number; write requests=10, duration=60"
            )
    return _made(make, requests, duration)


def _quotas(limit: object, make: Callable[..., Quota]) -> Sequence[Quota]:
    if isinstance(limit, str):
        return _parsed(limit, make)
    if isinstance(limit, Quota):
        return (limit,)
    raise InvalidLimit(f"{limit!r} is not a limit; {FORM}")


@functools.lru_cache(maxsize=1024)
def _parsed(text: str, make: Callable[..., Quota]) -> Sequence[Quota]:
    return tuple(parse_many(text, make))


@functools.lru_cache(maxsize=1024)
def _made(make: Callable[..., Quota], *numbers: int | None) -> Sequence[Quota]:
    return (make(*numbers),)
