"""A page that shows what the limits do in this worker, and lets an operator unblock a client."""

from __future__ import annotations

import asyncio
import hmac
import os
import re
import secrets
from functools import cache
from importlib import resources

from quart import Blueprint, Response, abort, current_app, jsonify, request
from quart.typing import ResponseReturnValue

from ...callables import UserFunction, call
from ...errors import ConfigurationError, StoreError
from ...extension.binding import binding_of
from ...extension.limiter import Limiter
from ...quotas import Hit
from ...rules.exemptions import USUAL
from .tally import Row, Tally
from .unblocking import Stand, Unblocking, client_of

#: The cookie and the field that must agree before anything is changed (double submit).
COOKIE, FIELD = "ratelimit_dashboard", "X-RateLimit-Dashboard"
#: What the page makes as a token: another's is not written into it.
_TOKEN = re.compile(r"[A-Za-z0-9_-]{32}")
#: Rows shown, and the busiest keys in each.
ROWS, BUSIEST = 50, 5


def dashboard(
    limiter: Limiter,
    *,
    guard: UserFunction[object] | None = None,
    name: str = "ratelimit_dashboard",
    url_prefix: str = "/ratelimit",
) -> Blueprint:
    """A blueprint with the page, to be registered: ``dashboard(limiter, guard=is_operator)``.

    ``guard``, sync or async, is asked before each of its requests: true lets in, a response is sent
    instead, all else is 403. The page is exempt from the limiter's own limits, so that operators
    get in. It counts from when it is made. Raises `ConfigurationError` without a guard.
    """
    if not callable(guard):
        raise ConfigurationError(
            f"guard={guard!r} lets everybody unblock everybody; give dashboard() a function that "
            "is true for operators: dashboard(limiter, guard=is_operator)"
        )
    panel = _Panel(limiter, Tally(limiter))
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
        """The page, with the token that its changes must bear."""
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
        """What the limits did, as JSON."""
        rows = await asyncio.gather(*[self._row(row) for row in self._tally.rows[:ROWS]])
        return jsonify(worker=os.getpid(), left_off=self._tally.left_off, limits=rows)

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

    async def _row(self, row: Row) -> dict[str, object]:
        busiest = [
            self._stand(row.limit, row.scope, row.look(key)) for key, _ in row.hits.top(BUSIEST)
        ]
        return {
            "limit": row.limit,
            "scope": row.scope,
            "quota": str(row.hit.quota),
            "allowed": row.allowed,
            "refused": row.refused,
            "shadow": row.shadow,
            "series": row.series(self._tally.second),
            "excess": row.hits.excess,
            "busiest": await asyncio.gather(*busiest),
        }

    async def _tightest(self, place: Stand) -> dict[str, object]:
        """How the client stands at the counter of a limit that has least left for it."""
        looks = [self._stand(place.limit, place.scope, hit) for hit in place.hits]
        return min(await asyncio.gather(*looks), key=lambda one: int(str(one.get("remaining", 0))))

    async def _stand(self, limit: str, scope: str, hit: Hit) -> dict[str, object]:
        row = self._tally.row(limit, scope)
        known = {
            "limit": limit,
            "scope": scope,
            "key": hit.key,
            "client": client_of(hit.key),
            "hits": row.hits.count(hit.key) if row else 0,
            "refused": row.refusals.count(hit.key) if row else 0,
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


def _mistake(message: str) -> ResponseReturnValue:
    return {"message": message}, 400


@cache
def _html() -> str:
    return resources.files(__package__).joinpath("page.html").read_text("utf-8")
