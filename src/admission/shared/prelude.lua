-- Every script begins with this. Times are the server's, in milliseconds: no two replicas' clocks are compared.
--
--   farebox:sessions                    hash: session -> when it was last heard of
--   farebox:born                        names this data set; gone with it when the server comes back empty
--   farebox:settled_at                  until then not all that is in flight is known here: docs/adr/0014
--   farebox:slots:ACCOUNT               hash: SESSION, SESSION|MODEL -> requests in flight
--   farebox:key_slots:ACCOUNT:KEY       hash: SESSION -> requests in flight
--   farebox:rate:ACCOUNT[:KEY]          hash: what was taken of a minute's requests and tokens, and when that was so
--   farebox:model_rate:ACCOUNT:MODEL    the same of the account on this model
local SESSION_ENDS_AFTER = 5000
local SETTLES_IN = 5000
-- What nobody touches for a day is garbage of a session that is over. A request is never in flight for so long.
local KEPT_FOR = 24 * 3600 * 1000

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- The sessions that were heard of lately, as a set; and their names in one order for all.
local function living()
  local set, names = {}, {}
  local heard = redis.call('HGETALL', 'farebox:sessions')
  for i = 1, #heard, 2 do
    if now - tonumber(heard[i + 1]) <= SESSION_ENDS_AFTER then
      set[heard[i]] = true
      names[#names + 1] = heard[i]
    end
  end
  table.sort(names)
  return set, names
end

-- For how much longer the counts are not to be trusted alone.
local function settles_in()
  return math.max(0, tonumber(redis.call('GET', 'farebox:settled_at') or now) - now)
end

local function add(hash, field, count)
  if redis.call('HINCRBY', hash, field, count) <= 0 then redis.call('HDEL', hash, field) end
  redis.call('PEXPIRE', hash, KEPT_FOR)
end

-- What is in a bucket now, in units times milliseconds: so the leak of a millisecond is the rate itself, and every
-- number here is whole. It holds 60,000 times the limit.
local function level_of(bucket, unit, limit)
  local was = redis.call('HMGET', bucket, unit, unit .. '_at')
  local passed = math.max(0, now - (tonumber(was[2]) or now))
  return math.max(0, (tonumber(was[1]) or 0) - passed * limit)
end

local function fill(bucket, unit, level)
  redis.call('HSET', bucket, unit, string.format('%.0f', math.max(0, level)), unit .. '_at', string.format('%.0f', now))
  redis.call('PEXPIRE', bucket, KEPT_FOR)
end
