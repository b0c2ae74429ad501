"""What an extension was told, by keywords and by variables: which counts, and which is to be named.

Knows kinds of values, and no setting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..callables import check_user_function
from ..errors import ConfigurationError

#: Raises `ConfigurationError`, which begins with the name, for a value of another kind.
Kind = Callable[[str, Any], None]


class Sources:
    """A keyword counts unless it is None or empty, then its variable, then the default."""

    def __init__(
        self, keywords: Mapping[str, Any], config: Mapping[str, Any], variables: Mapping[str, str]
    ) -> None:
        self._keywords = keywords
        self._config = config
        #: Each keyword's variable, if it has one.
        self._variables = variables

    def __call__(self, name: str, default: Any = None) -> Any:
        """What counts."""
        value = self._found(name)[1]
        return default if value is None else value

    def origin(self, name: str) -> str:
        """The keyword or the variable that counts."""
        return self._found(name)[0]

    def check(self, name: str, kind: Kind) -> None:
        """Raise `ConfigurationError` unless both are of that kind, or were not given."""
        variable = self._variables.get(name, "")
        for place, value in (
            (name, self._keywords.get(name)),
            (variable, self._config.get(variable)),
        ):
            if not _is_empty(value):
                kind(place, value)

    @contextmanager
    def naming(self, *names: str) -> Iterator[None]:
        """Errors within this block name what counts of these."""
        try:
            yield
        except ConfigurationError as error:
            origins = ", ".join(map(self.origin, names))
            if str(error).startswith(origins):
                raise
            raise type(error)(f"{origins}: {error}") from error

    def _found(self, name: str) -> tuple[str, Any]:
        own = self._keywords.get(name)
        variable = self._variables.get(name, "")
        value = self._config.get(variable)
        if not _is_empty(own) or _is_empty(value):
            return name, None if _is_empty(own) else own
        return variable, value


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, (str, list, tuple, dict)) and not value)


def switch(name: str, value: Any) -> None:
    """On or off. "False", as the environment has it, would be on."""
    if isinstance(value, str):
        raise ConfigurationError(
            f"{name}={value!r} is text; write True or False, and in the environment true or false"
        )
    if not isinstance(value, int):
        raise ConfigurationError(f"{name}: {_kind(value)} is neither True nor False")


def switch_or_function(name: str, value: Any) -> None:
    """On or off, or a function that says so of a request."""
    if callable(value):
        check_user_function(value, name)
    else:
        switch(name, value)


def text(name: str, value: Any) -> None:
    """Any text. What it is instead is not shown: a URI may hold a password."""
    if not isinstance(value, str):
        raise ConfigurationError(f"{name}: {_kind(value)} is no text")


def secret(name: str, value: Any) -> None:
    """Text or bytes."""
    if not isinstance(value, (str, bytes)):
        raise ConfigurationError(f"{name}: {_kind(value)} is neither text nor bytes")


def options(name: str, value: Any) -> None:
    """Values by their names."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ConfigurationError(f"{name}: {_kind(value)} is no dict of names; write {{'name': 1}}")


def asked(name: str, value: Any) -> None:
    """A function that is asked in a request, without arguments."""
    check_user_function(value, name)


def told(name: str, value: Any) -> None:
    """A function that is asked with one argument: a response, a limit."""
    check_user_function(value, name, object())


def _kind(value: Any) -> str:
    return type(value).__name__
