"""docs/howto/trying.md: its app does as the page says."""

import logging
import re
from pathlib import Path
from typing import Any

import pytest
from quart import g, request

from quart_ratelimit.signals import limit_decided
from quart_ratelimit.testing import in_memory

from ..support.serving import ROOT

TEXT = (ROOT / "docs" / "howto" / "trying.md").read_text("utf-8")
#: The page's app, with what a reader has imported besides.
SOURCE = "from quart import g, request\nfrom quart_ratelimit import LimitsFile\n" + "\n".join(
    re.findall(r"```python\n(.*?)```", TEXT, re.S)
)


class Page:
    """The page's app in its folder, with its file of limits."""

    def __init__(self, folder: Path) -> None:
        (toml,) = re.findall(r"```toml\n(.*?)```", TEXT, re.S)
        self.file = folder / "limits.toml"
        self.file.write_text(toml, "utf-8")
        names: dict[str, Any] = {"__name__": "documented"}
        exec(compile(SOURCE, "docs/howto/trying.md", "exec"), names)
        self.app, self.limiter, self.limits = names["app"], names["limiter"], names["limits"]

        @self.app.before_request
        async def authenticate() -> None:
            g.staff = "X-Staff" in request.headers
            g.plan = request.headers.get("X-Plan", "free")

    async def get(self, path: str, times: int, **headers: str) -> list[int]:
        client = self.app.test_client()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return [(await client.get(path, headers=named)).status_code for _ in range(times)]


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    page = Page(tmp_path)
    with in_memory(page.limiter):
        yield page


async def test_search_is_tried_under_the_default(
    page: Page, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "quart_ratelimit")
    heard = []

    def hear(_: Any, *, event: Any, hit: Any) -> None:
        heard.append((event.limit, event.outcome))

    with limit_decided.connected_to(hear):
        assert set(await page.get("/search", 12)) == {200}
    assert heard.count(("10 per 1 minute", "shadow")) == 2
    assert heard.count(("1000 per 1 hour", "allowed")) == 12
    assert "10 per 1 minute is in shadow" in caplog.text


async def test_report_binds_staff_first(page: Page) -> None:
    assert await page.get("/report", 7) == [200] * 7
    assert (await page.get("/report", 7, X_Staff="yes"))[-1] == 429


async def test_the_operators_switch(page: Page) -> None:
    assert await page.get("/login", 6) == [200] * 5 + [429]
    for enabled, status in ((False, 200), (True, 429)):
        await page.app.test_client().post("/operator/limits", json={"enabled": enabled})
        assert await page.get("/login", 1) == [status]


async def test_the_file_and_its_tiers(page: Page) -> None:
    assert await page.get("/items", 4) == [200] * 3 + [429]
    assert await page.get("/items", 28, X_Plan="pro") == [200] * 27 + [429]
    page.file.write_text(page.file.read_text("utf-8").replace("3/minute", "40/minute"), "utf-8")
    page.limits.reload()
    assert await page.get("/items", 11) == [200] * 10 + [429]


async def test_export_keeps_what_was_used(page: Page) -> None:
    assert await page.get("/export", 11) == [200] * 10 + [429]
