-- Closes leases. KEYS: marker, then the counter of each close. ARGV: known generation, known run id, then lease and unspent
-- units of each close.
local generation, refusal, run = guard(KEYS[1], ARGV[1], ARGV[2])
if refusal then return refusal end
for i = 2, #KEYS do
  close_lease(KEYS[i], generation, ARGV[3 + (i - 2) * 2], ARGV[4 + (i - 2) * 2])
end
return { 'closed', generation, run }
