-- Claims about policies with Lua functions in them: they decide, and have no identity.

local face = require("llm_policy")

local F, R, M, P = face.dsl.F, face.dsl.R, face.dsl.M, face.dsl.P

local function policy()
  return face.dsl.policy({
    filter = F.all_of({
      F.requirements(),
      F.where(function(candidate)
        return candidate.provider_id ~= "b", "not_b"
      end),
    }),
    selector = R.custom(function(list)
      return { list[2], list[1] }
    end),
    mutate = M.custom(function(request)
      request.temperature = 0
      return request
    end),
    failures = P.always({ action = "abort" }),
  })
end

local function candidate(provider)
  return { provider_id = provider, model_family = "m" }
end

return function(check)
  check("over the wire such a term is refused", select(2, face.ir.compile(policy())).code == "unknown_op")
  local compiled = assert(face.ir.compile(policy(), { allows_functions = true }))
  check("it has no identity", compiled.id == nil and compiled.fingerprint == nil)

  local plan = compiled.plan({ candidate("a"), candidate("b"), candidate("c") }, { request = {} })
  check("its predicate decides", #plan.rejected == 1 and plan.rejected[1].reason == "not_b")
  local first, second = plan.ordered[1].candidate.provider_id, plan.ordered[2].candidate.provider_id
  check("its order is kept", first == "c" and second == "a")

  local engine = assert(face.new({
    providers = { a = { base_url = "http://a" }, c = { base_url = "http://c" } },
    models = { m = { served_by = { { provider = "a" }, { provider = "c" } } } },
    profiles = { own = { policy_ir = policy() } },
  }))
  local step = engine:start({ temperature = 1 }, {})
  check("a profile may hold it", step.status == "call" and step.request.provider_id == "c")
  check("its transform is applied", step.request.temperature == 0)
  local done = engine:resume(step.state_handle, { ok = true }, {})
  check("its run goes on, and the trace names no policy", done.result.ok and done.result.trace.policy_id == nil)
  local caller = engine:start({ policy_ir = policy() }, {})
  check("a caller's is refused", caller.result.error == "policy_refused")
end
