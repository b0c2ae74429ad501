"""A page that shows what the limits do in this worker, and lets an operator unblock a client."""

from __future__ import annotations

import asyncio
import hmac
import os
import secrets
from functools import cache
from importlib import resources

from quart import Blueprint, Response, abort, jsonify, request
from quart.typing import ResponseReturnValue

from ...callables import UserFunction, call
from ...errors import ConfigurationError, StoreError
from ...extension.limiter import Limiter
from ...quotas import Hit
from ...rules.exemptions import USUAL
from .tally import Row, Tally

#: The cookie and the field that must agree before anything is changed (double submit).
COOKIE, FIELD = "ratelimit_dashboard", "X-RateLimit-Dashboard"
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

    ``guard``, sync or async, is called before each of its requests: true admits, a response is sent
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
        """The page, with the token that its changes must have."""
        token, nonce = secrets.token_urlsafe(24), secrets.token_urlsafe(16)
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
            path=request.path,
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
        looks = [
            self._stand(row, row.look_at(who, self._limiter.keys))
            for row in self._tally.rows[:ROWS]
        ]
        return jsonify(who=who, limits=await asyncio.gather(*looks))

    async def reset(self) -> ResponseReturnValue:
        """Forget what a client used, given by ``key`` of one limit or by ``who`` of all."""
        given, cookie = request.headers.get(FIELD, ""), request.cookies.get(COOKIE, "")
        if not cookie or not hmac.compare_digest(given.encode(), cookie.encode()):
            return {"message": "this page is out of date; reload it"}, 403
        body = await request.get_json(silent=True)
        if not isinstance(body, dict):
            return _mistake('the body must be JSON: {"who": "203.0.113.9"}')
        found = self._named(body)
        if not found:
            return _mistake("no such limit was used in this worker")
        try:
            count = await self._limiter.store.reset(found)
        except StoreError:
            return {"message": "the store is away; nothing was reset"}, 503
        return jsonify(counters=count)

    def _named(self, body: dict[str, object]) -> list[Hit]:
        """What a body names."""
        if "key" in body:
            row = self._tally.row(str(body.get("limit")), str(body.get("scope")))
            return [row.look(str(body["key"]))] if row else []
        who = str(body.get("who", "")).strip()
        return [row.look_at(who, self._limiter.keys) for row in self._tally.rows] if who else []

    async def _row(self, row: Row) -> dict[str, object]:
        busiest = [self._stand(row, row.look(key)) for key, _ in row.hits.top(BUSIEST)]
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

    async def _stand(self, row: Row, hit: Hit) -> dict[str, object]:
        known = {
            "limit": row.limit,
            "scope": row.scope,
            "key": hit.key,
            "hits": row.hits.count(hit.key),
            "refused": row.refusals.count(hit.key),
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
