"""Explores every state of the small models, breadth first, and says how many there were."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

S = TypeVar("S", bound=Hashable)


@dataclass
class Explored:
    """What was seen of a model."""

    states: int = 0
    steps: int = 0
    violations: list[str] = field(default_factory=list)


def explore(
    start: S, steps: Callable[[S], Iterable[tuple[str, S]]], wrong: Callable[[S], str | None]
) -> Explored:
    """Every state that some order of steps leads to; for a wrong one, the shortest such order."""
    found = Explored()
    before: dict[S, tuple[S, str] | None] = {start: None}
    queue: deque[S] = deque([start])
    while queue:
        state = queue.popleft()
        found.states += 1
        what = wrong(state)
        if what is not None:
            found.violations.append(f"{what}: {' → '.join(_way(state, before))}")
            return found
        for name, after in steps(state):
            found.steps += 1
            if after not in before:
                before[after] = (state, name)
                queue.append(after)
    return found


def _way(state: S, before: dict[S, tuple[S, str] | None]) -> list[str]:
    names: list[str] = []
    while (came := before[state]) is not None:
        state, name = came
        names.append(name)
    return names[::-1]


#: Each model by its name.
MODELS: dict[str, Callable[[], Explored]] = {}


def explore_all() -> int:
    """Explore each model and print what was found; 1 if one is violated."""
    wrong = 0
    for name, model in MODELS.items():
        found = model()
        wrong += bool(found.violations)
        print(f"{name}: {found.states:,} states, {found.steps:,} steps, {found.violations or 'ok'}")
    return 1 if wrong else 0
