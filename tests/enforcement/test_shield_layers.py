"""The shield between layers that change what passes: it refuses nobody for another's sake."""

from collections.abc import Callable
from typing import Any

import pytest
from quart import Request, request

from ..support.asgi import ask
from ..support.sites import ShieldedSite


async def test_a_layer_outside_that_adds_a_field_finds_each_answer_as_the_app_made_it() -> None:
    site = ShieldedSite()
    inner = site.app.asgi_app

    async def outer(scope: Any, receive: Any, send: Any) -> None:
        async def mark(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"].append((b"x-layer", b"1"))
            await send(message)

        await inner(scope, receive, mark)

    for _ in range(2):
        await ask(outer)
    answers = [await ask(outer) for _ in range(10)]
    assert site.shield.answered == 9
    assert {tuple(answer.headers) for answer in answers} == {tuple(answers[0].headers)}
    assert [name for name, _ in answers[-1].headers].count(b"x-layer") == 1


async def test_a_layer_inside_that_changes_the_scope_does_not_change_whose_answer_it_is() -> None:
    site = ShieldedSite()
    inner = site.shield._app

    async def mounted(scope: Any, receive: Any, send: Any) -> None:
        scope["path"], scope["headers"] = "/", [*scope["headers"], (b"x-mounted", b"1")]
        await inner(scope, receive, send)

    site.shield._app = mounted
    for _ in range(4):
        await site.get("/mounted")
    assert site.shield.answered == 1
    await site.get("/")
    assert site.shield.answered == 1


def by_forwarded(scope: Any) -> None:
    """What uvicorn's ``ProxyHeadersMiddleware`` does."""
    address = dict(scope["headers"]).get(b"x-forwarded-for")
    if address:
        scope["client"] = (address.decode(), 0)


def by_version(scope: Any) -> None:
    scope["path"] = dict(scope["headers"]).get(b"x-version", b"/").decode()


def by_override(scope: Any) -> None:
    scope["method"] = dict(scope["headers"]).get(b"x-method", b"GET").decode()


@pytest.mark.parametrize(
    ("change", "refused", "other"),
    [
        (by_forwarded, {"x-forwarded-for": "192.0.2.3"}, {"x-forwarded-for": "192.0.2.2"}),
        (by_forwarded, {}, {"x-forwarded-for": "192.0.2.2"}),
        (by_version, {"x-version": "/"}, {"x-version": "/free"}),
        (by_version, {}, {"x-version": "/free"}),
        (by_override, {}, {"x-method": "OPTIONS"}),
    ],
)
async def test_a_layer_inside_that_reads_a_field_has_no_other_client_or_route_refused(
    change: Callable[[Any], None], refused: dict[str, str], other: dict[str, str]
) -> None:
    site = ShieldedSite()
    inner = site.shield._app

    async def layer(scope: Any, receive: Any, send: Any) -> None:
        change(scope)
        await inner(scope, receive, send)

    site.shield._app = layer
    assert (await site.get(**other)).status == 200
    for number in range(30):
        await site.get(**refused, **{"x-number": str(number)})
    assert (await site.get(**other)).status == 200


class Behind(Request):
    """The address as a proxy's field gives it, or else the peer's."""

    @property
    def remote_addr(self) -> str | None:
        return self.headers.get("x-real-ip") or self._peer

    @remote_addr.setter
    def remote_addr(self, value: str | None) -> None:
        self._peer = value


@pytest.mark.parametrize("fields", [{}, {"x-real-ip": "198.51.100.1"}])
async def test_an_address_that_the_app_finds_by_itself_has_no_other_client_refused(
    fields: dict[str, str],
) -> None:
    site = ShieldedSite()
    site.app.request_class = Behind
    for number in range(30):
        await site.get(**fields, **{"x-number": str(number)})
    assert (await site.get(**{"x-real-ip": "198.51.100.2"})).status == 200


async def test_an_address_that_the_app_puts_into_a_request_has_no_other_client_refused() -> None:
    site = ShieldedSite()

    async def behind() -> None:
        request.remote_addr = request.headers["x-real-ip"]

    site.app.before_request_funcs[None].insert(0, behind)
    for number in range(30):
        await site.get(**{"x-real-ip": "198.51.100.1", "x-number": str(number)})
    assert (await site.get(**{"x-real-ip": "198.51.100.2"})).status == 200
