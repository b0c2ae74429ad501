-- Concurrency, the twin of Concurrency.advance in concurrency.py: change both or neither.
-- key    hash: lease -> when it expires (ms)
-- spec   {name, amount, period_ms}
local part = {}

function part.load(key, now, spec)
  local leases, flat = {}, redis.call('HGETALL', key)
  for i = 1, #flat, 2 do
    local fin = tonumber(flat[i + 1])
    if fin > now + spec[3] then -- the clock went back: no longer lease than a period
      fin = now + spec[3]
      redis.call('HSET', key, flat[i], string.format('%.0f', fin))
    end
    leases[flat[i]] = fin
  end
  return {leases = leases, stored = leases}
end

local function decide(state, spec, now, allowed, retry)
  local count, reset = 0, 0
  for _, fin in pairs(state.leases) do
    count = count + 1
    reset = math.max(reset, fin - now)
  end
  return state, allowed, math.max(0, spec[2] - count), reset, retry
end

function part.advance(before, now, spec, hit)
  local longest = now + spec[3]
  local leases, count, first = {}, 0, longest
  for lease, fin in pairs(before.leases) do
    if fin > now then
      leases[lease] = fin
      count = count + 1
      first = math.min(first, fin)
    end
  end
  local state = {leases = leases, stored = before.stored}
  if hit.cost < 0 then
    leases[hit.lease] = nil
  elseif leases[hit.lease] or count < spec[2] or hit.forced then
    if hit.cost > 0 then leases[hit.lease] = longest end
  else
    return decide(state, spec, now, false, first - now)
  end
  return decide(state, spec, now, true, 0)
end

function part.save(key, state, now, spec)
  for lease in pairs(state.stored) do
    if not state.leases[lease] then redis.call('HDEL', key, lease) end
  end
  local _, _, _, reset = decide(state, spec, now, true, 0)
  for lease, fin in pairs(state.leases) do
    if state.stored[lease] ~= fin then
      redis.call('HSET', key, lease, string.format('%.0f', fin))
    end
  end
  if reset > 0 then redis.call('PEXPIRE', key, reset) end
end

return part
