"""The models by their names, and what is printed of them."""

from __future__ import annotations

import time
from collections.abc import Callable

from . import batch, cluster, outage, place, refund
from .explore import Explored

MODELS: dict[str, Callable[[], Explored]] = {
    "batch": batch.model,
    "place": place.model,
    "refund": refund.model,
    "cluster": cluster.model,
    "outage": outage.model,
}


def explore_all() -> int:
    """Explore each model and print what was found; 1 if one is violated."""
    wrong = 0
    for name, model in MODELS.items():
        began = time.monotonic()
        found = model()
        wrong += bool(found.violations)
        worst = f", at most {found.worst} admitted" if found.worst else ""
        print(
            f"{name}: {found.states:,} states in {found.steps:,} orders{worst}, "
            f"{time.monotonic() - began:.1f} s; {found.violations or 'nothing violated'}",
            flush=True,
        )
    return 1 if wrong else 0
