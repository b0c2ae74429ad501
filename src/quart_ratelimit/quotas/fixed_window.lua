-- Fixed window, the twin of FixedWindow.advance in fixed_window.py: change both or neither.
-- key    string: units used; it expires with its window
-- spec   {name, amount, period_ms, aligned 0|1}; an aligned window's number ends its key
local part = {}

function part.load(key, now, spec)
  local used = tonumber(redis.call('GET', key) or 0)
  local ttl = redis.call('PTTL', key)
  local fin
  if spec[4] == 1 then
    fin = math.max(now + 1, (tonumber(string.match(key, '(%d+)$')) + 1) * spec[3])
  elseif ttl > 0 then
    fin = now + ttl
  else -- no key, or one that lost its expiry: its window ends a period from now
    fin = now + spec[3]
  end
  return {fin = fin, used = used, ttl = ttl}
end

local function decide(state, spec, now, allowed, retry)
  local reset = 0
  if state.used > 0 then reset = state.fin - now end
  return state, allowed, math.max(0, spec[2] - state.used), reset, retry
end

function part.advance(state, now, spec, hit)
  local amount, period = spec[2], spec[3]
  local fin, used = state.fin, state.used
  fin = math.min(fin, now + period)
  local cost = hit.cost
  local next = {fin = fin, used = used, ttl = state.ttl}
  if cost < 0 then
    if hit.at >= fin - period then next.used = math.max(0, math.min(used, amount) + cost) end
    return decide(next, spec, now, true, 0)
  end
  local units = math.max(cost, 1)
  local fits = used + units <= amount
  if fits or hit.forced then
    next.used = used + cost
    return decide(next, spec, now, true, 0)
  end
  local retry = -1
  if units <= amount then retry = fin - now end
  return decide(next, spec, now, false, retry)
end

function part.save(key, state, now, spec)
  if state.used == 0 then
    redis.call('DEL', key)
    return
  end
  local ttl = state.fin - now
  if spec[4] == 1 then -- an aligned key may live a period, as the Flask snippet's does
    ttl = state.ttl
    if ttl <= 0 or ttl > spec[3] then ttl = spec[3] end
  end
  redis.call('SET', key, string.format('%.0f', state.used), 'PX', math.max(1, ttl))
end

return part
