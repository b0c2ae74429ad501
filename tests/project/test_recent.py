"""What `Recent` keeps is bounded: in number, and in the size of its keys."""

from quart_ratelimit.recent import Recent


def test_the_newest_entries_are_kept_and_at_most_twice_as_many() -> None:
    recent: Recent[str, int] = Recent(10, longest=9)
    for number in range(100):
        recent.put(f"key-{number}", number)
        assert len(recent) <= 21
        newest = range(max(0, number - 9), number + 1)
        assert [recent.get(f"key-{each}") for each in newest] == list(newest)
    assert recent.get("key-0") is None


def test_an_entry_whose_key_is_too_long_is_not_kept() -> None:
    recent: Recent[str, int] = Recent(10, longest=3)
    recent.put("abcd", 1)
    recent.update({"abc": 2, "abcde": 3})
    assert [recent.get(key) for key in ("abcd", "abc", "abcde")] == [None, 2, None]
    assert len(recent) == 1


def test_a_key_may_be_measured_by_the_callers_own_function() -> None:
    recent: Recent[tuple[str, ...], int] = Recent(10, longest=3, length=lambda k: sum(map(len, k)))
    recent.put(("ab", "c"), 1)
    recent.put(("ab", "cd"), 2)
    assert (recent.get(("ab", "c")), recent.get(("ab", "cd"))) == (1, None)


def test_what_is_taken_out_is_gone_and_the_newer_value_counts() -> None:
    recent: Recent[str, int] = Recent(1, longest=9)
    recent.put("a", 1)
    recent.put("b", 2)  # both are old now
    recent.put("a", 3)
    assert recent.get("a") == 3
    assert recent.pop("a") == 3
    assert recent.pop("a") is None
    assert recent.get("b") == 2
    recent.clear()
    assert not recent
