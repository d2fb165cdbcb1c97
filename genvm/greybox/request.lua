-- Requests: from an engine's step to what the native takes for one provider and model (spec 4.1).

local filters = require("greybox.filters")
local numbers = require("llm_policy.base.numbers")
local seeds = require("greybox.seeds")
local tables = require("llm_policy.base.tables")

local next, type = next, type
local is_finite = numbers.is_finite

-- The engine's own patience; GenVM has its own.
local NOT_SENT = { timeout_ms = true, ttft_ms = true, idle_ms = true }

--- An integer of at least `least`, or what stands for it.
local function integer(value, least, absent)
  if not is_finite(value) or value < least then
    return absent
  end
  return numbers.integral(numbers.floor(value))
end

-- Parameters with a place of their own in a prompt: name -> (wanted, as it was, call) -> value.
local PLACES = {
  temperature = function(wanted, before)
    if not is_finite(wanted) then
      return before
    end
    return wanted < 0 and 0.0 or wanted + 0.0
  end,
  max_tokens = function(wanted, before)
    return integer(wanted, 1, before)
  end,
  seed = function(wanted, _, call)
    return integer(wanted, 0) and integer(wanted % seeds.LIMIT, 0) or call.seed
  end,
}

--- The parameters of a step that have no place of their own; nothing where there are none.
local function extra(given, wanted, params)
  local out = type(given) == "table" and tables.copy(given) or {}
  for i = 1, #params do
    local name = params[i]
    if wanted[name] ~= nil and not PLACES[name] and not NOT_SENT[name] then
      out[name] = wanted[name]
    end
  end
  return next(out) ~= nil and out or nil
end

--- The prompt for one attempt; the call's own prompt stays as it is.
local function prompt_of(world, call, wanted, pair)
  local prompt, base = tables.copy(call.prompt), world.natives.base
  local directives = type(wanted._filters) == "table" and wanted._filters or {}
  prompt.user_message = filters.text(base, prompt.user_message, directives.text, call.text_filters)
  prompt.images = filters.images(base, prompt.images or {}, directives.image)
  for name, place in next, PLACES do
    prompt[name] = place(wanted[name], prompt[name], call)
  end
  if type(pair.use_max_completion_tokens) == "boolean" then
    prompt.use_max_completion_tokens = pair.use_max_completion_tokens
  end
  prompt.extra = extra(prompt.extra, wanted, call.session.engine.params)
  return prompt
end

--- The native's request for a step of the engine.
---@param call table {prompt, format, seed, text_filters, session}
---@param wanted table the step's request
local function build(world, call, wanted, pair)
  local timeout = pair.timeout or world.natives.llm.timeout
  return {
    provider = pair.backend,
    model = pair.model,
    format = call.format,
    prompt = prompt_of(world, call, wanted, pair),
    timeout = is_finite(timeout) and timeout or nil,
  }
end

return { build = build, integer = integer }
