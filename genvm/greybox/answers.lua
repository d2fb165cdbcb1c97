-- Answers: what a provider gave, in the shape that GenVM wants of a format (spec 4.1).

local numbers = require("llm_policy.base.numbers")

local type = type

-- GenVM 0.2.x takes a table for json, v0.6 a text: both pass as they came.
local SHAPES = {
  text = { string = true },
  json = { string = true, table = true },
  bool = { boolean = true },
}

-- What a template asks for where its transform does not say.
local TEMPLATE_FORMATS = {
  EqComparative = "bool",
  EqNonComparativeValidator = "bool",
  EqNonComparativeLeader = "text",
}

--- What was consumed: an integer, or v0.6's own number as it is.
local function consumed(value)
  if type(value) == "userdata" then
    return value
  end
  return numbers.is_finite(value) and numbers.integral(numbers.floor(value)) or 0
end

--- The answer of a call, or nothing where the data is not of the format: a yes or no that is neither
--- must not reach a contract.
---@return table|nil answer {data, consumed_gen}
local function shape(result, format)
  local data = type(result) == "table" and result.data
  if not (SHAPES[format] or SHAPES.text)[type(data)] then
    return nil
  end
  return { data = data, consumed_gen = consumed(result.consumed_gen) }
end

return { shape = shape, TEMPLATE_FORMATS = TEMPLATE_FORMATS }
