"""A key function that names nobody: the request counts for its client's address."""

from collections.abc import Iterator
from typing import Any

import pytest
from quart import Quart

from quart_ratelimit import ConfigurationError, client_address
from quart_ratelimit.clients import key_functions
from quart_ratelimit.clients.key_functions import client_named
from quart_ratelimit.util import get_remote_address

PEER = {"client": ("192.0.2.7", 1)}


def by_account() -> str:
    return ""


@pytest.fixture(autouse=True)
def unlogged() -> Iterator[None]:
    key_functions._logged._texts.clear()
    yield
    key_functions._logged._texts.clear()


@pytest.mark.parametrize("answer", ["", None, b"", object()])
@pytest.mark.parametrize(
    "own", [client_address(), client_address(1), get_remote_address, by_account]
)
async def test_nobody_is_replaced_by_the_address(
    answer: Any, own: Any, caplog: pytest.LogCaptureFixture
) -> None:
    app = Quart(__name__)
    found = []

    @app.get("/")
    async def index() -> str:
        found.append(client_named(answer, by_account, own))
        return ""

    client = app.test_client()
    for _ in range(3):
        await client.get("/", headers={"X-Forwarded-For": "198.51.100.1"}, scope_base=PEER)
    trusts = bool(getattr(own, "proxies", False))
    assert [who for who, _ in found] == ["198.51.100.1" if trusts else "192.0.2.7"] * 3
    for _, by in found:
        assert isinstance(by, key_functions.ClientAddress)
        assert (by is own) is isinstance(own, key_functions.ClientAddress)
    named = [one for one in caplog.records if "returned no client" in one.getMessage()]
    assert len(named) == 1
    assert "by_account" in named[0].getMessage()


@pytest.mark.parametrize(
    ("answer", "who"), [("ann", "ann"), (5, "5"), (0, "0"), (False, "False"), ([], "[]")]
)
def test_somebody_is_known_by_the_function_that_named_him(answer: Any, who: str) -> None:
    assert client_named(answer, by_account, client_address()) == (who, by_account)


def test_a_function_is_nobody() -> None:
    with pytest.raises(ConfigurationError, match="returned a function"):
        client_named(by_account, by_account, client_address())
