"""Clients of requests that ended before their view's own limits were evaluated.

A login above a view's limit answers some requests by itself. The blueprint's limits and the
defaults are charged for those at the response, where a key function may miss what the login would
have found.
"""

from __future__ import annotations

import logging

from ..callables import Memo
from ..clients.key_spaces import space_of
from ..recent import Once
from .stage import Stage

#: Key functions that failed, as logged.
_logged = Once()

_log = logging.getLogger("quart_ratelimit")


async def name_clients(stage: Stage, memo: Memo) -> None:
    """Call the key functions of a stage. If one fails, the client is its address."""
    for limit in (*stage.limits, *stage.shadows, *stage.metas, *stage.any_breach):
        function = limit.key_func
        try:
            await memo.call(function)
        except Exception:
            memo.keep(function, None)
            name = space_of(function)
            if _logged.is_new(name):
                _log.exception(
                    "%s failed in a request that ended before the limits of its view: such "
                    "requests count for the client's address",
                    name,
                )
