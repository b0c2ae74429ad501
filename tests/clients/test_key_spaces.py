"""A name that one key function gives is never the client that another key function gives."""

import dataclasses
import enum
import functools
import gc
import os
import subprocess
import sys
import weakref
from collections.abc import Callable
from decimal import Decimal
from operator import attrgetter, itemgetter, methodcaller
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import UUID

import pytest
from quart import Quart, request
from quart.typing import ResponseReturnValue

from quart_ratelimit import Limiter, client_address
from quart_ratelimit.clients.key_spaces import space_of
from quart_ratelimit.clients.keys import key_parts, slot_key
from quart_ratelimit.util import get_remote_address

from ..support.serving import ROOT

VICTIM = "203.0.113.9"


async def account() -> str:
    return str((await request.form).get("user", ""))


class ByForm:
    async def __call__(self) -> str:
        return await account()


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


def by_header(name: str) -> Callable[[], str]:
    return lambda: request.headers.get(name, "?")


def by_argument(name: str = "?") -> str:
    return name


class Named:
    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self) -> str:
        return request.headers.get(self.name, "?")

    def method(self) -> str:
        return self.name


@dataclasses.dataclass(frozen=True, slots=True)
class Fields:
    name: str

    def __call__(self) -> str:
        return self.name


class Field(enum.Enum):
    USER = "X-User"
    ORGANISATION = "X-Org"


def by_any(value: object) -> Callable[[], str]:
    return lambda: str(value)


class Holding:
    def __init__(self, value: object) -> None:
        self.value = value

    def __call__(self) -> str:
        return str(self.value)


#: Pairs of values that a developer may make two key functions of.
PAIRS: list[tuple[object, object]] = [
    (["X-User"], ["X-Org"]), ({"a": "X-User"}, {"a": "X-Org"}), ({"X-User"}, {"X-Org"}),
    (MappingProxyType({"a": 1}), MappingProxyType({"a": 2})), ((["a"],), (["b"],)),
    (Field.USER, Field.ORGANISATION), (Path("/a"), Path("/b")), (Decimal(1), Decimal(2)),
    (UUID(int=1), UUID(int=2)), (range(3), range(4)), (bytearray(b"a"), bytearray(b"b")),
    (itemgetter("a"), itemgetter("b")), (attrgetter("a"), attrgetter("b")),
    (methodcaller("a", b=1), methodcaller("a", b=2)), (str.lower, str.upper), (len, ord),
    ("a".join, "b".join), (enum, functools), (int, str), (Named, Fields),
    (functools.partial(int, base=2), functools.partial(int, base=3)),
]  # fmt: skip


def apart() -> list[Callable[[], str]]:
    """Key functions that differ, many of one name."""
    return [
        account, get_remote_address, client_address(), client_address(1),
        client_address("10.0.0.0/8"),
        lambda: request.headers.get("X-A", ""), lambda: request.headers.get("X-B", ""),
        lambda: "1", lambda: 1, lambda: 1.0, lambda: b"1", lambda: request.path,
        lambda: request.host,
        lambda a="x": a, lambda a="y": a, lambda *, a="x": a,
        by_header("X-A"), by_header("X-B"), Named("X-A"), Named("X-B"), Named("X-A").method,
        Named("X-B").method, Fields("X-A"), Fields("X-B"),
        functools.partial(by_argument, "a"), functools.partial(by_argument, "b"),
        functools.partial(by_argument, name="a"), functools.partial(by_argument, ("a",)),
        functools.partial(by_argument, ("a", "b")), functools.partial(by_argument, frozenset("ab")),
        functools.partial(by_argument, frozenset("ac")), functools.partial(Named("a")),
        functools.partial(Named("b")), lambda: "x" in {"a", "b", "c"},
        lambda: "x" in {"a", "b", "d"}, *(by_any(value) for pair in PAIRS for value in pair),
    ]  # fmt: skip


def test_key_functions_that_differ_have_spaces_of_their_own() -> None:
    functions = apart()
    spaces = [space_of(function) for function in functions]
    assert len(set(spaces)) == len(functions)
    assert [space_of(function) for function in apart()] == spaces


@pytest.mark.parametrize("make", [by_any, Holding, functools.partial(functools.partial, by_any)])
@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_what_a_key_function_was_made_with_decides_on_its_space(
    make: Callable[[object], Callable[[], str]], one: object, other: object
) -> None:
    assert space_of(make(one)) != space_of(make(other))


def test_spaces_are_the_same_in_all_processes() -> None:
    code = (
        "from tests.clients.test_key_spaces import apart, space_of\n"
        "print([space_of(function) for function in apart()])"
    )
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": seed},
            cwd=ROOT, capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert told == {f"{[space_of(function) for function in apart()]}\n"}


def test_code_above_a_function_does_not_change_its_space() -> None:
    source = "key = lambda: request.headers.get('X-A')\n"
    spaces = set()
    for above in ("", "\n\nx = 1\n"):
        names: dict[str, Any] = {"__name__": "shop"}
        exec(compile(above + source, "shop.py", "exec"), names)
        spaces.add(space_of(names["key"]))
    assert len(spaces) == 1


async def test_a_block_of_a_request_counts_one_client_in_all_requests() -> None:
    app = Quart(__name__)
    limiter = Limiter(app=app)

    @app.get("/<user>")
    async def index(user: str) -> str:
        async with limiter.limit("1/hour", key_func=lambda: user):
            pass
        async with limiter.limit("1/hour", scope="s", key_func=Fields(user)):
            return user

    client = app.test_client()
    answers = [await client.get(path) for path in ("/ann", "/ann", "/bob", "/bob")]
    assert [answer.status_code for answer in answers] == [200, 429, 200, 429]


def test_the_space_of_a_function_does_not_keep_it() -> None:
    function = by_header("X-A")
    space_of(function)
    known = weakref.ref(function)
    del function
    gc.collect()
    assert known() is None


async def test_rules_by_closures_of_one_factory_count_apart() -> None:
    app = Quart(__name__)
    limiter = Limiter(app=app)

    @app.get("/")
    @limiter.limit("1/hour", key_func=by_header("X-A"))
    @limiter.limit("1/hour", key_func=by_header("X-B"), methods=["GET"])
    async def index() -> str:
        return ""

    client = app.test_client()
    first = await client.get("/", headers={"X-A": "ann", "X-B": "bob"})
    other = await client.get("/", headers={"X-A": "bob", "X-B": "ann"})
    again = await client.get("/", headers={"X-A": "ann", "X-B": "eve"})
    assert [one.status_code for one in (first, other, again)] == [200, 200, 429]
