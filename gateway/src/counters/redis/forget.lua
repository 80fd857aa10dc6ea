-- Counts a gateway's open leases of one counter as spent. KEYS: marker, counter. ARGV: known generation, known run id,
-- gateway.
local generation, refusal = guard(KEYS[1], ARGV[1], ARGV[2])
if refusal then return refusal end
-- Of before a rebuild that knew of no use of it.
if redis.call('HGET', KEYS[2], 'generation') ~= generation then return { 'forgotten', '0' } end
local fields, units = redis.call('HGETALL', KEYS[2]), 0
for i = 1, #fields, 2 do
  if string.match(fields[i], '^l:(.+)%.%x+%.%d+$') == ARGV[3] then
    units = units + tonumber(fields[i + 1])
    redis.call('HDEL', KEYS[2], fields[i])
  end
end
return { 'forgotten', string.format('%.0f', units) }
