"""The dashboard: who gets in, what it shows, and how an operator unblocks a client."""

import os
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quart import Quart, Response, request

from quart_ratelimit import (
    ConfigurationError,
    Decision,
    FixedWindow,
    Hit,
    Limiter,
    StoreError,
    rate_limit,
)
from quart_ratelimit.clients.keys import KeyForm, Keys, client_of
from quart_ratelimit.contrib.dashboard import COOKIE, FIELD, dashboard
from quart_ratelimit.extension.space_saving import SpaceSaving
from quart_ratelimit.extension.tally import ROWS, Tally
from quart_ratelimit.signals import send_decided
from quart_ratelimit.stores import MemoryStore

from ..support.every_limit import every_limit, use


def who() -> str:
    return request.headers.get("X-Who", "ann")


async def is_operator() -> bool:
    return request.headers.get("X-Operator") == "yes"


def shop(guard: Any = is_operator, store: MemoryStore | None = None) -> tuple[Quart, Limiter]:
    app = Quart(__name__)
    limiter = Limiter(
        who, app=app, store=MemoryStore() if store is None else store, application_limits=["9/hour"]
    )
    app.register_blueprint(dashboard(limiter, guard=guard))

    @app.get("/")
    @limiter.limit("2/hour")
    async def index() -> str:
        return "hello"

    return app, limiter


class Operator:
    """A client of the dashboard, with its page loaded."""

    def __init__(self, app: Quart) -> None:
        self.client = app.test_client()
        self.headers = {"X-Operator": "yes"}

    async def load(self) -> Response:
        page = await self.client.get("/ratelimit/", headers=self.headers)
        (token,) = re.findall(r'name="csrf" content="([^"]+)"', await page.get_data(as_text=True))
        self.headers[FIELD] = token
        return page

    async def ask(self, path: str) -> Any:
        return await (await self.client.get(f"/ratelimit/{path}", headers=self.headers)).get_json()

    async def reset(self, **body: str) -> Response:
        return await self.client.post("/ratelimit/reset", json=body, headers=self.headers)


async def statuses(app: Quart, times: int, name: str = "ann") -> list[int]:
    client = app.test_client()
    return [(await client.get("/", headers={"X-Who": name})).status_code for _ in range(times)]


@pytest.mark.parametrize("guard", [None, True, "operator"])
def test_without_a_guard_there_is_no_dashboard(guard: Any) -> None:
    with pytest.raises(ConfigurationError, match="guard="):
        dashboard(Limiter(who), guard=guard)


@pytest.mark.parametrize("path", ["", "state", "client?who=ann"])
async def test_only_whom_the_guard_lets_in_gets_in(path: str) -> None:
    app, _ = shop()
    answer = await app.test_client().get(f"/ratelimit/{path}")
    assert answer.status_code == 403
    assert (await app.test_client().post("/ratelimit/reset", json={})).status_code == 403


@pytest.mark.parametrize("answer", [None, False, "", 1, "yes", {"user": "ann"}])
async def test_a_guard_that_does_not_say_true_lets_nobody_in(answer: Any) -> None:
    app, _ = shop(lambda: answer)
    assert (await app.test_client().get("/ratelimit/")).status_code == 403


async def test_a_guard_may_answer_itself() -> None:
    app, _ = shop(lambda: Response("log in", 302, {"Location": "/login"}))
    answer = await app.test_client().get("/ratelimit/state")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/login")


async def test_an_operator_gets_in_whatever_the_limits() -> None:
    app, _ = shop()
    operator = Operator(app)
    assert [(await operator.load()).status_code for _ in range(12)] == [200] * 12


async def test_the_page_loads_nothing_from_elsewhere() -> None:
    app, _ = shop()
    page = await Operator(app).load()
    text = await page.get_data(as_text=True)
    addresses = set(re.findall(r"""\b(?:src|href|url)\s*[=(]\s*["']?([^"' )>]+)""", text))
    assert addresses == {"data:,"}
    policy = page.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert page.headers["Cache-Control"] == "no-store"
    cookie = page.headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/ratelimit/"} <= set(cookie.split("; "))


async def test_the_state_tells_sums_rates_and_the_busiest() -> None:
    app, _ = shop()
    await statuses(app, 3)
    await statuses(app, 1, "bob")
    state = await Operator(app).ask("state")
    rows = {row["scope"]: row for row in state["limits"]}
    index = next(row for row in state["limits"] if row["limit"] == "2 per 1 hour")
    assert len(rows) == 2
    assert (index["allowed"], index["refused"], index["excess"]) == (3, 1, 0)
    assert [sum(one[n] for one in index["minute"]) for n in (0, 1)] == [3, 1]
    shown = [(one["key"], one["hits"], one["refused"]) for one in index["busiest"]]
    assert shown == [("{ann}|index", 3, 1), ("{bob}|index", 1, 0)]
    assert [(one["remaining"], one["blocked"]) for one in index["busiest"]] == [
        (0, True),
        (1, False),
    ]


async def test_a_page_that_was_opened_just_now_shows_the_last_hour() -> None:
    app, _ = shop()
    await statuses(app, 3)
    state = await Operator(app).ask("state")
    (index,) = [row for row in state["limits"] if row["limit"] == "2 per 1 hour"]
    assert len(index["hour"]) == 60
    assert [sum(one[n] for one in index["hour"][-2:]) for n in (0, 1)] == [2, 1]
    assert [sum(one[n] for one in index["minute"]) for n in (0, 1)] == [2, 1]


async def test_limits_are_found_by_a_part_of_their_name_or_scope() -> None:
    app, _ = shop()
    await statuses(app, 1)
    operator = Operator(app)
    for word, limits in [("INDEX", {"2 per 1 hour"}), ("9 per", {"9 per 1 hour"}), ("%", set())]:
        state = await operator.ask(f"state?find={word}")
        assert {one["limit"] for one in state["limits"]} == limits
        assert (state["found"], state["of"]) == (len(limits), 2)
        assert sum(allowed for allowed, _ in state["minute"]) == 2  # of all limits


async def test_each_workers_part_is_shown_if_it_is_asked_for(redis_url: str) -> None:
    app = Quart("shop")
    options = {"deadline": 1}
    limiter = Limiter(
        who, app=app, storage_uri=redis_url, storage_options=options, default_limits=["2/hour"]
    )
    app.register_blueprint(dashboard(limiter, guard=is_operator))
    app.add_url_rule("/", "index", lambda: "hello")
    async with app.test_app():
        await statuses(app, 3)
        operator = Operator(app)
        assert (await operator.ask("state"))["parts"] is None
        state = await operator.ask("state?parts=1")
    (part,) = state["parts"]
    assert part["worker"].endswith(f":{os.getpid()}")
    assert {**part, "worker": ""} == {
        "worker": "", "runs": True, "allowed": 2, "refused": 1, "fallback": 0,
    }  # fmt: skip
    assert state["limits"][0]["parts"] == [part]
    assert state["workers"] == 1


async def test_looking_charges_nothing() -> None:
    app, _ = shop()
    await statuses(app, 1)
    operator = Operator(app)
    for _ in range(3):
        answer = await operator.ask("client?who=ann")
    left = {one["limit"]: one["remaining"] for one in answer["limits"]}
    assert left == {"2 per 1 hour": 1, "9 per 1 hour": 8}
    assert (await operator.ask("state"))["limits"][0]["allowed"] == 1


async def test_unblocking_frees_one_client_at_all_limits() -> None:
    app, _ = shop()
    assert await statuses(app, 3) == [200, 200, 429]
    await statuses(app, 3, "bob")
    operator = Operator(app)
    await operator.load()
    answer = await operator.reset(who="ann")
    assert await answer.get_json() == {"counters": 2}
    assert await statuses(app, 1) == [200]
    assert await statuses(app, 1, "bob") == [429]


async def test_one_limit_of_one_key_is_reset() -> None:
    app, _ = shop()
    await statuses(app, 3)
    operator = Operator(app)
    await operator.load()
    await operator.reset(limit="2 per 1 hour", scope="index", key="{ann}|index")
    left = {r["limit"]: r["remaining"] for r in (await operator.ask("client?who=ann"))["limits"]}
    assert left == {"2 per 1 hour": 2, "9 per 1 hour": 6}


async def test_what_another_site_sends_resets_nothing() -> None:
    app, _ = shop()
    await statuses(app, 3)
    operator = Operator(app)
    await operator.load()
    token = operator.headers[FIELD]
    for forged in ("", "guessed", "\xe9"):
        operator.headers[FIELD] = forged
        assert (await operator.reset(who="ann")).status_code == 403
    operator.headers[FIELD] = token
    operator.client.delete_cookie("localhost", COOKIE, path="/ratelimit/")
    assert (await operator.reset(who="ann")).status_code == 403
    assert await statuses(app, 1) == [429]


async def test_a_call_of_the_page_that_lacks_its_client_shows_how_it_is_written() -> None:
    app, _ = shop()
    operator = Operator(app)
    await operator.load()
    nameless = await operator.client.get("/ratelimit/client", headers=operator.headers)
    textual = await operator.client.post(
        "/ratelimit/reset", headers=operator.headers, data="who=ann"
    )
    for answer, form in ((nameless, "who=203.0.113.9"), (textual, '{"who": "203.0.113.9"}')):
        assert answer.status_code == 400
        assert form in (await answer.get_json())["message"]


@pytest.mark.parametrize("body", [{}, {"who": " "}, {"limit": "9/day", "scope": "", "key": "k"}])
async def test_a_reset_of_nothing_is_a_mistake(body: dict[str, str]) -> None:
    app, _ = shop()
    await statuses(app, 1)
    operator = Operator(app)
    await operator.load()
    assert (await operator.reset(**body)).status_code == 400


class Fragile(MemoryStore):
    """A store that can be away."""

    away = False

    async def hit(self, hits: Sequence[Hit]) -> list[Decision]:
        if self.away:
            raise StoreError("away")
        return await super().hit(hits)

    async def reset(self, hits: Sequence[Hit]) -> int:
        if self.away:
            raise StoreError("away")
        return await super().reset(hits)


async def test_while_the_store_is_away_the_page_says_so() -> None:
    store = Fragile()
    app, _ = shop(store=store)
    await statuses(app, 1)
    operator = Operator(app)
    await operator.load()
    store.away = True
    (first, *_) = (await operator.ask("state"))["limits"]
    assert [(one["by"], "remaining" in one) for one in first["busiest"]] == [("nobody", False)]
    assert (await operator.reset(who="ann")).status_code == 503


async def test_a_limit_in_shadow_is_marked_with_what_it_would_refuse() -> None:
    app = Quart(__name__)
    limiter = Limiter(who, app=app, store=MemoryStore())
    app.register_blueprint(dashboard(limiter, guard=is_operator))

    @app.get("/")
    @limiter.limit("2/hour", shadow=True)
    async def index() -> str:
        return "hello"

    assert await statuses(app, 5) == [200] * 5
    operator = Operator(app)
    await operator.load()
    (row,) = (await operator.ask("state"))["limits"]
    assert (row["shadow"], row["allowed"], row["refused"]) == (True, 2, 3)


async def test_rows_are_bounded() -> None:
    limiter = Limiter(who, store=MemoryStore())
    tally = Tally(limiter, now_ms=lambda: 0)
    for number in range(ROWS + 5):
        hit = Hit(FixedWindow(1, 3600, name=f"tenant {number}"), "ann", 1)
        send_decided(limiter, [hit], [Decision(True, 0, 3_600_000, 0)])
    tally.close()
    assert (len(tally.rows), tally.left_off) == (ROWS, 5)


@given(st.lists(st.integers(0, 30), max_size=300), st.integers(1, 8))
def test_counts_are_never_too_low_and_whoever_is_frequent_is_there(
    seen: list[int], size: int
) -> None:
    sketch, truth = SpaceSaving(size), Counter(map(str, seen))
    for key in seen:
        sketch.add(str(key))
    top = dict(sketch.top(size))
    for key, count in top.items():
        assert truth[key] <= count <= truth[key] + sketch.excess
    assert {key for key, count in truth.items() if count > len(seen) / size} <= set(top)
    assert sketch.excess <= len(seen) / size


async def test_a_client_behind_a_pseudonym_is_looked_up_by_its_own_name() -> None:
    app = Quart(__name__)
    limiter = Limiter(app=app, key_secret="a secret of the test", key_func=lambda: "ann")

    @app.get("/")
    @limiter.limit("2/minute")
    async def index() -> str:
        return "OK"

    app.register_blueprint(dashboard(limiter, guard=is_operator))
    for _ in range(3):
        await app.test_client().get("/")
    (look,) = (await Operator(app).ask("client?who=ann"))["limits"]
    assert (not look["blocked"], look["remaining"]) == (False, 0)


# Limits that this worker has not seen, and limits of every kind


async def test_a_client_that_only_another_worker_has_seen_is_unblocked(redis_url: str) -> None:
    workers = [every_limit(storage_uri=redis_url, storage_options={"deadline": 1}) for _ in "ab"]
    apps = [app for app, _ in workers]
    for app, limiter in workers:
        app.register_blueprint(dashboard(limiter, guard=is_operator))
    async with apps[0].test_app(), apps[1].test_app():
        await use(apps[0], "192.0.2.77")
        operator = Operator(apps[1])
        await operator.load()
        before = (await operator.ask("client?who=192.0.2.77"))["limits"]
        assert sum(one["remaining"] < one["capacity"] for one in before) > 30
        said = await (await operator.reset(who="192.0.2.77")).get_json()
        after = (await operator.ask("client?who=192.0.2.77"))["limits"]
    assert said["counters"] > 40
    assert "left" not in said
    assert said["unknown"] == ["one that varies at plan: varies by request"]
    assert [one for one in after if one["remaining"] != one["capacity"]] == []


async def test_a_key_is_unblocked_by_a_worker_that_has_not_seen_its_limit(redis_url: str) -> None:
    apps = []
    for _ in "ab":
        app = Quart("shop")
        limiter = Limiter(who, app=app, storage_uri=redis_url, storage_options={"deadline": 1})
        app.register_blueprint(dashboard(limiter, guard=is_operator))

        @app.get("/")
        @rate_limit("2/hour", scope="shared")
        async def index() -> str:
            return "hello"

        apps.append(app)
    async with apps[0].test_app(), apps[1].test_app():
        assert await statuses(apps[0], 3) == [200, 200, 429]
        operator = Operator(apps[0])
        (row,) = (await operator.ask("state"))["limits"]
        other = Operator(apps[1])
        await other.load()
        named = {"limit": row["limit"], "scope": row["scope"], "key": row["busiest"][0]["key"]}
        assert await (await other.reset(**named)).get_json() == {"counters": 1}
        assert (await statuses(apps[1], 1)) == [200]
        assert (await other.reset(**{**named, "key": "{ann}|of-no-limit"})).status_code == 400


async def test_what_is_refused_although_it_was_cleared_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app, limiter = shop()
    await statuses(app, 3)

    async def forget_nothing(_: object) -> int:
        return 0

    monkeypatch.setattr(limiter.store, "reset", forget_nothing)
    operator = Operator(app)
    await operator.load()
    said = await (await operator.reset(who="ann")).get_json()
    assert said == {"counters": 0, "left": ["2 per 1 hour at index"]}


async def test_two_tabs_work_side_by_side_and_a_foreign_token_is_not_written_into_the_page() -> (
    None
):
    app, _ = shop()
    await statuses(app, 3)
    tab, other = Operator(app), Operator(app)
    other.client = tab.client
    await tab.load()
    await other.load()
    assert (await tab.reset(who="ann")).status_code == 200
    assert (await other.reset(who="ann")).status_code == 200
    tab.client.set_cookie("localhost", COOKIE, '"><script>', path="/ratelimit/")
    assert "<script>" not in (await (await tab.load()).get_data(as_text=True)).split("<meta")[4]


async def test_the_cookie_has_the_path_that_the_browser_knows() -> None:
    app, _ = shop()
    page = await app.test_client().get(
        "/shop/ratelimit/", headers={"X-Operator": "yes"}, root_path="/shop"
    )
    assert "Path=/shop/ratelimit/" in page.headers["Set-Cookie"]


@pytest.mark.parametrize(
    ("key", "client"),
    [
        ("{ann}|index", "ann"),
        ("shop|{a%7Cb}|export", "a|b"),
        ("ann", "ann"),
        ("shop|ann", "ann"),
        ("{%C3%A9va}|index", "éva"),
        (Keys().slot("x" * 99, "index"), Keys().join("x" * 99)),  # a digest, as nobody reads one
    ],
)
def test_a_key_shows_its_client(key: str, client: str) -> None:
    assert client_of(key) == client


@given(st.text(max_size=9), st.text(max_size=9), st.text(max_size=9), st.booleans())
def test_a_key_fits_its_own_form_alone(prefix: str, who: str, scope: str, plain: bool) -> None:
    forms = [KeyForm((prefix,), scope), KeyForm((prefix,), f"{scope}2"), KeyForm((), scope)]
    if plain:
        forms = [KeyForm((prefix,), None), KeyForm((prefix,), scope), KeyForm((), scope)]
    key = forms[0].of(Keys(), who)
    assert [form.fits(key) for form in forms] == [True, False, False]


async def test_a_process_with_two_limiters_is_shown_as_one_worker(redis_url: str) -> None:
    app = Quart(__name__)
    limiters = [
        Limiter(who, app=app, storage_uri=redis_url, key_prefix=name, default_limits=["9/hour"])
        for name in ("first", "second")
    ]
    app.register_blueprint(dashboard(limiters[0], guard=is_operator))

    @app.get("/")
    async def index() -> str:
        return "hello"

    async with app.test_app():
        assert await statuses(app, 2) == [200, 200]
        operator = Operator(app)
        await operator.load()
        for _ in range(2):
            state = await operator.ask("state")
    assert state["workers"] == 1
