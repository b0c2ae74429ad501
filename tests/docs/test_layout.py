"""docs/howto/layout.md: its files are an app that limits as its table says."""

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from quart import Quart

from quart_ratelimit.testing import in_memory

from ..support.serving import ROOT

TEXT = (ROOT / "docs" / "howto" / "layout.md").read_text("utf-8")
FILES = re.findall(r"^`(shop/\w+\.py)`:\n\n```python\n(.*?)```", TEXT, re.M | re.S)


def names() -> list[str]:
    return [name for name in sys.modules if name.partition(".")[0] == "shop"]


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Quart]:
    for name, source in FILES:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(source, "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    shop = importlib.import_module("shop")
    app: Quart = shop.create_app("memory://")
    yield app
    for name in names():
        del sys.modules[name]


async def ask(app: Quart, path: str, times: int, method: str = "GET") -> list[int]:
    client: Any = app.test_client()
    return [(await client.open(path, method=method)).status_code for _ in range(times)]


def test_the_page_shows_every_file_that_it_lists() -> None:
    listed = set(re.findall(r"^    (\w+\.py)", TEXT, re.M))
    assert {name.removeprefix("shop/") for name, _ in FILES} == listed


async def test_a_blueprints_limit_replaces_the_defaults(app: Quart) -> None:
    assert await ask(app, "/items/", 61) == [200] * 60 + [429]


async def test_methods_limits_those_and_leaves_the_others_to_the_blueprint(app: Quart) -> None:
    assert await ask(app, "/items/search", 11, "POST") == [200] * 10 + [429]
    assert await ask(app, "/items/search", 61) == [200] * 60 + [429]


async def test_a_method_of_a_class_has_its_own_limit(app: Quart) -> None:
    assert await ask(app, "/items/pear", 6, "DELETE") == [200] * 5 + [429]
    assert await ask(app, "/items/pear", 61) == [200] * 60 + [429]


async def test_a_shared_limit_counts_its_views_together(app: Quart) -> None:
    assert await ask(app, "/reports/sales", 2) + await ask(app, "/reports/stock", 2) == [
        200, 200, 200, 429,
    ]  # fmt: skip


async def test_per_method_counts_each_method(app: Quart) -> None:
    assert await ask(app, "/reports/draft", 3) == [200, 200, 429]
    assert await ask(app, "/reports/draft", 3, "PUT") == [200, 200, 429]


async def test_a_scope_counts_each_value(app: Quart) -> None:
    for warehouse in ("east", "west"):
        assert await ask(app, f"/reports/export?warehouse={warehouse}", 2) == [200, 429]


async def test_an_exempt_view_is_never_limited(app: Quart) -> None:
    assert set(await ask(app, "/health", 1100)) == {200}


async def test_the_applications_limit_counts_all_views_together(app: Quart) -> None:
    statuses = []
    with in_memory(app.extensions["quart_ratelimit"]) as clock:
        for _ in range(10):
            statuses += await ask(app, "/items/", 50) + await ask(app, "/items/pear", 55)
            clock.forward(60)
    assert statuses == [200] * 1000 + [429] * 50


async def test_the_error_handler_reports_the_wait(app: Quart) -> None:
    await ask(app, "/reports/export", 1)
    refused = await app.test_client().get("/reports/export")
    body = await refused.get_json()
    assert body["message"] == "Too many requests."
    assert body["retry_after"] == int(refused.headers["Retry-After"])
