-- A node of a flow: what it may be made of, by its kind (spec 2.6, the third rule of `graph`).

local admission = require("llm_policy.language.admission")
local numbers = require("llm_policy.base.numbers")
local signature = require("llm_policy.language.signature")
local tables = require("llm_policy.base.tables")
local vocabularies = require("llm_policy.language.vocabulary")

local type, rawget, sub = type, rawget, string.sub

local MAX_INPUTS = 32
local MAX_TEXT_BYTES = 262144

local PARTS = tables.set({ "kind", "inputs", "system", "policy", "template" })

-- kind -> the optional parts that a node of it may have
local KINDS = {
  input = {},
  llm = { system = true, template = true, policy = true },
  output = { template = true },
}

local function refusal(code, path, detail)
  return { code = code, path = path, detail = detail }
end

--- The ids of a node's inputs, in their order.
local function inputs_of(node)
  return rawget(node, "inputs") or {}
end

local function kind_of(node)
  local kind = vocabularies.at(node, "kind")
  return type(kind) == "string" and KINDS[kind] and kind or nil
end

local function shape_fault(node, path)
  if type(node) ~= "table" then
    return refusal("not_a_term", path, "a node is a record")
  end
  local keys, has_others = tables.keys(node)
  if has_others or #keys == 0 then
    return refusal("not_a_term", path, "a node is a record")
  end
  for i = 1, #keys do
    if not PARTS[keys[i]] then
      return refusal("not_a_term", path, "a node has only a kind, inputs, system, policy and template")
    end
  end
  if not kind_of(node) then
    return refusal("unknown_op", path .. ".kind", "a node is an input, an llm or an output")
  end
end

local function input_fault(nodes, id, path)
  local source = type(id) == "string" and rawget(nodes, id) or nil
  if source == nil then
    return refusal("bad_name", path, "no node has this id")
  end
  if kind_of(source) == "output" then
    return refusal("sort_mismatch", path, "an output is nobody's input")
  end
end

local function inputs_fault(nodes, node, path)
  local inputs = inputs_of(node)
  local n = type(inputs) == "table" and tables.dense(inputs)
  if not n then
    return refusal("not_a_term", path, "the inputs are a list of ids")
  end
  if n > MAX_INPUTS then
    return refusal("too_large", path, "a node has at most 32 inputs")
  end
  for k = 1, n do
    local fault = input_fault(nodes, rawget(inputs, k), path .. "[" .. numbers.format(k) .. "]")
    if fault then
      return fault
    end
  end
  if (n > 0) == (node.kind == "input") then
    return refusal("arity", path, "an input has no inputs, any other node has some")
  end
end

local function text_fault(node, part, path)
  local text = rawget(node, part)
  if text == nil then
    return nil
  end
  if type(text) ~= "string" then
    return refusal("bad_scalar", path, "a string is wanted")
  end
  if #text > MAX_TEXT_BYTES then
    return refusal("too_large", path, "a text has at most 262144 bytes")
  end
  if not KINDS[node.kind][part] then
    return refusal("arity", path, "a node of this kind has none")
  end
end

--- The refusal of a node's policy: as admission's where a Policy is expected.
local function term_fault(term, vocabulary, path)
  local sort, refused = admission.check(term, vocabulary)
  local op = type(term) == "table" and tables.dense(term) and rawget(term, 1)
  local operation = type(op) == "string" and signature.by_name[op]
  if operation and operation.sort ~= "Policy" then
    return refusal("sort_mismatch", path, "a Policy is wanted")
  end
  if not sort then
    return refusal(refused.code, path .. sub(refused.path, 2), refused.detail)
  end
end

local function policy_fault(node, vocabulary, path)
  local term = rawget(node, "policy")
  if (term ~= nil) ~= (node.kind == "llm") then
    return refusal("arity", path, "an llm node has a policy, no other has")
  end
  return term ~= nil and term_fault(term, vocabulary, path) or nil
end

--- The refusal of a node, or nothing.
---@param nodes table id -> anything
---@return table|nil refusal {code, path, detail}
local function fault_of(nodes, id, vocabulary)
  local node, path = rawget(nodes, id), "$.nodes." .. id
  return shape_fault(node, path)
    or inputs_fault(nodes, node, path .. ".inputs")
    or text_fault(node, "system", path .. ".system")
    or text_fault(node, "template", path .. ".template")
    or policy_fault(node, vocabulary, path .. ".policy")
end

return { fault_of = fault_of, inputs_of = inputs_of, refusal = refusal }
