"""One limiter in its apps: what each app configured, and what was made of it."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from quart import Quart

from ..callables import UserFunction
from ..clients.key_functions import client_address
from ..clients.key_spaces import space_of
from ..clients.keys import KeyForm, Keys, key_parts, keys_with, owned_by
from ..constants import ConfigVars
from ..current import current_app_or_none
from ..direct.ledger import Ledger
from ..direct.turns import Turns
from ..enforcement.hooks import RequestHooks
from ..enforcement.resolver import Resolver
from ..errors import ConfigurationError
from ..rules.kinds import kind_of
from ..rules.registry import Registry
from ..settings.table import Settings
from ..stores import (
    ClusterStore,
    GuardedStore,
    MemoryStore,
    RedisStore,
    Store,
    store_from_uri,
)
from ..stores.fleet import fleet_of
from .flask_limiter import Storage, Strategy
from .fleet_sums import FleetSums
from .seen import Seen

#: Where `rate_limit` finds the app's first limiter; ``app.extensions["limiter"]`` holds all.
EXTENSION = "quart_ratelimit"

#: Distinguishes limiters.
_numbers = itertools.count(1)


class Extension(Protocol):
    """What a binding knows of its limiter."""

    enabled: bool


@dataclass(eq=False, slots=True)
class Binding:
    """One limiter in one app: its settings, and the stores and hooks made by them."""

    #: The limiter.
    limiter: Any
    settings: Settings
    filters: Sequence[UserFunction[bool]]
    denials: Sequence[UserFunction[bool]]
    #: The app's own, with all its variables.
    config: Mapping[str, object]
    store: Store
    #: The same, for what belongs to no rule.
    direct_store: Store
    #: Where it counts, without what stands around it.
    backend: Store
    #: What the store is called, without what stands around it.
    instance: str
    resolver: Resolver
    hooks: RequestHooks
    storage: Storage
    strategy: Strategy
    #: Charges limits that code checks itself.
    ledger: Ledger
    #: The same, for what concerns this worker alone.
    local_ledger: Ledger

    @property
    def in_memory(self) -> bool:
        """Whether each worker counts alone."""
        return isinstance(self.store, MemoryStore)

    @property
    def is_active(self) -> bool:
        """Whether it limits now: by `Limiter.enabled`, and by the app's ``RATELIMIT_ENABLED``."""
        return self.limiter.enabled and bool(self.config.get(ConfigVars.ENABLED, True))


class Bindings:
    """A limiter's bindings, with what is the same in all of its apps.

    ``given`` are the constructor's settings, ``store`` is where to count in every app.
    """

    def __init__(self, limiter: Extension, given: dict[str, Any], store: Store | None) -> None:
        self.limiter = limiter
        self.key_func: UserFunction[str] = given["key_func"] or client_address()
        self.given: dict[str, Any] = {**given, "default_key_func": self.key_func}
        self.registry: Registry = Registry()
        self.filters: list[UserFunction[bool]] = []
        self.denials: list[UserFunction[bool]] = []
        #: Where each app that is limited keeps its binding, in its ``extensions``, and each request
        #: what is known of it, as an attribute.
        self.attribute: str = f"quart_ratelimit/{next(_numbers)}"
        #: Every app that the limiter was bound to, also one that it is switched off in.
        self.known_apps: weakref.WeakSet[Quart] = weakref.WeakSet()
        self.limited_apps: weakref.WeakSet[Quart] = weakref.WeakSet()
        self.latest: Binding | None = None
        #: The queues of `Limiter.wait`.
        self.turns: Turns = Turns()
        #: What code was seen to check itself.
        self.seen: Seen = Seen()
        #: What all workers counted.
        self.sums: FleetSums = FleetSums(limiter)
        self._store = _checked(store)
        self._unbound: Ledger | None = None
        nothing = MemoryStore()
        self._switched_off = Ledger(nothing, nothing, is_active=lambda: False, sender=limiter)

    def of(self, app: Quart) -> Binding | None:
        """The binding in that app; None if it is not limited."""
        binding: Binding | None = app.extensions.get(self.attribute)
        return binding

    def current(self) -> Binding | None:
        """The binding in the current app; None if there is none."""
        app = current_app_or_none()
        return None if app is None else self.of(app)

    def current_or_latest(self) -> Binding | None:
        """The binding in the current app; outside of one, the latest."""
        return self.current() or self.latest

    def require(self) -> Binding:
        """As `current_or_latest`. Raises `ConfigurationError` if there is none."""
        binding = self.current_or_latest()
        if binding is None:
            raise _bound_to_no_app()
        return binding

    def ledger(self) -> Ledger:
        """Where code that checks limits itself charges. Raises `ConfigurationError`."""
        app = current_app_or_none()
        binding = self.current_or_latest()
        if app is not None and app in self.known_apps and self.of(app) is None:
            return self._switched_off
        if binding is not None:
            return binding.ledger
        if not self.limiter.enabled:
            return self._switched_off
        if self._unbound is None:
            store = self.store
            self._unbound = self._ledger(store, store, lambda: self.limiter.enabled)
        return self._unbound

    @property
    def store(self) -> Store:
        """Where the limiter counts. Raises `ConfigurationError` if that is not known yet."""
        binding = self.current_or_latest()
        if binding is not None:
            return binding.store
        if self._store is not None:
            return self._store
        raise _bound_to_no_app()

    @property
    def keys(self) -> Keys:
        """How keys are made: with clients in clear, or by their pseudonyms."""
        binding = self.current_or_latest()
        return binding.settings.keys if binding else keys_with(self.given["key_secret"])

    def key_form(
        self,
        kind: str,
        scope: str | None = "",
        *,
        place: str = "",
        key_func: UserFunction[object] | None = None,
    ) -> KeyForm:
        """The keys of a check in code; see `key_parts`. ``key_func`` is what names the client.

        Those with ``scope=None`` are the Flask snippet's own, after the ``key_prefix`` if one is
        set.
        """
        binding, prefix = self.current_or_latest(), self.key_prefix
        if scope is None:
            return KeyForm((prefix,) if prefix else (), None)
        if binding:  # a client that the caller names is one of the limiter's own
            space = binding.settings.space(key_func or binding.settings.key_func)
        else:
            space = "" if key_func in (None, self.key_func) else space_of(key_func)
        return KeyForm.of_parts(key_parts(prefix, space, "", scope, kind=kind, place=place))

    @property
    def key_prefix(self) -> str:
        """What every key begins with."""
        binding = self.current_or_latest()
        return binding.settings.key_prefix if binding else str(self.given["key_prefix"] or "")

    @property
    def strategy(self) -> str | None:
        """How limits count that do not say it themselves."""
        binding = self.current_or_latest()
        return binding.settings.strategy if binding else self.given["strategy"]

    def bind(self, settings: Settings, config: Mapping[str, object]) -> Binding:
        """Make what the settings require. Opens nothing. Raises `ConfigurationError`."""
        backend = _store(settings) if self._store is None else self._store
        self.seen.share(backend)
        store = _guarded(backend, settings)
        self.sums.share(backend)
        self.sums.prefix = settings.key_prefix
        direct_store = _direct(store, settings)
        #: Counts what concerns this worker alone.
        own = store if isinstance(store, MemoryStore) else MemoryStore()
        local = direct_store.local if isinstance(direct_store, GuardedStore) else own
        resolver = Resolver(settings, self.registry)
        hooks = RequestHooks(
            self.limiter,
            settings,
            attribute=self.attribute,
            registry=self.registry,
            resolver=resolver,
            store=store,
            direct_store=direct_store,
            local_store=local,
            fallback_store=own,
            filters=self.filters,
            denials=self.denials,
        )
        binding = Binding(
            limiter=self.limiter,
            settings=settings,
            filters=self.filters,
            denials=self.denials,
            config=config,
            store=store,
            direct_store=direct_store,
            backend=backend,
            instance=type(backend).__name__,
            resolver=resolver,
            hooks=hooks,
            storage=Storage(store, owned_by(settings.key_prefix)),
            strategy=Strategy(direct_store, settings.keys),
            ledger=self._ledger(direct_store, local, lambda: binding.is_active),
            local_ledger=self._ledger(own, own, lambda: binding.is_active),
        )
        return binding

    @contextmanager
    def counting_in(self, store: Store, turns: Turns | None = None) -> Iterator[None]:
        """Count in this store within this block, in all of the limiter's apps: for tests.

        See `quart_ratelimit.testing`. ``turns`` says how `Limiter.wait` waits there. Nothing is
        carried over, in or out.
        """
        own, self._store = (self._store, self.turns, self._unbound), store
        self.turns, self._unbound = self.turns if turns is None else turns, None
        before = {app: app.extensions[self.attribute] for app in self.limited_apps}
        self._rebind({})
        try:
            yield
        finally:
            self._store, self.turns, self._unbound = own
            self._rebind(before)

    def _rebind(self, known: Mapping[Quart, Binding]) -> None:
        """Give each app its known binding, or else a new one."""
        latest = self.latest
        for app in self.limited_apps:
            binding: Binding = app.extensions[self.attribute]
            new = known.get(app) or self.bind(binding.settings, binding.config)
            app.extensions[self.attribute] = new
            if binding is latest:
                self.latest = new

    def _ledger(self, store: Store, local: Store, is_active: Callable[[], bool]) -> Ledger:
        return Ledger(store, local, is_active=is_active, sender=self.limiter)


def bindings_of(limiter: Any) -> Bindings:
    """A limiter's bindings, for the package's own modules."""
    bindings: Bindings = limiter._bindings
    return bindings


def limiters_of(app: Quart) -> list[Any]:
    """All limiters of an app, the first one first."""
    first = app.extensions.get(EXTENSION)
    others = [one for one in app.extensions.get("limiter", ()) if one is not first]
    return others if first is None else [first, *others]


def first_key_func(app: Quart, limiter: object) -> UserFunction[object] | None:
    """The key function of an app's first limiter; None if that is this one."""
    first = app.extensions.get(EXTENSION, limiter)
    if first is limiter:
        return None
    binding = binding_of(first, app)
    return binding.settings.key_func if binding else bindings_of(first).key_func


def binding_of(limiter: Any, app: Quart) -> Binding | None:
    """A limiter's binding in an app, for the package's own modules; None if it is not limited."""
    return bindings_of(limiter).of(app)


def _bound_to_no_app() -> ConfigurationError:
    return ConfigurationError("this Limiter is not bound to an app: call limiter.init_app(app)")


def _checked(store: Store | None) -> Store | None:
    if store is None or (not isinstance(store, type) and hasattr(store, "hit")):
        return store
    raise ConfigurationError(
        f"store: {kind_of(store)} is not a store; write "
        "store=RedisStore('redis://localhost:6379/0'), or storage_uri='redis://localhost:6379/0'"
    )


def _guarded(store: Store, settings: Settings) -> Store:
    """The store, with what stands between a request and Redis."""
    if not isinstance(store, (ClusterStore, RedisStore)):
        return store
    return GuardedStore(
        store,
        policy=settings.on_store_error,
        fleet=fleet_of(store, settings.workers),
        remember_ms=settings.remember_refusals,
    )


def _direct(store: Store, settings: Settings) -> Store:
    """The store of limits that code checks itself.

    ``in_memory_fallback`` replaces the rules alone, so these are counted in memory meanwhile.
    """
    if not settings.in_memory_fallback or isinstance(store, MemoryStore):
        return store
    if isinstance(store, GuardedStore):
        return store.following("local")
    return GuardedStore(store)


def _store(settings: Settings) -> Store:
    options = dict(settings.storage_options)
    if "key_prefix" in options:  # as the storages behind Flask-Limiter call it
        options["prefix"] = options.pop("key_prefix")
    try:
        return store_from_uri(settings.storage_uri or "memory://", **options)
    except ConfigurationError as error:
        raise ConfigurationError(f"{settings.storage_given}: {error}") from error
