-- Constructors: functions that build one term each. What is wrong with an argument raises an error
-- that names the constructor; whether a name is declared is admission's to say.

local lowering = require("llm_policy.language.lowering")
local names = require("llm_policy.language.sorts")
local reports = require("llm_policy.language.report")
local signature = require("llm_policy.language.signature")
local tables = require("llm_policy.base.tables")

local error, select, sub = error, select, string.sub

-- The vocabulary decides about these; here they are names.
local IS_DECLARED = { NumField = true, BoolField = true, Tier = true, ParamName = true, Sym = true }

local constructor = {}

--- Raises what a constructor was given wrong.
function constructor.raise(name, why)
  error("llm_policy.dsl: " .. name .. ": " .. why, 0)
end

--- What is wrong with a value as an argument, in words, or nothing.
---@param argument table {sort, is_term} of the signature
function constructor.fault_of(value, argument)
  if argument.is_term then
    local operation = lowering.is_term(value) and (signature.by_name[value[1]] or signature.locals[value[1]])
    return not (operation and operation.sort == argument.sort) and "a " .. argument.sort .. " is wanted" or nil
  end
  local check = IS_DECLARED[argument.sort] and names.checks.Family or names.checks[argument.sort]
  local code, detail = check(value)
  return code and detail
end

--- The constructor of an operation of fixed arguments.
---@param absent table|nil position -> what an argument is when it is not given
function constructor.of_operation(name, op, absent)
  local operation = signature.by_name[op] or signature.locals[op]
  local arguments = operation.args
  return function(...)
    local given, term = { ... }, { op }
    for i = #arguments + 1, select("#", ...) do
      if given[i] ~= nil then
        constructor.raise(name, "more arguments than it takes")
      end
    end
    for i = 1, #arguments do
      local value = given[i]
      if value == nil and absent then
        value = tables.deep_copy(absent[i])
      end
      local fault = constructor.fault_of(value, arguments[i])
      if fault then
        constructor.raise(name, "argument " .. sub("12345", i, i) .. ": " .. fault)
      end
      term[i + 1] = value
    end
    return term
  end
end

--- The constructor that a row of the sugar is: {lower}.
function constructor.of_row(name, row)
  return function(value)
    local low = lowering.new()
    local term = row.lower(low, {}, value)
    local errors = reports.errors(low.report)
    if errors then
      constructor.raise(name .. sub(errors[1].path, 2), errors[1].detail)
    end
    return tables.deep_copy(term)
  end
end

--- Constructors by name.
---@param letter string what messages call the table they stand in
---@param operations table list of {name, operation, absent?}
---@param rows table|nil rows of the sugar
---@param row_names table|nil those of them that are constructors
function constructor.space(letter, operations, rows, row_names)
  local out = {}
  for i = 1, #operations do
    local name = operations[i][1]
    out[name] = constructor.of_operation(letter .. "." .. name, operations[i][2], operations[i][3])
  end
  for i = 1, row_names and #row_names or 0 do
    out[row_names[i]] = constructor.of_row(letter .. "." .. row_names[i], rows[row_names[i]])
  end
  return out
end

return constructor
