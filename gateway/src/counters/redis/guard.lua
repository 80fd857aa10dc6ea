-- Whether this server is the one that the counters were built in. Every script begins with this.
-- The marker holds "<generation> <run id>"; it stands in the counters' own slot, so that whatever loses the counters (an
-- empty restart, an old dump, a failover, FLUSHALL) loses the marker too or changes the run id.
local function guard(marker_key, known_generation, known_run)
  local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
  local generation, bound = string.match(redis.call('GET', marker_key) or '', '^(%d+) (%x+)$')
  local refusal = { 'generation', generation or '0', run }
  if bound ~= run then return nil, refusal end
  local known, found = tonumber(known_generation), tonumber(generation)
  if found < known or (found == known and known_run ~= run) then return nil, refusal end
  return generation, nil, run
end

-- Takes back what a lease of an open counter of this generation had left; once.
local function close_lease(counter, generation, lease, unspent)
  if redis.call('HGET', counter, 'generation') ~= generation then return end
  local units = redis.call('HGET', counter, 'l:' .. lease)
  if not units then return end
  redis.call('HDEL', counter, 'l:' .. lease)
  -- 0 - 0 and not -0, which HINCRBY does not take for a number.
  redis.call('HINCRBY', counter, 'granted', string.format('%.0f', 0 - math.min(tonumber(units), tonumber(unspent))))
end

local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end
