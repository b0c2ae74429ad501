-- Strict sliding window, the twin of StrictWindow.advance in strict_window.py: change both or
-- neither.
-- key    string "index:newest:...:oldest": the running segment's number, units of each segment up
--        to the oldest that has any
-- spec   {name, amount, period_ms, segments}
-- A state's counts are as in the key: what is not there is 0.
local part = {}

function part.load(key, now, spec)
  local index = math.floor(now / (spec[3] / spec[4]))
  local value = redis.call('GET', key)
  local state = {index = index, counts = {}}
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

local function until_new(index, counts, spec, now) -- until the newest unit counts no more
  for i, count in ipairs(counts) do
    if count > 0 then return (index + spec[4] + 2 - i) * spec[3] / spec[4] - now end
  end
  return 0
end

local function decide(index, counts, used, spec, now, allowed, retry)
  local reset = until_new(index, counts, spec, now)
  return {index = index, counts = counts}, allowed, math.max(0, spec[2] - used), reset, retry
end

function part.advance(before, now, spec, hit)
  local amount, kept, length, cost = spec[2], spec[4] + 1, spec[3] / spec[4], hit.cost
  local index = math.floor(now / length)
  local shift = math.min(kept, math.max(0, index - before.index))
  local counts, used, size = {}, 0, 1
  if shift < kept then size = math.max(1, math.min(kept, #before.counts + shift)) end
  for i = 1, size do
    local count = i > shift and before.counts[i - shift] or 0
    counts[i], used = count, used + count
  end
  local units = math.max(cost, 1)
  if cost < 0 then
    local i = index - math.floor(hit.at / length) + 1
    if counts[i] then
      local left = math.max(0, counts[i] + cost)
      counts[i], used = left, used - counts[i] + left
    end
  elseif used + units <= amount or hit.forced then
    local first = math.min(counts[1] + cost, MAX_EXACT)
    counts[1], used = first, used - counts[1] + first
  else
    if units > amount then return decide(index, counts, used, spec, now, false, -1) end
    local age, newer = -1, units
    while newer <= amount do
      age = age + 1
      newer = newer + (counts[age + 1] or 0)
    end
    local retry = (index + kept - age) * length - now
    return decide(index, counts, used, spec, now, false, retry)
  end
  return decide(index, counts, used, spec, now, true, 0)
end

function part.save(key, state, now, spec)
  local reset = until_new(state.index, state.counts, spec, now)
  if reset == 0 then
    redis.call('DEL', key)
    return
  end
  local numbers, last = {string.format('%.0f', state.index)}, #state.counts
  while state.counts[last] == 0 do last = last - 1 end
  for i = 1, last do
    local count = state.counts[i]
    numbers[i + 1] = count == 0 and '0' or string.format('%.0f', count)
  end
  redis.call('SET', key, table.concat(numbers, ':'), 'PX', math.max(1, reset))
end

return part
