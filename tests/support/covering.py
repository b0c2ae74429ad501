"""Covering arrays: few rows in which each two values of each two factors meet."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

#: A factor and the number of one of its values.
Choice = tuple[str, int]
Row = dict[str, Any]


def pairwise(
    factors: Mapping[str, Sequence[Any]], allowed: Callable[[Row], bool] = lambda _: True
) -> Iterator[Row]:
    """Yield rows until all pairs of values have met, except those that are not ``allowed``.

    Greedy and always the same: each row starts with a pair that is missing, and takes for each
    other factor the value that makes the most missing pairs.
    """
    missing = dict.fromkeys(
        frozenset([(one, i), (other, j)])
        for one, other in itertools.combinations(factors, 2)
        for i in range(len(factors[one]))
        for j in range(len(factors[other]))
        if allowed({one: factors[one][i], other: factors[other][j]})
    )
    while missing:
        row: dict[str, int] = dict(sorted(next(iter(missing))))
        for factor in factors:
            if factor not in row:
                row[factor] = _best(factor, factors, row, missing, allowed)
        for pair in itertools.combinations(row.items(), 2):
            missing.pop(frozenset(pair), None)
        yield {factor: factors[factor][number] for factor, number in row.items()}


def _best(
    factor: str,
    factors: Mapping[str, Sequence[Any]],
    row: Mapping[str, int],
    missing: Mapping[frozenset[Choice], None],
    allowed: Callable[[Row], bool],
) -> int:
    chosen = {name: factors[name][number] for name, number in row.items()}
    numbers = [
        number for number, value in enumerate(factors[factor]) if allowed({**chosen, factor: value})
    ]

    def made(number: int) -> int:
        return sum(frozenset([(factor, number), choice]) in missing for choice in row.items())

    return max(numbers, key=made)
