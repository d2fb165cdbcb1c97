-- Admission: is this value a term of the language? Total: every input gets a sort or a refusal
-- `{code, path, detail}`, never a Lua error (spec 1.2).

local encoding = require("llm_policy.language.encoding")
local names = require("llm_policy.language.sorts")
local numbers = require("llm_policy.base.numbers")
local signature = require("llm_policy.language.signature")
local tables = require("llm_policy.base.tables")
local vocabularies = require("llm_policy.language.vocabulary")

local type, rawget = type, rawget

local MAX_DEPTH = 64
local MAX_NODES = 4096
local MAX_ENCODING_BYTES = 262144

local function refuse(code, path, detail)
  return nil, { code = code, path = path, detail = detail }
end

local function argument_path(path, op, position)
  return path .. "." .. op .. "[" .. numbers.format(position) .. "]"
end

--- The operation of a well-formed head, or a refusal code and a detail.
local function read_head(run, term)
  local n = tables.dense(term)
  local op = n and n >= 1 and rawget(term, 1)
  if type(op) ~= "string" then
    return nil, "not_a_term", "a term is a list that starts with the name of an operation"
  end
  local operation = signature.by_name[op]
  if not operation and run.allows_functions and signature.locals[op] then
    operation, run.is_local = signature.locals[op], true
  end
  if not operation then
    local shown = #op <= 64 and "no operation `" .. op .. "`" .. names.hint(op, signature.names)
    return nil, "unknown_op", shown or "no such operation"
  end
  return operation, n - 1
end

local function is_arity(operation, given)
  if operation.is_variadic then
    return given >= 1
  end
  return given == #operation.args
end

local admit

--- Admits the argument at a position, or gives its refusal.
local function admit_argument(run, operation, value, position, path, depth)
  local argument = signature.argument(operation, position)
  local here = argument_path(path, operation.op, position)
  if argument.is_term then
    return admit(run, value, here, depth + 1, argument.sort)
  end
  local code, detail = names.checks[argument.sort](value, run.vocabulary)
  if code then
    return refuse(code, here, detail)
  end
  return argument.sort
end

admit = function(run, term, path, depth, expected)
  if type(term) ~= "table" then
    return refuse("not_a_term", path, "a term is a list that starts with the name of an operation")
  end
  if depth > MAX_DEPTH then
    return refuse("too_deep", path, "a term is at most 64 deep")
  end
  run.nodes = run.nodes + 1
  if run.nodes > MAX_NODES then
    return refuse("too_large", path, "a term has at most 4096 nodes")
  end
  local operation, given, detail = read_head(run, term)
  if not operation then
    return refuse(given, path, detail)
  end
  if expected and operation.sort ~= expected then
    return refuse(
      "sort_mismatch",
      path,
      "a " .. expected .. " is wanted, `" .. operation.op .. "` is a " .. operation.sort
    )
  end
  if not is_arity(operation, given) then
    return refuse("arity", path, "`" .. operation.op .. "` takes another number of arguments")
  end
  for position = 1, given do
    local sort, refusal = admit_argument(run, operation, rawget(term, position + 1), position, path, depth)
    if not sort then
      return nil, refusal
    end
  end
  return operation.sort
end

--- The sort of a term, or nothing and its refusal.
---@param term any
---@param schema table|nil a vocabulary, or what `vocabulary.new` takes
---@param allows_functions boolean|nil whether the operator's own Lua functions may stand in it
---@return string|nil sort
---@return table|nil refusal {code, path, detail}
---@return boolean|nil is_local whether a function stands in it: it has no encoding then
local function check(term, schema, allows_functions)
  local run = { nodes = 0, vocabulary = vocabularies.new(schema), allows_functions = allows_functions }
  local sort, refusal = admit(run, term, "$", 1, nil)
  if not sort then
    return nil, refusal
  end
  if run.is_local then
    return sort, nil, true
  end
  if #encoding.encode(term) > MAX_ENCODING_BYTES then
    return refuse("too_large", "$", "an encoding has at most 262144 bytes")
  end
  return sort
end

return { check = check, refuse = refuse }
