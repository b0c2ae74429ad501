-- Exact log, the twin of MovingWindow.advance in moving_window.py: change both or neither.
-- key    string: 8 bytes a unit (big-endian double), when it was used (ms), oldest first
-- spec   {name, amount, period_ms}
local part = {}

local function at(log, i) return (struct.unpack('>d', log, i * 8 + 1)) end -- the i-th, from 0

local function count_until(log, time) -- how many units were used at that time or before
  local low, high = 0, #log / 8
  while low < high do
    local middle = math.floor((low + high) / 2)
    if at(log, middle) <= time then low = middle + 1 else high = middle end
  end
  return low
end

function part.load(key, now, spec)
  local log = redis.call('GET', key) or ''
  if #log > 0 and at(log, #log / 8 - 1) > now then -- the clock went back: none is from the future
    local past = count_until(log, now)
    log = string.sub(log, 1, past * 8) .. string.rep(struct.pack('>d', now), #log / 8 - past)
    part.save(key, {log = log}, now, spec)
  end
  return {log = log}
end

local function decide(log, spec, now, allowed, retry)
  local reset, used = 0, #log / 8
  if used > 0 then reset = at(log, used - 1) + spec[3] - now end
  return {log = log}, allowed, math.max(0, spec[2] - used), reset, retry
end

function part.advance(state, now, spec, hit)
  local amount, period, cost = spec[2], spec[3], hit.cost
  local log = string.sub(state.log, count_until(state.log, now - period) * 8 + 1)
  local used, units = #log / 8, math.max(cost, 1)
  if cost < 0 then
    local first, after = count_until(log, hit.at - 1), count_until(log, hit.at)
    local rest = string.sub(log, math.min(after, first - cost) * 8 + 1)
    return decide(string.sub(log, 1, first * 8) .. rest, spec, now, true, 0)
  end
  if used + units <= amount or hit.forced then
    return decide(log .. string.rep(struct.pack('>d', now), cost), spec, now, true, 0)
  end
  local retry = -1
  if units <= amount then retry = at(log, used + units - amount - 1) + period - now end
  return decide(log, spec, now, false, retry)
end

function part.save(key, state, now, spec)
  if #state.log == 0 then
    redis.call('DEL', key)
    return
  end
  local ttl = at(state.log, #state.log / 8 - 1) + spec[3] - now
  redis.call('SET', key, state.log, 'PX', math.max(1, ttl))
end

return part
