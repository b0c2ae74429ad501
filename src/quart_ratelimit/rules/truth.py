"""The truth values that functions of the app return: text such as "false" is none."""

from __future__ import annotations

import logging

from ..callables import name_of
from ..recent import Once

#: Functions whose answer was logged, with what they are for.
_logged = Once()

_log = logging.getLogger("quart_ratelimit")


def truth(place: str, function: object, answer: object, *, otherwise: bool = False) -> bool:
    """Return the truth value of what a function of the app returned.

    ``place`` is where the function was given: ``exempt_when``. The numbers 0 and 1 count as False
    and True. ``otherwise`` replaces every other answer, and limits the request. It is logged once,
    except for None where it is replaced by False.
    """
    if isinstance(answer, int) and answer in (0, 1):
        return bool(answer)
    if answer is not None or otherwise:
        text = f"{place}: {name_of(function)}"
        if _logged.is_new(text):
            _log.error(
                "%s returned %s, neither True nor False: such requests are limited; write "
                "return bool(...)", text, type(answer).__name__,
            )  # fmt: skip
    return otherwise
