"""Both drivers under a clock that the test turns: the script on a real Redis, and its twin."""

from collections.abc import Iterator, Sequence

import redis

from quart_ratelimit import Decision, Hit
from quart_ratelimit.stores import MemoryStore
from quart_ratelimit.stores.redis import script as plan

#: Makes keys expire by the plan's time instead of Redis' own.
TURNED_TIME = """
local real, turned = redis, tonumber(ARGV[1])
local flat = real.call('HGETALL', 'expiries')
for i = 1, #flat, 2 do
  if tonumber(flat[i + 1]) <= turned then
    real.call('DEL', flat[i])
    real.call('HDEL', 'expiries', flat[i])
  end
end
local redis = {call = function(command, key, ...)
  local args = {...}
  local ttl = command == 'PEXPIRE' and args[1] or command == 'SET' and args[3]
  if ttl then real.call('HSET', 'expiries', key, string.format('%.0f', turned + ttl)) end
  if command == 'PEXPIRE' then return 1 end
  if command == 'SET' then return real.call('SET', key, args[1]) end
  if command == 'PTTL' then
    local fin = real.call('HGET', 'expiries', key)
    return fin and tonumber(fin) - turned or -2
  end
  return real.call(command, key, ...)
end}
"""

#: A time and the requests that arrive then.
Step = tuple[int, list[list[Hit]]]


class LuaStore:
    """Runs the script at a given time."""

    def __init__(self, url: str, script: str) -> None:
        self._client = redis.Redis.from_url(url)
        self._client.flushall()
        self._run = self._client.register_script(TURNED_TIME + script)

    def decide(self, requests: list[list[Hit]], now_ms: int) -> plan.Answers:
        (answers,) = self.decide_steps([(now_ms, requests)])
        return answers

    def decide_steps(self, steps: Sequence[Step]) -> Iterator[plan.Answers]:
        """The answers to each step, sent together; raises where the script failed."""
        pipe = self._client.pipeline(transaction=False)
        plans = []
        for now_ms, requests in steps:
            batch = plan.Script(requests, prefix="twin", now_ms=now_ms)
            self._run(keys=list(batch.keys), args=batch.arguments(now_ms), client=pipe)
            plans.append(batch)
        for batch, reply in zip(plans, pipe.execute(raise_on_error=False), strict=True):
            yield batch.read([reply])

    def lose_expiries(self) -> None:
        """As an operator's PERSIST, or a restore without expiries."""
        self._client.delete("expiries")

    def put(self, key: str, value: str) -> None:
        self._client.set(key, value)

    def forget(self, key: str) -> None:
        self._client.delete(key)
        self._client.hdel("expiries", key)

    def close(self) -> None:
        self._client.close()


class PythonStore(MemoryStore):
    """Drops what has expired as soon as Redis does, not when its sweep comes by."""

    def __init__(self) -> None:
        super().__init__()
        self._hit: dict[tuple[str, str], Hit] = {}

    def decide_all(self, requests: list[list[Hit]], now_ms: int) -> list[list[Decision]]:
        for hit in self._hit.values():
            table = self._table(hit.quota)
            state = table.get(hit.key)
            if state is not None:
                healed = hit.quota.heal(state, now_ms)
                if not hit.quota.advance(healed, now_ms, hit)[1].reset_ms:
                    table.forget(hit.key)
        for hit in (hit for hits in requests for hit in hits):
            self._hit[hit.quota.counter, hit.key] = Hit(hit.quota, hit.key, 0)
        return [self.decide(hits, now_ms) for hits in requests]

    def forget(self, hit: Hit) -> None:
        self._table(hit.quota).forget(hit.key)
