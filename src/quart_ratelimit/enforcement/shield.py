"""An ASGI layer in front of Quart that answers refused requests before Quart makes a request.

`Shield` repeats the app's own response to a request that is the same in all that is compared: peer,
method, scheme, HTTP version, server, root path, path as it was written, query and every header
line, not the peer's port, which each connection changes. Of one client's other requests for the
same path, the app answers a few; the shield then sends a plain 429. Either way it skips sessions,
``before_request`` and ``after_request`` functions, error handlers and the log. `RefusalNotes`
leaves the refusals for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from ..clients.key_functions import NO_PEER, fields_read
from ..clock import Clock, monotonic_ms
from ..current import CALL, App, Message, Receive, Scope, Send, current_request_or_none
from ..quotas import Decision, Hit
from ..recent import Recent
from ..responses.drain import BODY_FIELDS, DRAINED, MOST, Upload, may_have_body
from ..responses.refusal import retry_after
from .stage import Stage

#: Where a refusal is left for the shield, in the connection's scope.
REFUSED = "quart_ratelimit.refused"
#: The request fields that decide with the path on the route, as routes may be bound to a host, and
#: on whether an OPTIONS request is a preflight.
ROUTING = (b"host", b"access-control-request-method")
#: The parts of a scope that are compared, or are the same for all clients. A layer outside adds
#: any other part, which may name the client, so a request that has one gets no copy.
COMMON = frozenset((
    "type", "asgi", "http_version", "method", "scheme", "path", "raw_path", "query_string",
    "root_path", "headers", "client", "server", "state", "extensions",
    "_quart._preserve_context", REFUSED, CALL, DRAINED,
))  # fmt: skip
#: Methods of requests that have no body as a rule; a body is not compared.
WITHOUT_BODY = ("GET", "HEAD")
#: Requests of one client for one path that reach the app after a refusal within `LONGEST_MS`. A
#: person sees the app's page, and a flood that varies its query or cookies stays cheap.
PASSED = 10
#: The body of the shield's own answer.
PLAIN = b"Too Many Requests\n"
#: Milliseconds for which an answer is given again: so far may its ``Retry-After`` be off, and so
#: late are other rules seen.
LONGEST_MS = 1000
#: Answers remembered at least; twice as many at most.
REMEMBERED = 10_000
#: Bytes of the answers and of the requests that are remembered, each; twice as many at most.
MOST_BYTES = 8_000_000
#: The longest path, query and fields of a request whose answer is remembered, in bytes together.
LONGEST_KEY = 8192
#: The longest answer, fields and body, that is remembered, in bytes.
LONGEST_ANSWER = 16_384

#: What is compared of two requests: peer, method, scheme, root path, path, query, path as written,
#: HTTP version, the server's host and port, and header lines.
_Request = tuple[Any, ...]
#: The refusal of these hits if it is known without I/O (`Store.known_refusal`); else None.
KnownRefusal = Callable[[Sequence[Hit]], Sequence[Decision] | None]


class Refused(NamedTuple):
    """A refusal that needs no more than the connection to be found again."""

    hits: Sequence[Hit]
    #: Request fields that the client was known by, in lower case.
    fields: tuple[bytes, ...]
    #: Whether every request for this path is refused, whatever the view would do with it.
    of_view: bool = True


class _Answer(NamedTuple):
    """The app's answer to one request, or the shield's own."""

    #: 0: it is the shield's own.
    until_ms: int
    hits: Sequence[Hit]
    start: Message
    body: bytes


@dataclass(slots=True)
class _Refusal:
    """That one client is refused on one path."""

    until_ms: int
    hits: Sequence[Hit]
    #: How many requests reached the app since.
    passed: int = 0


class Shield:
    """Stands before an ASGI app; see the module."""

    def __init__(
        self,
        app: App,
        known_refusal: KnownRefusal,
        *,
        drain: Callable[[], int] = lambda: MOST,
        now_ms: Clock = monotonic_ms,
    ) -> None:
        self._app = app
        self._known_refusal = known_refusal
        self._drain = drain
        self._now_ms = now_ms
        #: The request fields that decide on the route and the client.
        self._fields: tuple[bytes, ...] = ROUTING
        self._answers: Recent[_Request, _Answer] = Recent(
            REMEMBERED,
            most=MOST_BYTES,
            longest=LONGEST_KEY,
            length=_length,
            value_length=_answer_length,
        )
        #: By requests without the fields that decide on neither route nor client.
        self._refusals: Recent[_Request, _Refusal] = Recent(
            REMEMBERED, most=MOST_BYTES, longest=LONGEST_KEY, length=_length
        )
        #: Whether a layer inside changes the client or the route; see `look`.
        self._is_moved = False
        #: When all of these are outdated, in ms; 0: there are none.
        self._outdated_ms = 0
        #: When the answers from before the last turn are outdated, in ms.
        self._turn_ms = 0
        #: How many requests it answered.
        self.answered: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand the connection on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # Layers inside may change the scope, so the request is read before the app is called.
        request, is_compared = _request(scope), _is_compared(scope)
        answer = self._answer(request, is_compared) if self._outdated_ms else None
        if answer is None:
            await self._app(scope, receive, _Listener(self, scope, request, is_compared, send))
            return
        self.answered += 1
        if may_have_body(scope):
            upload = Upload(scope, receive, send, self._drain)
            send = upload.send
            if answer.until_ms and not await upload.is_empty():  # the app may have read that body
                answer = _plain(request, answer.hits, self._known_refusal(answer.hits) or ())
        start, body = answer.start, answer.body
        # Layers outside may change what they are sent, so each answer is a copy.
        await send({**start, "headers": list(start["headers"])})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    def look(self, request: _Request, scope: Scope) -> None:
        """Compare what reached the app with the request.

        A layer inside may put another client or route into the scope, by whatever it reads. Then
        equal requests alone are known to be refused.
        """
        client = scope.get("client")
        peer = (client[0] or None) if client else None
        route = (scope["method"], scope.get("scheme"), scope.get("root_path"), scope["path"])
        if not self._is_moved and (peer, *route) != request[:5]:
            self._is_moved = True
            self._refusals.clear()

    def note(self, request: _Request, served: _Request, refused: Refused) -> None:
        """Note that the app answers this request with 429; ``served`` is what reached the app.

        A function or a block that the view calls may be skipped in another request, so its refusal
        says nothing of that request.
        """
        if self._is_moved or not refused.of_view:
            return
        new = set(refused.fields) - set(self._fields)
        if new:
            self._fields = (*self._fields, *sorted(new))
            self._refusals.clear()
        key, now = self._client_and_route(request), self._now_ms()
        if key != self._client_and_route(served):
            self._is_moved = True
            return
        known = self._refusals.get(key)
        if known is None or now >= known.until_ms:
            self._outdated_ms = now + LONGEST_MS
            self._refusals.put(key, _Refusal(self._outdated_ms, refused.hits))

    def remember(self, request: _Request, refused: Refused, start: Message, body: bytes) -> None:
        """Keep the app's answer to a refused request."""
        self._outdated_ms = self._now_ms() + LONGEST_MS
        self._answers.put(request, _Answer(self._outdated_ms, refused.hits, start, body))

    def _answer(self, request: _Request, is_compared: bool) -> _Answer | None:
        now = self._now_ms()
        if now >= self._outdated_ms:
            self._answers.clear()
            self._refusals.clear()
            self._outdated_ms = 0
            return None
        if now >= self._turn_ms:  # a flood without end leaves nothing that is outdated
            self._turn_ms = now + LONGEST_MS
            self._answers.turn()
            self._refusals.turn()
        answer = self._answers.get(request) if is_compared else None
        if answer is not None:
            if now < answer.until_ms and self._known_refusal(answer.hits):
                return answer
            self._answers.pop(request)
        return self._plain_answer(request, now)

    def _plain_answer(self, request: _Request, now: int) -> _Answer | None:
        """The shield's own answer, once enough requests reached the app."""
        key = self._client_and_route(request)
        refusal = self._refusals.get(key)
        if refusal is None:
            return None
        if refusal.passed < PASSED:
            refusal.passed += 1
            return None
        decisions = self._known_refusal(refusal.hits) if now < refusal.until_ms else None
        if decisions is None:
            self._refusals.pop(key)
            return None
        return _plain(request, refusal.hits, decisions)

    def _client_and_route(self, request: _Request) -> _Request:
        """A request without what decides on neither the client nor the route."""
        peer, method, scheme, root_path, path, *_, lines = request
        fields = self._fields
        deciding = tuple([line for line in lines if line[0] in fields])
        return peer, method, scheme, root_path, path, deciding


class _Listener:
    """Hears what the app sends; hands a refusal's answer to the shield once it is whole."""

    __slots__ = ("_body", "_is_compared", "_request", "_scope", "_send", "_shield", "_start")

    def __init__(
        self, shield: Shield, scope: Scope, request: _Request, is_compared: bool, send: Send
    ) -> None:
        self._shield = shield
        self._scope = scope
        self._request = request
        self._is_compared = is_compared
        self._send = send
        self._start: Message | None = None
        self._body = b""

    async def __call__(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start":
            self._shield.look(self._request, self._scope)
        if kind == "http.response.start" and REFUSED in self._scope and message["status"] == 429:
            self._shield.note(self._request, _request(self._scope), self._scope[REFUSED])
            # Layers outside may change the message, so it is copied before it is sent.
            start = {**message, "headers": tuple(map(tuple, message.get("headers", ())))}
            upload: Upload | None = self._scope.get(DRAINED)  # on HTTP/2 no field announces a body
            has_body = upload is not None and upload.has_begun
            if self._is_compared and not has_body and _is_repeatable(self._request, start):
                self._start = start
        await self._send(message)
        if self._start is not None and kind == "http.response.body":
            self._body += message.get("body", b"")
            if _length_of_lines(self._start["headers"]) + len(self._body) > LONGEST_ANSWER:
                self._start = None
            elif not message.get("more_body", False):
                refused = self._scope[REFUSED]
                self._shield.remember(self._request, refused, self._start, self._body)


def _request(scope: Scope) -> _Request:
    client = scope.get("client")
    return (
        (client[0] or None) if client else None,  # None and "": a unix socket
        scope["method"],
        scope.get("scheme"),
        scope.get("root_path"),
        scope["path"],
        scope.get("query_string"),
        scope.get("raw_path"),
        scope.get("http_version"),
        *(scope.get("server") or (None, None)),
        tuple(map(tuple, scope["headers"])),
    )


def _is_compared(scope: Scope) -> bool:
    """Whether `_request` has all that the scope says of its client; a layer or TLS may add more."""
    more = scope.get("extensions")
    return not scope.get("state") and scope.keys() <= COMMON and not (more and any(more.values()))


def _length(request: _Request) -> int:
    """Bytes of the texts in a request."""
    *texts, lines = request
    return sum(len(str(text or "")) for text in texts) + _length_of_lines(lines)


def _answer_length(answer: _Answer) -> int:
    """Bytes of an answer."""
    return _length_of_lines(answer.start["headers"]) + len(answer.body)


def _length_of_lines(lines: Iterable[tuple[bytes, bytes]]) -> int:
    return sum(len(name) + len(value) for name, value in lines)


def _is_repeatable(request: _Request, start: Message) -> bool:
    """Whether an equal request would be given the same answer, as far as HTTP says."""
    if request[1] not in WITHOUT_BODY or any(name in BODY_FIELDS for name, _ in request[-1]):
        return False
    # A cookie belongs to one client alone. What a field in Vary names is compared, except "*".
    for field, value in start["headers"]:
        name = field.lower()
        if name == b"set-cookie" or (name == b"vary" and b"*" in value):
            return False
    return True


def _plain(request: _Request, hits: Sequence[Hit], decisions: Sequence[Decision]) -> _Answer:
    """The shield's own answer."""
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(PLAIN)).encode()),
        (b"cache-control", b"no-store"),
    ]
    wait = retry_after(*[decision for decision in decisions if not decision.allowed])
    if wait is not None:
        headers.append((b"retry-after", str(wait).encode()))
    start = {"type": "http.response.start", "status": 429, "headers": headers}
    return _Answer(0, hits, start, b"" if request[1] == "HEAD" else PLAIN)


class RefusalNotes:
    """Leaves for the shield the refusals of one app that need no more than the connection."""

    def __init__(self, functions: Callable[[], Sequence[object]]) -> None:
        #: Gives all functions of the app that each request calls, whatever limits apply to it.
        self._functions = functions
        #: Whether a shield listens.
        self.active = False
        #: Whether the address of the client was the peer's so far.
        self._known_by_peer = True

    def note(self, stage: Stage, hits: Sequence[Hit]) -> None:
        """Leave the refusal of a stage's hits, if it needs no more than the connection."""
        if not self.active:
            return
        fields = _fields([*_functions_of(stage), *self._functions()])
        request = current_request_or_none()
        if fields is None or request is None:
            return
        scope = cast(MutableMapping[str, Any] | None, request.scope)
        if scope is None:
            return
        peer = scope.get("client")
        # The app may find the address by itself, from whatever it reads.
        found = vars(request).get("remote_addr")
        self._known_by_peer &= found == (peer[0] if peer else NO_PEER)
        scope[REFUSED] = Refused(hits, fields, stage.of_view and self._known_by_peer)


def _functions_of(stage: Stage) -> list[object]:
    """The functions of the app that decide on a stage; None for one that is not known."""
    functions: list[object] = [] if stage.fixed else [None]
    if stage.metas or stage.any_breach:
        functions.append(None)  # they count each refusal, so each must reach the app
    for limit in stage.limits:
        asked = (limit.exempt_when, limit.scope, limit.cost)
        functions += [limit.key_func, *filter(callable, asked)]
    return [*functions, *(limit.shadow for limit in stage.shadows if callable(limit.shadow))]


def _fields(functions: Sequence[object]) -> tuple[bytes, ...] | None:
    """The request fields that the functions read, besides the connection; None: more is read."""
    found: set[bytes] = set()
    for function in functions:
        fields = fields_read(function)
        if fields is None:
            return None
        found.update(fields)
    return tuple(sorted(found))
