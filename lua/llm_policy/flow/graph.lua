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

local node = require("llm_policy.flow.node")
local sorts = require("llm_policy.language.sorts")
local tables = require("llm_policy.base.tables")
local vocabularies = require("llm_policy.language.vocabulary")

local type, rawget = type, rawget
local inputs_of, refusal = node.inputs_of, node.refusal

local MAX_NODES = 256

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
local function is_ready(sink, done)
  local inputs = inputs_of(sink)
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
    local fault = node.fault_of(nodes, ids[i], vocabulary)
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
