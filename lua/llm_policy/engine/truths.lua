-- Which predicates of a policy hold for how many: each Pred node as a filter of its own, over the
-- candidates that it is there for. What tests of policies count as seen. Plans without any effect.

local decide = require("llm_policy.semantics.decide")
local explain = require("llm_policy.semantics.explain")
local numbers = require("llm_policy.base.numbers")
local policies = require("llm_policy.engine.policies")
local signature = require("llm_policy.language.signature")
local snapshots = require("llm_policy.engine.snapshot")

-- The place of the filter among a policy's parts.
local FILTER = 1

--- Every Pred node below a term, before its own parts; `is_filter` says that it stands in the filter.
local collect
collect = function(term, path, is_filter, out)
  local operation = signature.by_name[term[1]] or signature.locals[term[1]]
  if operation.sort == "Pred" then
    out[#out + 1] = { term = term, path = path, is_filter = is_filter }
  end
  for position = 1, #term - 1 do
    if signature.argument(operation, position).is_term then
      local below = path .. "." .. operation.op .. "[" .. numbers.format(position) .. "]"
      collect(term[position + 1], below, is_filter or operation.op == "policy" and position == FILTER, out)
    end
  end
end

--- How many of the first m candidates of a list a predicate holds for.
local function count(pred, view, idx, m)
  local holding = 0
  for k = 1, m do
    if pred:holds(view, idx[k]) then
      holding = holding + 1
    end
  end
  return holding
end

--- Counts for whom each predicate of a contract's policy holds: those of the filter are asked of every
--- candidate, all others of those whom the filter leaves.
---@param contract table spec 2.3
---@param inputs table spec 2.3
---@return table {nodes = list of {path, op, words, yes, no}, policy_id}, or {error, refusal}
local function counted(engine, contract, inputs)
  local policy, err, refusal = policies.of_contract(engine, contract)
  if not policy then
    return { error = err, refusal = refusal }
  end
  local vocabulary, view = engine.config.vocabulary, snapshots.view(engine, snapshots.freeze(engine, contract, inputs))
  local all, left, nodes, out = {}, {}, {}, {}
  for i = 1, view.n do
    all[i] = i
  end
  local m = decide.survivors(policies.narrowed(engine, policy, contract).filter, view, left)
  collect(policy.term, "$", false, nodes)
  for j = 1, #nodes do
    local node = nodes[j]
    local idx, n = left, m
    if node.is_filter then
      idx, n = all, view.n
    end
    local yes = count(decide.carrier(node.term, vocabulary), view, idx, n)
    out[j] = { path = node.path, op = node.term[1], words = explain.describe(node.term), yes = yes, no = n - yes }
  end
  return { nodes = out, policy_id = policy.id }
end

return { counted = counted }
