"""Limits from a file: what is wrong with it is named, and a good version replaces the last one."""

import logging
import os
from pathlib import Path
from typing import Any

import pytest

from quart_ratelimit import ConfigurationError, InvalidLimit, Limit, LimitsFile
from quart_ratelimit.rules.limits_file import LARGEST

from ..support.apps import Make, ask, clock, make, view

__all__ = ["clock", "make"]  # fixtures

GOOD = """
login = "2/minute"
[tiers]
free = "1/minute; 100/day"
pro = "3/minute"
"""


class File:
    """A file of limits, and the clock by which it is looked at."""

    def __init__(self, path: Path, text: str = GOOD) -> None:
        self.path = path
        self.now = 0
        self.looks = 0
        self.write(text)

    def open(self, **options: Any) -> LimitsFile:
        return LimitsFile(self.path, now_ms=self.clock, **options)

    def clock(self) -> int:
        return self.now

    def write(self, text: str) -> None:
        """As editors and deployments do: a new file in place of the old one."""
        beside = self.path.with_suffix(".new")
        beside.write_text(text, "utf-8")
        os.replace(beside, self.path)


@pytest.fixture
def file(tmp_path: Path) -> File:
    return File(tmp_path / "limits.toml")


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]


async def test_limits_are_taken_by_name_wherever_a_limit_is_given(file: File, make: Make) -> None:
    limits = file.open()
    app, limiter = make(default_limits=[limits["tiers.free"]])
    view(app, "/")
    view(app, "/login", limiter.limit(limits["login"]))
    assert await ask(app, "/login", 3) == [200, 200, 429]
    assert await ask(app, "/", 2) == [200, 429]


async def test_a_new_version_counts_within_a_second_and_keeps_what_was_used(
    file: File, make: Make
) -> None:
    limits = file.open()
    app, limiter = make()
    view(app, "/", limiter.limit(limits["login"]))
    assert await ask(app, "/", 3) == [200, 200, 429]
    file.write(GOOD.replace("2/minute", "4/minute"))
    file.now = 999
    assert await ask(app, "/", 1) == [429]
    file.now = 1_000
    assert await ask(app, "/", 3) == [200, 200, 429]


async def test_a_reload_counts_at_once(file: File) -> None:
    limits = file.open()
    file.write(GOOD.replace("2/minute", "4/minute"))
    limits.reload()
    assert limits["login"]() == "4/minute"


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("login = ", "is not TOML: Invalid value"),
        ('login = "\xff"', "login: '\xff' is not a limit"),
        (GOOD.replace("2/minute", "2/fortnight"), "login: '2/fortnight' is not a limit.*10/minute"),
        (GOOD.replace('"2/minute"', "2"), "login: 2 is not a limit; write '10/minute'"),
        (GOOD.replace('"2/minute"', '["2/minute"]'), r"login: \['2/minute'\] is not a limit"),
        (GOOD.replace("free", "gratis"), "tiers.free is missing; put it back"),
        (GOOD + '"tiers.x" = "1/day"\n[tiers.tiers]\nx = "1/day"', "tiers.tiers.x occurs twice"),
        (
            GOOD + '"na\u00efve" = "1/day"',
            "name='tiers.na\u00efve' must be 1 to 64 printable ASCII",
        ),
        ("", "login, tiers.free, tiers.pro is missing"),
        ("#" * (LARGEST + 1), f"is longer than {LARGEST} bytes"),
        ("a = " + "[" * 30_000, "is not TOML"),
    ],
)
async def test_of_a_bad_version_one_line_is_logged_and_the_last_good_one_counts_on(
    file: File, caplog: pytest.LogCaptureFixture, text: str, wrong: str
) -> None:
    limits = file.open()
    file.write(text)
    for _ in range(3):
        file.now += 1_000
        assert limits["login"]() == "2/minute"
        assert limits["tiers.free"]() == "1/minute; 100/day"
    (line,) = complaints(caplog)
    assert line.startswith(f"{file.path}")
    assert line.endswith("; the limits stay as they were")
    with pytest.raises(ConfigurationError, match=wrong):
        limits.reload()
    if "missing" not in wrong and "twice" not in wrong:
        with pytest.raises(ConfigurationError, match=wrong):
            file.open()
    file.write(GOOD.replace("2/minute", "5/minute"))
    file.now += 1_000
    assert limits["login"]() == "5/minute"
    assert len(complaints(caplog)) == 1


def test_each_bad_version_has_its_line(file: File, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "quart_ratelimit")
    limits = file.open()
    texts = ["login = 1", GOOD, "login = 2", "login = 1", None, None, GOOD.replace("2/", "3/")]
    for text in texts:
        file.now += 1_000
        if text is None:
            file.path.unlink(missing_ok=True)
        else:
            file.write(text)
        limits["login"]()
    events = [getattr(record, "ratelimit_event", "") for record in caplog.records]
    bad, good = "limits_rejected", "limits_reloaded"
    assert events == [bad, good, bad, bad, bad, good]
    assert "cannot be read: No such file" in caplog.text


def test_a_file_that_is_not_there_is_an_error_when_the_app_is_built(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"limits.toml cannot be read: No such file"):
        LimitsFile(tmp_path / "limits.toml")


def test_a_wrong_limit_is_an_invalid_limit(file: File) -> None:
    file.write('login = "1/fortnight"')
    with pytest.raises(InvalidLimit, match=r"limits.toml: login: '1/fortnight'"):
        file.open()


def test_a_name_that_is_not_there_is_named(file: File) -> None:
    with pytest.raises(ConfigurationError, match=r"no limit 'logn'; it has: login, tiers.free"):
        file.open()["logn"]


def test_a_strategy_has_limits_of_its_own(file: File) -> None:
    file.write('login = "2000000/minute"')
    assert file.open()["login"]() == "2000000/minute"
    with pytest.raises(InvalidLimit, match=r"login: .*a moving window remembers every unit"):
        file.open(strategy="moving-window")
    with pytest.raises(ConfigurationError, match="'moving' is not a strategy"):
        file.open(strategy="moving")


async def test_an_empty_text_is_no_limit(file: File, make: Make) -> None:
    limits = file.open()
    app, limiter = make()
    view(app, "/", limiter.limit(limits["login"]))
    file.write(GOOD.replace("2/minute", ""))
    limits.reload()
    assert await ask(app, "/", 5) == [200] * 5


async def test_a_tier_that_is_new_in_the_file_is_found(file: File, make: Make) -> None:
    limits, tier = file.open(), "free"

    def plan() -> str:
        return limits[f"tiers.{tier}"]()

    app, _ = make(default_limits=[Limit(plan, name="plan")])
    view(app, "/")
    assert await ask(app, "/", 2) == [200, 429]
    file.write(GOOD + 'gold = "5/minute"')
    file.now, tier = 1_000, "gold"
    assert await ask(app, "/", 5) == [200] * 4 + [429]


async def test_its_name_is_the_limits_name_unless_another_is_given(file: File, make: Make) -> None:
    limits = file.open()
    app, limiter = make()
    view(app, "/", limiter.limit(limits["login"]))
    view(app, "/own", limiter.limit(limits["login"], name="own"))
    names = []

    @app.after_request
    async def note(response: Any) -> Any:
        names.extend(told.limit.name for told in limiter.current_limits)
        return response

    app.after_request_funcs[None].reverse()
    await ask(app, "/")
    await ask(app, "/own")
    assert names == ["login", "own"]


def test_a_file_may_hold_a_thousand_limits(file: File) -> None:
    file.write("\n".join(f'limit-{number} = "{number}/minute"' for number in range(1, 1001)))
    assert file.open()["limit-1000"]() == "1000/minute"


async def test_the_file_is_read_once_a_second_however_often_it_is_asked(file: File) -> None:
    limits = file.open()
    file.path.unlink()
    login = limits["login"]
    for file.now in range(0, 1_000, 10):
        assert login() == "2/minute"
    assert limits._seen == GOOD.encode()


def test_a_limit_of_a_file_may_have_a_policy(tmp_path: Path) -> None:
    file = tmp_path / "limits.toml"
    file.write_text(
        'login = {limit = "5/minute", on_store_error = "closed"}\n[tiers]\nfree = "9/hour"', "utf-8"
    )
    limits = LimitsFile(file)
    assert (limits["login"](), limits["login"].on_store_error) == ("5/minute", "closed")
    assert (limits["tiers.free"](), limits["tiers.free"].on_store_error) == ("9/hour", "")


@pytest.mark.parametrize(
    "text",
    [
        'login = {limit = "5/minute", on_store_error = "ajar"}',
        'login = {limit = "5/minute", on_store_error = 5}',
        'login = {on_store_error = "closed"}',
        'login = {limit = 5, on_store_error = "closed"}',
        'login = {limit = "5/minute", on_store_error = "closed", more = 1}',
    ],
)
def test_a_policy_of_a_file_is_checked(tmp_path: Path, text: str) -> None:
    file = tmp_path / "limits.toml"
    file.write_text(text, "utf-8")
    with pytest.raises(ConfigurationError, match="login"):
        LimitsFile(file)
