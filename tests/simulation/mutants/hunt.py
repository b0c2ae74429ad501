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
#: Runs before the models are asked.
FIRST = 60


def main() -> None:
    """Print who found what, as JSON: rules first, then some runs, then models, then more runs."""
    logging.disable(logging.CRITICAL)
    for what in mistakes():
        return _tell(f"declarations: {what}", 1)
    limit = float(sys.argv[1])
    run.prepare()
    seed = 1
    while seed < FIRST:
        if _is_found(seed):
            return None
        seed += 1
    for name, explore in MODELS.items():
        explored = explore()
        if explored.violations:
            return _tell(f"model {name}: {explored.violations[0][:70]}", explored.states)
    began = _now()
    while _now() - began < limit:
        if _is_found(seed):
            return None
        seed += 1
    return _tell("", seed)


def _is_found(seed: int) -> bool:
    outcome = run.run_seed(seed)
    if outcome.violations:
        _tell(f"simulator: {kind_of(outcome.violations[0])}", seed)
    return bool(outcome.violations)


def _tell(by: str, count: int) -> None:
    print(json.dumps({"by": by, "count": count}))


if __name__ == "__main__":
    main()
