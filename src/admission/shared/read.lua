-- What accounts have in flight over all replicas.
--
-- ARGV: accounts. Returns for each {all, then for each model: its name, its count}.
local set = living()
local answer = {}
for i, account in ipairs(ARGV) do
  local all, models, order = 0, {}, {}
  local fields = redis.call('HGETALL', 'farebox:slots:' .. account)
  for j = 1, #fields, 2 do
    local of, model = string.match(fields[j], '^([^|]+)|?(.*)$')
    local count = tonumber(fields[j + 1])
    if set[of] and model == '' then
      all = all + count
    elseif set[of] then
      if not models[model] then order[#order + 1] = model end
      models[model] = (models[model] or 0) + count
    end
  end
  answer[i] = {all}
  for _, model in ipairs(order) do
    table.insert(answer[i], model)
    table.insert(answer[i], models[model])
  end
end
return answer
