-- Claims about the public face: the facade over one engine and the global table `host`.

local face = require("llm_policy")

local function config()
  return {
    providers = { a = { base_url = "http://a" }, b = { base_url = "http://b" } },
    models = {
      m = { served_by = { { provider = "a", price_in = 1 }, { provider = "b", price_in = 2 } } },
    },
    profiles = { cheap = { scorer = { "neg", { "normalize", { "field", "price_in" } } }, retry_policy = "r" } },
    retry_policies = {
      r = {
        rate_limit = { action = "retry_same", attempts = 1, backoff_ms = 250 },
        auth_error = { action = "disable_provider" },
        unknown = { action = "next_candidate" },
      },
    },
  }
end

--- A host whose providers answer as told; what it was asked is written down.
local function play(answers)
  local now, asked, slept = 1000, {}, {}
  host = { -- luacheck: ignore 111
    now_ms = function()
      return now
    end,
    sleep_ms = function(ms)
      slept[#slept + 1] = ms
      now = now + ms
    end,
    call_provider = function(request)
      asked[#asked + 1] = request
      now = now + 10
      return answers[#asked]
    end,
  }
  return asked, slept
end

local function init_and_execute(check)
  check("a good config is taken", face.init(config()) == true)
  local asked, slept = play({ { ok = false, error_kind = "rate_limit" }, { ok = true, text = "yes" } })
  local result = face.execute({ profile = "cheap", temperature = 1, messages = { "hello" } })
  check("the run succeeds", result.ok == true and result.response.text == "yes")
  check("the cheapest was chosen", result.chosen.provider_id == "a" and result.chosen.price_in == 1)
  check("it waited as the policy says", #slept == 1 and slept[1] == 250)
  check("the request has the address", asked[1].base_url == "http://a" and asked[1].served_model_id == "m")
  check("and the parameters", asked[1].temperature == 1 and asked[1].timeout_ms == 30000)
  check("the messages are passed on by reference", asked[1].messages[1] == "hello")
  check("what steers the decision stays out of it", asked[1].profile == nil)
  check("the trace lists everyone", #result.trace.ranked == 2 and #result.trace.rejected == 0)
end

local function second_init(check)
  play({ { ok = false, error_kind = "auth_error" }, { ok = true } })
  face.execute({ profile = "cheap" })
  check("a disabled provider is told", face.provider_status(1100).providers.a.disabled == true)
  check("and is not available", face.provider_status(1100).providers.a.available == false)
  face.init(config())
  check("a second init knows nothing of the first", face.provider_status(1100).providers.a.disabled == false)
  local other = assert(face.new(config()))
  check("nor does another engine", other:provider_status(1100).providers.a.available == true)
end

local function refusals(check)
  local ok, err = face.init({ providers = { a = { base_ur = "x" } } })
  check("a bad config is refused", ok == false)
  check("with its path and the nearest name", string.find(err, "base_url", 1, true) ~= nil)
  face.init(config())
  local ordered, fault, rejected = face.rank({ profile = "chaep" })
  check("an unknown profile ranks nobody", ordered == nil and fault == "unknown_profile" and #rejected == 0)
  local step = face.execute_step(nil, { profile = "cheap", seed = 0.5 })
  check("a refused contract is a step done", step.status == "done" and step.result.error == "policy_refused")
  check("with its refusal", step.result.refusal.path == "$.seed")
end

local function offers(check)
  local asked = 0
  face.init({
    providers = { market = { discovery = "marketplace", discovery_id = "d" } },
    models = { m = { served_by = { { provider = "market" } } } },
    profiles = { default = {} },
  })
  host = { -- luacheck: ignore 111
    offers = function(id)
      asked = asked + 1
      return { { peer_id = id .. asked, model_family = "m", price_in_usd_per_mtok = 1 } }
    end,
  }
  check("offers come from the host", face.rank({})[1].served_by == "d1")
  check("once", face.rank({})[1].served_by == "d1")
  face.invalidate_discovery()
  check("and again when they are invalidated", face.rank({})[1].served_by == "d2")
end

return function(check)
  init_and_execute(check)
  second_init(check)
  refusals(check)
  offers(check)
  host = nil -- luacheck: ignore 111
  check("router is the older name of the face", require("router") == face)
  check("info says the version", face.info().version == face.VERSION)
end
