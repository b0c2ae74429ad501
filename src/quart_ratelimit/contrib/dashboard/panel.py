"""A page that shows what the limits do in all workers, and lets an operator unblock a client."""

from __future__ import annotations

import asyncio
import hmac
import os
import re
import secrets
from collections.abc import Mapping
from functools import cache
from importlib import resources
from itertools import chain

from quart import Blueprint, Response, abort, current_app, jsonify, request
from quart.typing import ResponseReturnValue

from ...callables import UserFunction, call
from ...clients.keys import client_of
from ...errors import ConfigurationError, StoreError
from ...extension.binding import binding_of, bindings_of
from ...extension.fleet_rows import FleetView, Part, Sums, Worker, in_order
from ...extension.history import series
from ...extension.limiter import Limiter
from ...extension.tally import Tally
from ...quotas import Hit
from ...rules.exemptions import USUAL
from ...stores.fleet import fleet_of, process_of
from .unblocking import Stand, Unblocking

#: The cookie and the field that must agree before anything is changed (double submit).
COOKIE, FIELD = "ratelimit_dashboard", "X-RateLimit-Dashboard"
#: What the page makes as a token: another's is not written into it.
_TOKEN = re.compile(r"[A-Za-z0-9_-]{32}")
#: Rows shown.
ROWS = 50


def dashboard(
    limiter: Limiter,
    *,
    guard: UserFunction[object] | None = None,
    name: str = "ratelimit_dashboard",
    url_prefix: str = "/ratelimit",
) -> Blueprint:
    """A blueprint with the page, to be registered: ``dashboard(limiter, guard=is_operator)``.

    ``guard``, sync or async, is called before each of its requests: true admits, a response is sent
    instead, all else is 403. The page is exempt from the limiter's own limits, so that operators
    get in. It counts from when it is made. Raises `ConfigurationError` without a guard.
    """
    if not callable(guard):
        raise ConfigurationError(
            f"guard={guard!r} lets every client unblock every client; write a function that "
            "returns True for operators: dashboard(limiter, guard=is_operator)"
        )
    panel = _Panel(limiter, bindings_of(limiter).sums.keep())
    blueprint = Blueprint(name, __name__, url_prefix=url_prefix)

    async def admit() -> Response | None:
        answer = await call(guard)
        if answer is True:
            return None
        return answer if isinstance(answer, Response) else abort(403)

    blueprint.before_request(admit)
    blueprint.add_url_rule("/", "page", panel.page)
    blueprint.add_url_rule("/state", "state", panel.state)
    blueprint.add_url_rule("/client", "client", panel.client)
    blueprint.add_url_rule("/reset", "reset", panel.reset, methods=["POST"])
    limiter.exempt(blueprint, flags=USUAL)
    return blueprint


class _Panel:
    """The page's views."""

    def __init__(self, limiter: Limiter, tally: Tally) -> None:
        self._limiter = limiter
        self._tally = tally

    async def page(self) -> Response:
        """The page, with the token that its changes must have."""
        known = request.cookies.get(COOKIE, "")  # another tab's, which must go on to work
        token = known if _TOKEN.fullmatch(known) else secrets.token_urlsafe(24)
        nonce = secrets.token_urlsafe(16)
        text = _html().replace("%TOKEN%", token).replace("%NONCE%", nonce)
        response = Response(text, mimetype="text/html")
        response.headers["Content-Security-Policy"] = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; "
            "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
            "frame-ancestors 'none'"
        )
        response.headers["Cache-Control"] = "no-store"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.set_cookie(
            COOKIE,
            token,
            path=request.root_path + request.path,
            httponly=True,
            samesite="Strict",
            secure=request.is_secure,
        )
        return response

    async def state(self) -> ResponseReturnValue:
        """What the limits did in all workers, as JSON; in memory, in this one.

        ``find``: a part of the limits and scopes that are meant. ``parts``: with each worker's.
        """
        view, away, names = await self._fleet()
        word, with_parts = request.args.get("find", "").strip().lower(), "parts" in request.args
        second, own = self._tally.second, self._tally.rows
        rows = view.rows if view else [Sums.of_row(one, second) for one in own]
        meant = [one for one in rows if word in f"{one.limit} {one.scope}".lower()]
        limits = [self._row(one, second, names, with_parts=with_parts) for one in meant[:ROWS]]
        return jsonify(
            worker=os.getpid(),
            workers=None if view is None else len(set(map(process_of, names))),
            away=away,
            left_off=self._tally.left_off,
            found=len(meant),
            of=len(rows),
            minute=series(chain.from_iterable(one.seconds for one in rows), second),
            parts=_parts(view.parts, names) if view and with_parts else None,
            limits=await asyncio.gather(*limits),
        )

    async def _fleet(self) -> tuple[FleetView | None, bool, frozenset[str]]:
        """What all workers counted, if they share a store; whether that is away; who is known."""
        binding = binding_of(self._limiter, current_app)
        if binding is None:
            return None, False, frozenset()
        try:
            view = await bindings_of(self._limiter).sums.look(binding.backend)
        except StoreError:
            return None, True, frozenset()
        if view is None:
            return None, False, frozenset()
        # A worker that started a moment ago writes before all others have heard of it.
        return view, False, view.recent | frozenset(fleet_of(binding.backend).names)

    async def client(self) -> ResponseReturnValue:
        """How one client stands at each limit."""
        who = request.args.get("who", "").strip()
        if not who:
            return _mistake("who= is missing: /client?who=203.0.113.9")
        found = await self._unblocking().of_client(who)
        limits = await asyncio.gather(*[self._tightest(one) for one in found.places])
        return jsonify(who=who, limits=limits, unknown=found.unknown)

    async def reset(self) -> ResponseReturnValue:
        """Forget what a client used, given by ``key`` of one limit or by ``who`` of all."""
        given, cookie = request.headers.get(FIELD, ""), request.cookies.get(COOKIE, "")
        if not cookie or not hmac.compare_digest(given.encode(), cookie.encode()):
            return {"message": "this page is out of date; reload it"}, 403
        body = await request.get_json(silent=True)
        if not isinstance(body, dict):
            return _mistake('the body must be JSON: {"who": "203.0.113.9"}')
        unblocking, who = self._unblocking(), str(body.get("who", "")).strip()
        if "key" in body:
            found = await unblocking.of_key(str(body.get("limit")), str(body["key"]))
        elif who:
            found = await unblocking.of_client(who)
        else:
            return _mistake('name a client: {"who": "203.0.113.9"}')
        if not found.places and not found.unknown:
            return _mistake("the app has no such limit")
        try:
            return jsonify(await unblocking.clear(found))
        except StoreError:
            return {"message": "the store is away; nothing was reset"}, 503

    def _unblocking(self) -> Unblocking:
        app = current_app._get_current_object()  # type: ignore[attr-defined]  # werkzeug's proxy
        binding = binding_of(self._limiter, app)
        if binding is None:
            abort(503)
        return Unblocking(app, binding)

    async def _row(
        self, sums: Sums, second: int, names: frozenset[str], *, with_parts: bool
    ) -> dict[str, object]:
        """A limit's sums, with its history until this second."""
        busiest = [
            self._stand(sums.limit, sums.scope, Hit(sums.quota, key, 0), hits, refused)
            for key, hits, refused in sums.top
        ]
        return {
            "limit": sums.limit,
            "scope": sums.scope,
            "quota": str(sums.quota),
            "allowed": sums.allowed,
            "refused": sums.refused,
            "fallback": sums.fallback,
            "shadow": sums.shadow,
            "minute": series(sums.seconds, second),
            "hour": series(sums.minutes, second // 60),
            "excess": sums.excess,
            "parts": _parts(sums.parts, names) if with_parts else None,
            "busiest": await asyncio.gather(*busiest),
        }

    async def _tightest(self, place: Stand) -> dict[str, object]:
        """How the client stands at the counter of a limit that has least left for it."""
        looks = [self._stand(place.limit, place.scope, hit) for hit in place.hits]
        return min(await asyncio.gather(*looks), key=lambda one: int(str(one.get("remaining", 0))))

    async def _stand(
        self, limit: str, scope: str, hit: Hit, hits: int = 0, refused: int = 0
    ) -> dict[str, object]:
        known = {
            "limit": limit,
            "scope": scope,
            "key": hit.key,
            "client": client_of(hit.key),
            "hits": hits,
            "refused": refused,
            "capacity": hit.quota.capacity,
        }
        try:
            (decision,) = await self._limiter.store.hit([hit])
        except StoreError:
            return {**known, "by": "nobody"}
        return {
            **known,
            "remaining": decision.remaining,
            "blocked": not decision.allowed,
            "retry_ms": decision.retry_ms,
            "by": decision.by,
        }


def _parts(parts: Mapping[Worker, Part], names: frozenset[str]) -> list[dict[str, object]]:
    """Each worker's part, and whether the worker is known to run."""
    return [
        {"worker": worker.text, "runs": worker.name in names, **part.as_dict()}
        for worker, part in in_order(parts)
    ]


def _mistake(message: str) -> ResponseReturnValue:
    return {"message": message}, 400


@cache
def _html() -> str:
    return resources.files(__package__).joinpath("page.html").read_text("utf-8")
