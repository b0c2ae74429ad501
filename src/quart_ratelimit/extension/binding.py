"""One limiter in one app: its settings, and the rooms and stores made by them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..callables import UserFunction
from ..enforcement.hooks import RequestHooks
from ..enforcement.resolver import Resolver
from ..errors import ConfigurationError
from ..rules.registry import Registry
from ..settings.reading import Settings
from ..stores import (
    ClusterStore,
    GuardedStore,
    MemoryStore,
    RedisStore,
    RememberingStore,
    Store,
    store_from_uri,
)
from .flask_limiter import Storage, Strategy


@dataclass(eq=False, slots=True)
class Binding:
    """What `bind` made."""

    #: The extension.
    limiter: Any
    settings: Settings
    filters: Sequence[UserFunction[bool]]
    denials: Sequence[UserFunction[bool]]
    #: The app's own, with all its variables.
    config: Mapping[str, Any]
    store: Store
    #: Counts what concerns this worker alone.
    local: MemoryStore
    #: Where it counts, without what stands around it.
    backend: Store
    #: What the store is called, without what stands around it.
    instance: str
    resolver: Resolver
    hooks: RequestHooks
    storage: Storage
    strategy: Strategy

    @property
    def in_memory(self) -> bool:
        """Whether each worker counts alone."""
        return isinstance(self.store, MemoryStore)


def bind(
    extension: Any,
    settings: Settings,
    *,
    attribute: str,
    config: Mapping[str, Any],
    registry: Registry,
    filters: Sequence[UserFunction[bool]],
    denials: Sequence[UserFunction[bool]],
    store: Store | None,
) -> Binding:
    """Make what the settings ask for. Opens nothing. Raises `ConfigurationError`."""
    standin = MemoryStore()
    if store is None:
        store = _store(settings)
    backend, instance = store, type(store).__name__
    if isinstance(store, (ClusterStore, RedisStore)):
        store = GuardedStore(store, policy=settings.on_store_error, local=standin)
        if settings.remember_refusals:
            store = RememberingStore(store, longest_ms=settings.remember_refusals)
    resolver = Resolver(settings, registry)
    hooks = RequestHooks(
        extension,
        settings,
        attribute=attribute,
        registry=registry,
        resolver=resolver,
        store=store,
        local_store=standin,
        filters=filters,
        denials=denials,
    )
    local = store if isinstance(store, MemoryStore) else standin
    storage, strategy = Storage(store), Strategy(store, settings.keys)
    return Binding(
        extension,
        settings,
        filters,
        denials,
        config,
        store,
        local,
        backend,
        instance,
        resolver,
        hooks,
        storage,
        strategy,
    )


def _store(settings: Settings) -> Store:
    options = dict(settings.storage_options)
    if "key_prefix" in options:  # as the storages behind Flask-Limiter call it
        options["prefix"] = options.pop("key_prefix")
    try:
        return store_from_uri(settings.storage_uri or "memory://", **options)
    except ConfigurationError as error:
        raise ConfigurationError(f"{settings.storage_given}: {error}") from error
