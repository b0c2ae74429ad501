-- Decides a batch of requests, each all-or-nothing: the twin of decide() in ../memory.py.
-- KEYS   the keys of all hits, each once
-- ARGV   now (ms; 0 = Redis' own clock), then a plan in JSON: specs (each {algorithm, integers
--        ...}), requests (each a list of hits {key index, spec index, cost, at_ms, forced 0|1|2,
--        lease}; 2: late, charged as far as there is room; of which all after the spec is left out of a plain hit of 1); or for one plain hit
--        alone its spec, an argument each
-- reply  now, then for each hit {allowed 0|1, remaining, reset_ms, retry_ms or -1}, all flat; for
--        each hit of a request that failed {-1, number of its error, 0, 0}, and after all hits the
--        errors as text
local now = tonumber(ARGV[1])
if now == 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local PLAIN = {cost = 1, at = 0, forced = false, lease = ''}

if ARGV[3] then -- nearly every hit of an app that is not busy: it needs none of what follows
  local key, part, spec = KEYS[1], make(ARGV[2]), {ARGV[2]}
  for i = 3, #ARGV do spec[i - 1] = tonumber(ARGV[i]) end
  local before = part.load(key, now, spec)
  local state, allowed, remaining, reset, retry = part.advance(before, now, spec, PLAIN)
  if allowed then part.save(key, state, now, spec) end
  return {now, allowed and 1 or 0, remaining, reset, retry}
end

local plan = cjson.decode(ARGV[2])
local specs = plan.specs
local parts = setmetatable({}, {__index = function(made, name) -- most runs need one of them
  made[name] = make(name)
  return made[name]
end})
local LOOK = {cost = 0, at = 0, forced = false, lease = ''}

local states = {}  -- by key index, as they stand after the requests decided so far
local changed = {} -- key index -> spec of the hit that changed it
local reply, size = {now}, 1
local errors = {}

local function answer(allowed, remaining, reset, retry)
  reply[size + 1], reply[size + 2] = allowed and 1 or 0, remaining
  reply[size + 3], reply[size + 4] = reset, retry
  size = size + 4
end

local function advance(item, state)
  local key, spec, hit = item[1], specs[item[2]], PLAIN
  local part = parts[spec[1]]
  if not state then
    state = part.load(KEYS[key], now, spec)
    states[key] = state
  end
  if item[3] then
    hit = {cost = item[3], at = item[4], forced = item[5] > 0, lease = item[6]}
    if item[5] == 2 then
      local look = {cost = 0, at = 0, forced = false, lease = item[6]}
      local _, _, room = part.advance(state, now, spec, look)
      hit.cost = math.min(hit.cost, room)
    end
  end
  return part.advance(state, now, spec, hit)
end

local function keep(item, state)
  states[item[1]] = state
  if item[3] ~= 0 then changed[item[1]] = specs[item[2]] end
end

local function decide_one(item)
  local state, allowed, remaining, reset, retry = advance(item, states[item[1]])
  if allowed then keep(item, state) end
  answer(allowed, remaining, reset, retry)
end

local function decide_all(request)
  local pending, decisions, refused = {}, {}, false
  for i, item in ipairs(request) do
    local key = item[1]
    local state, allowed, remaining, reset, retry = advance(item, pending[key] or states[key])
    if allowed then pending[key] = state else refused = true end
    decisions[i] = {allowed, remaining, reset, retry}
  end
  for i, item in ipairs(request) do
    local key, spec, decision = item[1], specs[item[2]], decisions[i]
    if refused and decision[1] then -- not charged: what a look would be told
      local _, _, remaining, reset = parts[spec[1]].advance(states[key], now, spec, LOOK)
      decision = {true, remaining, reset, 0}
    elseif not refused then
      keep(item, pending[key])
    end
    answer(unpack(decision))
  end
end

-- What one request fails with, as another type under its key, is its own error: nothing is written
-- before all are decided. It fails while states are loaded, before it keeps any.
for _, request in ipairs(plan.requests) do
  local before = size
  local decided, failure
  if request[2] then
    decided, failure = pcall(decide_all, request)
  else
    decided, failure = pcall(decide_one, request[1])
  end
  if not decided then
    errors[#errors + 1] = type(failure) == 'table' and failure.err or tostring(failure)
    size = before
    for _ = 1, #request do
      reply[size + 1], reply[size + 2], reply[size + 3], reply[size + 4] = -1, #errors, 0, 0
      size = size + 4
    end
  end
end
for key, spec in pairs(changed) do
  parts[spec[1]].save(KEYS[key], states[key], now, spec)
end
for i, failure in ipairs(errors) do reply[size + i] = failure end
return reply
