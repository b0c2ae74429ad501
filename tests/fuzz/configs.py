"""Random settings, right and wrong: an app is built, or one of them is named in the error.

A mistake is found when the app is built, whatever it is, and whether it is an argument or a
variable; nothing that is printed of it bears a password. What is built answers.
"""

import asyncio
import inspect
import logging
import traceback
from collections import Counter
from random import Random
from typing import Any

from quart import Quart

from quart_ratelimit import (
    ApplicationLimit,
    ConfigurationError,
    FixedWindow,
    HeaderNames,
    Limit,
    Limiter,
    MetaLimit,
    client_address,
    client_in,
)
from quart_ratelimit.constants import ConfigVars
from quart_ratelimit.extension.binding import binding_of
from quart_ratelimit.settings.table import VARIABLES
from quart_ratelimit.stores import MemoryStore
from quart_ratelimit.util import get_remote_address

from . import main

#: What no error may show.
PASSWORD = "hunter2"

#: Arguments that are no settings, or have no wrong value.
NO_SETTINGS = {"app", "store"}
ARGUMENTS = sorted(set(inspect.signature(Limiter).parameters) - NO_SETTINGS)
KNOWN = sorted(value for name, value in vars(ConfigVars).items() if name.isupper())
#: Each variable's argument.
ARGUMENT_OF = {variable: name for name, variable in VARIABLES.items()}


async def view() -> str:
    return "here"


async def asynchronous() -> int:
    return 1


def wants_two(first: object, second: object) -> str:
    return f"{first}{second}"


#: Values of every kind that Python, an environment or a TOML file has.
ANY: list[Any] = [
    *(None, True, False, 0, 1, -1, 5, 2**70, 0.0, 0.5, -0.5, 61.0, float("nan"), float("inf")),
    *("", " ", "0", "1", "5", "true", "False", "none", "\x00", "\ud800", "é" * 99, "x" * 5_000),
    *(b"", b"\xff", b"0123456789abcdef", bytearray(b"x"), 1j, ..., object()),
    *([], [None], [[]], [""], [5], (), (1, 2), {}, {"": ""}, {1: 2}, {"a": object()}, set(), {1}),
    *(lambda: 1, lambda _: 0, asynchronous, wants_two, HeaderNames.LIMIT),
    *(range(3), iter([]), FixedWindow(5, 60), MemoryStore(), client_address, client_in),
]
LIMITS: list[Any] = [
    *("5/minute", "5/minute; 100/day", "5/fortnight", "0/second", ";", "5 per 10", "1/s burst 9"),
    *(FixedWindow(5, 60), Limit("5/minute"), ApplicationLimit("5/day"), MetaLimit("5/day")),
    *(["5/minute", "9/hour"], ["5/minute", 9], (Limit("5/minute", cost=9),), [lambda: "5/minute"]),
    *(Limit("5/minute", key_function=client_address), Limit(""), [Limit("5/day", cost=-0)]),
]
URIS: list[Any] = [
    *("memory://", "memory://?x=1", "memory:", f"memory://:{PASSWORD}@h", "redis://", "redis:///"),
    *(
        "redis://h:1/0",
        f"redis://:{PASSWORD}@h:1/0",
        f"redis://u:{PASSWORD}/x@h",
        "redis://h:99999",
    ),
    *("redis://h:abc", "redis://h/abc", f"redis://h?password={PASSWORD}&x=1", "abc"),
    *("redis://h?db=abc", f"redis://h?max_connections=a&password={PASSWORD}", "redis://[::1"),
    *("redis://h?socket_timeout=x", f"redis://h?password={PASSWORD}&protocol=x", "rediss://h"),
    *(f"unix:///s?password={PASSWORD}", "unix://", f"valkey://a:{PASSWORD}@", "valkeys://h:1/-1"),
    *(f"redis+sentinel://u:{PASSWORD}@h:1/s/0", "redis+sentinel://h:abc/s", "redis+unix:///"),
    *("redis+sentinel://h:1/s/abc", f"redis+sentinel://:{PASSWORD}@h:1,h:2", "redis+x://h"),
    *(f"redis+cluster://:{PASSWORD}@h:1", "redis+cluster://h:1/abc", "redis+cluster://"),
    *(f"redis+cluster://h:1/5?password={PASSWORD}", f"async+redis://:{PASSWORD}@h", "://", "a://b"),
    *(f"redis://:{PASSWORD}#@h", f"redis://:{PASSWORD}?@h", f"redis://:{PASSWORD}@\ud800:1"),
]
OPTIONS = [
    *("deadline", "max_connections", "prefix", "key_prefix", "password", "username", "db", "host"),
    *("port", "ssl", "retry", "protocol", "encoding", "socket_timeout", "decode_responses", "url"),
    *("connection_pool", "path", "credential_provider", "ssl_cert_reqs", "parser_class", "nodes"),
    *("source", "self", "options", "uri", "connection_class", "client_name", "lib_name", "x y", ""),
]
#: What fits a name, at least nearly.
FITTING: dict[str, list[Any]] = {
    "key_func": [get_remote_address, client_address(), client_address(1), asynchronous],
    "storage_uri": URIS,
    "strategy": ["fixed-window", "moving-window", "gcra", "Fixed-Window", "fixed window"],
    "retry_after": ["delta-seconds", "http-date", "seconds"],
    "header_fields": [
        "draft-10",
        ["x-ratelimit", "draft-10"],
        ["draft-11"],
        "x-ratelimit,draft-10",
    ],
    "on_store_error": ["local", "open", "closed", "raise", "fail"],
    "remember_refusals": [0, 1, 0.5, 60, 60.5],
    "drain_refused_bodies": [0, 1, 1_048_576, -1],
    "retry_jitter": [0, 1, 0.1, 1.1],
    "key_secret": [PASSWORD, PASSWORD * 3, b"0123456789abcdef"],
    "partition_secret": [PASSWORD, PASSWORD * 3, b"0123456789abcdef"],
    "header_name_mapping": [{HeaderNames.LIMIT: "X-Limit"}, {HeaderNames.RESET: "a b\r\n"}],
    "header_limit": ["X-Limit", "X Limit", "X-Limit\r\nSet-Cookie: a=b"],
}


def fitting(random: Random, name: str) -> Any:
    """A value that may be right for this argument or this variable."""
    argument = ARGUMENT_OF.get(name, name.removeprefix("RATELIMIT_").lower())
    if argument == "storage_options":
        names = random.choices(OPTIONS, k=random.randrange(1, 4))
        return {
            name: PASSWORD if name == "password" else random.choice([*ANY, 1, 0.5])
            for name in names
        }
    if argument.endswith("_limits") or argument == "in_memory_fallback":
        return random.choice(LIMITS)
    if argument.endswith("_cost"):
        return random.choice([0, 1, 2, -1, 10**9, "1", lambda: 1])
    if argument.startswith("header_") and argument not in FITTING:
        argument = "header_limit"
    return random.choice(FITTING.get(argument, [True, False, asynchronous, "x"]))


def names_one(text: str, names: list[str]) -> bool:
    """Whether an error names what was given: the argument, or the variable."""
    return any(name in text for name in names)


async def check(random: Random) -> str:
    """Build one random app; what became of it."""
    given: dict[str, Any] = {}
    config: dict[str, Any] = {}
    for name in random.sample([*ARGUMENTS, *KNOWN], random.choice([1, 1, 1, 2, 3])):
        value = fitting(random, name) if random.random() < 0.6 else random.choice(ANY)
        (config if name.startswith("RATELIMIT_") else given)[name] = value
    if random.random() < 0.3:
        given.setdefault("storage_uri", "redis://h:1/0")
    if random.random() < 0.5:  # so that a limit asks what it is told to ask, and refuses
        given.setdefault("default_limits", ["1/minute"])
        given.setdefault("application_limits", ["9/minute"])
    app = Quart(__name__)
    app.config.update(config)
    told = f"Limiter({given!a}) with {config!a}"
    try:
        limiter = Limiter(app=app, **given)
    except ConfigurationError as error:
        names = [*given, *config]
        if not names_one(str(error), names):
            raise AssertionError(f"{told} is refused without a name: {error}") from error
        printed = "".join(traceback.format_exception(error))
        if PASSWORD in printed:
            raise AssertionError(f"{told} shows its password: {printed}") from error
        return "refused"
    except Exception as error:
        raise AssertionError(f"{told} fails") from error
    binding = binding_of(limiter, app)
    if binding is None:
        return "switched off"
    if not binding.in_memory:
        return "built on Redis"
    app.add_url_rule("/", view_func=view)
    client = app.test_client()
    peer = {"client": ("192.0.2.1", 1)}
    statuses = [(await client.get("/", scope_base=peer)).status_code for _ in range(2)]
    if max(statuses) >= 500:
        raise AssertionError(f"{told} answers {statuses}")
    return "built"


def run(cases: int, seed: int) -> "Counter[str]":
    """Build so many apps; what became of them."""
    random = Random(seed)

    async def build() -> "Counter[str]":
        return Counter([await check(random) for _ in range(cases)])

    return asyncio.run(build())


if __name__ == "__main__":
    logging.disable()  # what is odd in a setting, thousands of times
    main(run)
