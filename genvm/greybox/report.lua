-- Reports: what the log tells of a call. What operators grep for, and the decision itself, which a
-- validator may publish without its policy or its catalog (spec 4.2).

local concat = table.concat

local function is_primary(result)
  local first, chosen = result.trace.ranked[1], result.chosen
  return first ~= nil and first.provider_id == chosen.provider_id and first.model_family == chosen.model_family
end

local function attempts(trace)
  local n = 0
  for i = 1, #trace.decision_path do
    n = n + (trace.decision_path[i].event == "attempted" and 1 or 0)
  end
  return n
end

--- The decision: all that is needed to derive it again beside the policy and the catalog, and neither.
local function decision(world, call, result)
  local chosen, trace = result.chosen or {}, result.trace
  world.log("info", "decision", {
    policy_id = trace.policy_id or "local",
    policy_fingerprint = trace.policy_fingerprint,
    profile = call.plan.profile,
    call = call.number,
    seed = call.seed,
    format = call.format,
    needs = concat(call.needs, ","),
    candidates = #call.pool,
    attempts = attempts(trace),
    ok = result.ok,
    error = result.error,
    provider = chosen.provider_id,
    model = chosen.served_model_id,
  })
end

local function success(world, result)
  world.log("info", "success", {
    provider = result.chosen.provider_id,
    model = result.chosen.served_model_id,
    is_primary = is_primary(result),
    policy_id = result.trace.policy_id or "local",
  })
end

return { decision = decision, success = success }
