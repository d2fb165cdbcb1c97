-- The run: plan once, walk the shortlist, on failure ask the policy's plan what to do (spec 2.4).
--
-- A run is its handle, plain data that changes with every event. What may happen in which state is
-- the table TRANSITIONS; what an action word does is the table ACTIONS.

local attribution = require("llm_policy.engine.attribution")
local health = require("llm_policy.engine.health")
local numbers = require("llm_policy.base.numbers")
local policies = require("llm_policy.engine.policies")
local sequence = require("llm_policy.verbs.sequence")
local snapshots = require("llm_policy.engine.snapshot")
local trace = require("llm_policy.engine.trace")
local vocabularies = require("llm_policy.language.vocabulary")
local walk = require("llm_policy.engine.walk")

local advance, call, close_plan, finish, note = walk.advance, walk.call, walk.close_plan, walk.finish, walk.note

local type = type
local is_finite, integral = numbers.is_finite, numbers.integral

-- Actions -------------------------------------------------------------------------------------------

--- How long to wait before a retry: the backoff of its number, or longer where the provider says so.
local function wait_ms(action, retry, retry_after_ms)
  local backoff = action.backoff_ms or 0
  if type(backoff) == "table" then
    backoff = backoff[retry] or backoff[#backoff]
  end
  if retry_after_ms and retry_after_ms > backoff then
    return retry_after_ms
  end
  return backoff
end

local ACTIONS = {}

ACTIONS.next_candidate = function(run)
  return advance(run)
end

ACTIONS.next_provider_same_model = function(run)
  return advance(run, run.candidate.model_family)
end

ACTIONS.disable_provider = function(run, _, failure)
  local provider_id = run.candidate.provider_id
  local until_ms = run.now_ms + run.engine.config.defaults.disable_provider_ttl_ms
  if failure.is_shared and not run.handle.is_callers_policy then
    run.engine.health = health.disabled(run.engine.health, provider_id, until_ms)
  end
  run.handle.disabled[provider_id] = until_ms
  note(run, trace.provider_disabled(provider_id, until_ms))
  return advance(run)
end

ACTIONS.abort = function(run)
  return finish(run, false, run.handle.last_kind)
end

ACTIONS.retry_same = function(run, action, failure)
  local handle = run.handle
  if handle.retries >= (action.attempts or 1) then
    local word = action.then_action or "next_candidate"
    return ACTIONS[word == "retry_same" and "next_candidate" or word](run, action, failure)
  end
  handle.retries = handle.retries + 1
  local wait = wait_ms(action, handle.retries, failure.retry_after_ms)
  note(run, trace.retry_scheduled(handle.attempt + 1, run.now_ms + wait))
  if wait <= 0 then
    return call(run)
  end
  handle.state, handle.due_ms = "waiting", run.now_ms + wait
  return { status = "wait", until_ms = integral(handle.due_ms), state_handle = handle }
end

-- Events --------------------------------------------------------------------------------------------

local function latency_ms(run, event)
  return is_finite(event.latency_ms) and event.latency_ms or run.now_ms - run.handle.called_ms
end

--- Whether the run's candidate is the contract's own, whose health is nobody else's.
local function is_foreign(run)
  return attribution.is_foreign(run.engine.config, run.handle.snapshot.ctx.request, run.candidate)
end

local function accept(run, event)
  local candidate = run.candidate
  if not is_foreign(run) then
    run.engine.health = health.succeeded(run.engine.health, candidate.provider_id, vocabularies.route(candidate))
  end
  note(run, trace.attempted(run.handle, candidate, latency_ms(run, event)))
  return finish(run, true, nil, event.response)
end

--- A failure as the engine reads it; what is no admissible number counts as absent. One that is shared may
--- write health that other runs read.
local function read_failure(run, event)
  local kind = type(event.error_kind) == "string" and event.error_kind or "unknown"
  local retry_after_ms, candidate = event.retry_after_ms, run.candidate
  local action = kind == "stream_interrupted" and { action = "abort" }
    or sequence.classify(run.policy.carriers.failures, kind)
  return {
    kind = kind,
    action = action,
    open_breaker_ms = not run.handle.is_callers_policy and action.open_breaker_ms or nil,
    is_shared = event.is_callers_fault ~= true and not is_foreign(run),
    http_status = is_finite(event.http_status) and event.http_status or nil,
    retry_after_ms = is_finite(retry_after_ms) and retry_after_ms >= 0 and retry_after_ms or nil,
    provider_id = candidate.provider_id,
    route = vocabularies.route(candidate),
  }
end

local function recover(run, event)
  local engine, failure, opened = run.engine, read_failure(run, event), {}
  if failure.is_shared then
    engine.health, opened = health.failed(engine.health, failure, run.now_ms, engine.config.defaults)
  end
  note(run, trace.attempted(run.handle, run.candidate, latency_ms(run, event), failure))
  for i = 1, #opened do
    note(run, trace.breaker_opened(opened[i]))
  end
  run.handle.last_kind = failure.kind
  return ACTIONS[failure.action.action](run, failure.action, failure)
end

-- Every event that a state allows is an entry here. Anything else is the host's mistake and is
-- refused without changing the run.
local TRANSITIONS = {
  calling = { response = accept, failure = recover },
  waiting = { woke = call },
  done = {},
}

local function event_name(event)
  if type(event) ~= "table" then
    return "event"
  elseif event.woke then
    return "woke"
  end
  return event.ok == true and "response" or event.ok == false and "failure" or "event"
end

local function refuse(detail)
  return nil, { code = "event_not_allowed", path = "$", detail = detail }
end

-- Faces ---------------------------------------------------------------------------------------------

--- A run that ends before it is planned.
local function refused(engine, now_ms, err, refusal)
  local handle = { v = 1, state = "done", path = {}, used = {}, snapshot = { ctx = { now_ms = now_ms } } }
  local step = finish({ engine = engine, handle = handle, now_ms = now_ms }, false, err)
  step.result.refusal = refusal
  return step
end

--- Plans a contract; the first step.
local function start(engine, contract, inputs)
  local now_ms = inputs.now_ms or 0
  local policy, err, refusal = policies.of_contract(engine, contract)
  if not policy then
    return refused(engine, now_ms, err, refusal)
  end
  local handle = {
    v = 1,
    policy_id = policy.id,
    term = not policy.is_local and policy.term or nil,
    profile = policy.is_local and policy.profile or nil,
    is_callers_policy = policies.is_callers(engine, policy, contract, inputs) or nil,
    snapshot = snapshots.freeze(engine, contract, inputs),
    is_full = inputs.trace == "full",
    attempt = 0,
    rank = 0,
    retries = 0,
    disabled = {},
    path = {},
    used = {},
  }
  local run = { engine = engine, handle = handle, policy = policy, now_ms = now_ms }
  local step = advance(run)
  close_plan(run)
  return step
end

--- The candidate that a run is about, found again in this engine's catalog.
local function current(engine, handle)
  local candidate = snapshots.candidates(engine, handle.snapshot)[handle.index]
  if candidate and candidate.provider_id == handle.provider_id and candidate.model_family == handle.model_family then
    return candidate
  end
end

--- A run under way as an engine sees it, or nothing where it is of another catalog or policy.
local function underway(engine, handle, inputs)
  local policy, candidate = policies.of_handle(engine, handle), current(engine, handle)
  if policy and candidate then
    local now_ms = inputs.now_ms or handle.due_ms or handle.called_ms
    return { engine = engine, handle = handle, policy = policy, candidate = candidate, now_ms = now_ms }
  end
end

--- Takes what happened; the next step. A refused event changes nothing.
local function resume(engine, handle, event, inputs)
  local name = event_name(event)
  local transition = type(handle) == "table" and TRANSITIONS[handle.state] and TRANSITIONS[handle.state][name]
  if not transition then
    return refuse("the run does not take this event in this state")
  end
  local run = underway(engine, handle, inputs)
  if not run then
    return refuse("the run belongs to another catalog or policy")
  end
  run.extras = inputs.disabled -- the host's of this moment, over those of the plan
  if inputs.trace == "full" then
    handle.is_full = true
  end
  local step = transition(run, event)
  close_plan(run)
  return step
end

--- Ends a run from outside: its deadline passed, or its caller left. No evidence against anyone.
---@param kind string the result's error
local function abandon(engine, handle, kind, inputs)
  if type(handle) ~= "table" or not TRANSITIONS[handle.state] or handle.state == "done" then
    return refuse("the run is over")
  end
  local run = underway(engine, handle, inputs)
  if not run then
    return refuse("the run belongs to another catalog or policy")
  end
  if handle.state == "calling" then
    note(run, trace.attempted(handle, run.candidate, run.now_ms - handle.called_ms, { kind = kind }))
  end
  return finish(run, false, kind)
end

--- Gives the call of a run again that nobody has made yet: it was put off, may be in another process.
---@param target table|nil {provider_id, model_family} to call in its place, if the policy lists that route
local function recall(engine, handle, inputs, target)
  if type(handle) ~= "table" or handle.state ~= "calling" then
    return refuse("the run does not take this event in this state")
  end
  local run = underway(engine, handle, inputs)
  if not run then
    return refuse("the run belongs to another catalog or policy")
  end
  if target and not walk.redirect(run, target.provider_id, target.model_family) then
    close_plan(run)
    return nil, { code = "not_eligible", path = "$", detail = "the policy does not list this route for the run" }
  end
  handle.attempt = handle.attempt - 1
  local step = call(run)
  close_plan(run)
  return step
end

return { start = start, resume = resume, abandon = abandon, recall = recall }
