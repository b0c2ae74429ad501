"""The dashboard in a browser: on phones and screens, light and dark, busy, empty, without Redis."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from ..support.browser import PHONE, SCREEN, binary, opened, shoot
from ..support.servers import RedisServer
from ..support.serving import hypercorn, load

pytestmark = pytest.mark.skipif(
    binary() is None, reason="NO CHROMIUM: the dashboard was not tried in a browser"
)
pytest.importorskip("playwright.async_api", reason="NO playwright")

APP = "tests.support.watched:app"


def dashboard_at(port: int) -> str:
    return f"http://127.0.0.1:{port}/ratelimit/"


@pytest.mark.parametrize(("size", "scheme"), [(PHONE, "light"), (PHONE, "dark"), (SCREEN, "dark")])
async def test_an_operator_unblocks_a_client_under_load(
    redis_url: str, size: Any, scheme: str
) -> None:
    with hypercorn(app=APP, env={"REDIS_URL": redis_url}) as port:
        for number, requests in [(2, 60), (3, 12), (4, 5)]:
            await load(port, "/data", requests, 2, f"127.0.0.{number}")
        loading = asyncio.ensure_future(load(port, "/search", 400, 1, "127.0.0.5"))
        async with opened(dashboard_at(port), size=size, scheme=scheme) as page:
            await loading
            blocked = page.locator('#limits li[data-key="{127.0.0.2}|data"]')
            await blocked.get_by_text("blocked for").wait_for()
            await page.get_by_role("button", name="Show each worker").click()
            await page.get_by_role("table", name="Workers", exact=True).wait_for()
            await page.fill("#who", "127.0.0.2")
            await page.get_by_role("button", name="Look up").click()
            await page.locator("#found").get_by_text("10 per 1 hour").wait_for()
            await page.wait_for_timeout(2500)  # for the picture: rates of seconds that are over
            await shoot(page, f"load-{size[0]}-{scheme}")
            await blocked.get_by_role("button", name="Unblock").click()
            await page.get_by_text("1 counter was reset.").wait_for()
            await blocked.get_by_text("10 of 10 left").wait_for()
            await page.fill("#who", "127.0.0.3")
            await page.click("#unblock")
            await page.get_by_text("2 counters were reset.").wait_for()
        assert await load(port, "/data", 1, 1, "127.0.0.2") == {200: 1}
        assert await load(port, "/data", 1, 1, "127.0.0.3") == {200: 1}


async def test_a_client_that_only_another_worker_has_seen_is_unblocked(redis_url: str) -> None:
    env = {"REDIS_URL": redis_url}
    with hypercorn(app=APP, env=env) as busy, hypercorn(app=APP, env=env) as idle:
        assert await load(busy, "/data", 12, 1, "127.0.0.9") == {200: 10, 429: 2}
        async with opened(dashboard_at(idle)) as page:
            await page.fill("#who", "127.0.0.9")
            await page.click("#unblock")
            await page.get_by_text("2 counters were reset.").wait_for()
            assert await page.get_by_text("Still refused").count() == 0
        assert await load(busy, "/data", 1, 1, "127.0.0.9") == {200: 1}


@pytest.mark.parametrize(("size", "scheme"), [(PHONE, "dark"), (SCREEN, "light")])
async def test_without_traffic_it_says_so(redis_url: str, size: Any, scheme: str) -> None:
    with hypercorn(app=APP, env={"REDIS_URL": redis_url}) as port:
        async with opened(dashboard_at(port), size=size, scheme=scheme) as page:
            await page.get_by_text("No limit was checked yet.").wait_for()
            await shoot(page, f"empty-{size[0]}-{scheme}")


async def test_200_limits_can_be_searched(redis_url: str) -> None:
    with hypercorn(app=APP, env={"REDIS_URL": redis_url, "MANY": "190"}) as port:
        for number in range(190):
            await load(port, f"/many/{number}", number % 9 + 1, 1, f"127.0.0.{number % 99 + 2}")
        async with opened(dashboard_at(port)) as page:
            await page.get_by_text("50 of 191 limits are shown").wait_for()
            await shoot(page, "many-1280-light")
            await page.fill("#find", "tariff 17")
            await page.get_by_text("11 of 191 limits").wait_for()
            await shoot(page, "found-1280-light", full=False)


@pytest.mark.parametrize(("size", "scheme"), [(PHONE, "light"), (SCREEN, "dark")])
async def test_with_redis_away_it_says_so_and_shows_what_this_worker_counts(
    start_redis: Callable[..., RedisServer], size: Any, scheme: str
) -> None:
    server = start_redis()
    with hypercorn(app=APP, env={"REDIS_URL": server.url}) as port:
        await load(port, "/data", 12, 1, "127.0.0.9")
        async with opened(dashboard_at(port), size=size, scheme=scheme) as page:
            await page.get_by_role("heading", name="10 per 1 hour").wait_for()
            server.stop()
            await load(port, "/data", 12, 1, "127.0.0.9")
            await page.get_by_role("alert").get_by_text("Redis is away.").wait_for()
            await page.get_by_text("by the policy").first.wait_for()
            await shoot(page, f"away-{size[0]}-{scheme}")


async def test_the_keyboard_keeps_its_place_while_the_page_renews_itself(redis_url: str) -> None:
    with hypercorn(app=APP, env={"REDIS_URL": redis_url}) as port:
        for number in (2, 3):
            await load(port, "/data", 12, 1, f"127.0.0.{number}")
        async with opened(dashboard_at(port)) as page:
            item = page.locator('li[data-key="{127.0.0.3}|data"]')
            await item.get_by_role("button").focus()
            await load(port, "/search", 300, 1, "127.0.0.4")  # refuses more: a card comes before it
            await page.get_by_text("200 per 1 minute").first.wait_for()
            await page.wait_for_timeout(2500)
            await page.keyboard.press("Enter")
            await page.get_by_text("1 counter was reset.").wait_for()
        assert await load(port, "/data", 1, 1, "127.0.0.3") == {200: 1}
        assert await load(port, "/data", 1, 1, "127.0.0.2") == {429: 1}


async def test_a_server_that_is_gone_is_said_and_forgotten_once_it_is_back(redis_url: str) -> None:
    with hypercorn(app=APP, env={"REDIS_URL": redis_url}) as port:
        async with opened(dashboard_at(port)) as page:
            await page.get_by_text("No limit was checked yet.").wait_for()
            await page.route("**/state*", lambda route: route.abort())
            await page.get_by_role("status").get_by_text("Failed to fetch").wait_for()
            await page.unroute("**/state*")
            await page.get_by_role("status").get_by_text("Failed to fetch").wait_for(state="hidden")
