-- Why a plan is as it is: what each part of the scorer gave whom, and by which clause of the filter
-- each other candidate was refused. Plans without any effect.

local decide = require("llm_policy.semantics.decide")
local explain = require("llm_policy.semantics.explain")
local plans = require("llm_policy.semantics.policy")
local policies = require("llm_policy.engine.policies")
local snapshots = require("llm_policy.engine.snapshot")
local trace = require("llm_policy.engine.trace")

--- The clauses that a filter joins, each with its words.
local function clauses_of(filter, vocabulary)
  local parts, out = { filter }, {}
  if filter[1] == "and" then
    parts = {}
    for i = 2, #filter do
      parts[i - 1] = filter[i]
    end
  end
  for i = 1, #parts do
    out[i] = { words = explain.describe(parts[i]), pred = decide.carrier(parts[i], vocabulary) }
  end
  return out
end

--- The words of the first clause that does not hold; nothing where it is the contract's own bound.
local function failing(clauses, view, i)
  for j = 1, #clauses do
    if not clauses[j].pred:holds(view, i) then
      return clauses[j].words
    end
  end
end

local function ordered_of(plan)
  local out = {}
  for r = 1, #plan.ordered do
    local entry = plan.ordered[r]
    out[r] = trace.ranked_entry(entry.candidate, entry.score)
    out[r].contributions = entry.score_breakdown
  end
  return out
end

local function rejected_of(policy, carriers, vocabulary, view)
  local refused, out = decide.rejections(carriers, view), {}
  local clauses = clauses_of(policy.term[2], vocabulary)
  for r = 1, #refused do
    local i = refused[r].index
    local candidate = view.candidates[i]
    out[r] = {
      provider = candidate.provider_id,
      model = candidate.model_family,
      reason = refused[r].reason,
      clause = failing(clauses, view, i),
    }
  end
  return out
end

--- What is said of a policy: functions of the operator have words, but neither identity nor term.
local function told(policy)
  return {
    id = policy.id,
    fingerprint = policy.fingerprint,
    words = explain.describe(policy.term),
    term = not policy.is_local and policy.term or nil,
  }
end

--- Explains the plan of a contract.
---@param contract table spec 2.3
---@param inputs table spec 2.3
---@return table {ordered = ranked entries with contributions {term, score}, rejected = {provider, model, reason,
---clause}, policy = {id, fingerprint, words, term}}, or {error, refusal}
local function explained(engine, contract, inputs)
  local policy, err, refusal = policies.of_contract(engine, contract)
  if not policy then
    return { error = err, refusal = refusal }
  end
  local vocabulary, view = engine.config.vocabulary, snapshots.view(engine, snapshots.freeze(engine, contract, inputs))
  local carriers = policies.narrowed(engine, policy, contract)
  local plan = plans.plan({ carriers = carriers, term = policy.term }, vocabulary, view)
  return {
    ordered = ordered_of(plan),
    rejected = rejected_of(policy, carriers, vocabulary, view),
    policy = told(policy),
  }
end

return { explained = explained }
