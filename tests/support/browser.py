"""A headless Chromium that looks at pages, and leaves what it saw in ``build/screenshots``."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from .serving import ROOT

SHOTS = ROOT / "build" / "screenshots"
#: Sizes of windows: of a phone, and of a screen.
PHONE, SCREEN = (390, 844), (1280, 900)
#: What Chromium itself writes to the console of a page whose server does not answer.
LOST = "Failed to load resource"


def binary() -> str | None:
    """A Chromium of this machine."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


@asynccontextmanager
async def opened(
    url: str, *, size: tuple[int, int] = SCREEN, scheme: Any = "light"
) -> AsyncIterator[Any]:
    """The page in a window of this size; no script of the page may fail, nor may it be too wide."""
    from playwright.async_api import async_playwright

    async with async_playwright() as engine:
        browser = await engine.chromium.launch(executable_path=binary(), args=["--no-sandbox"])
        width, height = size
        page = await browser.new_page(
            color_scheme=scheme, viewport={"width": width, "height": height}
        )
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda line: line.type == "error" and errors.append(line.text))
        await page.goto(url)
        yield page
        wide = await page.evaluate("document.documentElement.scrollWidth")
        await browser.close()
        assert [one for one in errors if LOST not in one] == []
        assert wide <= width  # a page scrolls in one direction only


async def shoot(page: Any, name: str, *, full: bool = True) -> None:
    """Leave a picture of the page."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    await page.screenshot(path=SHOTS / f"{name}.png", full_page=full)
