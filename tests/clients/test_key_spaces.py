"""A name that one key function gives is never the client that another key function gives."""

import functools
from collections.abc import Callable

import pytest
from quart import Quart, request
from quart.typing import ResponseReturnValue

from quart_ratelimit import Limiter, client_address
from quart_ratelimit.clients.keys import key_parts, slot_key, space_of
from quart_ratelimit.util import get_remote_address

VICTIM = "203.0.113.9"


async def account() -> str:
    return str((await request.form).get("user", ""))


class ByForm:
    def __call__(self) -> object:
        return account()


def failed(response: object) -> bool:
    return getattr(response, "status_code", 0) == 401


@pytest.mark.parametrize("key_prefix", ["", "tests.clients.test_key_spaces.account"])
@pytest.mark.parametrize("key_func", [account, ByForm(), functools.partial(account)])
async def test_tries_at_an_account_named_like_an_address_do_not_lock_the_address_out(
    key_func: Callable[[], str], key_prefix: str
) -> None:
    app = Quart(__name__)
    limiter = Limiter(app=app, key_prefix=key_prefix)

    @app.post("/login")
    @limiter.limit("3/hour", deduct_when=failed)
    @limiter.limit("3/hour", key_func=key_func, deduct_when=failed)
    async def login() -> ResponseReturnValue:
        form = await request.form
        return ("in", 200) if form["password"] == "right" else ("wrong", 401)

    client = app.test_client()

    async def post(address: str, user: str, password: str) -> int:
        form, scope = {"user": user, "password": password}, {"client": (address, 1)}
        return (await client.post("/login", form=form, scope_base=scope)).status_code

    for number in range(3):
        assert await post(f"198.51.100.{number}", VICTIM, "wrong") == 401
    assert await post("198.51.100.9", VICTIM, "right") == 429
    assert await post(VICTIM, "ann", "right") == 200


def test_no_prefix_is_taken_for_a_space() -> None:
    space = space_of(account)
    assert slot_key(*key_parts(space, "", "ann", "login")) != slot_key(
        *key_parts("", space, "ann", "login")
    )
    assert key_parts("", "", "ann", "login") == ["ann", "login"]


@pytest.mark.parametrize("key_func", [client_address(), get_remote_address])
async def test_the_limiters_own_key_function_needs_no_space(key_func: Callable[[], str]) -> None:
    app = Quart(__name__)
    limiter = Limiter(key_func, app=app)

    @app.get("/")
    @limiter.limit("2/hour", key_func=key_func)
    async def index() -> list[str]:
        return [str(part) for limit in limiter.current_limits for part in limit.request_args]

    assert await (await app.test_client().get("/")).get_json() == ["127.0.0.1", "index"]
