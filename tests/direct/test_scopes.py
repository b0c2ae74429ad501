"""What counts together and what apart, when code checks limits itself."""

import itertools
from collections.abc import Callable
from typing import Any

from quart import Quart
from quart.views import View

from quart_ratelimit import Limiter
from quart_ratelimit.clients.keys import join_key, key_parts, slot_key
from quart_ratelimit.stores import MemoryStore


class Heard(MemoryStore):
    """Notes the keys that it is asked about."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: list[str] = []

    async def hit(self, hits: Any) -> Any:
        self.keys += [hit.key for hit in hits if hit.cost > 0]
        return await super().hit(hits)


def site(**options: Any) -> tuple[Quart, Limiter, Heard]:
    app, store = Quart(__name__), Heard()
    return app, Limiter(app=app, store=store, **options), store


async def keys_of(app: Quart, store: Heard, *paths: str) -> list[str]:
    for path in paths:
        assert (await app.test_client().get(path)).status_code == 200
    return store.keys


async def test_class_based_views_have_places_of_their_own() -> None:
    app, limiter, store = site()

    class One(View):
        decorators = [limiter.in_flight(2)]  # noqa: RUF012

        async def dispatch_request(self) -> str:
            return ""

    class Other(One):
        pass

    app.add_url_rule("/one", view_func=One.as_view("one"))
    app.add_url_rule("/other", view_func=Other.as_view("other"))
    assert len(set(await keys_of(app, store, "/one", "/other", "/one"))) == 2


async def test_views_of_a_factory_have_places_of_their_own() -> None:
    app, limiter, store = site()

    def make(name: str) -> Callable[[], Any]:
        async def view() -> str:
            return name

        return limiter.in_flight(2)(view)

    for name in ("one", "other"):
        app.add_url_rule(f"/{name}", name, make(name))
    assert len(set(await keys_of(app, store, "/one", "/other"))) == 2


async def test_each_block_has_places_of_its_own_and_the_same_each_time() -> None:
    _, limiter, store = site()

    async def enter() -> None:
        async with limiter.in_flight(2, "ann"):
            pass
        async with limiter.in_flight(2, "ann"), limiter.in_flight(2, "ann"):
            pass

    await enter()
    await enter()
    assert len(set(store.keys[:3])) == 3
    assert store.keys[:3] == store.keys[3:]


async def test_an_object_has_its_places_wherever_it_is_entered() -> None:
    _, limiter, store = site()
    guard = limiter.in_flight(2, "ann")
    async with guard:
        pass
    async with guard:
        pass
    assert len(set(store.keys)) == 1


async def test_blocks_of_one_scope_share_their_places() -> None:
    _, limiter, store = site()
    async with limiter.in_flight(2, "ann", scope="export"):
        pass
    async with limiter.in_flight(2, "ann", scope="export"):
        pass
    assert len(set(store.keys)) == 1


async def test_code_above_a_function_does_not_change_its_blocks() -> None:
    source = "async def work():\n    async with limiter.in_flight(2, 'ann'):\n        pass\n"
    keys = []
    for above in ("", "\n\nx = 1\n"):
        _, limiter, store = site()
        names: dict[str, Any] = {"limiter": limiter, "__name__": "jobs"}
        exec(compile(above + source, "jobs.py", "exec"), names)
        await names["work"]()
        keys.append(store.keys[0])
    assert keys == ["||in_flight|block|{ann}|jobs.work:1:15"] * 2


async def test_a_key_prefix_is_in_every_key() -> None:
    for prefix in ("shop", "hit", "", "|", "shop|"):
        _, limiter, store = site(key_prefix=prefix)
        await limiter.hit("5/minute", "ann")
        await limiter.wait("5/minute", "ann", seconds=0)
        async with limiter.reserve("5/minute", "ann", cost=1), limiter.in_flight(2, "ann"):
            pass
        start = join_key(prefix) + "|"
        assert all(key.startswith(start) for key in store.keys)
        assert (await limiter.peek("5/minute", "ann")).remaining == 2


async def test_services_on_one_store_do_not_use_up_each_others_limits() -> None:
    store = MemoryStore()
    shop, bank = (
        Limiter(app=Quart(name), store=store, key_prefix=name) for name in ("shop", "bank")
    )
    assert await shop.hit("1/minute", "ann")
    assert await bank.hit("1/minute", "ann")
    async with shop.in_flight(1, "ann", scope="job"), bank.in_flight(1, "ann", scope="job"):
        pass


async def test_clients_of_another_key_function_have_places_of_their_own() -> None:
    app, limiter, store = site()
    account = limiter.in_flight(1, key_func=lambda: "203.0.113.9", scope="work")
    address = limiter.in_flight(1, scope="work")

    @app.get("/")
    async def view() -> str:
        async with account, address:
            return ""

    client = app.test_client()
    answer = await client.get("/", scope_base={"client": ("203.0.113.9", 1)})
    assert answer.status_code == 200
    assert len(set(store.keys)) == 2


def test_no_two_different_checks_ever_have_one_key() -> None:
    words = ["", "a", "|", "{a}", "hit", "block", "view a", "a|", "|a", "%7C"]
    checks = itertools.product(words, words, ["", "hit", "in_flight"], words[:4], words[:4], words)
    keys: dict[str, tuple[str, ...]] = {}
    for prefix, space, kind, place, who, scope in checks:
        if not kind and place:
            continue
        check = (prefix, space, kind, place, who, scope)
        key = slot_key(*key_parts(prefix, space, who, scope, kind=kind, place=place))
        assert keys.setdefault(key, check) == check
    assert len(keys) > 30_000
