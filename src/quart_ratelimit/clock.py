"""What time it is, in milliseconds."""

from __future__ import annotations

import time
from collections.abc import Callable

#: A clock is any callable that returns milliseconds; tests pass one that they turn.
Clock = Callable[[], int]


def wall_ms() -> int:
    """Milliseconds since the epoch, by this machine's clock."""
    # Looked up at each call, so that test tools which patch `time.time` move this clock too.
    return int(time.time() * 1000)


def monotonic_ms() -> int:
    """Milliseconds on a clock that never goes back; only differences mean anything."""
    return int(time.monotonic() * 1000)
