-- Cases of the engine: configs, profiles, plans, whole runs, and single steps of a run.

local bytes = require("llm_policy.base.bytes")
local face = require("llm_policy")
local tables = require("llm_policy.base.tables")

local find = string.find

-- How long a call takes where its event does not say.
local CALL_MS = 10

local kinds = {}

local function paths_of(errors)
  local paths = {}
  for i = 1, #errors do
    paths[i] = errors[i].path
  end
  return tables.sort(paths, bytes.less)
end

local function engine_of(case)
  local engine, errors = face.new(case.config, case.metrics)
  if not engine then
    error("the config is refused at " .. table.concat(paths_of(errors), " "), 0)
  end
  return engine
end

function kinds.config(case)
  local engine, errors = face.new(case.config, case.metrics)
  return { errors = engine and {} or paths_of(errors) }
end

function kinds.profile(case)
  local engine = face.new(case.config)
  local term = engine and engine:profile_term(case.profile, case.contract)
  if not term then
    return { refused = true }
  end
  return { term = face.ir.term.encode(term), identity = face.ir.term.identity(term) }
end

--- A plan without a run: {config, contract, inputs?} -> {ordered, rejected, error?}.
function kinds.rank(case)
  local ordered, fault, rejected = engine_of(case):rank(case.contract, case.inputs)
  return { ordered = ordered, rejected = rejected, error = fault }
end

-- Runs --------------------------------------------------------------------------------------------

--- The parameters of a request, declared ones and filters.
local function params_of(engine, request)
  local out = { _filters = request._filters }
  for i = 1, #engine.params do
    local name = engine.params[i]
    out[name] = request[name]
  end
  return out
end

local function seen_step(engine, step)
  if step.status == "wait" then
    return { wait_until_ms = step.until_ms }
  end
  local request = step.request
  local params = params_of(engine, request)
  return {
    call = {
      provider = request.provider_id,
      model = request.model_family,
      params = params,
      callers_bounds = step.callers_bounds,
    },
  }
end

local function seen_result(result)
  local refusal = result.refusal
  return {
    ok = result.ok,
    error = result.error,
    chosen = result.chosen,
    refusal = refusal and { code = refusal.code, path = refusal.path },
    decision_path = result.trace.decision_path,
  }
end

local function seen_health(engine, now_ms)
  local health, out = engine:dump_state().health, {}
  local function list(map, row_of)
    local keys = tables.keys(map)
    for i = 1, #keys do
      out[#out + 1] = row_of(keys[i], map[keys[i]])
    end
  end
  list(health.breakers, function(key, entry)
    local scope = find(key, "|", 1, true) and "route" or "provider"
    return { scope = scope, key = key, failures = entry.failures, until_ms = entry.until_ms }
  end)
  list(health.disabled, function(key, until_ms)
    return now_ms < until_ms and { scope = "disabled", key = key, until_ms = until_ms } or nil
  end)
  return tables.sort(out, function(a, b)
    return bytes.less(a.scope, b.scope)
  end)
end

--- One run: every call takes the next event, every wait ends in time. Without an event left there is
--- no result.
local function run(engine, case)
  local inputs, events = tables.copy(case.inputs or {}), case.events
  inputs.now_ms = inputs.now_ms or 0
  local step, steps, used = engine:start(case.contract, inputs), {}, 0
  while step.status ~= "done" do
    steps[#steps + 1] = seen_step(engine, step)
    local event = { woke = true }
    if step.status == "wait" then
      inputs.now_ms = step.until_ms
    else
      used = used + 1
      event = events[used]
      if not event then
        break
      end
      inputs.now_ms = inputs.now_ms + (event.after_ms or CALL_MS)
      inputs.disabled = event.disabled
    end
    step = assert(engine:resume(step.state_handle, event, inputs))
  end
  local result = step.status == "done" and seen_result(step.result) or nil
  return { steps = steps, result = result, health = seen_health(engine, inputs.now_ms) }
end

function kinds.run(case)
  return run(engine_of(case), case)
end

function kinds.runs(case)
  local engine, out = engine_of(case), {}
  for i = 1, #case.runs do
    out[i] = run(engine, case.runs[i])
  end
  return out
end

--- One step of a run on an engine made for it: {config, state?, contract, inputs} starts a run, with
--- {handle, event} it goes on. The step and the engine's state come back, to be moved elsewhere.
function kinds.step(case)
  local engine = engine_of(case)
  if case.state then
    assert(engine:restore_state(case.state))
  end
  local step
  if case.handle then
    step = assert(engine:resume(case.handle, case.event, case.inputs))
  else
    step = engine:start(case.contract, case.inputs)
  end
  return { step = step, state = engine:dump_state() }
end

return kinds
