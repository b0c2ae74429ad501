-- Concurrency, the twin of Concurrency.advance in concurrency.py: change both or neither.
-- key    sorted set: each lease by when it expires (ms)
-- spec   {name, amount, period_ms}
-- A state is how many leases are `held` and how many have `expired`, how many of the held this
-- script took, and what it changed: lease -> 'taken' or 'free'. So a hit costs the same however
-- many are held.
local part = {}

function part.load(key, now, spec)
  local longest = now + spec[3] -- later ends are of a clock that went back
  local later = redis.call('ZRANGEBYSCORE', key, string.format('(%.0f', longest), '+inf')
  for _, lease in ipairs(later) do redis.call('ZADD', key, longest, lease) end
  if later[1] then redis.call('PEXPIRE', key, spec[3]) end
  local expired = redis.call('ZCOUNT', key, '-inf', now)
  local held = redis.call('ZCARD', key) - expired
  return {key = key, now = now, expired = expired, held = held, taken = 0, changed = {}}
end

local function is_held(state, lease)
  if state.changed[lease] then return state.changed[lease] == 'taken' end
  return tonumber(redis.call('ZSCORE', state.key, lease) or 0) > state.now
end

local function with(state, lease, mark, held)
  local changed, taken = {[lease] = mark}, mark == 'taken' and 1 or 0
  for other, its in pairs(state.changed) do
    if other ~= lease then
      changed[other] = its
      if its == 'taken' then taken = taken + 1 end
    end
  end
  return {key = state.key, now = state.now, expired = state.expired, held = held, taken = taken,
    changed = changed}
end

local function stored_end(state, command, i, skip) -- from the i-th on, of those that did not change
  while true do
    local found = redis.call(command, state.key, i, i, 'WITHSCORES')
    if not found[1] then return nil end
    if not state.changed[found[1]] then
      if skip == 0 then return tonumber(found[2]) end
      skip = skip - 1
    end
    i = i + 1
  end
end

local function decide(state, spec, now, allowed, retry)
  local reset = 0
  if state.taken > 0 then
    reset = spec[3]
  elseif state.held > 0 then
    reset = stored_end(state, 'ZREVRANGE', 0, 0) - now
  end
  return state, allowed, math.max(0, spec[2] - state.held), reset, retry
end

function part.advance(state, now, spec, hit)
  local lease, held = hit.lease, is_held(state, hit.lease)
  if hit.cost < 0 then
    if held then state = with(state, lease, 'free', state.held - 1) end
  elseif held or state.held < spec[2] or hit.forced then
    if hit.cost > 0 then
      state = with(state, lease, 'taken', held and state.held or state.held + 1)
    end
  else
    local excess = state.held - spec[2] -- forced, or taken before the amount was lowered
    local free = stored_end(state, 'ZRANGE', state.expired, excess) or now + spec[3]
    return decide(state, spec, now, false, free - now)
  end
  return decide(state, spec, now, true, 0)
end

function part.save(key, state, now, spec)
  local _, _, _, reset = decide(state, spec, now, true, 0)
  for lease, mark in pairs(state.changed) do
    if mark == 'taken' then
      redis.call('ZADD', key, now + spec[3], lease)
    else
      redis.call('ZREM', key, lease)
    end
  end
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
  if reset > 0 then redis.call('PEXPIRE', key, reset) end
end

return part
