"""Whether a limit applies to a request depends on the app and on that request alone.

Apps and requests are drawn at random; the tests' own reading of the declaration says what each
request charges, and whether it is refused.
"""

import random

import pytest

from ..support.declarations import Declaration
from ..support.declared_apps import DeclaredApp
from ..support.declared_limits import Reading


async def compare(seed: int) -> int:
    """How many requests were refused."""
    declared = Declaration(seed)
    app, reading = DeclaredApp(declared), Reading(declared)
    refused = 0
    for number, request in enumerate(declared.requests):
        expected, found = reading.ask(request), await app.ask(request)
        assert found == expected, f"seed {seed}, request {number}: {request}"
        refused += found[0] == 429
    return refused


async def compare_orders(seed: int) -> int:
    """How many limits applied, in two orders of the same requests, where no limit is spent."""
    declared = Declaration(seed, refusing=False)
    app, others = DeclaredApp(declared), DeclaredApp(declared)
    numbers = list(range(len(declared.requests)))
    random.Random(seed).shuffle(numbers)
    found = {number: await app.ask(declared.requests[number]) for number in numbers}
    applied = 0
    for number, request in enumerate(declared.requests):
        alone = Reading(declared).ask(request)
        assert await others.ask(request) == found[number] == alone, f"seed {seed}: {request}"
        applied += len(alone[1])
    return applied


@pytest.mark.parametrize("first", range(0, 40, 20))
async def test_a_request_is_charged_and_refused_as_its_declaration_reads(first: int) -> None:
    assert sum([await compare(seed) for seed in range(first, first + 20)]) > 20


@pytest.mark.parametrize("first", range(0, 20, 10))
async def test_which_limits_apply_does_not_depend_on_other_requests(first: int) -> None:
    assert sum([await compare_orders(seed) for seed in range(first, first + 10)]) > 100


@pytest.mark.slow
async def test_thousands_of_random_apps() -> None:
    assert sum([await compare(seed) for seed in range(1_000, 4_000)]) > 10_000
    assert sum([await compare_orders(seed) for seed in range(4_000, 6_000)]) > 20_000
