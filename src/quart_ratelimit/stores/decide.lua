-- Decides a batch of requests, each all-or-nothing: the twin of decide() in memory.py.
-- KEYS   the keys of all hits, each once
-- ARGV   a plan in JSON: now (ms; 0 = Redis' own clock), specs (each {algorithm, integers ...}),
--        requests (each a list of hits {key index, spec index, cost, at_ms, forced 0|1, lease})
-- reply  now, then for each hit {allowed 0|1, remaining, reset_ms, retry_ms or -1}, all flat
local plan = cjson.decode(ARGV[1])
local parts = setmetatable({}, {__index = function(made, name) -- most runs need one of them
  made[name] = makers[name]()
  return made[name]
end})
local now = plan.now
if now == 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

local states = {}  -- by key index, as they stand after the requests decided so far
local changed = {} -- key index -> spec of the hit that changed it
local reply = {now}

local function answer(allowed, remaining, reset, retry)
  reply[#reply + 1] = allowed and 1 or 0
  reply[#reply + 1] = remaining
  reply[#reply + 1] = reset
  reply[#reply + 1] = retry
end

for _, request in ipairs(plan.requests) do
  local pending, decisions, refused = {}, {}, false
  for i, item in ipairs(request) do
    local key, spec = item[1], plan.specs[item[2]]
    local part = parts[spec[1]]
    if not states[key] then states[key] = part.load(KEYS[key], now, spec) end
    local hit = {cost = item[3], at = item[4], forced = item[5] == 1, lease = item[6]}
    local state, allowed, remaining, reset, retry =
      part.advance(pending[key] or states[key], now, spec, hit)
    if allowed then pending[key] = state else refused = true end
    decisions[i] = {allowed, remaining, reset, retry}
  end
  for i, item in ipairs(request) do
    local key, spec, decision = item[1], plan.specs[item[2]], decisions[i]
    if refused and decision[1] then -- not charged: what a look would be told
      local _, _, remaining, reset = parts[spec[1]].advance(
        states[key], now, spec, {cost = 0, at = 0, forced = false, lease = ''})
      decision = {true, remaining, reset, 0}
    elseif not refused then
      states[key] = pending[key]
      if item[3] ~= 0 then changed[key] = spec end
    end
    answer(unpack(decision))
  end
end

for key, spec in pairs(changed) do
  parts[spec[1]].save(KEYS[key], states[key], now, spec)
end
return reply
