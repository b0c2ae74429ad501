-- Exact log, the twin of MovingWindow.advance in moving_window.py: change both or neither.
-- key    list: when each unit was used (ms), oldest first
-- spec   {name, amount, period_ms}
-- A state is how many units the key holds, the index of the `first` that counts, and what this
-- script changes: units `added` now, and cuts `back`, {first index, units, at}, of units given
-- back, `gone` in all. So a hit costs the same however long the log is.
local part = {}

local function time(log, i) return tonumber(redis.call('LINDEX', log.key, i)) end -- from 0
local function used(log) return log.stored - log.first - log.gone + log.added end

local function index_after(log, ms) -- of the first that was used after that time
  local low, high = log.first, log.stored
  while low < high do
    local middle = math.floor((low + high) / 2)
    if time(log, middle) <= ms then low = middle + 1 else high = middle end
  end
  return low
end

local function push(key, now, units)
  local chunk = {}
  for i = 1, math.min(units, 1000) do chunk[i] = string.format('%.0f', now) end
  for sent = 0, units - 1, 1000 do
    redis.call('RPUSH', key, unpack(chunk, 1, math.min(units - sent, 1000)))
  end
end

function part.load(key, now, spec)
  local log = {key = key, stored = redis.call('LLEN', key), first = 0, added = 0, back = {},
    gone = 0}
  if log.stored == 0 then return log end
  if time(log, -1) > now then -- the clock went back: none is from the future
    local past = index_after(log, now)
    redis.call('LTRIM', key, 0, past - log.stored - 1) -- counted from the end: also for 0
    push(key, now, log.stored - past)
    redis.call('PEXPIRE', key, spec[3])
  end
  if time(log, 0) <= now - spec[3] then log.first = index_after(log, now - spec[3]) end
  return log
end

local function time_of_unit(log, n, now) -- when the n-th that still counts was used
  local i = log.first + n - 1
  for _, cut in ipairs(log.back) do
    if cut[1] <= i then i = i + cut[2] end
  end
  return i < log.stored and time(log, i) or now
end

local function decide(log, now, spec, allowed, retry)
  local units, reset = used(log), 0
  if units > 0 then reset = time_of_unit(log, units, now) + spec[3] - now end
  return log, allowed, math.max(0, spec[2] - units), reset, retry
end

local function given_back(log, now, units, at)
  local fresh = at == now and math.min(units, log.added) or 0
  local first, back = index_after(log, at - 1), {}
  for i, cut in ipairs(log.back) do
    back[i] = cut
    if cut[3] == at then first = first + cut[2] end
  end
  local gone = math.min(units - fresh, index_after(log, at) - first)
  if gone > 0 then back[#back + 1] = {first, gone, at} end
  table.sort(back, function(a, b) return a[1] < b[1] end)
  return {key = log.key, stored = log.stored, first = log.first, added = log.added - fresh,
    back = back, gone = log.gone + gone}
end

function part.advance(log, now, spec, hit)
  local amount, cost, units = spec[2], math.min(hit.cost, spec[2]), math.max(hit.cost, 1)
  if cost < 0 then
    log = given_back(log, now, math.min(-cost, amount), hit.at)
  elseif used(log) + units <= amount or hit.forced then
    log = {key = log.key, stored = log.stored, first = log.first, added = log.added + cost,
      back = log.back, gone = log.gone}
  else
    local retry = -1
    if units <= amount then
      retry = time_of_unit(log, used(log) + units - amount, now) + spec[3] - now
    end
    return decide(log, now, spec, false, retry)
  end
  return decide(log, now, spec, true, 0)
end

function part.save(key, log, now, spec)
  local _, _, _, reset = decide(log, now, spec, true, 0)
  if log.first > 0 then redis.call('LTRIM', key, log.first, -1) end
  for _, cut in ipairs(log.back) do
    redis.call('LREM', key, -cut[2], string.format('%.0f', cut[3])) -- from the newest on
  end
  push(key, now, log.added)
  if reset > 0 then redis.call('PEXPIRE', key, reset) end
end

return part
