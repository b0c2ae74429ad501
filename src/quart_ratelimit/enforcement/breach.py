"""A refusal: what is logged, who is called, which meta limits count it, and the error."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from quart import current_app
from werkzeug.exceptions import Forbidden, HTTPException
from werkzeug.sansio.response import Response

from ..callables import UserFunction, call, call_to_send
from ..current import current_request_or_none, note_refusal
from ..errors import LimiterUnavailable, RateLimitExceeded, StoreError
from ..quotas import Hit
from ..responses.problems import describe, wants_problem
from ..responses.refusal import Error, note, retry_after
from ..responses.request_limit import RequestLimit
from ..rules.kinds import cost_by
from ..settings.table import Settings
from ..signals import limit_name
from .charges import Charge, once
from .context import RequestContext
from .shield import RefusalNotes
from .stage import Stage

_log = logging.getLogger("quart_ratelimit")

#: What a log says instead of the client.
SOMEBODY = "client"


async def unless_denied(denials: Iterable[UserFunction[bool]]) -> None:
    """Raise `Forbidden` if one of these functions denies the request."""
    for function in denials:
        if await call(function):
            note_refusal()
            raise Forbidden


class Breach:
    """Refuses requests of one app."""

    def __init__(self, settings: Settings, notes: RefusalNotes) -> None:
        self._settings = settings
        self._notes = notes

    def unless_closed(self, context: RequestContext, charges: Sequence[Charge]) -> None:
        """Raise `LimiterUnavailable` if nothing could decide, and the policy is "closed"."""
        for charge in charges:
            if charge.decision.by == "closed":
                error = LimiterUnavailable(retry_after=retry_after(charge.decision))
                note(error)
                self.describe(error, context.limits)
                raise error

    async def refuse_by_meta(self, context: RequestContext, stage: Stage, peek: Charge) -> None:
        """Raise the refusal of a meta limit."""
        context.limits.append(peek.status)
        callback = peek.limit.on_breach or self._settings.on_meta_breach
        response = None
        if callback is not None:
            response = await self._notify(callback, peek.status, "on_meta_breach")
        await self._raise(context, stage, peek, response, retry_after(peek.decision))

    async def refuse(
        self,
        context: RequestContext,
        stage: Stage,
        refused: Sequence[Charge],
        wait: int | None,
        hits: Sequence[Hit],
    ) -> None:
        """Raise the refusal of these charges; ``hits`` are all that the store decided with them."""
        response = None
        for charge in refused:
            if _log.isEnabledFor(logging.INFO):
                _log_refusal(charge)
            general, own = self._settings.on_breach, charge.limit.on_breach
            for callback in [general] if own == general else [general, own]:
                if callback is not None:
                    response = await self._notify(callback, charge.status, "on_breach") or response
        if context.meta_peeks or context.any_breach_peeks:
            await self._charge_metas(context, refused)
        else:  # meta limits count each refusal, so each must reach the app
            self._notes.note(stage, hits)
        await self._raise(context, stage, refused[0], response, wait)

    def describe(
        self,
        error: Error,
        limits: Sequence[RequestLimit],
        after_refusal: Sequence[RequestLimit] = (),
    ) -> None:
        """Add the limits to an error, and as the settings say its jitter and its JSON body.

        Every refusal but a denial comes here, so the request is noted as refused.
        """
        note_refusal()
        if isinstance(error, RateLimitExceeded):
            error.limits = tuple(limits)
            self._lengthen(error)
        request = current_request_or_none()
        if not self._settings.problem_details or request is None:
            return
        if wants_problem(request):
            error.problem = describe(error, [*limits, *after_refusal])

    async def _charge_metas(self, context: RequestContext, refused: Sequence[Charge]) -> None:
        """Count the breach in the meta limits on any breach and on these limits."""
        own = {meta for charge in refused for meta in charge.limit.meta_limits}
        peeks = [peek for peek in context.meta_peeks if peek.limit in own]
        hits = []
        try:
            for peek in once([*peeks, *context.any_breach_peeks]):
                cost = peek.limit.cost
                cost = cost_by(cost, await call(cost)) if callable(cost) else cost
                # No more than remains: a breach must count, also if it costs more than that.
                cost = min(cost, max(1, peek.decision.remaining))
                hits.append((peek.store, peek.hit._replace(cost=cost)))
            await asyncio.gather(*[store.hit([hit]) for store, hit in hits])
        except StoreError as error:  # the request stays refused, and calls no fallback
            _log.warning("a breach could not be counted in its meta limits: %s", str(error))
        except Exception:
            if not self._settings.swallow_errors:
                raise
            _log.exception("a breach could not be counted in its meta limits")

    async def _raise(
        self,
        context: RequestContext,
        stage: Stage,
        charge: Charge,
        response: Response | None,
        wait: int | None,
    ) -> NoReturn:
        limit = charge.limit
        text = await self._message(limit.error_message)
        error = RateLimitExceeded(
            limit, response, description=text or str(limit.limit), retry_after=wait
        )
        note(error)
        self.describe(error, context.limits, context.after_refusal)
        if response is None and stage.body is not None:
            error.response = stage.body(error)
        raise error

    def _lengthen(self, error: RateLimitExceeded) -> None:
        """Lengthen the wait by up to its share, so that a crowd comes back at several moments."""
        wait, share = error.retry_after, self._settings.retry_jitter
        if share and wait is not None:
            longest = min(share * wait, error.limit.limit.period)
            error.retry_after = wait + round(random.uniform(0, longest))  # noqa: S311

    async def _message(self, message: str | UserFunction[str] | None) -> str | None:
        if not callable(message):
            return message
        try:
            text: str | None = await call_to_send(message)
        except Exception:
            if not self._settings.swallow_errors:
                raise
            _log.exception("an error message could not be made")
            return None
        return text

    async def _notify(
        self, callback: UserFunction[Any], status: RequestLimit, name: str
    ) -> Response | None:
        try:
            return await _response(await call_to_send(callback, status))
        except Exception as error:
            if not self._settings.swallow_errors:
                raise
            _log.exception("%s callback failed with error %s", name, error)
            return None


async def _response(answer: Any) -> Response | None:
    """Make a response of what a callback answers, as of what a view does; None: the usual one.

    An answer that names no status has 429. What no view may answer, such as a number, is ignored.
    """
    if answer is None or isinstance(answer, Response):
        return answer
    try:
        response: Response = await current_app.make_response(answer)
    except (TypeError, ValueError):
        return None
    parts = answer[1:] if isinstance(answer, tuple) else ()
    if not isinstance(answer, HTTPException) and not any(
        isinstance(part, (int, str)) for part in parts
    ):
        response.status_code = 429
    return response


def _log_refusal(charge: Charge) -> None:
    quota, scope = charge.limit.limit, charge.limit.told_as or charge.args[-1]
    facts = {
        "ratelimit_event": "limit_refused",
        "ratelimit_limit": limit_name(quota),
        "ratelimit_scope": scope,
        "ratelimit_by": charge.decision.by,
    }
    _log.info("ratelimit %s (%s) exceeded at endpoint: %s", quota, SOMEBODY, scope, extra=facts)
