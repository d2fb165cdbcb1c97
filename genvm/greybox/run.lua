-- One call: plans over what GenVM allows for it, walks the plan, and answers or raises. The only place
-- that awaits a native (spec 4.2).

local answers = require("greybox.answers")
local catalogs = require("greybox.catalog")
local filters = require("greybox.filters")
local kinds = require("greybox.kinds")
local natives = require("greybox.natives")
local numbers = require("llm_policy.base.numbers")
local pools = require("greybox.pool")
local reports = require("greybox.report")
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

-- The walk ------------------------------------------------------------------------------------------

local function finite(value)
  return numbers.is_finite(value) and value or nil
end

--- What a call asks of the engine; no message is part of it.
local function contract_of(call)
  return {
    profile = call.plan.profile,
    requirements = { needs = call.needs },
    extra_candidates = call.pool,
    seed = call.seed,
    temperature = finite(call.prompt.temperature),
    max_tokens = finite(call.prompt.max_tokens),
  }
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

-- The end -------------------------------------------------------------------------------------------

local function succeed(world, result, answer)
  reports.success(world, result)
  return answer
end

local function fail(world, result)
  result.trace.policy_term = nil -- its identity says as much and reveals nothing
  local ctx = { trace = result.trace, refusal = result.refusal }
  return raise(world, { "NO_PROVIDER_FOR_PROMPT", result.error }, true, ctx)
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
  call.plan = pools.has_images(call.prompt) and world.plans.image or world.plans.text
  call.pool, call.needs = pools.make(world, call), pools.needs_of(call)
  world.log("info", "using " .. call.plan.label, { count = pools.count(call), profile = call.plan.profile })
  local result, answer = walk(world, call)
  reports.decision(world, call, result)
  return result.ok and succeed(world, result, answer) or fail(world, result)
end

return { serve = serve, raise = raise }
