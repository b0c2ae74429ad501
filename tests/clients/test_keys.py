"""Keys: bounded and printable whatever a client sends, and no two of them ever one (S-04)."""

import itertools
import tracemalloc
import unicodedata
from collections.abc import Callable
from hashlib import blake2b

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from quart_ratelimit import ConfigurationError, Hit, Quota
from quart_ratelimit.clients.keys import LONGEST_PART, join_key, pseudonyms, slot_key
from quart_ratelimit.stores import RedisStore

from ..fuzz import keys as fuzz
from ..support import algorithms

#: What a client may send as a name, an API key or a header.
NASTY = {
    "CRLF": "ann\r\nbob",
    "RESP": "$4\r\nPING\r\n*1\r\n$8\r\nFLUSHALL\r\n",
    "NUL": "ann\x00",
    "space": "ann bob ",
    "DEL": "ann\x7f",
    "surrogate": "ann\ud800",
    "NFC": unicodedata.normalize("NFC", "José"),
    "NFD": unicodedata.normalize("NFD", "José"),
    "braces": "{ann}",
    "separator": "ann|bob",
    "percent": "100%",
    "encoded": "ann%7Cbob",
    "hex": blake2b(b"x" * 100, digest_size=16).hexdigest(),
    "digest": "%%" + blake2b(b"x" * 100, digest_size=16).hexdigest(),
    "digested": "x" * 100,
    "64": "x" * 64,
    "65": "x" * 65,
    "64 to encode": "|" * 64,
    "megabytes": "x" * 10_000_000,
    "other megabytes": "x" * 9_999_999 + "y",
    "umlauts": "ü" * 1_000_000,
}


@pytest.mark.parametrize("name", ["203.0.113.7", "2001:db8::/64", "ann@example.org", "Ann, 7", ""])
def test_a_plain_name_stays_as_it_is(name: str) -> None:
    assert join_key(name) == name


@pytest.mark.parametrize("text", NASTY.values(), ids=NASTY)
def test_a_part_is_printable_and_bounded_whatever_a_client_sends(text: str) -> None:
    key = join_key(text)
    assert key.isascii()
    assert key.isprintable()
    assert len(key) <= LONGEST_PART
    assert not set("{}|") & set(key)


def test_whatever_a_client_sends_is_a_key_of_its_own() -> None:
    texts = list(NASTY.values())
    short = [text for text in texts if len(text) <= 100]
    pairs = [(one, other) for one in short for other in short]
    built = [join_key(text) for text in texts] + [join_key(*pair) for pair in pairs]
    built += [slot_key(text) for text in texts] + [slot_key(*pair) for pair in pairs]
    assert len(set(built)) == len(built) == 2 * (len(texts) + len(pairs))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("a:b", "c"), ("a", "b:c")),
        (("a|b", "c"), ("a", "b|c")),
        (("a", "b", "c"), ("a|b", "c")),
        (("a", ""), ("a",)),
        (("", "a"), ("a", "")),
        (("a%7Cb",), ("a|b",)),
        (("a%257Cb",), ("a%7Cb",)),
        (("{a}", "b"), ("a", "b")),
        (("a}|{b", "c"), ("a", "b", "c")),
        (("\ud800\udc00",), ("\U00010000",)),
        ((NASTY["digest"],), (NASTY["digested"],)),
    ],
)
def test_separators_in_a_part_do_not_separate(one: tuple[str], other: tuple[str]) -> None:
    assert join_key(*one) != join_key(*other)
    assert slot_key(*one) != slot_key(*other)


def test_all_short_parts_of_what_we_use_ourselves_give_keys_of_their_own() -> None:
    """Every list of up to three parts of up to two of these characters."""
    characters = ["|", "%", "{", "}", "2", "a"]
    words = ["", *characters, *map("".join, itertools.product(characters, repeat=2))]
    lists = [parts for n in (1, 2, 3) for parts in itertools.product(words, repeat=n)]
    assert len({join_key(*parts) for parts in lists}) == len(lists) > 80_000
    assert len({slot_key(*parts) for parts in lists}) == len(lists)


nasty = st.text(
    st.one_of(
        st.sampled_from("|%{}:25a"),
        st.characters(exclude_categories=()),  # lone surrogates as well
    ),
    max_size=8,
)
parts = st.lists(nasty, min_size=1, max_size=3)


@settings(max_examples=500, deadline=None)
@given(st.lists(parts, min_size=8, max_size=8, unique_by=tuple))
def test_other_parts_give_another_key(lists: list[list[str]]) -> None:
    """28 pairs an example."""
    assert len({build(*each) for each in lists for build in (join_key, slot_key)}) == 16


def test_random_near_misses_give_keys_of_their_own() -> None:
    counts = fuzz.run(30_000, seed=7)
    assert len(counts) == 7  # two builders with 1 to 3 parts, and those drawn twice
    assert min(counts.values()) > 500


@pytest.mark.slow
def test_a_million_random_near_misses(tell: Callable[[int, str], None]) -> None:
    counts = fuzz.run(1_000_000, seed=8)
    tell(counts.total() - counts["again"], "keys")


def test_a_clients_keys_share_a_slot_that_it_cannot_choose() -> None:
    """Redis Cluster hashes what stands between the first "{" and the next "}", if anything."""

    def tag(key: str) -> str:
        return key.partition("{")[2].partition("}")[0]

    for who in NASTY.values():
        for scope in ("index", "{other}", "}{"):
            assert tag(slot_key(who, scope)) == join_key(who)
            assert tag(slot_key("{app}", who, scope)) == join_key(who)


@pytest.mark.parametrize("quota", algorithms.ALL, ids=algorithms.name)
def test_no_key_reaches_into_another_quotas_state(quota: Quota) -> None:
    """What a quota adds holds no ":", so its state's key tells where the client's key ends."""
    assert quota.state_key("a:b", 1_800_000_000_000).rpartition(":")[0] == "a:b"


async def test_on_redis_each_identity_has_one_short_key(redis_url: str) -> None:
    store = RedisStore(redis_url, deadline=5)
    await store.start()
    for quota in algorithms.ALL:
        for text in NASTY.values():
            (decision,) = await store.hit([Hit(quota, join_key(text))])
            assert decision.remaining == quota.amount - 1
    await store.aclose()
    with redis.Redis.from_url(redis_url) as client:
        names = list(client.scan_iter())
    assert len(names) == len(NASTY) * len(algorithms.ALL)
    assert all(name.decode("ascii").isprintable() and len(name) < 150 for name in names)


SECRET = "correct horse battery staple"


@pytest.mark.parametrize("who", ["203.0.113.7", *NASTY.values()], ids=["plain", *NASTY])
def test_a_pseudonym_tells_nothing_and_is_always_the_same(who: str) -> None:
    pseudonym_of = pseudonyms(SECRET)
    pseudonym = pseudonym_of(who)
    assert pseudonym == pseudonym_of(who) == pseudonyms(SECRET.encode())(who)
    assert pseudonym == join_key(pseudonym)
    assert len(pseudonym) == 32
    assert who[:4] not in pseudonym


def test_each_client_and_each_secret_has_other_pseudonyms() -> None:
    secrets = [SECRET, SECRET + "!", "x" * 16, "x" * 17, "x" * 64, "x" * 65, "x" * 128]
    named = {pseudonyms(secret)(who) for secret in secrets for who in NASTY.values()}
    assert len(named) == len(secrets) * len(NASTY)


def test_a_pseudonym_cannot_be_found_without_the_secret() -> None:
    plain = blake2b(b"203.0.113.7", digest_size=16).hexdigest()
    assert pseudonyms(SECRET)("203.0.113.7") != plain


@pytest.mark.parametrize("secret", ["", "guessable", b"x" * 15])
def test_a_short_secret_is_an_error_that_does_not_tell_it(secret: str | bytes) -> None:
    with pytest.raises(ConfigurationError, match="16 or more") as caught:
        pseudonyms(secret)
    assert not secret or str(secret) not in str(caught.value)


def test_no_cache_keeps_the_long_names_that_clients_choose() -> None:
    tracemalloc.start()
    try:
        for number in range(50):
            slot_key(f"{number}" + "x" * 1_000_000, "login")
            join_key(f"{number}" + "y" * 1_000_000)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 1_000_000
