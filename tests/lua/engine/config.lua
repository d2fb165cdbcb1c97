-- Claims about reading a config: what a good one becomes, and what is said of a bad one.

local config = require("llm_policy.engine.config")
local dsl = require("llm_policy.language.dsl")
local encoding = require("llm_policy.language.encoding")

local function fn() end

local function good_config()
  return {
    fields = { bench = { sort = "Num", default = 0 } },
    params = { "style" },
    providers = { a = { base_url = "http://a", bench = 1 }, s = { api_kind = "scripted" } },
    models = { m = { served_by = { { provider = "a" }, { provider = "s", provider_model_id = "m-1", bench = 2 } } } },
    retry_policies = { r = { timeout = { action = "abort" } } },
    profiles = { base = { retry_policy = "r", filter = { is = "no_log" } }, child = { extends = "base" } },
    policy_envelope = "not_disabled",
    defaults = { profile = "child", timeout_ms = 5 },
  }
end

--- The mistakes of a config, by path.
local function errors_of(given)
  local _, errors = config.read(given)
  local by_path = {}
  for i = 1, errors and #errors or 0 do
    by_path[errors[i].path] = errors[i]
  end
  return by_path, errors and #errors or 0
end

local function check_good(check)
  local given = good_config()
  local before = encoding.value(given)
  local good = config.read(given)
  check("reading changes nothing in the config", encoding.value(given) == before)
  check("it shares no table with the config", good.providers.a ~= given.providers.a)
  check("a provider is static unless it says so", good.providers.a.discovery == "static")
  check("a provider speaks as OpenAI does unless it says so", good.providers.a.api_kind == "openai_compatible")
  check("a model's name is its id unless the route says so", good.models.m.served_by[1].provider_model_id == "m")
  check("capabilities are there", type(good.models.m.capabilities) == "table")
  check("profiles come with what they inherit", good.profiles.child.filter.is == "no_log")
  check("what is set stays", good.defaults.timeout_ms == 5)
  check("what is not set has its default", good.defaults.circuit_breaker_threshold == 3)
  check("the envelope is a predicate", encoding.term(good.envelope) == '(not (is "disabled"))')
  check("declared fields are in the vocabulary", good.vocabulary.fields.bench.default == 0)
  check("declared parameters are in the vocabulary", good.vocabulary.params.style == true)
  check("a config of nothing is good", config.read({}) ~= nil)
end

local function check_bad(check)
  local _, errors = config.read(5)
  check("what is no table is one mistake at the root", #errors == 1 and errors[1].path == "$")

  local by_path, n = errors_of({
    provders = {},
    providers = { ["a b"] = { base_url = "x", tire = "partner" } },
    models = { m = { served_by = { { provider = "b a" } } } },
    profiles = { p = { extends = "q", scorer = { "field", "price_inn" } } },
  })
  check("all mistakes are told at once", n == 5, n)
  check("an unknown key has its nearest name", by_path["$.provders"].nearest == "providers")
  check("an odd key is quoted", by_path['$.providers["a b"].tire'].nearest == "tier")
  check("a dangling provider is found", by_path["$.models.m.served_by[1].provider"] ~= nil)
  check("a dangling parent is found", by_path["$.profiles.p.extends"] ~= nil)
  local refused = by_path["$.profiles.p.scorer.field[1]"]
  check("a refused term says its code", string.find(refused.detail, "undeclared_field", 1, true) == 1)
  check("a refused term has its nearest name", refused.nearest == "price_in")

  by_path = errors_of({ params = { "style", "base_url" }, policy_envelope = dsl.F.where(fn) })
  check("a routing target is no parameter", by_path["$.params[2]"] ~= nil)
  check("the envelope is no function", by_path["$.policy_envelope"] ~= nil)

  local ring = {}
  ring.self = ring
  local _, count = errors_of({ providers = { a = { base_url = "x", auth = ring } }, fields = ring })
  check("cyclic tables are mistakes like others", count >= 2, count)
end

return function(check)
  check_good(check)
  check_bad(check)

  local policy = dsl.policy({ filter = dsl.F.where(fn) })
  local good = config.read({ profiles = { p = { policy_ir = policy } }, customs = { redact = fn } })
  check("a profile may hold a function", good and good.profiles.p.policy_ir[2][2] == fn)
  check("customs are functions by name", good and good.vocabulary.customs.redact == fn)
end
