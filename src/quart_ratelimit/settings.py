"""What the limiter was told, by its constructor and by ``RATELIMIT_*`` variables, read once.

Source of the names: Flask-Limiter 4.1.1.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from .errors import ConfigurationError
from .quotas import GCRA, FixedWindow, MovingWindow, Quota, SlidingWindow, StrictWindow

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


def pick(own: Any, config: Mapping[str, Any], name: str, default: Any) -> Any:
    """The constructor's value, or the config variable's, or the default."""
    return own if own is not None else config.get(name, default)
