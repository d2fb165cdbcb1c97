-- The public face of the core: policies that choose an LLM provider, as data.
--
-- `new` makes an engine of one's own. The other functions are a thin facade over one default engine
-- and the global table `host`, for embedders of the older API; nothing else here knows of `host`.

require("llm_policy.base.platform").demand()

local dsl = require("llm_policy.language.dsl")
local engines = require("llm_policy.engine.engine")
local flow = require("llm_policy.flow.flow")
local ir = require("llm_policy.ir")
local signature = require("llm_policy.language.signature")

local globals, type, concat = _G, type, table.concat

local VERSION = "0.1.0"

--- A function of the global table `host`, where it has one.
local function host_function(name)
  local host = globals.host
  local fn = type(host) == "table" and host[name] or nil
  return type(fn) == "function" and fn or nil
end

local function now_ms()
  local read = host_function("now_ms")
  return read and read() or 0
end

local function text_of(errors)
  local lines = {}
  for i = 1, #errors do
    local nearest = errors[i].nearest
    local hint = nearest and ", did you mean `" .. nearest .. "`?" or ""
    lines[i] = errors[i].path .. ": " .. errors[i].detail .. hint
  end
  return concat(lines, "\n")
end

--- The event that a response to an earlier step is.
local function event_of(handle, response)
  if response == nil and type(handle) == "table" and handle.state == "waiting" then
    return { woke = true }
  end
  if type(response) ~= "table" then
    return {}
  end
  if response.ok then
    return { ok = true, response = response, latency_ms = response.latency_ms }
  end
  return {
    ok = false,
    error_kind = response.error_kind,
    http_status = response.http_status,
    retry_after_ms = response.retry_after_ms,
    is_callers_fault = response.is_callers_fault,
    latency_ms = response.latency_ms,
  }
end

--- The facade: its one engine lives in this closure.
local function facade()
  local engine, offers
  local face = {}

  --- Inputs of a step, read from the host; offers only where the config has a marketplace.
  local function inputs()
    local discover = host_function("offers")
    if discover and not offers then
      offers = {}
      local ids = engine.catalog.discovery_ids
      for i = 1, #ids do
        offers[ids[i]] = discover(ids[i])
      end
    end
    return { now_ms = now_ms(), offers = offers, trace = "full" }
  end

  --- Starts anew with a config: everything before is forgotten.
  ---@return boolean ok
  ---@return string|nil err every mistake of the config, one a line
  function face.init(config, metrics)
    local made, errors = engines.new(config, metrics)
    engine, offers = made, nil
    if not made then
      return false, text_of(errors)
    end
    return true
  end

  local function initialised()
    if not engine then
      error("llm_policy: `init` has made no engine yet", 3)
    end
    return engine
  end

  --- One step of a run: the first without a handle, then with what the step before led to.
  function face.execute_step(handle, contract, response)
    local current = initialised()
    if handle == nil then
      return current:start(contract, inputs())
    end
    return current:resume(handle, event_of(handle, response), inputs())
  end

  --- A whole run: calls `host.call_provider(request)` and `host.sleep_ms(ms)` as the steps ask.
  ---@return table result {ok, response, error, trace, chosen}
  function face.execute(contract)
    local call_provider = host_function("call_provider")
    if not call_provider then
      error("llm_policy: the host has no function `call_provider`", 2)
    end
    local step = face.execute_step(nil, contract)
    while step.status ~= "done" do
      local response
      if step.status == "call" then
        response = call_provider(step.request) or { ok = false, error_kind = "unknown" }
      else
        local sleep = host_function("sleep_ms")
        if sleep then
          sleep(step.until_ms - now_ms())
        end
      end
      step = face.execute_step(step.state_handle, contract, response)
    end
    return step.result
  end

  function face.rank(contract)
    return initialised():rank(contract, inputs())
  end

  function face.update_metrics(metrics)
    initialised():update_metrics(metrics)
  end

  --- Forgets the marketplace's offers; the next step asks the host again.
  function face.invalidate_discovery()
    offers = nil
  end

  function face.dump_state()
    return initialised():dump_state()
  end

  function face.restore_state(state)
    return initialised():restore_state(state)
  end

  function face.provider_status(at_ms)
    return initialised():provider_status(at_ms or now_ms())
  end

  function face.info()
    local out = engine and engine:info() or {}
    out.version, out.language = VERSION, signature.TAG
    return out
  end

  return face
end

local llm_policy = facade()
llm_policy.new = engines.new
llm_policy.ir = ir
llm_policy.flow = flow
llm_policy.dsl = dsl
llm_policy.VERSION = VERSION

return llm_policy
