-- Claims about steps and events: what a run refuses changes nothing, and ranking has no effect.

local encoding = require("llm_policy.language.encoding")
local face = require("llm_policy")
local json = require("llm_policy.base.json")

local CONFIG = {
  providers = { a = { base_url = "http://a" }, b = { base_url = "http://b" } },
  models = { m = { served_by = { { provider = "a" }, { provider = "b" } } } },
  profiles = { default = { retry_policy = "r" } },
  retry_policies = {
    r = { timeout = { action = "retry_same", backoff_ms = 5 }, unknown = { action = "next_candidate" } },
  },
}

--- Whether an event is refused and leaves handle and health as they were.
local function is_refused(engine, handle, event)
  local before = encoding.value({ handle = handle, state = engine:dump_state() })
  local step, refusal = engine:resume(handle, event, { now_ms = 50 })
  local after = encoding.value({ handle = handle, state = engine:dump_state() })
  return step == nil and refusal.code == "event_not_allowed" and before == after
end

local function runs(check)
  local engine = assert(face.new(CONFIG))
  local step = engine:start({}, { now_ms = 0 })
  local handle = step.state_handle
  check("a call takes no waking", is_refused(engine, handle, { woke = true }))
  check("nor an event that is none", is_refused(engine, handle, {}) and is_refused(engine, handle, "ok"))

  step = engine:resume(handle, { ok = false, error_kind = "timeout" }, { now_ms = 10 })
  check("a failure leads to a wait", step.status == "wait" and step.until_ms == 15)
  check("a response while waiting is refused", is_refused(engine, handle, { ok = true }))

  engine:resume(handle, { woke = true }, { now_ms = 15 })
  step = engine:resume(handle, { ok = true, response = { text = "x" } }, { now_ms = 20 })
  check("a response ends the run", step.status == "done" and step.result.ok)
  check("a second response is refused", is_refused(engine, handle, { ok = true }))
  check("and so is a late failure", is_refused(engine, handle, { ok = false, error_kind = "timeout" }))
end

local function abandoned(check)
  local engine = assert(face.new(CONFIG))
  local step = engine:start({}, { now_ms = 0 })
  local before = encoding.value(engine:dump_state())
  local done = engine:abandon(step.state_handle, "timeout", { now_ms = 70 })
  check("a run can be ended from outside", done.status == "done" and done.result.error == "timeout")
  local entry = done.result.trace.decision_path[1]
  check("its trace has the attempt that was cut", entry.error_kind == "timeout" and entry.latency_ms == 70)
  check("nobody is to blame", encoding.value(engine:dump_state()) == before)
  check("it is over then", is_refused(engine, step.state_handle, { ok = true }))
  check("and ends once", engine:abandon(step.state_handle, "timeout") == nil)
end

local function strangers(check)
  local engine = assert(face.new(CONFIG))
  check("a handle that is none is refused", engine:resume({}, { ok = true }) == nil)
  check("nothing is no handle", engine:resume(nil, { ok = true }) == nil)
  local other = assert(face.new({
    providers = { z = { base_url = "http://z" } },
    models = { n = { served_by = { { provider = "z" } } } },
    profiles = { default = {} },
  }))
  local handle = engine:start({}, {}).state_handle
  local step, refusal = other:resume(handle, { ok = true })
  check("a run of another catalog is refused", step == nil and refusal.code == "event_not_allowed")
end

local function ranking(check)
  local engine = assert(face.new(CONFIG))
  local before = encoding.value(engine:dump_state())
  local first, second = engine:rank({ seed = 1 }, { now_ms = 1 }), engine:rank({ seed = 1 }, { now_ms = 1 })
  check("ranking twice answers the same", encoding.value(first) == encoding.value(second))
  check("and changes nothing", encoding.value(engine:dump_state()) == before)
end

local function states(check)
  local engine = assert(face.new(CONFIG))
  local state = engine:dump_state()
  check("a state of another version is refused", engine:restore_state({ v = 2 }) == nil)
  check("a malformed one too", engine:restore_state({ v = 1, health = { breakers = { a = 1 }, disabled = {} } }) == nil)
  check("what is no state as well", engine:restore_state("x") == nil)
  check("a dumped one is taken", engine:restore_state(state) == true)
end

--- The other face of decision 0016: it travels in the handle, and nothing of it is there without need.
local function callers(check)
  local engine = assert(face.new(CONFIG))
  local action = { action = "disable_provider", open_breaker_ms = 1000000 }
  local term = { "policy", { "top" }, { "zero" }, { "ordered" }, { "id" }, { "always", action } }
  local before = engine:dump_state().health.disabled
  local step = engine:start({ policy_ir = term }, { now_ms = 0, is_callers_policy = true })
  local moved = json.decode(encoding.value(step.state_handle))
  local other = assert(face.new(CONFIG))
  other:resume(moved, { ok = false, error_kind = "auth_error" }, { now_ms = 1 })
  local health = other:dump_state().health
  check("a caller's policy stays one elsewhere", encoding.value(health.disabled) == encoding.value(before))
  check("and opens nothing at once there", health.breakers.a.failures == 1, health)
  step = engine:start({}, { now_ms = 0, is_callers_policy = true })
  check("a profile is no caller's policy", step.state_handle.is_callers_policy == nil)
  check("a call without bounds names none", step.callers_bounds == nil)
  step = engine:start({ ttft_ms = 1 }, {})
  check("one with a short bound names it", encoding.value(step.callers_bounds) == '["ttft_ms"]')
end

local function identities(check)
  local engine = assert(face.new(CONFIG))
  local term = { "policy", { "top" }, { "zero" }, { "ordered" }, { "id" }, { "always", { action = "abort" } } }
  local id = engine:admit(term)
  local by_term = engine:start({ policy_ir = term }, {}).state_handle.policy_id
  local by_id = engine:start({ policy_ir = id }, {}).state_handle.policy_id
  check("an admitted policy is known by its identity", id == by_term and id == by_id)
  local refused = engine:start({ policy_ir = "sha256:0" }, {}).result
  check("an unknown identity is refused", refused.error == "policy_refused")
  for i = 1, 600 do
    engine:admit({ "policy", { "cmp", "tok_s", "ge", i }, term[3], term[4], term[5], term[6] })
  end
  check("callers' policies do not pile up", engine:start({ policy_ir = id }, {}).status == "done")
end

return function(check)
  runs(check)
  abandoned(check)
  strangers(check)
  ranking(check)
  states(check)
  identities(check)
  callers(check)
end
