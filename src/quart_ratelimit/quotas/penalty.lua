-- Penalty, the twin of Penalty.advance in penalty.py: change both or neither.
-- key    string "first:used:level:until": the running period's first offence (ms), its offences, how
--        many blocks there were, when the last one ends or ended (ms)
-- spec   {name, amount, period_ms, forget_ms, block_ms, ...}
local part = {}

function part.load(key, now, spec)
  local value = redis.call('GET', key) or ''
  local first, used, level, fin = string.match(value, '^(%d+):(%d+):(%d+):(%d+)$')
  if not first then return {first = 0, used = 0, level = 0, fin = 0} end
  local state = {first = tonumber(first), used = tonumber(used), level = tonumber(level),
    fin = tonumber(fin)}
  local last = now + (spec[4 + math.min(state.level, #spec - 4)] or 0)
  if state.level == 0 then last = now end
  if state.first > now or state.fin > last then -- the clock went back
    state.first, state.fin = math.min(state.first, now), math.min(state.fin, last)
    part.save(key, state, now, spec)
  end
  return state
end

local function reset_of(state, now, spec)
  local blocked, offended = 0, 0
  if state.level > 0 then blocked = state.fin + spec[4] - now end
  if state.used > 0 then offended = state.first + spec[3] - now end
  return math.max(0, blocked, offended)
end

function part.advance(before, now, spec, hit)
  local amount, period, cost = spec[2], spec[3], hit.cost
  local first, used, level, fin = before.first, before.used, before.level, before.fin
  if used == 0 or now >= first + period then first, used = now, 0 end
  if level == 0 or now >= fin + spec[4] then level, fin = 0, 0 end
  local units, allowed, retry = math.max(cost, 1), true, 0
  if now < fin then
    if cost >= 0 and not hit.forced then allowed, retry = false, fin - now end
  elseif cost < 0 then
    if hit.at >= first then used = math.max(0, used + cost) end
  elseif used + units <= amount or hit.forced then
    used = used + cost
    if cost > 0 and used >= amount then
      level = math.min(level + 1, #spec - 4)
      first, used, fin = now, 0, now + spec[4 + level]
    end
  else
    allowed, retry = false, -1
    if units <= amount then retry = first + period - now end
  end
  local state = {first = first, used = used, level = level, fin = fin}
  local remaining = math.max(0, amount - used)
  if now < fin then remaining = 0 end
  return state, allowed, remaining, reset_of(state, now, spec), retry
end

function part.save(key, state, now, spec)
  local reset = reset_of(state, now, spec)
  if reset == 0 then
    redis.call('DEL', key)
    return
  end
  local value = string.format('%.0f:%.0f:%.0f:%.0f', state.first, state.used, state.level, state.fin)
  redis.call('SET', key, value, 'PX', reset)
end

return part
