-- A script that uses the engine as spec 4.3 says that GenVM's own does, and in no other way.

local lib, llm = require("lib-genvm"), require("lib-llm")
local engine = require("llm_policy")

-- luacheck: globals host ExecPrompt ExecPromptTemplate Setup Teardown
local logged, now = {}, 0
host = {
  now_ms = function()
    now = now + 1
    return now
  end,
  log = function(level, event, fields, audience)
    logged[#logged + 1] = { level, event, fields, audience }
  end,
}

local KINDS = { [408] = "gateway_timeout", [503] = "server_overloaded", [504] = "gateway_timeout" }
KINDS[529] = "server_overloaded"

local function sorted(t)
  local keys = {}
  for key in pairs(t) do
    keys[#keys + 1] = key
  end
  table.sort(keys)
  return keys
end

local function config()
  local providers, models, chain = {}, {}, {}
  for _, provider in ipairs(sorted(llm.rs.providers)) do
    providers[provider] = {
      base_url = "managed-by-genvm",
      api_kind = "openai_compatible",
      auth_env = "managed-by-genvm",
      tier = "partner",
      discovery = "static",
    }
    for _, model in ipairs(sorted(llm.rs.providers[provider].models)) do
      local flags = llm.rs.providers[provider].models[model]
      local name = provider .. "/" .. model
      models[name] = {
        served_by = { { provider = provider, provider_model_id = model } },
        capabilities = { supports_json_mode = flags.supports_json, supports_vision = flags.supports_image },
      }
      table.insert(chain, 1, { provider = provider, model = name })
    end
  end
  return {
    providers = providers,
    models = models,
    profiles = { compat = { selector = "chain", chain = chain, retry_policy = "compat" } },
    retry_policies = { compat = { unknown = { action = "next_candidate" } } },
  }
end

local function init()
  local ok, err = engine.init(config())
  if not ok then
    error("init: " .. tostring(err), 0)
  end
end

local function feedback(raised)
  local user = lib.rs.as_user_error(raised)
  if not user then
    error(raised, 0)
  end
  local status = user.ctx.status
  return {
    ok = false,
    error_kind = status and (KINDS[status] or "http_error") or "no_connection",
    http_status = status,
    error_message = user.causes[1],
  }
end

local function needs_of(call)
  local needs = {}
  if call.format ~= "text" then
    needs[#needs + 1] = "json_mode"
  end
  if #call.prompt.images > 0 then
    needs[#needs + 1] = "vision"
  end
  return needs
end

local function ask(ctx, call)
  local contract = {
    profile = "compat",
    requirements = { needs = needs_of(call) },
    response_format = call.format ~= "text" and { type = "json_object" } or nil,
    seed = 7,
  }
  local answer
  local step = engine.execute_step(nil, contract)
  while step.status == "call" do
    local ok, result = pcall(llm.rs.exec_prompt_in_provider, ctx, {
      provider = step.request.provider_id,
      model = step.request.served_model_id,
      format = call.format,
      prompt = call.prompt,
    })
    answer = ok and result or nil
    step = engine.execute_step(step.state_handle, contract, ok and { ok = true } or feedback(result))
  end
  lib.rs.log_json({ message = "trace", trace = step.result.trace, chosen = step.result.chosen })
  if not answer then
    local ctx_of_error = { trace = step.result.trace, error = step.result.error }
    lib.rs.user_error({ causes = { "NO_PROVIDER_FOR_PROMPT" }, fatal = true, ctx = ctx_of_error })
  end
  return { data = answer.data, consumed_gen = 0 }
end

init()

function Setup()
  init()
end

function Teardown() end

function ExecPrompt(ctx, args)
  return ask(ctx, llm.exec_prompt_transform(args))
end

function ExecPromptTemplate(ctx, args)
  return ask(ctx, llm.exec_prompt_template_transform(args))
end
