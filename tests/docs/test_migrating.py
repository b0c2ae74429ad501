"""docs/howto/migrating.md: the code it shows as "after" runs, and limits as it says."""

import re
from typing import Any

import pytest
from quart import Quart

from ..support import markdown
from ..support.markdown import APPS, Block
from ..support.serving import ROOT

TEXT = (ROOT / "docs" / "howto" / "migrating.md").read_text("utf-8")


def heading(block: Block) -> str:
    """The chapter that a block stands in."""
    above = TEXT.splitlines()[: block.line]
    return [line for line in above if line.startswith("## ")][-1].removeprefix("## ")


#: Each "after" block by its heading.
BLOCKS = {heading(block): block for block in APPS if block.word == "after"}


@pytest.fixture
def load(redis_url: str) -> Any:
    return lambda chapter: markdown.load(BLOCKS[chapter], redis_url)


async def answers(app: Quart, path: str, times: int) -> list[tuple[int, str]]:
    client = app.test_client()
    found = [await client.get(path) for _ in range(times)]
    return [(one.status_code, await one.get_data(as_text=True)) for one in found]


async def statuses(app: Quart, path: str, times: int) -> list[int]:
    return [status for status, _ in await answers(app, path, times)]


def test_every_block_is_run_below() -> None:
    assert set(BLOCKS) == {
        "From the Flask snippet",
        "From Flask-Limiter",
        "From quart-rate-limiter",
    }
    assert TEXT.count("```python after") == len(BLOCKS)
    assert TEXT.count("```python before") == len(BLOCKS)


async def test_the_snippet(load: Any) -> None:
    app = load("From the Flask snippet")["app"]
    async with app.test_app():
        assert await statuses(app, "/api/data", 11) == [200] * 10 + [429]


async def test_flask_limiter(load: Any) -> None:
    app = load("From Flask-Limiter")["app"]
    async with app.test_app():
        assert await statuses(app, "/", 6) == [200] * 5 + [429]
        assert await answers(app, "/slow", 2) == [
            (200, "once a day"), (429, "no more than 1 per 1 day"),
        ]  # fmt: skip
        assert [text for _, text in await answers(app, "/helped", 3)] == [
            "helped", "helped", "alone",
        ]  # fmt: skip
        assert await answers(app, "/admin/", 1) == [(200, "None")]
        headers = (await app.test_client().get("/")).headers
        assert headers["X-RateLimit-Remaining"] == "4"


async def test_quart_rate_limiter(load: Any) -> None:
    app = load("From quart-rate-limiter")["app"]
    async with app.test_app():
        assert await statuses(app, "/", 6) == [200] * 5 + [429]
        assert await statuses(app, "/slow", 2) == [200, 429]
        assert await statuses(app, "/free", 9) == [200] * 9
        assert await statuses(app, "/blue/", 3) == [200, 200, 429]


def test_the_tests_not_kept_are_named_in_the_checklist() -> None:
    from ..flask_limiter.checklist import CHECKLIST

    section = TEXT.partition("### Its test suite")[2].partition("\n## ")[0]
    named = set(re.findall(r"`(test_[a-z_]+)`", section)) - {"test_storage"}
    assert named <= {name for names in CHECKLIST.values() for name in names}
    reasons = {
        n for names in CHECKLIST.values() for n, where in names.items() if where == "storage"
    }
    assert reasons <= named
