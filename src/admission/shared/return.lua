-- Gives back places, and puts what was used in the place of what was taken of rates.
--
-- ARGV: session; how many places; for each: account, model, key, how many requests;
--       then for each rate: bucket, 'requests' | 'tokens', its limit, what is to be added (less than zero: given back).
-- Returns 0 where this session is over: then all that it had is gone already.
local session = ARGV[1]
local set = living()
if not set[session] then return 0 end
local at = 3
for _ = 1, tonumber(ARGV[2]) do
  local account, model, key, count = ARGV[at], ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3])
  add('farebox:slots:' .. account, session, -count)
  add('farebox:slots:' .. account, session .. '|' .. model, -count)
  add('farebox:key_slots:' .. account .. ':' .. key, session, -count)
  at = at + 4
end
while at <= #ARGV do
  local bucket, unit, limit, more = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  fill(bucket, unit, level_of(bucket, unit, limit) + more * 60000)
  at = at + 4
end
return 1
