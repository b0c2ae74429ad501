"""What an error of Redis, of redis-py or of the network means to us, and how it is reported.

Every text names the host, the command and the server's reason. Servers and proxies repeat parts of
a request in their errors, so a reason is cut before the first word that may be a key or a secret.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Awaitable, Iterator
from typing import Any, TypeVar

import redis.asyncio
from redis.asyncio.sentinel import MasterNotFoundError
from redis.exceptions import (
    AskError,
    AuthenticationError,
    ClusterCrossSlotError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    NoPermissionError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
    TryAgainError,
)

from ...errors import StoreError, StoreMisconfigured, StoreTimeout
from .batcher import DeadlinePassed, within

T = TypeVar("T")

#: What a node of a Cluster alone answers.
_CLUSTERS = (MovedError, AskError, TryAgainError, ClusterCrossSlotError, ClusterDownError)
#: What a Redis that is not one answers, or redis-py says of it.
_NO_CLUSTER = ("cluster support disabled", "Cluster mode is not enabled")

#: What a node of a Cluster says of another database than 0, and any Redis of one that it lacks.
_NO_SELECT = "SELECT is not allowed in cluster mode"
_NO_DATABASE = "DB index is out of range"

#: What is done as a connection is opened.
_OPENING = ("connecting", "CLUSTER SLOTS")
#: What a server without TLS makes of the start of TLS, as `ssl` says.
_NO_TLS = {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNEXPECTED_EOF_WHILE_READING"}
_NOT_TLS = ": rediss in the URI means TLS; if this port has none, write redis"
_TLS = ": redis in the URI is without TLS; if this port expects TLS, write rediss"
#: How redis-py says that a server ended a connection.
_ENDED = re.compile("closed|reset by peer|connection lost", re.IGNORECASE)

#: Characters of a server's reason that are reported at most.
LONGEST_REASON = 120
#: Commands that a server may name in quotes; anything else in quotes may be a key.
_COMMANDS = (
    "auth|del|eval|evalsha|exec|expire|get|hello|incrby|info|multi|ping|pexpire|scan|script"
    r"|script\|load|select|set|time|unlink"
)
#: How servers and proxies say that they carry out a command for no client.
_NO_COMMAND = re.compile(
    r"\b(unknown|unsupported|invalid) (redis )?command"
    r"|\bcommand\b.* (disabled|not (allowed|supported))",
    re.IGNORECASE,
)
#: A word that is the server's own.
_WORD = re.compile(
    rf"\(?[a-z][a-z'/_-]*[),.;:]*|[<>=-]+|['\"`](?:{_COMMANDS})['\"`][),.;:]*", re.IGNORECASE
)
#: Where a script failed, which says nothing: before Redis 7.0 in front, then behind.
_SCRIPT_PLACE = re.compile(
    r"^(ERR )?Error running script \(call to \w+\): (@user_script: ?\d+: )*-?"
    r"| script: [0-9a-f]{40}.*$"
)


async def in_time(deadline: float, call: Awaitable[T], source: object, command: str) -> T:
    """The call's result, if it comes within this many seconds. Raises `StoreError` otherwise."""
    try:
        return await within(deadline, call)
    except DeadlinePassed as error:
        raise too_late(deadline, source, command) from error
    except Exception as error:
        raise store_error(error, source, command) from error


def too_late(
    deadline: float, source: object, command: str, *, was_sent: bool = True
) -> StoreTimeout:
    """The error for what took longer than the deadline, in seconds."""
    where = place(source)
    advice = _NOT_TLS if command in _OPENING and _speaks_tls(source) else ""
    error = StoreTimeout(f"Redis did not answer at {where} within {deadline} s ({command}){advice}")
    error.was_sent = was_sent
    return error


def leads_elsewhere(answer: object) -> bool:
    """Whether only a replica or a node of a Cluster answers so.

    Before Redis 7.0 a script hides the code READONLY in its text.
    """
    if isinstance(answer, (ReadOnlyError, MasterDownError, *_CLUSTERS)):
        return True
    return isinstance(answer, ResponseError) and "-READONLY " in str(answer)


def store_error(error: BaseException, source: object, command: str) -> StoreError:
    """What a failure means to us. ``source`` is the pool, node or cluster that was called.

    An error of a connection that was never opened says so: then nothing was sent.
    """
    if isinstance(error, StoreError):
        return error
    found = _store_error(error, source, command)
    found.was_sent = bool(error.__dict__.get("was_sent", True))
    return found


def _store_error(error: BaseException, source: object, command: str) -> StoreError:
    if type(error) is RedisClusterException and error.__cause__ is not None:
        error = error.__cause__  # why no node reported the others
    where = f"at {place(source)} ({command}: {reason(error)})"
    mistake = _mistake(error, source)
    if mistake is not None:
        what, advice = mistake
        found = StoreMisconfigured(f"Redis {what} {where}: {advice}")
        found.concerns_key = _concerns_key(error)
        return found
    if isinstance(error, ResponseError):
        return StoreError(f"Redis answered with an error {where}")
    return StoreError(f"Redis could not be called {where}{_about_tls(error, source, command)}")


def _about_tls(error: BaseException, source: object, command: str) -> str:
    """What helps if the URI and the port differ in TLS; "" if nothing speaks for it."""
    causes, text = list(_chain(error)), str(error)
    if command not in _OPENING or any(isinstance(one, ConnectionRefusedError) for one in causes):
        return ""
    if _speaks_tls(source):
        reasons = {cause.reason for cause in causes if isinstance(cause, ssl.SSLError)}
        is_silent = any(isinstance(cause, TimeoutError) for cause in causes)
        return _NOT_TLS if is_silent or reasons & _NO_TLS or "TimeoutError(" in text else ""
    is_ended = any(isinstance(cause, (ConnectionError, EOFError)) for cause in causes)
    return _TLS if is_ended or _ENDED.search(text) else ""


def _speaks_tls(source: Any) -> bool:
    """Whether a pool, a node or a cluster is called by TLS."""
    nodes = getattr(source, "nodes_manager", None)
    for one in [source] if nodes is None else nodes.startup_nodes.values():
        kind = getattr(one, "connection_class", None)
        if isinstance(kind, type) and issubclass(kind, redis.asyncio.SSLConnection):
            return True
    return False


def _mistake(error: BaseException, source: object) -> tuple[str, str] | None:
    """What is set up wrongly and what helps, if waiting does not."""
    text = str(error)
    if isinstance(error, (AuthenticationError, NoPermissionError)) or _lacks_right(error):
        return "refuses our user", "check its password and ACL"
    if isinstance(error, MasterNotFoundError):
        return _sentinels_mistake(text, source)
    # A cluster's own client follows these errors.
    if isinstance(error, _CLUSTERS) and isinstance(source, redis.asyncio.ConnectionPool):
        return "is a node of a Cluster", f"write redis+cluster://{place(source)}"
    if any(said in text for said in _NO_CLUSTER):
        return "is not a Cluster", f"write redis://{place(source).partition(',')[0]}"
    if isinstance(error, ResponseError) and _NO_SELECT in text:
        return "is a node of a Cluster", f"write redis+cluster://{place(source)}"
    return _answered_mistake(error) if isinstance(error, ResponseError) else None


def _sentinels_mistake(text: str, source: object) -> tuple[str, str] | None:
    """As `_mistake`, of what Sentinels, or what is taken for them, answered."""
    if "AuthenticationError" in text:
        return "cannot be found: its Sentinels refuse our user", "check sentinel_kwargs"
    if "unknown command" in text:
        what = "cannot be found: a Redis answers where a Sentinel was expected,"
        return what, f"write redis://{_sentinels(source)[0]}, or the port of the Sentinels (26379)"
    return None


def _answered_mistake(error: ResponseError) -> tuple[str, str] | None:
    """As `_mistake`, of what a server says in words alone."""
    # An error with a class of its own, such as OutOfMemoryError, speaks of commands and passes.
    if type(error) is ResponseError and _NO_COMMAND.search(str(error)):
        return "lacks a command that is needed", "allow it in the server or the proxy"
    if _NO_DATABASE in str(error):
        return "has no such database", "write redis://host:6379/0, or set its databases"
    # Before Redis 7.0 a script hides the code in its text.
    if _concerns_key(error):
        return "holds a foreign value under one of our keys", "give the store a prefix of its own"
    return None


def _concerns_key(error: BaseException) -> bool:
    """Whether Redis works, and a key holds another type or something else than a count."""
    if not isinstance(error, ResponseError):
        return False
    return "WRONGTYPE" in str(error) or "value is not an integer" in str(error)


def _lacks_right(error: BaseException) -> bool:
    """Whether an ACL refuses a command of the script, which no class of redis-py stands for."""
    text = str(error) if isinstance(error, ResponseError) else ""
    return (
        "user executing the script can't" in text
        or "ACL failure in script" in text
        or text.startswith("Transaction discarded because of: NOPERM")
    )


def place(source: Any) -> str:
    """The host and port, the socket's path, or the service of a pool, a node or a cluster."""
    nodes = getattr(source, "nodes_manager", None)
    if nodes is not None:
        return ",".join(map(place, nodes.startup_nodes.values()))
    service = getattr(source, "service_name", None)
    if service is not None:
        return f"the master {service!r} of the Sentinels {','.join(_sentinels(source))}"
    known = getattr(source, "connection_kwargs", {})
    if "path" in known:
        return str(known["path"])
    host, port = known.get("host", "localhost"), known.get("port", 6379)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _sentinels(pool: Any) -> list[str]:
    """The places of the Sentinels that a pool uses to find its master."""
    return [place(sentinel.connection_pool) for sentinel in pool.sentinel_manager.sentinels]


def reason(error: BaseException) -> str:
    """Why it failed, in the words of the server or of the system."""
    kind = type(error).__name__
    if isinstance(error, MasterNotFoundError):  # its text repeats what it knows of the Sentinels
        kinds = sorted(set(re.findall(r"\b(\w+Error)\(", str(error))))
        return f"no Sentinel names it: {', '.join(kinds) or 'not a master that it watches'}"
    if isinstance(error, ResponseError):
        text = str(error)
        # redis-py cuts the code off the errors that it has a class for.
        code = getattr(error, "status_code", None) or ("" if kind == "ResponseError" else kind)
        return _words(text if text.startswith(code) else f"{code} {text}")
    for cause in _chain(error):
        if isinstance(cause, ssl.SSLError):
            return f"{kind}: {cause.reason or type(cause).__name__}"
        if isinstance(cause, OSError) and not isinstance(cause, RedisError):
            known = cause.errno is not None and cause.errno > 0
            return f"{kind}: {os.strerror(cause.errno or 0) if known else cause.strerror or kind}"
    said = _words(str(error))
    return kind if said in ("", "…") else f"{kind}: {said}"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _words(text: str) -> str:
    """The text up to the first word that may be a part of the request."""
    text = re.sub(r"\bUser \S+ has\b", "this user has", _SCRIPT_PLACE.sub("", text))
    kept: list[str] = []
    size = 0
    for word in text.split():
        size += len(word) + 1
        if size > LONGEST_REASON or not _WORD.fullmatch(word):
            kept.append("…")
            break
        kept.append(word)
    return " ".join(kept)
