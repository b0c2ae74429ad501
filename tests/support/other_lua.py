"""The script in another Lua than Redis' own, as servers that speak its protocol may have."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from quart_ratelimit.stores.redis import script as plan

from .lua_twin import TURNED_TIME, LuaStore, PythonStore, Step


class OtherLuaStore(LuaStore):
    """Runs the script in the given Lua of ``lupa``; its keys lie in a Redis."""

    def __init__(self, lua: Any, url: str, script: str) -> None:
        super().__init__(f"{url}?protocol=2", script)  # as a script is answered
        self._client.response_callbacks.clear()
        self._lua = lua.LuaRuntime(encoding="latin-1")
        self._type = lua.lua_type
        self._script = f"return function(KEYS, ARGV, redis, cjson) {TURNED_TIME + script} end"
        self._function = self._lua.execute(self._script)

    def decide_steps(self, steps: Sequence[Step]) -> Iterator[plan.Answers]:
        """The answers to each step."""
        redis = self._lua.table_from({"call": self._call})
        cjson = self._lua.table_from({"decode": lambda text: self._given(json.loads(text))})
        for now_ms, requests in steps:
            batch = plan.Script(requests, prefix="twin", now_ms=now_ms)
            keys = self._given(list(batch.keys))
            arguments = self._given([_text(one) for one in batch.arguments(now_ms)])
            yield batch.read([self._taken(self._function(keys, arguments, redis, cjson))])

    def _call(self, *command: Any) -> Any:
        return self._given(self._client.execute_command(*map(_text, command), NEVER_DECODE=True))

    def _given(self, value: Any) -> Any:
        """As the server gives a reply to Lua."""
        if isinstance(value, bytes):
            return value.decode("latin-1")
        if isinstance(value, dict):
            return self._lua.table_from({k: self._given(v) for k, v in value.items()})
        if isinstance(value, (list, tuple)):
            return self._lua.table_from([self._given(one) for one in value])
        return False if value is None else value

    def _taken(self, value: Any) -> Any:
        """As the server takes a reply from Lua: whole numbers, texts and lists."""
        if self._type(value) == "table":
            return [self._taken(value[index]) for index in range(1, len(value) + 1)]
        return value.encode("latin-1") if isinstance(value, str) else int(value)


def walk_in(lua: Any, url: str, script: str, steps: Iterator[Step]) -> None:
    """As `walk`, in another Lua."""
    other, python = OtherLuaStore(lua, url, script), PythonStore()
    try:
        for now, requests in steps:
            (theirs,) = other.decide_steps([(now, requests)])
            assert python.decide_all(requests, now) == theirs
    finally:
        other.close()


def _text(value: Any) -> str | bytes:
    """As Lua's numbers are written: a whole number without a fraction."""
    if isinstance(value, (str, bytes)):
        return value
    return f"{value:.17g}" if isinstance(value, float) else str(value)
