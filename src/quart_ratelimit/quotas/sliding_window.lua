-- Sliding window counter, the twin of SlidingWindow.advance in sliding_window.py: change both or
-- neither.
-- key    string "index:current:previous": the window's number, units used in it and the one before
-- spec   {name, amount, period_ms}
local part = {}

function part.load(key, now, spec)
  local index = math.floor(now / spec[3])
  local value = redis.call('GET', key) or ''
  local at, current, previous = string.match(value, '^(%d+):(%d+):(%d+)$')
  if not at then return {index = index, current = 0, previous = 0} end
  local state = {index = tonumber(at), current = tonumber(current), previous = tonumber(previous)}
  if state.index > index then -- the clock went back: the counts are this window's from now on
    state.index = index
    part.save(key, state, now, spec)
  end
  return state
end

local function decide(state, spec, elapsed, allowed, retry)
  local period = spec[3]
  local spent = state.previous * (period - elapsed)
  local remaining = math.floor((spec[2] * period - spent) / period) - state.current
  local reset = 0
  if state.current > 0 then reset = period end
  if state.current > 0 or state.previous > 0 then reset = reset + period - elapsed end
  return state, allowed, math.max(0, remaining), reset, retry
end

function part.advance(before, now, spec, hit)
  local amount, period, cost = spec[2], spec[3], hit.cost
  local index = math.floor(now / period)
  local elapsed = now - index * period
  local current, previous = before.current, before.previous
  if index == before.index + 1 then
    current, previous = 0, current
  elseif index > before.index then
    current, previous = 0, 0
  end
  local units = math.max(cost, 1)
  if cost < 0 then
    local charged = index - math.floor(hit.at / period)
    if charged == 0 then
      current = math.max(0, current + cost)
    elseif charged == 1 then
      previous = math.max(0, previous + cost)
    end
  elseif previous * (period - elapsed) + (current + units) * period <= amount * period
    or hit.forced then
    current = math.min(current + cost, MAX_EXACT)
  else
    local retry = -1
    if units <= amount and current + units <= amount then
      retry = period - math.floor((amount - current - units) * period / previous) - elapsed
    elseif units <= amount then
      retry = 2 * period - elapsed - math.floor((amount - units) * period / current)
    end
    local state = {index = index, current = current, previous = previous}
    return decide(state, spec, elapsed, false, retry)
  end
  local state = {index = index, current = current, previous = previous}
  return decide(state, spec, elapsed, true, 0)
end

function part.save(key, state, now, spec)
  local ttl = (state.index + 2) * spec[3] - now
  if state.current == 0 then ttl = ttl - spec[3] end
  if state.current == 0 and state.previous == 0 then
    redis.call('DEL', key)
    return
  end
  local value = string.format('%.0f:%.0f:%.0f', state.index, state.current, state.previous)
  redis.call('SET', key, value, 'PX', math.max(1, ttl))
end

return part
