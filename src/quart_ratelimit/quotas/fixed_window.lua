-- Fixed window, the twin of FixedWindow.advance in fixed_window.py: change both or neither.
-- key    string: "units used:when the window ends (ms)"; if aligned just the units, for INCRBY, and
--        the key ends in the window's number
-- spec   {name, amount, period_ms, aligned 0|1}
local part = {}

function part.load(key, now, spec)
  local used, fin = string.match(redis.call('GET', key) or '0', '^(%d+):?(%d*)$')
  used = tonumber(used) or 0
  if spec[4] == 1 then
    fin = math.max(now + 1, (tonumber(string.match(key, '(%d+)$')) + 1) * spec[3])
    return {used = used, fin = fin}
  end
  fin = tonumber(fin)
  if not fin or fin <= now then return {used = 0, fin = now + spec[3]} end
  if fin > now + spec[3] then -- the clock went back: no longer wait than a period
    fin = now + spec[3]
    part.save(key, {used = used, fin = fin}, now, spec)
  end
  return {used = used, fin = fin}
end

local function decide(state, spec, now, allowed, retry)
  local reset = 0
  if state.used > 0 then reset = state.fin - now end
  return state, allowed, math.max(0, spec[2] - state.used), reset, retry
end

function part.advance(state, now, spec, hit)
  local amount, fin, used, cost = spec[2], state.fin, state.used, hit.cost
  if used == 0 and spec[4] == 0 then fin = now + spec[3] end
  if cost < 0 then
    if hit.at >= fin - spec[3] and hit.at < fin then
      used = math.max(0, used + cost)
    end
    return decide({fin = fin, used = used}, spec, now, true, 0)
  end
  local units = math.max(cost, 1)
  if used + units <= amount or hit.forced then
    used = math.min(used + cost, MAX_EXACT)
    return decide({fin = fin, used = used}, spec, now, true, 0)
  end
  local retry = -1
  if units <= amount then retry = fin - now end
  return decide(state, spec, now, false, retry)
end

function part.save(key, state, now, spec)
  local used = string.format('%.0f', state.used)
  if state.used == 0 then
    redis.call('DEL', key)
  elseif spec[4] == 0 then
    redis.call('SET', key, string.format('%s:%.0f', used, state.fin), 'PX', state.fin - now)
  else -- for a period, as the Flask snippet's does, and for late hits; a lost expiry heals
    local ttl, longest = redis.call('PTTL', key), spec[3] + KEPT_LONGER * 1000
    if ttl <= 0 or ttl > longest then ttl = longest end
    redis.call('SET', key, used, 'PX', ttl)
  end
end

return part
