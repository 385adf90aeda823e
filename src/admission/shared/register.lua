-- Begins a session in the place of another, with all that this replica has in flight.
--
-- ARGV: the session before ('': none), the new one, what this replica knows the data set as ('': nothing),
--       how many places; for each: account, model, key, how many requests;
--       then for each rate: bucket, 'requests' | 'tokens', its limit, and levels in units times milliseconds: all that is
--       this replica's, and what of it was taken since the session before ended.
-- Returns {the data set, milliseconds until all is settled, the living sessions}.
local before, session, known = ARGV[1], ARGV[2], ARGV[3]
local born = redis.call('GET', 'farebox:born')
local _, others = living()
-- Nobody is counted, but replicas may live: the server was empty or away. Each has a session's length to come back.
if #others == 0 then redis.call('SET', 'farebox:settled_at', string.format('%.0f', now + SETTLES_IN)) end
if not born then
  born = string.format('%.0f.%s', now, session)
  redis.call('SET', 'farebox:born', born)
end
if before ~= '' then redis.call('HDEL', 'farebox:sessions', before) end
redis.call('HSET', 'farebox:sessions', session, string.format('%.0f', now))
local at = 5
for _ = 1, tonumber(ARGV[4]) do
  local account, model, key, count = ARGV[at], ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3])
  add('farebox:slots:' .. account, session, count)
  add('farebox:slots:' .. account, session .. '|' .. model, count)
  add('farebox:key_slots:' .. account .. ':' .. key, session, count)
  at = at + 4
end
while at <= #ARGV do
  local bucket, unit, limit = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
  -- Data that is still there has what was taken before.
  local more = tonumber(known == born and ARGV[at + 4] or ARGV[at + 3])
  if more > 0 then fill(bucket, unit, level_of(bucket, unit, limit) + more) end
  at = at + 5
end
local _, names = living()
return {born, settles_in(), names}
