-- GCRA, the twin of GCRA.advance in gcra.py: change both or neither.
-- key    string "debt:at": parts of debt, and when it was that much (ms)
-- spec   {name, amount, period_ms, burst, drain a ms, debt a unit}
local part = {}

function part.load(key, now, spec)
  local debt, at = string.match(redis.call('GET', key) or '', '^(%d+):(%d+)$')
  if not debt then return {debt = 0, at = now} end
  debt, at = tonumber(debt), tonumber(at)
  if at > now then -- the clock went back: the debt drains from now on
    at = now
    part.save(key, {debt = debt, at = at}, now, spec)
  end
  return {debt = debt, at = at}
end

local function decide(debt, spec, now, allowed, retry)
  local unit = spec[6]
  local remaining = math.max(0, math.floor((spec[4] * unit - debt) / unit))
  return {debt = debt, at = now}, allowed, remaining, math.ceil(debt / spec[5]), retry
end

function part.advance(state, now, spec, hit)
  local burst, drain, unit = spec[4], spec[5], spec[6]
  local debt = math.max(0, state.debt - math.max(0, now - state.at) * drain)
  local cost = hit.cost
  if cost < 0 then
    local left = math.max(0, -cost * unit - math.max(0, now - hit.at) * drain)
    return decide(math.max(0, debt - left), spec, now, true, 0)
  end
  local units = math.max(cost, 1)
  local wanted = debt + units * unit
  if wanted <= burst * unit or hit.forced then
    return decide(math.min(debt + cost * unit, MAX_EXACT), spec, now, true, 0)
  end
  local retry = -1
  if units <= burst then retry = math.ceil((wanted - burst * unit) / drain) end
  return decide(debt, spec, now, false, retry)
end

function part.save(key, state, now, spec)
  if state.debt == 0 then
    redis.call('DEL', key)
    return
  end
  local ttl = math.ceil(state.debt / spec[5])
  redis.call('SET', key, string.format('%.0f:%.0f', state.debt, state.at), 'PX', ttl)
end

return part
