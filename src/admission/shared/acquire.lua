-- A request's place in its account, its model's and its key's, and what it takes of each rate: all or nothing.
--
-- ARGV: session, account, model, key;
--       three limits (account, model, key; -1: none) and three shares of them, which hold besides while settling;
--       tokens; then for each rate: bucket, requests a minute, tokens a minute (-1: none).
-- Returns {0}: this session is over.
--         {1, three counts (with this request; -1: not counted up), for each rate: levels of requests and tokens}.
--         {2, 1 | 2 | 3 (account, model, key), its count, the limit that it met}.
--         {3, the rate (from 1), 1 (requests) | 2 (tokens), what of it is used, the wait in milliseconds}.
local session, account, model, key = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local set = living()
if not set[session] then return {0} end

-- Adds up a hash of slots over the sessions that live, and forgets the dead: `all` and `some` by field, and of both what
-- is this session's own.
local function add_up(hash, model_field)
  local all, some, own, own_some = 0, 0, 0, 0
  local fields = redis.call('HGETALL', hash)
  for i = 1, #fields, 2 do
    local of, rest = string.match(fields[i], '^([^|]+)(.*)$')
    local count = tonumber(fields[i + 1])
    if not set[of] then
      redis.call('HDEL', hash, fields[i])
    elseif rest == '' then
      all = all + count
      if of == session then own = own + count end
    elseif rest == model_field then
      some = some + count
      if of == session then own_some = own_some + count end
    end
  end
  return all, some, own, own_some
end

local slots, key_slots = 'farebox:slots:' .. account, 'farebox:key_slots:' .. account .. ':' .. key
local limits, shares = {}, {}
for i = 1, 3 do
  limits[i], shares[i] = tonumber(ARGV[4 + i]), tonumber(ARGV[7 + i])
end
local counts, own = {}, {}
counts[1], counts[2], own[1], own[2] = add_up(slots, '|' .. model)
counts[3], own[3] = -1, 0
if limits[3] >= 0 then
  local all, _, mine = add_up(key_slots, '')
  counts[3], own[3] = all, mine
end
local settling = settles_in() > 0
for i = 1, 3 do
  if limits[i] >= 0 then
    if counts[i] >= limits[i] then return {2, i, counts[i], limits[i]} end
    if settling and own[i] >= shares[i] then return {2, i, own[i], shares[i]} end
  end
end

local tokens = tonumber(ARGV[11])
local units = {'requests', 'tokens'}
local filled, longest = {}, nil
for at = 12, #ARGV, 3 do
  for unit = 1, 2 do
    local limit = tonumber(ARGV[at + unit])
    if limit >= 0 then
      local amount = unit == 1 and 1 or math.min(tokens, limit)
      local asked = unit == 1 and 1 or tokens
      local level = level_of(ARGV[at], units[unit], limit)
      local over = level + math.min(amount, limit) * 60000 - limit * 60000
      local wait = 0
      -- At a rate of zero nothing ever leaks.
      if asked > 0 and limit == 0 then wait = 60000
      elseif asked > 0 and over > 0 then wait = math.ceil(over / limit) end
      if wait > 0 and (longest == nil or wait > longest[5]) then
        local used = math.min(limit, math.ceil(level / 60000))
        longest = {3, (at - 9) / 3, unit, used, wait}
      end
      filled[#filled + 1] = {ARGV[at], units[unit], level + amount * 60000}
    else
      filled[#filled + 1] = false
    end
  end
end
if longest then return longest end

add(slots, session, 1)
add(slots, session .. '|' .. model, 1)
add(key_slots, session, 1)
local answer = {1, counts[1] + 1, counts[2] + 1, counts[3] < 0 and -1 or counts[3] + 1}
for _, one in ipairs(filled) do
  if one then fill(one[1], one[2], one[3]) end
  answer[#answer + 1] = one and one[3] or -1
end
return answer
