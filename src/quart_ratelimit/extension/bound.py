"""What a limiter is bound to: its apps, with the settings and rooms that each of them has."""

from __future__ import annotations

import itertools
import logging
import weakref
from collections.abc import Mapping
from typing import Any

from quart import Quart

from ..callables import UserFunction
from ..clients.key_functions import client_address
from ..clients.keys import Keys, keys_with
from ..constants import ConfigVars
from ..current import current_app_or_none
from ..errors import ConfigurationError
from ..rules.registry import Registry
from ..settings.reading import Settings
from ..stores import Store
from .binding import Binding, bind
from .flask_limiter import Storage, Strategy

#: Tells limiters apart.
_numbers = itertools.count(1)


class Bindings:
    """The part of `Limiter` that knows its bindings."""

    def __init__(self, given: dict[str, Any], *, store: Store | None, enabled: bool) -> None:
        self._key_func: UserFunction[str] = given["key_func"] or client_address()
        self._given = {**given, "default_key_func": self._key_func}
        self._store = store
        self._registry = Registry()
        self._filters: list[UserFunction[bool]] = []
        self._denials: list[UserFunction[bool]] = []
        #: Where each app that is limited keeps the limiter's latest binding, in its ``extensions``,
        #: and each request what is known of it, as an attribute.
        self._attribute = f"quart_ratelimit/{next(_numbers)}"
        self._limited_apps: weakref.WeakSet[Quart] = weakref.WeakSet()
        self._known_apps: weakref.WeakSet[Quart] = weakref.WeakSet()
        self._latest: Binding | None = None
        self.logger = logging.getLogger("quart_ratelimit")
        self.enabled = enabled

    def is_on(self, binding: Binding) -> bool:
        """Whether it limits this app now: by `enabled`, and by its ``RATELIMIT_ENABLED``."""
        return self.enabled and bool(binding.config.get(ConfigVars.ENABLED, True))

    def _off_here(self) -> bool:
        """Whether the app at hand was switched off as the limiter was bound to it."""
        app = current_app_or_none()
        return app is not None and app in self._known_apps and self.binding_for(app) is None

    @property
    def initialized(self) -> bool:
        """Whether the limiter is bound to an app that it limits."""
        return self._latest is not None

    @property
    def store(self) -> Store:
        """Where the limiter counts. Raises `ConfigurationError` before `init_app`."""
        binding = self._current_or_latest()
        if binding is not None:
            return binding.store
        if self._store is not None:
            return self._store
        raise ConfigurationError("this Limiter is bound to no app: call limiter.init_app(app)")

    @property
    def storage(self) -> Storage:
        """The store as Flask-Limiter knows it. Raises `ConfigurationError` before `init_app`."""
        return self._require_binding().storage

    @property
    def limiter(self) -> Strategy:
        """Single limits by key. Raises `ConfigurationError` before `init_app`."""
        return self._require_binding().strategy

    @property
    def keys(self) -> Keys:
        """How the limiter's keys are made: with clients in clear, or by their pseudonyms."""
        binding = self._current_or_latest()
        return binding.settings.keys if binding else keys_with(self._given["key_secret"])

    def binding_for(self, app: Quart) -> Binding | None:
        """The limiter's settings and rooms in that app; None if it is not limited."""
        binding: Binding | None = app.extensions.get(self._attribute)
        return binding

    def _binding(self) -> Binding | None:
        app = current_app_or_none()
        return None if app is None else self.binding_for(app)

    def _current_or_latest(self) -> Binding | None:
        """That of the app at hand; outside of one, the latest."""
        return self._binding() or self._latest

    def _require_binding(self) -> Binding:
        binding = self._current_or_latest()
        if binding is None:
            raise ConfigurationError("this Limiter is bound to no app: call limiter.init_app(app)")
        return binding

    def _strategy(self) -> str | None:
        binding = self._current_or_latest()
        return binding.settings.strategy if binding else self._given["strategy"]

    def _bindings(self) -> list[tuple[Quart, Binding]]:
        return [(app, app.extensions[self._attribute]) for app in self._limited_apps]

    def _bind(self, settings: Settings, config: Mapping[str, Any]) -> Binding:
        return bind(
            self,
            settings,
            attribute=self._attribute,
            config=config,
            registry=self._registry,
            filters=self._filters,
            denials=self._denials,
            store=self._store,
        )

    def _rebind(self, known: Mapping[Quart, Binding]) -> None:
        """Give each app its known binding, or else a new one."""
        latest = self._latest
        for app, binding in self._bindings():
            new = known.get(app)
            if new is None:
                new = self._bind(binding.settings, binding.config)
            app.extensions[self._attribute] = new
            if binding is latest:
                self._latest = new
