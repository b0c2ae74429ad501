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


def length_kept(recent: Recent[str, str]) -> int:
    entries = [*recent._young.items(), *recent._old.items()]
    return sum(len(key) + len(value) for key, value in entries)


def test_keys_and_values_are_bounded_in_length() -> None:
    recent: Recent[str, str] = Recent(1000, most=100, longest=9, value_length=len)
    for number in range(500):
        recent.put(f"key-{number % 7}", "x" * (number % 30))
        assert length_kept(recent) <= 2 * (100 + 36)
        assert recent.get(f"key-{number % 7}") == "x" * (number % 30)


def test_an_entry_that_is_written_again_and_again_pushes_no_other_out() -> None:
    recent: Recent[str, str] = Recent(1000, most=100, longest=9, value_length=len)
    recent.put("cold", "x")
    for _ in range(500):
        recent.put("hot", "x" * 30)
    assert recent.get("cold") == "x"


def test_what_is_not_written_for_two_turns_is_forgotten() -> None:
    recent: Recent[str, int] = Recent(10, longest=9)
    recent.put("a", 1)
    recent.turn()
    assert recent.get("a") == 1
    recent.turn()
    assert recent.get("a") is None
