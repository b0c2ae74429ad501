"""Limits as they are listed outside of a request, where some are only known to vary."""

from __future__ import annotations

from typing import Any

from ..callables import Memo, UserFunction
from ..quotas import FixedWindow


class Varying(FixedWindow):
    """A limit that depends on the request."""

    __slots__ = ()

    def __str__(self) -> str:
        return "one that varies"


class Uncalled(Memo):
    """Calls no function that says how much is allowed."""

    async def call(self, function: UserFunction[object], *args: object) -> Any:  # noqa: ARG002
        """A limit that varies."""
        return Varying(1, 1)


class Tried(Memo):
    """Calls functions that say how much is allowed; one that raises gives a limit that varies."""

    async def call(self, function: UserFunction[object], *args: object) -> Any:
        """The function's answer, or a limit that varies."""
        try:
            return await super().call(function, *args)
        except Exception:  # it reads what only a real request has, such as g.user
            return Varying(1, 1)
