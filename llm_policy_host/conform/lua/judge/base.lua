-- Cases of the base: random streams, numbers as text, JSON.

local json = require("llm_policy.base.json")
local numbers = require("llm_policy.base.numbers")
local random = require("llm_policy.base.random")

local kinds = {}

function kinds.random(case)
  if not random.is_seed(case.seed) then
    return { refused = true }
  end
  local draw, draws = random.stream(case.seed, case.stream), {}
  for i = 1, case.draws do
    draws[i] = draw()
  end
  return { draws = draws }
end

function kinds.number(case)
  local out = {}
  for i = 1, #case.texts do
    local number = numbers.parse(case.texts[i])
    out[i] = number and numbers.format(number) or "refused"
  end
  return { numbers = out }
end

function kinds.json(case)
  local value, fault = json.decode(case.text)
  if fault then
    return { refused = true }
  end
  return { value = value }
end

return kinds
