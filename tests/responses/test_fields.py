"""The IETF's fields, read back by an independent parser of RFC 9651."""

from collections.abc import Iterator
from typing import Any, cast

import http_sf
import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.datastructures import Headers

from quart_ratelimit import ConfigurationError
from quart_ratelimit.quotas import GCRA, Concurrency, Decision, FixedWindow, Quota
from quart_ratelimit.responses.drafts import DRAFTS, LARGEST, draft_6, draft_7, draft_10
from quart_ratelimit.responses.request_limit import RequestLimit
from quart_ratelimit.responses.x_ratelimit import FieldNames, write

from ..support.apps import Make, view
from ..support.apps import clock as clock  # noqa: PLC0414  # a fixture
from ..support.apps import make as make  # noqa: PLC0414  # a fixture

SECRET = "sixteen bytes or more"


def told(quota: Quota, scope: str = "index", *, decision: Decision | None = None) -> RequestLimit:
    answer = decision or Decision(True, 9, 50_000, 0)
    return RequestLimit(None, quota, ["ann", scope], False, False, decision=answer)


def read(lines: list[tuple[str, str]]) -> dict[str, Any]:
    return {name: http_sf.parse(value.encode(), tltype="list") for name, value in lines}


async def answer(app: Any, path: str = "/", who: str = "ann") -> Any:
    return await app.test_client().get(path, scope_base={"client": (who, 1)})


def fields(response: Any, name: str) -> list[Any]:
    found: list[Any] = http_sf.parse(response.headers[name].encode(), tltype="list")
    return found


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=64))
def test_any_name_is_read_back_as_it_was_given(name: str) -> None:
    limit = told(FixedWindow(10, 60, name=name))
    found = read(draft_10([limit], limit))
    assert found["RateLimit-Policy"] == [(name, {"q": 10, "w": 60})]
    assert found["RateLimit"] == [(name, {"r": 9, "t": 50})]


@given(st.text(), st.integers(1, 2**53 - 1))
def test_any_scope_gives_a_field_that_can_be_read(scope: str, amount: int) -> None:
    limit = told(FixedWindow(amount, 60), scope)
    found = read(draft_10([limit, limit], limit))
    first, second = found["RateLimit-Policy"]
    assert first[0] != second[0]
    assert first[1]["q"] == min(amount, LARGEST)


def test_a_token_bucket_tells_when_its_next_unit_comes() -> None:
    quota = GCRA(60, 60)
    limit = told(quota, decision=Decision(True, 58, 1_500, 0))
    assert read(draft_10([limit], limit))["RateLimit"] == [("index:60/minute", {"r": 58, "t": 1})]


def test_places_in_flight_have_a_unit_of_their_own_and_no_window() -> None:
    limit = told(Concurrency(5, 60, name="slots"))
    (policy,) = read(draft_10([limit], limit))["RateLimit-Policy"]
    assert policy == ("slots", {"q": 5, "qu": "concurrent-requests"})


async def test_all_limits_of_a_request_are_told_by_name(make: Make) -> None:
    app, limiter = make(application_limits=["60/second"], header_fields="draft-10")
    view(app, "/", limiter.limit("10/minute", name="login"))
    response = await answer(app)
    assert fields(response, "RateLimit-Policy") == [
        ("global:60/second", {"q": 60, "w": 1}),
        ("login", {"q": 10, "w": 60}),
    ]
    (_, first), (name, second) = fields(response, "RateLimit")
    assert (first["r"], name, second) == (59, "login", {"r": 9, "t": 60})
    assert "X-RateLimit-Limit" not in response.headers
    assert "Retry-After" not in response.headers


async def test_limits_in_one_text_share_the_start_of_their_names(make: Make) -> None:
    app, limiter = make(header_fields="draft-10")
    view(app, "/", limiter.limit("10/minute; 5 per 2 hours", name="login"))
    names = [name for name, _ in fields(await answer(app), "RateLimit")]
    assert names == ["login:10/minute", "login:5/2hour"]


@pytest.mark.parametrize("draft", ["draft-6", "draft-7", "draft-10"])
async def test_a_refusal_never_asks_to_come_back_before_more_is_there(
    make: Make, draft: str
) -> None:
    app, _ = make(default_limits=["1/minute"], header_fields=draft)
    view(app, "/")

    @app.errorhandler(429)
    async def refused(_: Exception) -> Any:
        return "slow down", 429

    await answer(app)
    response = await answer(app)
    assert (response.status_code, response.headers["Retry-After"]) == (429, "60")


def item(value: str) -> Any:
    """A field that holds one item, and what the item says; without parameters."""
    found, parameters = http_sf.parse(value.encode(), tltype="item")
    assert parameters == {}
    return found


async def test_draft_6_tells_of_one_limit_in_three_fields(make: Make) -> None:
    app, _ = make(default_limits=["10/minute; 100/hour"], header_fields=["x-ratelimit", "draft-6"])
    view(app, "/")
    response = await answer(app)
    told = [item(response.headers[f"RateLimit-{name}"]) for name in ("Limit", "Remaining", "Reset")]
    assert told == [10, 9, 60]
    assert fields(response, "RateLimit-Policy") == [(10, {"w": 60}), (100, {"w": 3600})]
    assert response.headers["X-RateLimit-Limit"] == "10"


async def test_draft_7_tells_of_one_limit_in_one_field(make: Make) -> None:
    app, _ = make({"RATELIMIT_HEADER_FIELDS": "draft-7"}, default_limits=["10/minute; 100/hour"])
    view(app, "/")
    response = await answer(app)
    told = http_sf.parse(response.headers["RateLimit"].encode(), tltype="dictionary")
    assert told == {"limit": (10, {}), "remaining": (9, {}), "reset": (60, {})}
    assert fields(response, "RateLimit-Policy") == [(10, {"w": 60}), (100, {"w": 3600})]


@given(st.integers(1, 2**53 - 1), st.integers(0, 2**53 - 1), st.integers(0, 2**53 - 1))
def test_any_number_in_an_older_draft_can_be_read(amount: int, left: int, reset_ms: int) -> None:
    limit = told(FixedWindow(amount, 60), decision=Decision(True, left, reset_ms, 0))
    for name, value in draft_6([limit], limit)[:3]:
        assert 0 <= item(value) <= LARGEST, name
    ((_, value), _) = draft_7([limit], limit)
    found = http_sf.parse(value.encode(), tltype="dictionary")
    assert found["limit"] == (min(amount, LARGEST), {})


async def test_a_refusal_tells_of_the_limits_behind_the_one_that_refused(make: Make) -> None:
    app, limiter = make(default_limits=["1/minute; 2/hour; 100/day"], header_fields="draft-10")
    view(app, "/")
    seen = []

    @app.errorhandler(429)
    async def refused(_: Exception) -> Any:
        seen.append([str(told.limit) for told in limiter.current_limits])
        return "slow down", 429

    await answer(app)
    told = {name: state["r"] for name, state in fields(await answer(app), "RateLimit")}
    assert told == {"index:1/minute": 0, "index:2/hour": 1, "index:100/day": 99}
    assert seen == [["1 per 1 minute"]]  # Flask-Limiter's


async def test_a_partition_key_tells_clients_apart_and_names_none(make: Make) -> None:
    app, _ = make(
        {"RATELIMIT_PARTITION_SECRET": SECRET},
        default_limits=["9/minute"],
        header_fields="draft-10",
    )
    view(app, "/")
    keys = []
    for who in ("ann", "bob", "ann"):
        response = await answer(app, who=who)
        assert who not in response.headers["RateLimit"]
        ((_, state),) = fields(response, "RateLimit")
        ((_, policy),) = fields(response, "RateLimit-Policy")
        assert policy["pk"] == state["pk"]
        keys.append(state["pk"])
    assert keys[0] == keys[2] != keys[1]


@pytest.mark.parametrize(
    "wrong",
    [
        {"header_fields": "draft-5"},
        {"header_fields": ["draft-6", "draft-10"]},
        {"partition_secret": "short"},
    ],
)
def test_a_wrong_setting_is_found_when_the_app_is_built(make: Make, wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        make(**wrong)


@pytest.mark.parametrize("name", ["", "naïve", "two\nlines", "x" * 65])
def test_a_name_that_no_field_can_hold_is_found_when_the_view_is_limited(
    make: Make, name: str
) -> None:
    _, limiter = make()
    with pytest.raises(ConfigurationError, match="printable"):
        limiter.limit("1/day", name=name)(lambda: "")


def test_draft_11_has_the_fields_of_draft_10() -> None:
    assert DRAFTS["draft-11"] is DRAFTS["draft-10"]


@pytest.mark.parametrize("name", ["draft-8", "draft-9"])
def test_a_draft_that_has_the_fields_of_draft_10_is_known_by_that_name_alone(
    make: Make, name: str
) -> None:
    with pytest.raises(ConfigurationError, match="draft-10 has its fields"):
        make(header_fields=name)


class OtherHeaders:
    """What another Werkzeug may keep lines in."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self.lines)

    def add(self, name: str, value: str) -> None:
        self.lines.append((name, value))


def test_fields_are_the_same_whatever_werkzeug_keeps_them_in() -> None:
    told = RequestLimit(
        None, FixedWindow(5, 60), ["a", "b"], False, False, decision=Decision(True, 4, 60_000, 0)
    )
    names = FieldNames("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-Reset", "Retry-After")
    own, other = Headers(), OtherHeaders()
    write(own, told, names, "http-date")
    write(cast(Headers, other), told, names, "http-date")
    assert list(own) == other.lines
    assert [name for name, _ in own] == list(names)
    assert own["X-RateLimit-Remaining"] == "4"
