-- An engine: one config, its catalog, its policies and its health, as a value. Two engines never
-- share anything; nothing here knows a clock, a socket or a key (spec 2.1).

local catalogs = require("llm_policy.engine.catalog")
local configs = require("llm_policy.engine.config")
local contracts = require("llm_policy.engine.contract")
local health = require("llm_policy.engine.health")
local numbers = require("llm_policy.base.numbers")
local plain = require("llm_policy.base.plain")
local policies = require("llm_policy.engine.policies")
local runs = require("llm_policy.engine.run")
local snapshots = require("llm_policy.engine.snapshot")
local tables = require("llm_policy.base.tables")
local trace = require("llm_policy.engine.trace")
local vocabularies = require("llm_policy.language.vocabulary")

local at, find, sub, type = vocabularies.at, string.find, string.sub, type
local is_finite, integral = numbers.is_finite, numbers.integral

local STATE_VERSION = 1

local Engine = {}
Engine.__index = Engine

--- Copies the prices of the keys that `route_of` reads as routes.
local function take_prices(out, metrics, route_of)
  local keys = tables.keys(metrics)
  for i = 1, #keys do
    local route = route_of(keys[i])
    if route and type(metrics[keys[i]]) == "table" then
      out[route] = plain.clean(tables.copy(metrics[keys[i]]))
    end
  end
end

--- Prices by route "provider|family", over those known before; a key "family@provider" says it first.
local function read_prices(metrics, before)
  local out = tables.copy(before)
  take_prices(out, metrics, function(key)
    return find(key, "|", 1, true) and key
  end)
  take_prices(out, metrics, function(key)
    local place = not find(key, "|", 1, true) and find(key, "@", 1, true)
    return place and sub(key, place + 1) .. "|" .. sub(key, 1, place - 1)
  end)
  return out
end

--- Makes an engine.
---@param config table spec 2.2
---@param metrics table|nil {["family@provider"] = {price_in, price_out}, credits = {provider = usd}}
---@return table|nil engine
---@return table|nil errors list of {path, at, detail, nearest}
local function new(config, metrics)
  local good, errors = configs.read(config)
  if not good then
    return nil, errors
  end
  local self = setmetatable({
    config = good,
    catalog = catalogs.build(good),
    params = tables.keys(good.vocabulary.params),
    policies = policies.new(),
    health = health.EMPTY,
    prices = {},
    credits = nil,
    spare = {},
  }, Engine)
  self:update_metrics(metrics)
  local names = tables.keys(good.profiles)
  for i = 1, #names do
    policies.of_profile(self, names[i]) -- compiled once, here; a call looks it up
  end
  return self
end

--- Takes prices and credits that the host learned; what is not named stays.
function Engine:update_metrics(metrics)
  if type(metrics) ~= "table" then
    return
  end
  self.prices = read_prices(metrics, self.prices)
  self.credits = plain.clean(at(metrics, "credits")) or self.credits
  self.catalog:forget() -- what rests there was read under the metrics before
end

--- Plans a contract; the first step. A refused contract is a step `done`.
---@param contract table spec 2.3
---@param inputs table|nil spec 2.3
---@return table step {status = "call", request} | {status = "wait", until_ms} | {status = "done", result},
---and state_handle
function Engine:start(contract, inputs)
  return self:completed(runs.start(self, contract, inputs or {}))
end

--- Takes what happened to the run; the next step, or nothing and a refusal.
---@param handle table the step's state_handle
---@param event table {ok = true, response} | {ok = false, error_kind, ...} | {woke = true}
---@param inputs table|nil
function Engine:resume(handle, event, inputs)
  local step, refusal = runs.resume(self, handle, event, inputs or {})
  return step and self:completed(step), refusal
end

--- Ends a run from outside (its deadline passed, its caller left), with its trace; nobody is to blame.
---@param kind string a failure kind, the result's error
---@return table|nil step `done`
---@return table|nil refusal
function Engine:abandon(handle, kind, inputs)
  return runs.abandon(self, handle, kind, inputs or {})
end

--- A step as the embedder gets it: a call with its whole request, a success with whom it was.
function Engine:completed(step)
  local candidate, handle = step.candidate, step.state_handle
  if step.status == "call" then
    step.request = contracts.request(handle.snapshot.ctx.request, self.params, step.params, candidate)
  elseif candidate then
    step.result.chosen = snapshots.chosen(handle.snapshot, candidate)
  end
  step.candidate, step.params, step.index, step.is_changed = nil, nil, nil, nil
  return step
end

--- Plans without any effect.
---@return table|nil ordered list of {provider_id, model_family, served_by, score, tier}
---@return string|nil error
---@return table rejected list of {provider, model, reason}
function Engine:rank(contract, inputs)
  local policy, err, refusal = policies.of_contract(self, contract)
  if not policy then
    return nil, err, {}, refusal
  end
  local snapshot = snapshots.freeze(self, contract, inputs or {})
  local carriers = policies.narrowed(self, policy, contract)
  local ordered, rejected = trace.lists(carriers, snapshots.view(self, snapshot))
  return ordered, nil, rejected
end

--- Admits a caller's policy once; its identity may stand for it in later contracts.
---@return string|nil id
---@return table|nil refusal
function Engine:admit(term)
  local policy, refusal = policies.admit(self, term)
  return policy and policy.id, refusal
end

--- The effective term of a profile, in normal form.
function Engine:profile_term(name, contract)
  local policy, err, refusal = policies.of_profile(self, name, at(contract, "chain"))
  return policy and policy.term, refusal or err
end

local function families_by_provider(candidates)
  local out = {}
  for i = 1, #candidates do
    local id, family = candidates[i].provider_id, candidates[i].model_family
    out[id] = out[id] or {}
    if out[id][#out[id]] ~= family then
      out[id][#out[id] + 1] = family
    end
  end
  return out
end

--- Every provider's health.
---@return table status {providers = {id = {available, breaker, disabled, credits_remaining_usd, models}}},
---a breaker being {open, consecutive_failures, ms_until_recovery}
function Engine:provider_status(now_ms)
  now_ms = now_ms or 0
  local out, families = {}, families_by_provider(self.catalog.candidates)
  local ids = tables.keys(self.config.providers)
  for i = 1, #ids do
    local id = ids[i]
    local breaker = health.report(self.health, id, now_ms)
    local is_disabled = health.is_disabled(self.health, id, now_ms)
    breaker.ms_until_recovery = integral(breaker.ms_until_recovery)
    out[id] = {
      available = not breaker.open and not is_disabled,
      breaker = breaker,
      disabled = is_disabled,
      credits_remaining_usd = at(self.credits, id),
      models = families[id] or {},
    }
  end
  return { providers = out }
end

--- What a later engine of the same config needs to go on: plain data.
function Engine:dump_state()
  local state = { v = STATE_VERSION, health = self.health, prices = self.prices, credits = self.credits }
  return tables.deep_copy(state)
end

local function is_health(value)
  return type(at(value, "breakers")) == "table" and type(at(value, "disabled")) == "table"
end

local function are_entries(map, is_good)
  local keys = tables.keys(map)
  for i = 1, #keys do
    if not is_good(map[keys[i]]) then
      return false
    end
  end
  return true
end

local function is_breaker(entry)
  return is_finite(at(entry, "failures")) and is_finite(at(entry, "until_ms"))
end

--- Takes a dumped state, whole or not at all.
---@return true|nil
---@return string|nil reason
function Engine:restore_state(state)
  if at(state, "v") ~= STATE_VERSION then
    return nil, "this is no state of version 1"
  end
  local kept = state.health
  if not is_health(kept) or not are_entries(kept.breakers, is_breaker) or not are_entries(kept.disabled, is_finite) then
    return nil, "`health` is malformed"
  end
  self.health = tables.deep_copy({ breakers = kept.breakers, disabled = kept.disabled })
  self.prices = read_prices(at(state, "prices") or {}, {})
  self.credits = at(state, "credits")
  self.catalog:forget()
  return true
end

--- What this engine is.
function Engine:info()
  return {
    candidates = #self.catalog.candidates,
    providers = tables.keys(self.config.providers),
    models = tables.keys(self.config.models),
    profiles = tables.keys(self.config.profiles),
  }
end

return { new = new }
