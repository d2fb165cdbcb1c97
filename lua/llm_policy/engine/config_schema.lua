-- The schema of a config: a row per key (spec 2.2). Profiles have theirs in the sugar.

local shapes = require("llm_policy.engine.config_shape")
local names = require("llm_policy.language.sorts")
local reports = require("llm_policy.language.report")
local tables = require("llm_policy.base.tables")
local vocabularies = require("llm_policy.language.vocabulary")

local find, type, rawget = string.find, type, rawget
local add, below = reports.add, reports.below
local text, name, flag, amount = shapes.text, shapes.name, shapes.flag, shapes.amount
local record, word = shapes.record, shapes.word

local API_KINDS = {
  "openai_compatible",
  "openai_codex",
  "anthropic",
  "google",
  "bedrock",
  "ollama",
  "scripted",
  "peer",
}

-- These know where to go without a base_url.
local ADDRESSED = { bedrock = true, ollama = true, openai_codex = true, scripted = true }

local DEFAULTS = {
  timeout_ms = 30000,
  circuit_breaker_threshold = 3,
  circuit_breaker_failure_ms = 300000,
  circuit_breaker_rate_limit_ms = 30000,
  disable_provider_ttl_ms = 300000,
}

local PROVIDER = {
  discovery = word("discovery", { "static", "marketplace" }),
  base_url = text,
  discovery_id = name,
  api_kind = word("api kind", API_KINDS),
  auth = record("auth key", { kind = word("auth kind", { "none", "bearer", "oauth" }) }, nil, shapes.plain),
  auth_env = name,
  tier = name,
  scope = name,
  has_tee = flag,
  no_log = flag,
  region = text,
  aws_region = text,
  source = name,
  notes = text,
}

local CAPABILITIES = record("capability", {
  context = amount,
  supports_tools = flag,
  supports_vision = flag,
  supports_json_mode = flag,
  supports_seed = flag,
}, nil, shapes.scalar)

local SERVED_BY = {
  provider = name,
  provider_model_id = name,
  price_in = amount,
  price_out = amount,
  latency_ms = amount,
  tok_s = amount,
  success_rate = amount,
  scope = name,
  has_tee = flag,
  no_log = flag,
  tier = name,
  source = name,
  capabilities = CAPABILITIES,
}

--- The rows of an action: its own keys, each with its test.
local function action_rows()
  local rows, keys = {}, tables.keys(names.ACTION_KEYS)
  for i = 1, #keys do
    local key, row = keys[i], names.ACTION_KEYS[keys[i]]
    rows[key] = shapes.checked(row, function(report, at, value)
      if not row.holds(value) then
        add(report, at, "no admissible value of `" .. key .. "`")
      end
    end)
  end
  rows.action = word("action", names.ACTIONS)
  rows.then_action = rows.action
  return rows
end

local ACTION = record("action key", action_rows(), { "action" }, shapes.number)

local function retry_rows()
  local rows = {}
  for i = 1, #names.KINDS do
    rows[names.KINDS[i]] = ACTION
  end
  return rows
end

local FIELD_KEYS = { sort = word("sort", { "Num", "Bool" }), default = shapes.scalar }
local FIELD_SHAPES = { Num = shapes.number, Bool = flag }
local DECLARATION = record("field key", FIELD_KEYS, { "sort" })

local FIELD = shapes.checked(DECLARATION, function(report, at, value)
  local key = at[#at]
  if vocabularies.CORE_FIELDS[key] then
    return add(report, at, "a field of the core cannot be declared again")
  end
  if PROVIDER[key] or SERVED_BY[key] then
    return add(report, at, "a candidate's own key cannot be a field")
  end
  DECLARATION.check(report, at, value)
  local default = vocabularies.at(value, "default")
  local shape = FIELD_SHAPES[vocabularies.at(value, "sort")]
  if shape and default ~= nil then
    shape.check(report, below(at, "default"), default)
  end
end)

local NEVER = tables.set(vocabularies.NEVER_PARAMS)

local PARAM = shapes.checked(name, function(report, at, value)
  name.check(report, at, value)
  if NEVER[value] then
    add(report, at, "`" .. value .. "` says where a call goes or what it says: it is never a parameter")
  end
end, { kind = "param" })

local TIERS = shapes.list(name)

local TIER_ORDER = shapes.checked(TIERS, function(report, at, value)
  TIERS.check(report, at, value)
  local seen = {}
  for i = 1, vocabularies.at(value, 1) ~= nil and tables.dense(value) or 0 do
    local tier = rawget(value, i)
    if seen[tier] then
      add(report, below(at, i), "the tier stands here twice")
    end
    seen[tier] = true
  end
end, { is_unique = true })

--- Keys that must be there for a provider to be found.
local function address(report, at, value)
  local discovery = vocabularies.at(value, "discovery")
  if discovery == "marketplace" and rawget(value, "discovery_id") == nil then
    add(report, below(at, "discovery_id"), "is wanted of a marketplace")
  end
  local is_static = discovery == nil or discovery == "static"
  if is_static and rawget(value, "base_url") == nil and not ADDRESSED[vocabularies.at(value, "api_kind")] then
    add(report, below(at, "base_url"), "is wanted of a static provider")
  end
end

--- Rows with the config's declared fields besides.
local function with_fields(rows, vocabulary)
  local out, declared = tables.copy(rows), tables.keys(vocabulary.fields)
  for i = 1, #declared do
    if not vocabularies.CORE_FIELDS[declared[i]] and not rows[declared[i]] then
      out[declared[i]] = FIELD_SHAPES[vocabulary.fields[declared[i]].sort]
    end
  end
  return out
end

local function provider_shape(vocabulary)
  local shape = record("provider key", with_fields(PROVIDER, vocabulary))
  return shapes.checked(shape, function(report, at, value)
    shape.check(report, at, value)
    if find(at[#at], "|", 1, true) then
      add(report, at, "a provider's name has no `|`, which parts it from a model in a route's key")
    end
    if type(value) == "table" then
      address(report, at, value)
    end
  end, { has_fields = true })
end

local function model_shape(vocabulary)
  local route = record("served_by key", with_fields(SERVED_BY, vocabulary), { "provider" })
  route.has_fields = true
  local rows = { served_by = shapes.list(route), capabilities = CAPABILITIES, notes = text }
  return record("model key", rows, { "served_by" })
end

local function defaults_rows()
  local rows, keys = { profile = name }, tables.keys(DEFAULTS)
  for i = 1, #keys do
    rows[keys[i]] = amount
  end
  return rows
end

--- The parts of a config that say what the others may name: key -> shape.
local VOCABULARY = {
  fields = shapes.map(FIELD),
  params = shapes.list(PARAM),
  tier_order = TIER_ORDER,
  customs = shapes.map(shapes.fn),
}

--- The shape of each part of a config, for the vocabulary that it declares.
---@return table rows key -> shape; profiles and the envelope are the sugar's to check
local function parts(vocabulary)
  local rows = tables.copy(VOCABULARY)
  rows.providers = shapes.map(provider_shape(vocabulary))
  rows.models = shapes.map(model_shape(vocabulary))
  rows.retry_policies = shapes.map(record("failure kind", retry_rows()))
  rows.defaults = record("default", defaults_rows())
  return rows
end

return { parts = parts, ACTION = ACTION, ADDRESSED = ADDRESSED, DEFAULTS = DEFAULTS }
