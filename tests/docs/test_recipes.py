"""The apps of the pages on decorators, browsers, checks, streams, sync code and choices:
each limits as its page says.
"""

from typing import Any

import pytest

from quart_ratelimit.testing import in_memory

from ..support import markdown
from ..support.markdown import APPS
from ..support.serving import ROOT


class Page:
    """The app of a page, asked by one client."""

    def __init__(self, name: str) -> None:
        (block,) = [block for block in APPS if block.page.stem == name]
        self.names = markdown.load(block, "redis://localhost:1")
        self.app, self.limiter = self.names["app"], self.names["limiter"]

    async def ask(
        self, path: str, times: int = 1, method: str = "GET", **options: Any
    ) -> list[int]:
        client: Any = self.app.test_client()
        return [
            (await client.open(path, method=method, **options)).status_code for _ in range(times)
        ]


@pytest.fixture
def page(request: pytest.FixtureRequest) -> Any:
    page = Page(request.param)
    with in_memory(page.limiter) as page.clock:  # type: ignore[attr-defined]
        yield page


def of(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("page", [name], indirect=True, ids=[name])


ANN = {"headers": {"Authorization": "Bearer token-of-ann"}}


@of("decorators")
async def test_a_limit_above_the_login_counts_its_401s(page: Any) -> None:
    assert await page.ask("/guesses", 21) == [401] * 20 + [429]


@of("decorators")
async def test_a_limit_below_the_login_counts_users(page: Any) -> None:
    assert await page.ask("/report", 30) == [401] * 30
    assert await page.ask("/report", 6, **ANN) == [200] * 5 + [429]


@of("decorators")
async def test_two_limits_count_tries_and_users(page: Any) -> None:
    assert await page.ask("/both", 6, **ANN) == [200] * 5 + [429]
    assert await page.ask("/both", 15) == [401] * 14 + [429]


@of("browsers")
async def test_a_refusal_may_be_read_by_javascript(page: Any) -> None:
    origin = {"Origin": "https://shop.example"}
    client = page.app.test_client()
    answers = [await client.get("/data", headers=origin) for _ in range(11)]
    assert answers[-1].status_code == 429
    for answer in answers:
        assert answer.headers["Access-Control-Allow-Origin"] == "https://shop.example"
        assert "Retry-After" in answer.headers["Access-Control-Expose-Headers"]
    asked = origin | {"Access-Control-Request-Method": "GET"}
    assert await page.ask("/data", 20, "OPTIONS", headers=asked) == [200] * 20
    stranger = await client.get("/data", headers={"Origin": "https://other.example"})
    assert "Access-Control-Allow-Origin" not in stranger.headers


@of("checking")
async def test_code_that_checks_answers_429_with_the_wait(page: Any) -> None:
    client = page.app.test_client()
    body = {"email": "ann@example.com"}
    answers = [await client.post("/invite", json=body) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200] * 3 + [429]
    assert 0 < int(answers[-1].headers["Retry-After"]) <= 86_400
    assert answers[-1].headers["Cache-Control"] == "no-store"


@of("checking")
async def test_a_block_refuses_by_itself(page: Any) -> None:
    assert await page.ask("/export", 3) == [200, 200, 429]


@of("checking")
async def test_a_look_charges_nothing(page: Any) -> None:
    for _ in range(3):
        seen = await (await page.app.test_client().get("/usage")).get_json()
        assert seen["left"] == 1000
    await page.limiter.hit("1000/day", "acme", cost=7)
    seen = await (await page.app.test_client().get("/usage")).get_json()
    assert (seen["left"], 0 < seen["resets in seconds"] <= 86_400) == (993, True)


@of("streams")
async def test_streams_are_counted_as_they_open(page: Any) -> None:
    assert await page.ask("/rows", 11) == [200] * 10 + [429]


@of("streams")
async def test_a_metered_stream_is_refused_before_its_status(page: Any) -> None:
    size = sum(map(len, page.names["ROWS"]))
    allowed = 1000 // size
    assert await page.ask("/metered", allowed + 1) == [200] * allowed + [429]


@of("sync")
async def test_sync_views_and_helpers_are_limited(page: Any) -> None:
    assert await page.ask("/sync", 11) == [200] * 10 + [429]
    assert await page.ask("/helper", 6) == [200] * 5 + [429]
    assert await page.ask("/made/pie", 21) == [200] * 20 + [429]
    free = {"json": {"token": "internal"}}
    assert await page.ask("/sync", 3, **free) == [200] * 3


@of("sync")
async def test_a_thread_may_hand_its_hit_to_the_loop(page: Any) -> None:
    text = (ROOT / "docs" / "howto" / "sync.md").read_text("utf-8")
    source = text.partition("## From a thread")[2].partition("```python\n")[2].partition("```")[0]
    exec(compile(source, "docs/howto/sync.md", "exec"), page.names)
    client = page.app.test_client()
    answers = [await client.get("/threaded") for _ in range(11)]
    assert [await answer.get_data(as_text=True) for answer in answers] == ["done"] * 10 + [
        "refused"
    ]


@of("choosing")
async def test_the_limits_to_choose_from_are_limits(page: Any) -> None:
    assert await page.ask("/search", 6) == [200] * 5 + [429]
    assert await page.ask("/feed", 21) == [200] * 20 + [429]
    assert await page.ask("/payments", 11, "POST") == [200] * 10 + [429]
    assert await page.ask("/report", 21) == [200] * 20 + [429]


@of("llm")
async def test_a_streamed_answer_is_refused_by_429(page: Any) -> None:
    text = (ROOT / "docs" / "howto" / "llm.md").read_text("utf-8")
    source = text.partition("## A streamed answer")[2].partition("```python\n")[2]
    exec(compile(source.partition("```")[0], "docs/howto/llm.md", "exec"), page.names)
    client = page.app.test_client()
    answers = [await client.post("/stream", data="a b c " * 4) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert await answers[0].get_data(as_text=True) == "A B C " * 4


@of("tenants")
async def test_a_plan_counts_all_routes_together(page: Any) -> None:
    free = {"headers": {"X-Api-Key": "k-free"}}
    assert await page.ask("/items", 2, **free) == [200, 200]
    assert await page.ask("/prices", 2, **free) == [200, 429]


@of("tenants")
async def test_a_route_may_have_a_limit_besides_the_plan(page: Any) -> None:
    text = (ROOT / "docs" / "howto" / "tenants.md").read_text("utf-8")
    source = text.partition("## One plan")[2].partition("```python\n")[2].partition("```")[0]
    exec(compile(source, "docs/howto/tenants.md", "exec"), page.names)
    free = {"headers": {"X-Api-Key": "k-free"}}
    assert await page.ask("/export", 2, **free) == [200, 429]
    assert await page.ask("/items", 2, **free) == [200, 429]
