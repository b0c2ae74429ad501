"""Names that are kept are found wherever they are, and a table that grows is not a name."""

import functools
import logging
import weakref
from collections.abc import Callable, Iterator

import pytest

from . import checks
from .memory import kept_names
from .plan import LONG, drawn
from .run import run_plan

pytestmark = pytest.mark.filterwarnings("ignore")

#: The first seed whose clients choose long names.
SEED = 7


class Key:
    """What a table has an entry for."""


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def at_the_end(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], list[str]]:
    """Runs the plan, calls a function before its end, and returns the violations."""

    def run(also: Callable[[], object]) -> list[str]:
        monkeypatch.setattr(checks, "check_all", lambda *_: also())
        return run_plan(drawn(SEED)).violations

    return run


def name() -> str:
    """A name that a client of the plan has, in a copy of its own."""
    (longest, *_) = sorted((action.key for action in drawn(SEED).actions), key=len, reverse=True)
    return f"{longest}!"


def test_a_table_that_grows_by_more_than_a_name_is_not_a_name_that_is_kept(
    at_the_end: Callable[[Callable[[], object]], list[str]],
) -> None:
    """Seeds 502087 and 802087, after two thousand runs in one process."""
    table: weakref.WeakKeyDictionary[Key, int] = weakref.WeakKeyDictionary()
    keys = [Key() for _ in range(LONG)]
    assert at_the_end(lambda: table.update(dict.fromkeys(keys, 1))) == []
    assert len(table) == LONG


def test_a_weak_proxy_of_what_is_gone_is_passed_by() -> None:
    key = Key()
    proxies = [weakref.proxy(key)]
    del key
    assert kept_names([name()]) == []
    assert len(proxies) == 1


@functools.lru_cache(8)
def cached(text: str) -> int:
    return len(text)


KEEPERS: dict[str, Callable[[str, list[object]], object]] = {
    "a key of a table": lambda text, kept: kept.append({text: 1}),
    "a part of a key": lambda text, kept: kept.append({("limit", text): 1}),
    "bytes": lambda text, kept: kept.append((b"rate_limit:" + text.encode(),)),
    "a buffer": lambda text, kept: kept.append(bytearray(text.encode())),
    "a closure": lambda text, kept: kept.append(lambda: text),
    "an error": lambda text, kept: kept.append(ValueError(text)),
    "a cache of functools": lambda text, kept: cached(text),
}


@pytest.mark.parametrize("keeper", KEEPERS)
def test_a_name_that_is_kept_is_found(
    keeper: str, at_the_end: Callable[[Callable[[], object]], list[str]]
) -> None:
    kept: list[object] = []
    try:
        (found,) = at_the_end(lambda: KEEPERS[keeper](name(), kept))
    finally:
        cached.cache_clear()
    assert "name is kept" in found
