-- The trace: what was decided, why, and what came of it. Plain, acyclic, string-keyed data; a
-- provider's error text never enters it (spec 2.4).

local decide = require("llm_policy.semantics.decide")
local numbers = require("llm_policy.base.numbers")
local observation = require("llm_policy.verbs.observation")

local integral = numbers.integral

--- A ranked candidate as the trace lists it.
local function ranked_entry(candidate, score)
  return {
    provider_id = candidate.provider_id,
    model_family = candidate.model_family,
    served_by = observation.served_by(candidate),
    score = integral(score),
    tier = observation.tier_name(candidate),
  }
end

--- The whole lists of a plan.
---@param carriers table the policy's
---@return table ranked
---@return table rejected
local function lists(carriers, view)
  local idx, ranked, rejected = {}, {}, {}
  local found = decide.all(decide.shortlist(carriers, view, idx, {}), idx)
  for r = 1, #found do
    ranked[r] = ranked_entry(view.candidates[found[r].index], found[r].score)
  end
  local refused = decide.rejections(carriers, view)
  for r = 1, #refused do
    local candidate = view.candidates[refused[r].index]
    rejected[r] = { provider = candidate.provider_id, model = candidate.model_family, reason = refused[r].reason }
  end
  return ranked, rejected
end

-- The entries of a decision path, by what they tell ---------------------------------------------

local function attempted(handle, candidate, latency_ms, failure)
  return {
    event = "attempted",
    attempt = integral(handle.attempt),
    provider_id = candidate.provider_id,
    model_family = candidate.model_family,
    latency_ms = integral(latency_ms),
    error_kind = failure and failure.kind,
    http_status = failure and failure.http_status and integral(failure.http_status),
  }
end

local function breaker_opened(opened)
  return { event = "breaker_opened", scope = opened.scope, key = opened.key, until_ms = integral(opened.until_ms) }
end

local function retry_scheduled(attempt, until_ms)
  return { event = "retry_scheduled", attempt = integral(attempt), until_ms = integral(until_ms) }
end

local function provider_disabled(provider_id, until_ms)
  return { event = "provider_disabled", provider_id = provider_id, until_ms = integral(until_ms) }
end

local function skipped(candidate)
  return {
    event = "skipped",
    provider_id = candidate.provider_id,
    model_family = candidate.model_family,
    reason = "disabled",
  }
end

--- The trace of a run that ended.
---@param policy table|nil
---@param ranked table
---@param rejected table|nil nothing where the lists were not asked for
local function summary(policy, handle, ranked, rejected, now_ms)
  local started_at_ms = handle.snapshot.ctx.now_ms
  return {
    ranked = ranked,
    rejected = rejected,
    decision_path = handle.path,
    policy_id = policy and policy.id,
    policy_fingerprint = policy and policy.fingerprint,
    policy_term = policy and not policy.is_local and policy.term or nil,
    started_at_ms = integral(started_at_ms),
    total_latency_ms = integral(now_ms - started_at_ms),
  }
end

return {
  lists = lists,
  ranked_entry = ranked_entry,
  attempted = attempted,
  breaker_opened = breaker_opened,
  retry_scheduled = retry_scheduled,
  provider_disabled = provider_disabled,
  skipped = skipped,
  summary = summary,
}
