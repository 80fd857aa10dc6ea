-- Grants a lease, as limits/counter.rs decides.
-- KEYS: marker, counter, then the counter of each close. ARGV: known generation, known run id, the window's first and last
-- moment + 1 (both empty for a trial), until when the counter is kept (empty: for ever), max, hard, lease, gateway, epoch,
-- serial, want, open units cap, then lease and unspent units of each close.
local generation, refusal, run = guard(KEYS[1], ARGV[1], ARGV[2])
if refusal then return refusal end
local now = now_ms()
if ARGV[3] ~= '' and (now < tonumber(ARGV[3]) or now >= tonumber(ARGV[4])) then
  return { 'turned', string.format('%.0f', now) }
end
for i = 3, #KEYS do
  close_lease(KEYS[i], generation, ARGV[14 + (i - 3) * 2], ARGV[15 + (i - 3) * 2])
end
local counter, max, hard = KEYS[2], tonumber(ARGV[6]), ARGV[7] == '1'
local lease, gateway, epoch, serial, want = ARGV[8], ARGV[9], ARGV[10], tonumber(ARGV[11]), tonumber(ARGV[12])
if redis.call('HGET', counter, 'generation') ~= generation then
  -- Of before a rebuild that knew of no use of it.
  redis.call('DEL', counter)
end
local granted = tonumber(redis.call('HGET', counter, 'granted') or '0')
local units = tonumber(redis.call('HGET', counter, 'l:' .. lease) or '-1')
if units < 0 then
  local latest_epoch, latest = string.match(redis.call('HGET', counter, 'latest:' .. gateway) or '', '^(%x+) (%d+)$')
  if latest_epoch == epoch then
    local ahead = (serial - tonumber(latest)) % 4294967296
    if ahead == 0 or ahead >= 2147483648 then return { 'stale' } end
  end
  units = want
  if hard then units = math.min(want, math.ceil(math.max(max - granted, 0) / 4)) end
  if units > 0 then
    granted = granted + units
    redis.call('HSET', counter, 'generation', generation, 'granted', string.format('%.0f', granted),
      'l:' .. lease, string.format('%.0f', units), 'latest:' .. gateway, epoch .. ' ' .. ARGV[11],
      'cap:' .. gateway, ARGV[13])
    if ARGV[5] ~= '' then redis.call('PEXPIREAT', counter, ARGV[5]) end
  end
end
return { 'granted', string.format('%.0f', units), string.format('%.0f', granted), generation, run,
  string.format('%.0f', now) }
