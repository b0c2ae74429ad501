"""What is told of decisions and of the store: to whom it may concern, and never of a client."""

import logging
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest
from quart import Quart

from quart_ratelimit import (
    ConfigurationError,
    FixedWindow,
    Hit,
    Limiter,
    StoreError,
    rate_limit,
    signals,
)
from quart_ratelimit.signals import Decided
from quart_ratelimit.stores import MemoryStore

from ..support.sites import ShieldedSite
from ..support.stores import guarded

#: A client whose name no event and no log may bear.
ANN = "198.51.100.7"


class Ear:
    """Hears all signals, in order."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Any, dict[str, Any]]] = []
        self.receivers: list[tuple[signals.Signal, Any]] = []
        for signal in ALL:
            self.receivers.append((signal, self._receiver(signal.name)))
            signal.connect(self.receivers[-1][1])

    def _receiver(self, name: str) -> Any:
        def hear(sender: Any, **facts: Any) -> None:
            self.heard.append((name, sender, facts))

        return hear

    @property
    def events(self) -> list[Decided]:
        return [facts["event"] for name, _, facts in self.heard if name == "limit_decided"]

    def names(self) -> list[str]:
        return [name for name, _, _ in self.heard]


ALL = [
    signals.limit_decided,
    signals.store_asked,
    signals.batch_sent,
    signals.store_unavailable,
    signals.store_recovered,
]


@pytest.fixture
def ear() -> Iterator[Ear]:
    ear = Ear()
    yield ear
    for signal, receiver in ear.receivers:
        signal.disconnect(receiver)


def limited(*limits: str, **options: Any) -> tuple[Quart, Limiter]:
    app = Quart(__name__)
    limiter = Limiter(lambda: ANN, app=app, store=MemoryStore(), **options)

    @app.get("/")
    @limiter.limit(";".join(limits))
    async def index() -> str:
        return "hello"

    return app, limiter


async def get(app: Quart, times: int) -> None:
    for _ in range(times):
        await app.test_client().get("/")


async def test_each_decision_is_told_once_with_its_limit_and_scope(ear: Ear) -> None:
    app, limiter = limited("2/hour")
    await get(app, 3)
    assert [(e.limit, e.scope, e.outcome, e.by) for e in ear.events] == [
        ("2 per 1 hour", "index", "allowed", "store"),
        ("2 per 1 hour", "index", "allowed", "store"),
        ("2 per 1 hour", "index", "refused", "store"),
    ]
    assert all(sender is limiter for _, sender, _ in ear.heard)


async def test_of_a_refused_request_only_the_refusal_is_told(ear: Ear) -> None:
    app, _ = limited("1/minute", "5/hour")
    await get(app, 2)
    assert [(e.limit, e.outcome) for e in ear.events] == [
        ("1 per 1 minute", "allowed"),
        ("5 per 1 hour", "allowed"),
        ("1 per 1 minute", "refused"),
    ]


async def test_the_snippets_decorator_is_heard(ear: Ear) -> None:
    app = Quart(__name__)
    Limiter(app=app)

    @app.get("/")
    @rate_limit("1/minute; 5/hour")
    async def index() -> str:
        return "OK"

    await get(app, 2)
    assert [(e.limit, e.scope, e.outcome) for e in ear.events] == [
        ("1 per 1 minute", "index", "allowed"),
        ("5 per 1 hour", "index", "allowed"),
        ("1 per 1 minute", "index", "refused"),
    ]


async def test_near_is_less_than_a_fifth(ear: Ear) -> None:
    app, _ = limited("10/hour")
    await get(app, 11)
    assert [e.near_limit for e in ear.events] == [False] * 8 + [True, True, False]


async def test_no_event_names_the_client_but_the_hit_knows_its_key(ear: Ear) -> None:
    app, _ = limited("1/hour")
    await get(app, 2)
    assert ANN not in repr(ear.events)
    assert all(ANN in facts["hit"].key for _, _, facts in ear.heard)


async def test_what_only_looks_or_gives_back_is_not_told(ear: Ear) -> None:
    app, limiter = limited("1/hour")
    async with app.app_context():
        charged = await limiter.hit("1/hour", "ann")
        await limiter.peek("1/hour", "ann")
        await limiter.refund("1/hour", "ann", charged=charged)
    assert [e.outcome for e in ear.events] == ["allowed"]


async def test_what_a_shield_refuses_is_told(ear: Ear) -> None:
    site = ShieldedSite()
    for _ in range(5):
        await site.get()
    assert site.shield.answered == 2
    assert [e.outcome for e in ear.events] == ["allowed"] * 2 + ["refused"] * 3


async def test_while_nobody_listens_no_function_of_the_signals_is_called() -> None:
    for signal in (signals.limit_decided, signals.store_asked):
        signal._clear_state()  # an app of another test may still listen
    signals.recorders.clear()
    app, limiter = limited("2/hour")
    guard, _, _ = guarded()
    called: set[str] = set()

    def note(frame: FrameType, event: str, _: Any) -> None:
        # A log of a refusal names its limit, whoever listens.
        if frame.f_code.co_filename == signals.__file__ and frame.f_code.co_name != "limit_name":
            called.add(frame.f_code.co_name)

    sys.setprofile(note)
    try:
        await get(app, 3)
        await guard.hit([Hit(FixedWindow(9, 60), "ann")])
        async with app.app_context():
            await limiter.hit("1/hour", "ann")
    finally:
        sys.setprofile(None)
    assert called == set()


async def test_a_named_quota_is_told_by_its_name(ear: Ear) -> None:
    app, limiter = limited("1/hour")
    async with app.app_context():
        await limiter.hit(FixedWindow(1, 60, name="login"), "ann")
    assert [e.limit for e in ear.events] == ["login"]


async def test_a_breach_of_a_meta_limit_is_told(ear: Ear) -> None:
    app, _ = limited("1/minute", meta_limits=["1/hour"])
    await get(app, 3)
    assert [(e.limit, e.outcome) for e in ear.events] == [
        ("1 per 1 minute", "allowed"),
        ("1 per 1 minute", "refused"),
        ("1 per 1 hour", "refused"),
    ]


async def test_the_store_is_timed_and_told_when_it_goes_and_comes(ear: Ear) -> None:
    guard, store, clock = guarded("open")
    await guard.hit([Hit(FixedWindow(9, 60), "ann")])
    store.error = StoreError("away")
    for _ in range(6):
        await guard.hit([Hit(FixedWindow(9, 60), "ann")])
    store.error, clock.now = None, 5000
    await guard.hit([Hit(FixedWindow(9, 60), "ann")])
    asked = ["store_asked"]
    assert ear.names() == [*asked * 6, "store_unavailable", *asked, "store_recovered"]
    answered = [facts["answered"] for name, _, facts in ear.heard if name == "store_asked"]
    assert answered == [True, *[False] * 5, True]
    assert {"policy": "open"} in [facts for _, _, facts in ear.heard]


async def test_a_policys_decision_says_so(ear: Ear) -> None:
    guard, store, _ = guarded("open")
    store.error = StoreError("away")
    other = Limiter(lambda: ANN, app=(second := Quart("second")), store=guard)
    async with second.app_context():
        await other.hit("9/hour", "ann")
    assert [(e.outcome, e.by) for e in ear.events] == [("allowed", "open")]


async def test_a_receiver_that_fails_harms_no_request(caplog: pytest.LogCaptureFixture) -> None:
    app, _ = limited("1/hour")

    def broken(_: Any, **__: Any) -> None:
        raise RuntimeError("my own fault")

    with signals.limit_decided.connected_to(broken):
        assert (await app.test_client().get("/")).status_code == 200
    assert "a receiver of limit_decided failed" in caplog.text


def test_an_async_receiver_is_refused_where_it_is_connected() -> None:
    async def late(_: Any, **__: Any) -> None: ...

    with pytest.raises(ConfigurationError, match="late is async"):
        signals.limit_decided.connect(late)


async def test_logs_have_fields_and_no_client(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "quart_ratelimit")
    app, _ = limited("1/hour")
    await get(app, 2)
    (record,) = [r for r in caplog.records if getattr(r, "ratelimit_event", "") == "limit_refused"]
    fields = {name: v for name, v in vars(record).items() if name.startswith("ratelimit_")}
    assert fields == {
        "ratelimit_event": "limit_refused",
        "ratelimit_limit": "1 per 1 hour",
        "ratelimit_scope": "index",
        "ratelimit_by": "store",
    }
    assert ANN not in caplog.text


async def test_the_stores_comings_and_goings_are_logged_with_fields(
    caplog: pytest.LogCaptureFixture,
) -> None:
    guard, store, clock = guarded("closed")
    store.error = StoreError("away")
    for _ in range(5):
        await guard.hit([Hit(FixedWindow(9, 60), ANN)])
    store.error, clock.now = None, 5000
    await guard.hit([Hit(FixedWindow(9, 60), ANN)])
    events = [getattr(record, "ratelimit_event", None) for record in caplog.records]
    assert events == ["store_unavailable", "store_recovered"]
    assert ANN not in caplog.text
