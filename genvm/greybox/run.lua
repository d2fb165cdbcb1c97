-- One call: plans over what GenVM allows for it, walks the plan, and answers or raises. The only place
-- that awaits a native (spec 4.2).

local answers = require("greybox.answers")
local catalogs = require("greybox.catalog")
local filters = require("greybox.filters")
local kinds = require("greybox.kinds")
local natives = require("greybox.natives")
local requests = require("greybox.request")
local seeds = require("greybox.seeds")
local sessions = require("greybox.session")

local type, error, pcall, find, concat = type, error, pcall, string.find, table.concat

local BAD_RESPONSE = { ok = false, error_kind = "bad_response" }

-- Errors --------------------------------------------------------------------------------------------

--- Raises an error that GenVM understands.
local function raise(world, causes, is_fatal, ctx)
  local user_error = natives.optional(world.natives.base, "user_error")
  if user_error then
    error(user_error({ causes = causes, fatal = is_fatal, ctx = ctx }), 0)
  end
  error(concat(causes, ": "), 0)
end

local function is_blank(text)
  return type(text) ~= "string" or not find(text, "%S")
end

local function demand_text(world, text)
  if is_blank(text) then
    raise(world, { "EMPTY_PROMPT" }, false, {})
  end
end

-- Budget --------------------------------------------------------------------------------------------

local function less(a, b)
  return a < b
end

--- Whether one amount is below another, as far as the two compare.
local function is_below(a, b)
  local ok, answer = pcall(less, a, b)
  return ok and answer == true
end

--- Ends the session where its budget is spent. What the native raises must reach GenVM as it is.
local function check_budget(world, remaining, consumed)
  local exhaust = natives.optional(world.natives.llm, "exhaust")
  if exhaust and remaining ~= nil and is_below(remaining, consumed) then
    exhaust()
  end
end

-- The pool ------------------------------------------------------------------------------------------

local function has_images(prompt)
  return type(prompt.images) == "table" and #prompt.images > 0
end

--- What the pair itself says, for a GenVM without a selection of its own.
local function is_able(pair, call)
  return (call.format == "text" or pair.supports_json) and (not has_images(call.prompt) or pair.supports_image)
end

--- Whether GenVM's selection has a pair; its tables are shared and only read.
local function is_selected(selection, pair)
  local provider = selection[pair.backend]
  local models = type(provider) == "table" and provider.models
  return type(models) == "table" and models[pair.model] ~= nil
end

--- The candidates that GenVM allows for a call, in canonical order.
local function pool(world, call)
  local select = natives.optional(world.natives.lib, "select_providers_for")
  local selection = select and select(call.prompt, call.format)
  local out = {}
  for i = 1, #world.candidates do
    local candidate = world.candidates[i]
    local pair = world.pairs[catalogs.key(candidate.provider_id, candidate.served_model_id)]
    local is_allowed = type(selection) ~= "table" and is_able(pair, call) or selection and is_selected(selection, pair)
    if is_allowed then
      out[#out + 1] = candidate
    end
  end
  return out
end

local function needs_of(call)
  local out = {}
  if has_images(call.prompt) then
    out[#out + 1] = "vision"
  end
  if call.format == "json" then
    out[#out + 1] = "json_mode"
  end
  return out
end

local function contract_of(call)
  return {
    profile = call.plan.profile,
    requirements = { needs = call.needs },
    extra_candidates = call.pool,
    seed = call.seed,
    temperature = call.prompt.temperature,
    max_tokens = call.prompt.max_tokens,
  }
end

-- Attempts ------------------------------------------------------------------------------------------

--- Asks one provider. What is no failure of the call is raised again as it is.
---@return table event of the engine
---@return table|nil answer
local function ask(world, call, wanted)
  local pair = world.pairs[catalogs.key(wanted.provider_id, wanted.served_model_id)]
  local request = requests.build(world, call, wanted, pair)
  if call.text_filters then
    demand_text(world, request.prompt.user_message)
  end
  local ok, result = pcall(world.natives.llm.exec_prompt_in_provider, call.ctx, request)
  if ok then
    local answer = answers.shape(result, call.format)
    return answer and { ok = true } or BAD_RESPONSE, answer
  end
  return kinds.read(natives.optional(world.natives.base, "as_user_error"), result) or error(result, 0)
end

local function attempt(world, call, wanted)
  check_budget(world, call.remaining, 0)
  local event, answer = ask(world, call, wanted)
  if answer then
    check_budget(world, call.remaining, answer.consumed_gen)
  else
    world.log("warn", "provider failed", {
      provider = wanted.provider_id,
      model = wanted.served_model_id,
      error_kind = event.error_kind,
      http_status = event.http_status,
    })
  end
  return event, answer
end

--- Waits until a moment. INVARIANT: never negative, never not-a-number, which would kill the module.
local function wait(world, call, until_ms)
  local sleep = natives.optional(world.natives.base, "sleep_seconds")
  local left_ms = until_ms - call.session:now_ms()
  if sleep and left_ms > 0 then
    sleep(left_ms / 1000)
  end
  call.session:reached(until_ms)
end

local function walk(world, call)
  local engine, session, answer = call.session.engine, call.session, nil
  local step = engine:start(contract_of(call), { now_ms = session:now_ms(), trace = "full" })
  while step.status ~= "done" do
    local event
    if step.status == "call" then
      event, answer = attempt(world, call, step.request)
    else
      wait(world, call, step.until_ms)
      event = { woke = true }
    end
    local at_ms = session:now_ms()
    if step.status == "wait" and at_ms < step.until_ms then
      at_ms = step.until_ms
    end
    step = engine:resume(step.state_handle, event, { now_ms = at_ms })
  end
  return step.result, answer
end

-- Reports -------------------------------------------------------------------------------------------

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

--- The decision as a validator may publish it: all that is needed to derive it again beside the
--- policy and the catalog, and neither of them.
local function log_decision(world, call, result)
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

local function succeed(world, result, answer)
  world.log("info", "success", {
    provider = result.chosen.provider_id,
    model = result.chosen.served_model_id,
    is_primary = is_primary(result),
    policy_id = result.trace.policy_id or "local",
  })
  return answer
end

local function fail(world, result)
  result.trace.policy_term = nil -- its identity says as much and reveals nothing
  local ctx = { trace = result.trace, refusal = result.refusal }
  return raise(world, { "NO_PROVIDER_FOR_PROMPT", result.error }, true, ctx)
end

--- How many of the pool the coming plan can name.
local function count(world, call)
  if not call.plan.chain then
    return #call.pool
  end
  local n = 0
  for i = 1, #call.pool do
    n = n + (call.plan.chain[catalogs.key(call.pool[i].provider_id, call.pool[i].model_family)] and 1 or 0)
  end
  return n
end

--- Serves one call.
---@param mapped table {prompt, format}: what GenVM's transform gives
---@param text_filters table|nil the recipe for texts where the policy has none; nothing: not filtered
local function serve(world, ctx, mapped, remaining, text_filters)
  local session = sessions.of(world, ctx)
  local number = session:next_call()
  local call = {
    ctx = ctx,
    session = session,
    number = number,
    prompt = mapped.prompt,
    format = mapped.format or "text",
    remaining = remaining,
    text_filters = text_filters,
    seed = seeds.make(ctx, number, natives.optional(world.natives.base, "random_bytes")),
  }
  if text_filters then
    demand_text(world, filters.text(world.natives.base, call.prompt.user_message, nil, text_filters))
  end
  call.plan = has_images(call.prompt) and world.plans.image or world.plans.text
  call.pool, call.needs = pool(world, call), needs_of(call)
  world.log("info", "using " .. call.plan.label, { count = count(world, call), profile = call.plan.profile })
  local result, answer = walk(world, call)
  log_decision(world, call, result)
  return result.ok and succeed(world, result, answer) or fail(world, result)
end

return { serve = serve, raise = raise }
