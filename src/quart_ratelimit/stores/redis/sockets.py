"""Connections of redis-py that close at once, and share what TLS needs."""

from __future__ import annotations

import os
from contextlib import suppress
from ssl import SSLContext
from typing import Any

from . import wire

#: By what it is made of: when its files were changed, and the context. An app has few of them.
_contexts: dict[str, tuple[list[int], SSLContext]] = {}


def prompt(kind: Any) -> Any:
    """Connections of this kind that close without a goodbye, and by TLS share one context.

    A goodbye of TLS waits up to 30 s for the other side. A context of its own would read all
    authorities of the system for each connection, which stops the event loop for 20 ms or more.
    """

    async def disconnect(self: Any, nowait: bool = False, **others: Any) -> None:  # noqa: ARG001  # never waits
        if wire.has_ended(self):
            wire.sever(self)
            return
        wire.abort(self)
        await kind.disconnect(self, True, **others)

    def _connection_arguments(self: Any) -> Any:
        own = getattr(self, "ssl_context", None)
        if own is not None:
            own.context = _shared(own)
        return kind._connection_arguments(self)

    if getattr(kind, "is_prompt", False):
        return kind
    own: dict[str, object] = {"is_prompt": True, "disconnect": disconnect}
    if hasattr(kind, "_connection_arguments"):
        own["_connection_arguments"] = _connection_arguments
    return type(kind.__name__, (kind,), own)


def _shared(own: Any) -> SSLContext:
    """The context for these settings, made again when one of its files was changed."""
    names = [name for name in getattr(own, "__slots__", None) or vars(own) if name != "context"]
    settings = {name: getattr(own, name, None) for name in names}
    changed: list[int] = []
    for value in settings.values():
        with suppress(OSError, ValueError):
            if isinstance(value, str):  # a path, or a certificate itself
                changed.append(os.stat(value).st_mtime_ns)
    known = _contexts.get(repr(settings))
    if known is not None and known[0] == changed:
        return known[1]
    own.context = None
    context: SSLContext = own.get()
    _contexts[repr(settings)] = changed, context
    return context
