"""What an error of Redis, of redis-py or of the network means to us."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

from redis.exceptions import (
    AuthenticationError,
    MasterDownError,
    NoPermissionError,
    ReadOnlyError,
    ResponseError,
)

from ...errors import StoreError, StoreMisconfigured, StoreTimeout
from .batcher import DeadlinePassed, within

T = TypeVar("T")


async def in_time(deadline: float, call: Awaitable[T]) -> T:
    """The call's result, if it comes within so many seconds. Raises `StoreError` otherwise."""
    try:
        return await within(deadline, call)
    except DeadlinePassed as error:
        raise too_late(deadline) from error
    except Exception as error:
        raise store_error(error) from error


def too_late(deadline: float) -> StoreTimeout:
    """The error for what took longer than the deadline, in seconds."""
    return StoreTimeout(f"Redis did not answer within {deadline} s")


def is_replicas(answer: object) -> bool:
    """Whether only a replica answers so. Before Redis 7.0 a script hides the code in its text."""
    if isinstance(answer, (ReadOnlyError, MasterDownError)):
        return True
    return isinstance(answer, ResponseError) and "-READONLY " in str(answer)


def store_error(error: BaseException) -> StoreError:
    """What a failure of Redis or its client means to us; its text bears no key and no secret."""
    if isinstance(error, StoreError):
        return error
    kind = type(error).__name__
    if isinstance(error, (AuthenticationError, NoPermissionError)):
        return StoreMisconfigured(f"Redis refuses our user ({kind}): check its password and ACL")
    if isinstance(error, ResponseError):
        code = str(error).split(" ", 1)[0]
        if "WRONGTYPE" in str(error):  # before Redis 7.0 a script hides the code in its text
            return StoreMisconfigured("Redis holds something else under a key of ours (WRONGTYPE)")
        return StoreError(f"Redis answered with an error ({kind} {code[:20]})")
    return StoreError(f"Redis could not be asked ({kind})")
