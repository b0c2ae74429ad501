"""Replays what a simulated Redis carried out on a real one, whose time a test turns."""

from __future__ import annotations

from typing import Any

import redis

from quart_ratelimit.stores.redis import script

from .resp import RedisError

#: Commands whose replies do not depend on the data.
_SKIPPED = {"TIME", "SELECT", "CLIENT", "SCRIPT", "PING", "INFO", "ROLE", "SCAN", "AUTH"}

#: Makes keys expire by the time in ARGV[1] instead of Redis' own clock.
_TURNED = """
local real, turned = redis, tonumber(ARGV[1])
local due = real.call('ZRANGEBYSCORE', 'expiries', '-inf', '(' .. ARGV[1])
for _, key in ipairs(due) do
  real.call('DEL', key)
  real.call('ZREM', 'expiries', key)
end
local function expire(key, ms) real.call('ZADD', 'expiries', turned + ms, key) end
local redis = {call = function(command, key, ...)
  local args = {...}
  if command == 'SET' then
    local reply = real.call('SET', key, args[1])
    real.call('ZREM', 'expiries', key)
    if args[3] then expire(key, args[3]) end
    return reply
  end
  if command == 'PEXPIRE' or command == 'EXPIRE' then
    local unit = command == 'EXPIRE' and 1000 or 1
    if real.call('EXISTS', key) == 0 then return 0 end
    if args[2] and real.call('ZSCORE', 'expiries', key) then return 0 end
    expire(key, args[1] * unit)
    return 1
  end
  if command == 'PTTL' then
    local fin = real.call('ZSCORE', 'expiries', key)
    return fin and tonumber(fin) - turned or -2
  end
  local reply = real.call(command, key, ...)
  for _, one in ipairs({key, ...}) do
    if real.call('EXISTS', one) == 0 then real.call('ZREM', 'expiries', one) end
  end
  return reply
end}
"""
_COMMAND = _TURNED + "return redis.call(unpack(ARGV, 2))"


def differences(url: str, log: list[tuple[int, list[bytes], object]]) -> tuple[int, list[str]]:
    """How many commands were replayed, and those to which a real Redis replied otherwise."""
    client = redis.Redis.from_url(url)
    client.flushall()
    found: list[str] = []
    count = 0
    for now_ms, parts, reply in log:
        name = parts[0].decode().upper()
        if name in _SKIPPED:
            continue
        count += 1
        real = _run(client, now_ms, name, parts)
        if _plain(real) != _plain(reply):
            found.append(f"{b' '.join(parts)[:300]!r} at {now_ms}: {real!r}, not {reply!r}")
    client.close()
    return count, found


def _run(client: Any, now_ms: int, name: str, parts: list[bytes]) -> object:
    try:
        if name in ("EVAL", "EVALSHA"):
            _, _, keys, *rest = parts
            if name == "EVALSHA" and parts[1] != script.sha().encode():
                raise AssertionError(parts[1])
            arguments = [*rest[: int(keys)], now_ms, *rest[int(keys) + 1 :]]
            return client.eval(_TURNED + script.script(), int(keys), *arguments)
        return client.eval(_COMMAND, 0, now_ms, name, *parts[1:])
    except redis.exceptions.ResponseError as error:
        return error


def _plain(reply: object) -> object:
    """A reply as text, so that status replies, strings and bytes of one content are equal."""
    if isinstance(reply, (RedisError, redis.exceptions.ResponseError)):
        return "error"
    if isinstance(reply, list):
        return [_plain(part) for part in reply]
    return reply.decode() if isinstance(reply, bytes) else reply if reply is None else str(reply)
