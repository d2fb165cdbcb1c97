-- Plain data that came from outside: kept fit to be written down, since a handle carries it.

local numbers = require("llm_policy.base.numbers")

local next, type = next, type
local is_finite = numbers.is_finite

-- What stands for a value that cannot be written down: no number, no flag, so that a policy sees it
-- as absent.
local ABSENT = ""

local WRITABLE = { string = true, boolean = true }

local function is_leaf(value)
  return WRITABLE[type(value)] or is_finite(value)
end

local is_clean
is_clean = function(value)
  if type(value) ~= "table" then
    return is_leaf(value)
  end
  for _, item in next, value do
    if not is_clean(item) then
      return false
    end
  end
  return true
end

local cleaned
cleaned = function(value)
  if type(value) ~= "table" then
    return is_leaf(value) and value or ABSENT
  end
  local result = {}
  for key, item in next, value do
    if item == false then
      result[key] = false
    else
      result[key] = cleaned(item)
    end
  end
  return result
end

local plain = {}

--- Acyclic data of strings, booleans and finite numbers: itself, or a copy in which "" stands for every
--- other value (a NaN, an infinity, a function).
---@generic V
---@param value V
---@return V
function plain.clean(value)
  if value == nil or is_clean(value) then
    return value
  end
  return cleaned(value)
end

return plain
