"""examples/, and the pages that show them: every app is driven to its limit."""

import asyncio
import importlib.util
from collections.abc import Callable
from types import ModuleType

import pytest
from quart import Quart

from ..support import markdown
from ..support.markdown import APPS
from ..support.serving import ROOT

EXAMPLES = sorted((ROOT / "examples").rglob("*.py"))
Load = Callable[[str], ModuleType]


def name_of(path: object) -> str:
    return str(path).removeprefix(f"{ROOT / 'examples'}/").removesuffix(".py")


@pytest.fixture(params=["memory", "redis"])
def load(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Imports an example afresh, as ``hypercorn`` would, with the store in ``REDIS_URL``.

    "page": the app that docs/ shows under the same name instead.
    """
    url = "" if request.param == "memory" else request.getfixturevalue("redis_url")
    monkeypatch.setenv("REDIS_URL", url)

    def run(name: str) -> ModuleType:
        if request.param == "page":
            block = next(one for one in APPS if one.page.stem == name)
            module = ModuleType(name)
            vars(module).update(markdown.load(block, url))
            return module
        path = ROOT / "examples" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return run


#: For examples that a page shows, too.
with_page = pytest.mark.parametrize("load", ["memory", "redis", "page"], indirect=True)


async def post_form(app: Quart, times: int, user: str, password: str, peer: str) -> list[int]:
    client = app.test_client()
    form = {"user": user, "password": password}
    scope = {"client": (peer, 5000)}
    return [
        (await client.post("/login", form=form, scope_base=scope)).status_code for _ in range(times)
    ]


def test_every_example_is_driven() -> None:
    with_real_clients = {"chat", "sse"}  # tests/direct/test_real_sockets.py
    assert {name_of(path) for path in EXAMPLES} - with_real_clients == {
        "behind_proxy",
        "flask_migration/after",
        "flask_migration/before",
        "jobs",
        "llm",
        "login",
        "tenants",
    }


@pytest.mark.parametrize("path", EXAMPLES, ids=name_of)
def test_an_example_is_short_and_says_how_to_run_it(path: object) -> None:
    text = (ROOT / str(path)).read_text("utf-8")
    assert len(text.splitlines()) < 60
    module = name_of(path).replace("/", ".")
    assert "Run: ``" in text.partition('"""\n\n')[0]
    assert f"examples.{module}" in text


@with_page
async def test_login_charges_an_address_for_failures_only(load: Load) -> None:
    app = load("login").app
    async with app.test_app():
        assert await post_form(app, 9, "ann", "correct horse", "203.0.113.1") == [200] * 9
        assert await post_form(app, 6, "ann", "guess", "203.0.113.1") == [401] * 5 + [429]
        assert await post_form(app, 1, "ann", "correct horse", "203.0.113.1") == [429]
        assert await post_form(app, 1, "ann", "correct horse", "203.0.113.2") == [200]


@with_page
async def test_login_charges_an_account_whoever_tries_it(load: Load) -> None:
    app = load("login").app
    async with app.test_app():
        for host in (1, 2):
            peer = f"203.0.113.{host}"
            assert await post_form(app, 5, " Ann", "guess", peer) == [401] * 5
        assert await post_form(app, 1, "ann", "guess", "203.0.113.3") == [429]
        assert await post_form(app, 1, "bob", "battery staple", "203.0.113.3") == [200]


@with_page
async def test_login_counts_guesses_that_come_at_once(load: Load) -> None:
    app = load("login").app
    async with app.test_app():
        runs = [post_form(app, 1, "ann", "guess", "203.0.113.1") for _ in range(40)]
        statuses = [status for run in await asyncio.gather(*runs) for status in run]
    assert sorted(statuses) == [401] * 5 + [429] * 35


@with_page
async def test_tenants_have_the_limit_of_their_plan(load: Load) -> None:
    module = load("tenants")
    async with module.app.test_app():

        async def get(key: str, times: int) -> list[int]:
            client = module.app.test_client()
            headers = {"X-Api-Key": key}
            return [(await client.get("/items", headers=headers)).status_code for _ in range(times)]

        assert await get("k-free", 4) == [200] * 3 + [429]
        assert await get("k-pro", 31) == [200] * 30 + [429]
        assert await get("k-stolen", 1) == [401]
        module.TENANTS["k-free"] = ("acme", "pro")
        assert await get("k-free", 28) == [200] * 27 + [429]  # 3 of the 30 were used before


async def test_a_limit_that_tenants_try_refuses_nobody(load: Load) -> None:
    module = load("tenants")
    async with module.app.test_app():
        client = module.app.test_client()
        headers = {"X-Api-Key": "k-pro"}
        statuses = [(await client.get("/search", headers=headers)).status_code for _ in range(31)]
    assert statuses == [200] * 30 + [429]  # by the plan, not by the tenth


@with_page
async def test_llm_reserves_what_may_be_spent_and_charges_what_was(load: Load) -> None:
    app = load("llm").app
    async with app.test_app():
        client = app.test_client()

        async def chat(prompt: str) -> tuple[int, object]:
            answer = await client.post("/chat", headers={"X-User": "ann"}, data=prompt)
            return answer.status_code, (await answer.get_json(silent=True) or {}).get("left")

        assert await chat("a b c d e") == (200, 90)
        assert (await chat(""))[0] == 500  # the model failed: given back
        assert (await chat("a " * 61))[0] == 413  # no wait would help
        assert await chat("a " * 25) == (200, 40)
        assert (await chat("a b c"))[0] == 429  # 43 may be spent, 40 are left
        other = await client.post("/chat", headers={"X-User": "bob"}, data="a")
        assert other.status_code == 200


@pytest.mark.parametrize(("trusted", "alone"), [("127.0.0.1", True), ("", False)])
async def test_behind_proxy_believes_only_a_trusted_proxy(
    load: Load, monkeypatch: pytest.MonkeyPatch, trusted: str, alone: bool
) -> None:
    monkeypatch.setenv("TRUSTED_PROXIES", trusted)
    app = load("behind_proxy").app
    async with app.test_app():

        async def get(client: str) -> tuple[int, object]:
            answer = await app.test_client().get(
                "/",
                headers={"X-Forwarded-For": client},
                scope_base={"client": ("127.0.0.1", 5000)},
            )
            return answer.status_code, (await answer.get_json(silent=True) or {}).get("you")

        you = "203.0.113.7" if alone else "127.0.0.1"
        assert [await get("203.0.113.7") for _ in range(5)] == [(200, you)] * 5
        assert (await get("203.0.113.7"))[0] == 429
        assert (await get("203.0.113.8"))[0] == (200 if alone else 429)


async def test_jobs_wait_for_their_turn_in_order(load: Load) -> None:
    module = load("jobs")
    async with module.app.test_app():  # it waits for background tasks as it ends
        started = await module.app.test_client().post("/deliveries/12")
        assert started.status_code == 202
    assert module.delivered == list(range(12))
    assert module.given_up == []


async def test_a_job_that_cannot_be_in_time_is_told_at_once(load: Load) -> None:
    module = load("jobs")
    module.app.config["PATIENCE"] = 0  # the second would wait for 100 ms
    async with module.app.test_app():
        await module.app.test_client().post("/deliveries/4")
    assert module.delivered == [0]
    assert sorted(module.given_up) == [1, 2, 3]


@pytest.mark.parametrize("load", ["redis"], indirect=True)
async def test_flask_before_and_after_share_one_budget(load: Load) -> None:
    before, after = load("flask_migration/before"), load("flask_migration/after")
    async with after.app.test_app():
        old, new = before.app.test_client(), after.app.test_client()
        statuses: list[int] = []
        for _ in range(6):
            statuses.append(old.get("/api/data").status_code)
            scope = {"client": ("127.0.0.1", 5000)}
            statuses.append((await new.get("/api/data", scope_base=scope)).status_code)
    assert statuses == [200] * 10 + [429] * 2
    before.client.close()
