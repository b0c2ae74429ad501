"""Limits in a TOML file that may change while the app runs; the last good version counts.

Knows files and the text of limits, nothing of requests.
"""

from __future__ import annotations

import logging
import os
import tomllib
from collections.abc import Iterator, Mapping

from ..clock import Clock, monotonic_ms
from ..errors import ConfigurationError, InvalidLimit
from ..quotas.policies import check_policy
from .naming import check_name
from .notation import FORM, quotas_of
from .notation import strategy as strategy_by_name

#: Milliseconds between two looks at the file.
PAUSE_MS = 1000
#: The key of a limit's policy; a table that has it is one limit.
POLICY = "on_store_error"
#: Bytes, a thousand limits: the event loop waits while a file is parsed.
LARGEST = 32_768

_log = logging.getLogger("quart_ratelimit")


class LimitsFile:
    """Limits by name from a TOML file: ``limiter.limit(LimitsFile("limits.toml")["login"])``.

    A key in a table has a dotted name, ``limits["tiers.free"]``. A value is a limit as text, ""
    for no limit, or ``{limit = "5/minute", on_store_error = "closed"}`` with a policy. While limits
    are used, the file is read again at most once a second. A valid version replaces the last one,
    and counts stay. An invalid version, or one that lacks a name, is logged once and not used.

    - ``path``: the file.
    - ``strategy``: the limiter's strategy (default "fixed-window").

    Raises `ConfigurationError`, `InvalidLimit`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        strategy: str | None = None,
        now_ms: Clock = monotonic_ms,
    ) -> None:
        strategy_by_name(strategy)
        self._path = os.fspath(path)
        self._strategy = strategy
        self._now_ms = now_ms
        self._limits: dict[str, FileLimit] = {}
        self._texts: dict[str, str] = {}
        self._policies: dict[str, str] = {}
        self.reload()

    def __getitem__(self, name: str) -> FileLimit:
        """The limit of that name. Raises `ConfigurationError` if there is none."""
        if name not in self._texts:
            self._look()
        if name not in self._texts:
            names = ", ".join(self._texts)
            raise ConfigurationError(f"{self._path} has no limit {name!r}; it has: {names}")
        known = self._limits.get(name)
        if known is None:
            known = self._limits[name] = FileLimit(self, name)
        return known

    def text(self, name: str) -> str:
        """How much the limit of that name allows now."""
        self._look()
        return self._texts[name]

    def policy(self, name: str) -> str:
        """What decides that limit while the store is away; "": the file does not say."""
        return self._policies.get(name, "")

    def reload(self) -> None:
        """Read the file now. Raises an error if it is invalid; then the last valid version stays"""
        self._next_ms = self._now_ms() + PAUSE_MS
        self._seen = self._read()
        self._take(self._seen)

    def _look(self) -> None:
        if self._now_ms() < self._next_ms:
            return
        self._next_ms = self._now_ms() + PAUSE_MS
        found = self._read()
        if found == self._seen:
            return
        self._seen = found
        try:
            self._take(found)
        except ConfigurationError as error:
            facts = {"ratelimit_event": "limits_rejected"}
            _log.error("%s; the limits stay as they were", error, extra=facts)
        else:
            facts = {"ratelimit_event": "limits_reloaded"}
            _log.info("%s: its limits apply from now on", self._path, extra=facts)

    def _read(self) -> bytes | str:
        """What the file holds, or why that is not known.

        All of it, as two changes in one moment may leave the same time and size.
        """
        try:
            with open(self._path, "rb") as file:
                return file.read(LARGEST + 1)
        except OSError as error:
            return error.strerror or type(error).__name__

    def _take(self, found: bytes | str) -> None:
        """Let the limits of a version count, all or none."""
        if isinstance(found, str):
            raise ConfigurationError(f"{self._path} cannot be read: {found}")
        if len(found) > LARGEST:
            raise ConfigurationError(f"{self._path} is longer than {LARGEST} bytes")
        try:
            table = tomllib.loads(found.decode())
        except (ValueError, RecursionError) as error:
            form = 'login = "10/minute; 100/day"'
            raise ConfigurationError(f"{self._path} is not TOML: {error}; write {form}") from error
        texts: dict[str, str] = {}
        policies: dict[str, str] = {}
        for name, value in _flat(table):
            if name in texts:
                raise ConfigurationError(f"{self._path}: {name} occurs twice")
            text, policies[name] = self._with_policy(name, value)
            texts[name] = self._checked(name, text)
        gone = ", ".join(sorted(self._texts.keys() - texts.keys()))
        if gone:
            raise ConfigurationError(
                f"{self._path}: {gone} is missing; put it back, or restart the app without it"
            )
        self._texts, self._policies = texts, policies

    def _with_policy(self, name: str, value: object) -> tuple[object, str]:
        """The limit, and what decides it while the store is away."""
        if not isinstance(value, dict):
            return value, ""
        if value.keys() != {"limit", POLICY}:
            form = f'{name} = {{limit = "5/minute", {POLICY} = "closed"}}'
            raise ConfigurationError(f"{self._path}: {name} has other keys; write {form}")
        try:
            check_policy(value[POLICY])
        except ConfigurationError as error:
            raise ConfigurationError(f"{self._path}: {name}: {error}") from error
        return value["limit"], value[POLICY]

    def _checked(self, name: str, value: object) -> str:
        if not isinstance(value, str):
            raise InvalidLimit(f"{self._path}: {name}: {value!r} is not a limit; {FORM}")
        try:
            check_name(name)
            if value:
                quotas_of(value, self._strategy)
        except InvalidLimit as error:
            raise InvalidLimit(f"{self._path}: {name}: {error}") from error
        except ConfigurationError as error:
            raise ConfigurationError(f"{self._path}: {error}") from error
        return value


class FileLimit:
    """A limit of a file: a function that answers with its text, as `Limiter.limit` takes it."""

    def __init__(self, file: LimitsFile, name: str) -> None:
        self._file = file
        #: In response fields and metrics, and what was used is kept under it.
        self.limit_name = name
        self.__name__: str = f"limits[{name!r}]"

    @property
    def on_store_error(self) -> str:
        """What decides it while the store is away; "": the file does not say."""
        return self._file.policy(self.limit_name)

    def __call__(self) -> str:
        """How much it allows now."""
        return self._file.text(self.limit_name)


def _flat(table: Mapping[str, object], start: str = "") -> Iterator[tuple[str, object]]:
    for key, value in table.items():
        if isinstance(value, dict) and POLICY not in value:
            yield from _flat(value, f"{start}{key}.")
        else:
            yield f"{start}{key}", value
