"""One limiter in one app: its settings, and the rooms and stores made by them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .evaluate import Evaluator
from .marks import Marks
from .resolve import Resolver
from .settings import Settings
from .storage import Storage, Strategy
from .stores import ClusterStore, GuardedStore, MemoryStore, RedisStore, Store, store_from_uri


@dataclass(eq=False, slots=True)
class Binding:
    """What `bind` made."""

    settings: Settings
    store: Store
    resolver: Resolver
    evaluator: Evaluator
    #: Evaluates ``in_memory_fallback`` while the store is away.
    fallback: Evaluator
    storage: Storage
    strategy: Strategy
    order_checked: bool = False

    @property
    def in_memory(self) -> bool:
        """Whether each worker counts alone."""
        return isinstance(self.store, MemoryStore)


def bind(extension: Any, settings: Settings, marks: Marks, store: Store | None) -> Binding:
    """Make what the settings ask for. Opens nothing. Raises `ConfigurationError`."""
    standin = MemoryStore()
    if store is None:
        store = store_from_uri(settings.storage_uri or "memory://", **settings.storage_options)
    if isinstance(store, (ClusterStore, RedisStore)):
        store = GuardedStore(store, policy=settings.on_store_error, local=standin)
    return Binding(
        settings=settings,
        store=store,
        resolver=Resolver(settings, marks),
        evaluator=Evaluator(extension, settings, store, standin),
        fallback=Evaluator(extension, settings, standin, standin),
        storage=Storage(store),
        strategy=Strategy(store),
    )
