"""What a fragment in the documentation may use without making it: the app that a reader has.

Only for the type checker: fragments begin with ``from tests.support.docs_preamble import *``.
"""

# ruff: noqa: F401, F403, F405

from typing import NamedTuple

from quart import Quart, abort, g, jsonify, render_template, request, websocket

import quart_ratelimit
from quart_ratelimit import *
from quart_ratelimit.stores import ClusterStore, GuardedStore, MemoryStore, RedisStore

app: Quart
limiter: Limiter
user: str
prompt: str


class Reply(NamedTuple):
    """What a language model answers."""

    text: str
    tokens: int


def estimate(prompt: str) -> int:
    """The most tokens that a prompt may take."""
    raise NotImplementedError


async def model(prompt: str) -> Reply:
    """A language model."""
    raise NotImplementedError


async def banned_keys() -> set[str]:
    """What the reader keeps of abusers."""
    raise NotImplementedError
