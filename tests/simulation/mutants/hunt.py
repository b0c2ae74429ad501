"""Looks for whatever is wrong with the package that is on the path: rules, models, then runs."""

from __future__ import annotations

import json
import logging
import sys
import time

from .. import run
from ..declared import mistakes
from ..models.all import MODELS
from ..shrink import kind_of

_now = time.monotonic


def main() -> None:
    """Print who found what, as JSON."""
    logging.disable(logging.CRITICAL)
    for what in mistakes():
        return _tell(f"declarations: {what}", 1)
    for name, explore in MODELS.items():
        explored = explore()
        if explored.violations:
            return _tell(f"model {name}: {explored.violations[0][:70]}", explored.states)
    began, seed, limit = _now(), 1, float(sys.argv[1])
    run.prepare()
    while _now() - began < limit:
        outcome = run.run_seed(seed)
        if outcome.violations:
            return _tell(f"simulator: {kind_of(outcome.violations[0])}", seed)
        seed += 1
    return _tell("", seed)


def _tell(by: str, count: int) -> None:
    print(json.dumps({"by": by, "count": count}))


if __name__ == "__main__":
    main()
