"""An ASGI layer in front of Quart: who was just refused is refused again before a request is made.

Knows ASGI and refused hits, nothing of Quart. It replays, byte for byte, the response that the app
gave to the same client for the same path; what it skips is all that Quart does for a request:
sessions, ``before_request`` and ``after_request`` functions, error handlers, its log.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, NamedTuple

from ..clock import Clock, monotonic_ms
from ..quotas import Decision, Hit
from ..recent import Recent

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
App = Callable[[Any, Any, Any], Awaitable[None]]

#: Where a refusal is left for the shield, in the connection's scope.
REFUSED = "quart_ratelimit.refused"
#: Request fields that an answer may depend on beside the client: what it may look like, CORS, and
#: the site, as routes may be bound to a host.
VARYING = (b"accept", b"accept-encoding", b"accept-language", b"origin", b"host")
#: Milliseconds for which an answer is given again: so far may its ``Retry-After`` be off, and so
#: late are other rules seen.
LONGEST_MS = 1000
#: Answers remembered at least; twice as many at most.
REMEMBERED = 10_000
#: The longest path and fields of a request whose answer is remembered, in bytes together.
LONGEST_KEY = 8192
#: The longest body that is remembered, in bytes.
LONGEST_BODY = 16_384

_Key = tuple[Any, ...]


#: The refusal of these hits if it is known without I/O (`Store.known_refusal`); else None.
KnownRefusal = Callable[[Sequence[Hit]], Sequence[Decision] | None]


class Refused(NamedTuple):
    """A refusal that needs no more than the connection to be found again."""

    hits: Sequence[Hit]
    #: Request fields that the client was known by, in lower case.
    fields: tuple[bytes, ...]


class _Answer(NamedTuple):
    until_ms: int
    hits: Sequence[Hit]
    start: Message
    body: bytes


class Shield:
    """Stands before an ASGI app; see the module."""

    def __init__(
        self, app: App, known_refusal: KnownRefusal, *, now_ms: Clock = monotonic_ms
    ) -> None:
        self._app = app
        self._known_refusal = known_refusal
        self._now_ms = now_ms
        self._fields: tuple[bytes, ...] = VARYING
        self._answers: Recent[_Key, _Answer] = Recent(
            REMEMBERED, longest=LONGEST_KEY, length=_length
        )
        #: When all answers are outdated, in ms.
        self._outdated_ms = 0
        #: How many requests it answered.
        self.answered = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand the connection on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._answers:
            now = self._now_ms()
            if now >= self._outdated_ms:
                self._answers.clear()
            key = self._key(scope)
            answer = self._answers.get(key)
            if answer is not None:
                if now < answer.until_ms and self._known_refusal(answer.hits):
                    self.answered += 1
                    await send(answer.start)
                    await send(
                        {"type": "http.response.body", "body": answer.body, "more_body": False}
                    )
                    return
                self._answers.pop(key)
        await self._app(scope, receive, _Listener(self, scope, send))

    def remember(self, scope: Scope, start: Message, body: bytes) -> None:
        """Keep an answer to a refused request, if it is fit for others."""
        refused: Refused = scope[REFUSED]
        if not set(refused.fields) <= set(self._fields):
            self._fields = (*self._fields, *sorted(set(refused.fields) - set(self._fields)))
            self._answers.clear()
        until = self._outdated_ms = self._now_ms() + LONGEST_MS
        self._answers.put(self._key(scope), _Answer(until, refused.hits, start, body))

    def _key(self, scope: Scope) -> _Key:
        fields = self._fields
        varying = [line for line in scope["headers"] if line[0] in fields]
        client = scope.get("client")
        return (
            client[0] if client else None,
            scope["method"],
            scope.get("root_path"),
            scope["path"],
            *map(tuple, varying),
        )


class _Listener:
    """Hears what the app sends; hands a refusal's answer to the shield once it is whole."""

    __slots__ = ("_body", "_scope", "_send", "_shield", "_start")

    def __init__(self, shield: Shield, scope: Scope, send: Send) -> None:
        self._shield = shield
        self._scope = scope
        self._send = send
        self._start: Message | None = None
        self._body = b""

    async def __call__(self, message: Message) -> None:
        await self._send(message)
        if message["type"] == "http.response.start":
            if REFUSED in self._scope and message["status"] == 429 and _is_public(message):
                self._start = message
        elif self._start is not None and message["type"] == "http.response.body":
            self._body += message.get("body", b"")
            if len(self._body) > LONGEST_BODY:
                self._start = None
            elif not message.get("more_body", False):
                self._shield.remember(self._scope, self._start, self._body)


def _length(key: _Key) -> int:
    """Bytes of the texts in a key."""
    return sum(sum(map(len, part)) if type(part) is tuple else len(part or "") for part in key)


def _is_public(start: Message) -> bool:
    """Whether an answer sets no cookie, which belongs to one client alone."""
    return not any(name.lower() == b"set-cookie" for name, _ in start.get("headers", ()))
