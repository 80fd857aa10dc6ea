-- Writes what one counter is rebuilt as, once a generation. KEYS: marker, counter. ARGV: the new generation, the run id
-- that the rebuild is for, granted units, until when the counter is kept (empty: for ever), then lease and units of each
-- lease that gateways have in hand.
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local generation, bound = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+) (%x+)$')
local marked = tonumber(generation or '0')
local refusal = { 'generation', string.format('%.0f', marked), run }
if run ~= ARGV[2] then return refusal end
if marked == tonumber(ARGV[1]) and bound == run then return { 'stands' } end
if marked >= tonumber(ARGV[1]) then return refusal end
if tonumber(redis.call('HGET', KEYS[2], 'generation') or '0') >= tonumber(ARGV[1]) then return { 'stands' } end
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[2], 'generation', ARGV[1], 'granted', ARGV[3])
for i = 5, #ARGV, 2 do redis.call('HSET', KEYS[2], 'l:' .. ARGV[i], ARGV[i + 1]) end
if ARGV[4] ~= '' then redis.call('PEXPIREAT', KEYS[2], ARGV[4]) end
return { 'written' }
