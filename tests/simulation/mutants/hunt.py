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

# The processor's clock: what else the machine does changes nothing, nor does a run's own time.
_now = time.process_time


def main() -> None:
    """Print who found what, as JSON: rules first, then the model of the fault's core, then runs."""
    logging.disable(logging.CRITICAL)
    limit, model = float(sys.argv[1]), sys.argv[2]
    for what in mistakes():
        return _tell(f"declarations: {what}", "at once")
    if model:
        try:
            explored = MODELS[model]()
        except Exception as error:
            return _tell(f"model {model}: {error!r}", "at once")
        if explored.violations:
            return _tell(
                f"model {model}: {explored.violations[0][:70]}", f"{explored.states:,} states"
            )
    run.prepare()
    began, seed = _now(), 1
    while _now() - began < limit:
        if _is_found(seed):
            return None
        seed += 1
    return _tell("", _runs(seed - 1))


def _is_found(seed: int) -> bool:
    outcome = run.run_seed(seed)
    if outcome.violations:
        _tell(f"simulator: {kind_of(outcome.violations[0])}", _runs(seed))
    return bool(outcome.violations)


def _runs(count: int) -> str:
    return f"{count:,} run" + "s" * (count != 1)


def _tell(by: str, after: str) -> None:
    print(json.dumps({"by": by, "after": after}))


if __name__ == "__main__":
    main()
