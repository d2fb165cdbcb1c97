-- The graph of a flow: is this value a flow, and in what order can its nodes run (spec 2.6)?
--
-- A flow is {"flow", {id = {kind, inputs, system, policy, template}}}. Like admission `check` is
-- total. Its rules, in this order; the first that fails is the refusal:
-- 1. the whole, at `$`: a list that starts with `flow` and has one argument;
-- 2. the nodes, at `$.nodes`: a record, at most 256, ids of 1 to 256 bytes;
-- 3. each node in byte order of the ids, at `$.nodes.<id>`: known keys; its kind; its inputs, at most
--    32 and none an output; how many it may have; its texts; its policy;
-- 4. at `$.nodes`: exactly one input, exactly one output, no cycle (`too_deep`);
-- 5. each llm node: the output needs it. (From the input there is a path to every node, by 3 and 4.)

local admission = require("llm_policy.language.admission")
local numbers = require("llm_policy.base.numbers")
local signature = require("llm_policy.language.signature")
local sorts = require("llm_policy.language.sorts")
local tables = require("llm_policy.base.tables")
local vocabularies = require("llm_policy.language.vocabulary")

local type, rawget, sub = type, rawget, string.sub

local MAX_NODES = 256
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

local function whole_fault(flow)
  local n = type(flow) == "table" and tables.dense(flow) or 0
  local word = n >= 1 and rawget(flow, 1)
  if type(word) ~= "string" then
    return refusal("not_a_term", "$", "a flow is a list that starts with `flow`")
  end
  if word ~= "flow" then
    return refusal("unknown_op", "$", "a flow starts with `flow`")
  end
  if n ~= 2 then
    return refusal("arity", "$", "`flow` takes one argument, its nodes")
  end
end

local function nodes_fault(nodes)
  if type(nodes) ~= "table" then
    return refusal("not_a_term", "$.nodes", "the nodes are a record of id to node")
  end
  local ids, has_others = tables.keys(nodes)
  if has_others then
    return refusal("not_a_term", "$.nodes", "the nodes are a record of id to node")
  end
  if #ids > MAX_NODES then
    return refusal("too_large", "$.nodes", "a flow has at most 256 nodes")
  end
  for i = 1, #ids do
    if not sorts.is_name(ids[i]) then
      return refusal("bad_name", "$.nodes", "an id is a string of 1 to 256 bytes")
    end
  end
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

local function node_fault(nodes, id, vocabulary)
  local node, path = rawget(nodes, id), "$.nodes." .. id
  return shape_fault(node, path)
    or inputs_fault(nodes, node, path .. ".inputs")
    or text_fault(node, "system", path .. ".system")
    or text_fault(node, "template", path .. ".template")
    or policy_fault(node, vocabulary, path .. ".policy")
end

--- The id of a node of a kind that stands once in a flow, or nothing.
local function only(nodes, ids, kind)
  local found
  for i = 1, #ids do
    if nodes[ids[i]].kind == kind then
      if found then
        return nil
      end
      found = ids[i]
    end
  end
  return found
end

--- Whether every input of a node has an entry.
local function is_ready(node, done)
  local inputs = inputs_of(node)
  for k = 1, #inputs do
    if done[inputs[k]] == nil then
      return false
    end
  end
  return true
end

local function has_cycle(nodes, ids)
  local done, waiting = {}, ids
  local before
  repeat
    before = #waiting
    local rest = {}
    for i = 1, before do
      if is_ready(nodes[waiting[i]], done) then
        done[waiting[i]] = true
      else
        rest[#rest + 1] = waiting[i]
      end
    end
    waiting = rest
  until #waiting == before
  return before > 0
end

local visit
visit = function(nodes, id, seen, count)
  if seen[id] then
    return count
  end
  seen[id] = count + 1
  count = count + 1
  local inputs = inputs_of(nodes[id])
  for k = 1, #inputs do
    count = visit(nodes, inputs[k], seen, count)
  end
  return count
end

--- The place of each node in a walk from the output, a node before its inputs: what the output needs.
---@return table places id -> number from 1
local function visits(nodes)
  local seen = {}
  visit(nodes, only(nodes, tables.keys(nodes), "output"), seen, 0)
  return seen
end

local function graph_fault(nodes, ids)
  if not only(nodes, ids, "input") or not only(nodes, ids, "output") then
    return refusal("arity", "$.nodes", "a flow has one input and one output")
  end
  if has_cycle(nodes, ids) then
    return refusal("too_deep", "$.nodes", "a node leads back to itself")
  end
  local needed = visits(nodes)
  for i = 1, #ids do
    if nodes[ids[i]].kind == "llm" and not needed[ids[i]] then
      return refusal("arity", "$.nodes." .. ids[i], "the output does not need this node")
    end
  end
end

local function nodes_faults(nodes, vocabulary)
  local ids = tables.keys(nodes)
  for i = 1, #ids do
    local fault = node_fault(nodes, ids[i], vocabulary)
    if fault then
      return fault
    end
  end
  return graph_fault(nodes, ids)
end

--- Whether any value is a flow.
---@param flow any
---@param schema table|nil a vocabulary, or what `vocabulary.new` takes
---@return true|nil
---@return table|nil refusal {code, path, detail}
local function check(flow, schema)
  local fault = whole_fault(flow)
    or nodes_fault(rawget(flow, 2))
    or nodes_faults(rawget(flow, 2), vocabularies.new(schema))
  if fault then
    return nil, fault
  end
  return true
end

return { check = check, inputs_of = inputs_of, is_ready = is_ready, visits = visits }
