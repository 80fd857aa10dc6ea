-- Binds a generation to this run of the server; from now on grants are made. KEYS: marker, the writer's name, which is there
-- since before the first figure was written: gone, the server was emptied meanwhile. ARGV: generation, run id.
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local generation, bound = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+) (%x+)$')
local marked = tonumber(generation or '0')
local refusal = { 'generation', string.format('%.0f', marked), run }
if run ~= ARGV[2] then return refusal end
if marked == tonumber(ARGV[1]) and bound == run then return { 'stands' } end
if marked >= tonumber(ARGV[1]) then return refusal end
if redis.call('DEL', KEYS[2]) == 0 then return refusal end
redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. run)
return { 'written' }
