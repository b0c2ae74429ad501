-- Strict sliding window, the twin of StrictWindow.advance in strict_window.py: change both or
-- neither.
-- key    string "index:newest:...:oldest": the running segment's number, units of each segment
-- spec   {name, amount, period_ms, segments}
local part = {}

function part.load(key, now, spec)
  local index = math.floor(now / (spec[3] / spec[4]))
  local value = redis.call('GET', key)
  local state = {index = index, counts = {}}
  for i = 1, spec[4] + 1 do state.counts[i] = 0 end
  if not value then return state end
  local i = 0
  for number in string.gmatch(value, '%d+') do
    if i == 0 then state.index = tonumber(number) else state.counts[i] = tonumber(number) end
    i = i + 1
  end
  if state.index > index then -- the clock went back: the counts are of now on
    state.index = index
    part.save(key, state, now, spec)
  end
  return state
end

local function decide(index, counts, spec, now, allowed, retry)
  local length, used, reset = spec[3] / spec[4], 0, 0
  for age = #counts - 1, 0, -1 do
    used = used + counts[age + 1]
    if counts[age + 1] > 0 then reset = (index + #counts - age) * length - now end
  end
  return {index = index, counts = counts}, allowed, math.max(0, spec[2] - used), reset, retry
end

function part.advance(before, now, spec, hit)
  local amount, kept, length, cost = spec[2], spec[4] + 1, spec[3] / spec[4], hit.cost
  local index = math.floor(now / length)
  local shift = math.min(kept, math.max(0, index - before.index))
  local counts, used = {}, 0
  for i = 1, kept do
    counts[i] = i > shift and before.counts[i - shift] or 0
    used = used + counts[i]
  end
  local units = math.max(cost, 1)
  if cost < 0 then
    local age = index - math.floor(hit.at / length)
    if age >= 0 and age < kept then counts[age + 1] = math.max(0, counts[age + 1] + cost) end
  elseif used + units <= amount or hit.forced then
    counts[1] = math.min(counts[1] + cost, MAX_EXACT)
  else
    if units > amount then return decide(index, counts, spec, now, false, -1) end
    local age, newer = -1, units
    while newer <= amount do
      age = age + 1
      newer = newer + counts[age + 1]
    end
    return decide(index, counts, spec, now, false, (index + kept - age) * length - now)
  end
  return decide(index, counts, spec, now, true, 0)
end

function part.save(key, state, now, spec)
  local _, _, _, reset = decide(state.index, state.counts, spec, now, true, 0)
  if reset == 0 then
    redis.call('DEL', key)
    return
  end
  local numbers = {string.format('%.0f', state.index)}
  for _, count in ipairs(state.counts) do numbers[#numbers + 1] = string.format('%.0f', count) end
  redis.call('SET', key, table.concat(numbers, ':'), 'PX', math.max(1, reset))
end

return part
