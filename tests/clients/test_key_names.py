"""A generator of names that tries to make the keys of two different things meet."""

from collections.abc import Callable
from itertools import product
from random import Random

import pytest
from quart import Quart

from quart_ratelimit import Limiter
from quart_ratelimit.clients.keys import key_parts
from quart_ratelimit.enforcement.stage import rule_keys
from quart_ratelimit.extension.binding import binding_of
from quart_ratelimit.quotas import FixedWindow
from quart_ratelimit.rules.limits import ApplicationLimit, Limit, MetaLimit
from quart_ratelimit.rules.resolved import RuntimeLimit
from quart_ratelimit.settings.table import Settings

#: Views, scopes, clients and prefixes alike.
NAMES = [
    "index", "global", "meta", "app", "shared", "shared:", "method", "GET", "POST", "a", "b", "a:b",
    "a:b:GET", "index:GET", "index:a", ":", "a:", ":a", "a%3Ab", "a%253Ab", "|", "{a}", "view",
    "hit", "203.0.113.9", "shop.key", "app:", "7", "", "x" * 70, "shadow", "block", "shop.a:1:2",
    "shared-of-view", "a:meta", "meta-of-block",
]  # fmt: skip
RULES = {
    "view": Limit("1/minute"),
    "shared": Limit("1/minute", shared=True),
    "app": ApplicationLimit("1/minute"),
    "meta": MetaLimit("1/minute"),
}
#: Where blocks stand: two of one function, and two of functions of one name.
PLACES = ["shop.a:1:2", "shop.a:2:2", "shop.b.a:1:2", "shop.index:0:0"]
QUOTA = FixedWindow(1, 60)


def first() -> str:
    return ""


FUNCTIONS: list[Callable[[], str]] = [first, lambda: "a", lambda: "b"]

#: What is counted, and its key.
Named = tuple[tuple[object, ...], str]


def settings_by_prefix() -> dict[str, Settings]:
    found = {}
    for prefix in NAMES:
        app = Quart(__name__)
        binding = binding_of(Limiter(first, app=app, key_prefix=prefix), app)
        assert binding is not None
        found[prefix] = binding.settings
    return found


def of_rule(random: Random, settings: dict[str, Settings]) -> Named:
    prefix, view, client, own = random.choices(NAMES, k=4)
    kind, method = random.choice(list(RULES)), random.choice(["", "GET", "POST"])
    function, is_shadow = random.randrange(len(FUNCTIONS)), random.random() < 0.2
    rule, place = RULES[kind], random.choice([*PLACES, *[""] * 4])
    shares = rule.shared and bool(own)
    if shares or kind == "app":
        place = ""
    limit = RuntimeLimit(
        QUOTA, FUNCTIONS[function], own, bool(method), shared=shares, rule=rule, shadow=is_shadow,
        place=place,
    )  # fmt: skip
    scope = limit.full_scope(own, view, method)
    _, key = rule_keys(settings[prefix])(limit, client, scope)
    where = "" if shares else place or f"view {view}"
    return (prefix, kind, where, own, method, client, function, is_shadow), key


def of_code(random: Random, settings: dict[str, Settings]) -> Named:
    prefix, space, place, client, scope = random.choices(NAMES, k=5)
    kind = random.choice(["hit", "in_flight", "messages", "view", "view1", "shared", "function"])
    args = key_parts(prefix, space, client, scope, kind=kind, place=place)
    return ("code", prefix, space, kind, place, client, scope), settings[prefix].keys.slot(*args)


def of_snippet(random: Random, settings: dict[str, Settings]) -> Named:
    prefix, client = random.choices(NAMES, k=2)
    parts = (prefix, client) if prefix else (client,)
    return ("snippet", prefix, client), settings[prefix].keys.join(*parts)


def run(cases: int, seed: int) -> int:
    """Name so many things; how many different ones."""
    random, settings = Random(seed), settings_by_prefix()
    seen: dict[str, tuple[object, ...]] = {}
    for _ in range(cases):
        make = random.choices([of_rule, of_code, of_snippet], [8, 4, 1])[0]
        thing, key = make(random, settings)
        assert seen.setdefault(key, thing) == thing, key
    return len(seen)


def test_no_two_things_have_one_key() -> None:
    assert run(30_000, seed=1) > 20_000


@pytest.mark.slow
def test_no_two_of_a_million_things_have_one_key() -> None:
    assert run(1_000_000, seed=2) > 500_000


def test_no_two_scopes_of_one_client_have_one_key() -> None:
    """Every view, scope and method, of each kind."""
    seen: dict[tuple[str, str], tuple[object, ...]] = {}
    for kind, view, own, method in product(RULES, NAMES, NAMES, ["", "GET", "POST"]):
        if kind != "view" and (view != "index" or not own):
            continue
        rule = RULES[kind]
        limit = RuntimeLimit(QUOTA, first, own, bool(method), shared=rule.shared, rule=rule)
        name = (limit.scope_kind, limit.full_scope(own, view, method))
        thing = (kind, view, own, method)
        assert seen.setdefault(name, thing) == thing
