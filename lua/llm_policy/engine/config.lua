-- The config: what an operator declares, read once into plain, complete tables, or refused with all
-- its mistakes at once (spec 2.2).

local admission = require("llm_policy.language.admission")
local reports = require("llm_policy.language.report")
local schema = require("llm_policy.engine.config_schema")
local shapes = require("llm_policy.engine.config_shape")
local sugar = require("llm_policy.language.sugar")
local tables = require("llm_policy.base.tables")
local vocabularies = require("llm_policy.language.vocabulary")

local at_key = vocabularies.at
local type, rawget = type, rawget

--- The record under a key, empty where there is none.
local function record_at(config, key)
  local value = at_key(config, key)
  return type(value) == "table" and value or {}
end

--- The entries of a list that are of a type; what else stands there is noted elsewhere.
local function sound_entries(list)
  local out = {}
  for i = 1, tables.dense(list) or 0 do
    if type(rawget(list, i)) == "string" then
      out[#out + 1] = rawget(list, i)
    end
  end
  return out
end

--- The vocabulary that a config declares, as far as it is well formed.
local function vocabulary_of(config)
  local tier_order = sound_entries(record_at(config, "tier_order"))
  return vocabularies.new({
    fields = record_at(config, "fields"),
    params = sound_entries(record_at(config, "params")),
    tier_order = #tier_order > 0 and tier_order or nil,
    customs = tables.copy(record_at(config, "customs")),
  })
end

--- Notes a name that leads nowhere; what is no name is noted by its shape.
local function check_reference(report, at, noun, value, known)
  if type(value) == "string" and at_key(known, value) == nil then
    reports.add_unknown(report, at, noun, value, tables.keys(known))
  end
end

local function check_routes(report, config)
  local models, providers = record_at(config, "models"), record_at(config, "providers")
  local families = tables.keys(models)
  for f = 1, #families do
    local routes = record_at(models[families[f]], "served_by")
    for r = 1, tables.dense(routes) or 0 do
      local at = { "models", families[f], "served_by", r, "provider" }
      check_reference(report, at, "provider", at_key(rawget(routes, r), "provider"), providers)
    end
  end
end

--- Notes the mistakes of every part, each by itself; answers the envelope as a predicate.
local function check_parts(report, config, vocabulary)
  local rows, envelope = schema.parts(vocabulary), nil
  local options = {
    report = report,
    vocabulary = vocabulary,
    allows_functions = true,
    retry_policies = record_at(config, "retry_policies"),
    profiles = record_at(config, "profiles"),
  }
  rows.profiles = shapes.map({
    check = function(_, at, profile)
      sugar.check(profile, at, options)
    end,
  })
  rows.policy_envelope = {
    check = function(_, at, value)
      envelope = sugar.check_filter(value, at, { report = report, vocabulary = vocabulary })
    end,
  }
  shapes.record("config key", rows).check(report, {}, config)
  return envelope
end

local function check_references(report, config)
  check_routes(report, config)
  local default = at_key(at_key(config, "defaults"), "profile")
  check_reference(report, { "defaults", "profile" }, "profile", default, record_at(config, "profiles"))
end

--- The profiles with what they inherit, each admitted as the one term that it lowers to.
local function extended(report, profiles, retry_policies, vocabulary)
  local out, names = {}, tables.keys(profiles)
  for i = 1, #names do
    local profile = sugar.resolve(profiles, names[i])
    local _, refusal = admission.check(sugar.lower(profile, { retry_policies = retry_policies }), vocabulary, true)
    if refusal then
      reports.add_refused(report, { "profiles", names[i] }, refusal)
    end
    out[names[i]] = profile
  end
  return out
end

--- Each entry of a record with what it does not say for itself.
local function completed(record, complete)
  local names = tables.keys(record)
  for i = 1, #names do
    complete(record[names[i]], names[i])
  end
  return record
end

local function complete_provider(provider)
  provider.discovery = provider.discovery or "static"
  provider.api_kind = provider.api_kind or "openai_compatible"
end

local function complete_model(model, family)
  model.capabilities = model.capabilities or {}
  for i = 1, #model.served_by do
    model.served_by[i].provider_model_id = model.served_by[i].provider_model_id or family
  end
end

local function complete_defaults(defaults)
  local keys = tables.keys(schema.DEFAULTS)
  for i = 1, #keys do
    if defaults[keys[i]] == nil then
      defaults[keys[i]] = schema.DEFAULTS[keys[i]]
    end
  end
  return defaults
end

--- The config as the engine reads it; shares no table with what it was read from.
local function complete(config, vocabulary, envelope)
  local own = tables.deep_copy(config)
  return {
    providers = completed(record_at(own, "providers"), complete_provider),
    models = completed(record_at(own, "models"), complete_model),
    retry_policies = record_at(own, "retry_policies"),
    profiles = record_at(own, "profiles"),
    vocabulary = vocabulary,
    envelope = tables.deep_copy(envelope),
    defaults = complete_defaults(record_at(own, "defaults")),
  }
end

--- Reads a config.
---@param config any spec 2.2; an empty table may stand for an empty list or record
---@return table|nil good {providers, models, profiles (extended), retry_policies, vocabulary, envelope?, defaults}
---@return table|nil errors list of {path, at, detail, nearest}, every mistake, in byte order of the paths
local function read(config)
  local report, vocabulary = reports.new(), vocabulary_of(config)
  local envelope = check_parts(report, config, vocabulary)
  check_references(report, config)
  local errors = reports.errors(report)
  if errors then
    return nil, errors
  end
  local good = complete(config, vocabulary, envelope)
  good.profiles = extended(report, good.profiles, good.retry_policies, vocabulary)
  errors = reports.errors(report)
  if errors then
    return nil, errors
  end
  return good
end

return { read = read }
