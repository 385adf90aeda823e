-- A sign of life. Forgets sessions that are over.
--
-- ARGV: session. Returns {0} where this one is over, or {1, milliseconds until all is settled, the living sessions}.
local session = ARGV[1]
local set, names = living()
if not set[session] then return {0} end
redis.call('HSET', 'farebox:sessions', session, string.format('%.0f', now))
for _, heard in ipairs(redis.call('HKEYS', 'farebox:sessions')) do
  if not set[heard] then redis.call('HDEL', 'farebox:sessions', heard) end
end
return {1, settles_in(), names}
