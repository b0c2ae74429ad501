"""A link for each event loop, and what becomes of it when the loop or the process ends."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar


class Closable(Protocol):
    """What `PerLoop` keeps."""

    async def aclose(self) -> None:
        """Close every connection."""

    def sever(self) -> None:
        """Close every connection after the end of its event loop."""


L = TypeVar("L", bound=Closable)


class PerLoop(Generic[L]):
    """A link for each event loop that runs; each loop and each process opens its own.

    It lives until it is closed in its loop, or until its loop was closed and another link is
    looked up.
    """

    def __init__(self, open_link: Callable[[], L]) -> None:
        self._open_link = open_link
        self._links: dict[asyncio.AbstractEventLoop, L] = {}
        #: The link that was looked up last.
        self._link: L | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = os.getpid()
        #: Links of the process that this one was forked from: not ours to use, nor to close.
        self._parents: list[L] = []

    def get(self) -> L:
        """The running loop's link, opened if need be."""
        link, loop = self._link, asyncio.get_running_loop()
        # A loop runs in one process alone: after a fork there is another, or none.
        if link is None or self._loop is not loop:
            self._leave_parents()
            self._sever_ended()
            link = self._links.get(loop)
            if link is None:
                link = self._links[loop] = self._open_link()
            self._link, self._loop = link, loop
        return link

    async def aclose(self) -> None:
        """Close the running loop's link, and the links of loops that have ended."""
        self._leave_parents()
        self._sever_ended()
        self._link = None
        link = self._links.pop(asyncio.get_running_loop(), None)
        if link is not None:
            await link.aclose()

    def _leave_parents(self) -> None:
        if self._pid != os.getpid():
            self._parents += self._links.values()
            self._links.clear()
            self._pid = os.getpid()

    def _sever_ended(self) -> None:
        for loop in [loop for loop in self._links if loop.is_closed()]:
            self._links.pop(loop).sever()
