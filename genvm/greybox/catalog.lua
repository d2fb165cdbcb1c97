-- The catalog: one candidate per backend and model, never merged by the model's name, since price,
-- abilities and keys are the backend's (spec 4.2).

local numbers = require("llm_policy.base.numbers")
local tables = require("llm_policy.base.tables")

local type, error = type, error

-- What the engine wants to know of every provider and GenVM keeps to itself.
local MANAGED = "managed-by-genvm"

-- Where a call goes and who pays.
local GENVMS_OWN = {
  "api_kind",
  "auth",
  "auth_env",
  "aws_region",
  "base_url",
  "discovery",
  "discovery_id",
  "provider",
  "provider_model_id",
}

-- Fields that every greybox policy may name: where the operator's YAML places a model.
local FIELDS = {
  greybox_image = { sort = "Num" },
  greybox_text = { sort = "Num" },
  priority = { sort = "Num", default = 0 },
}

--- A record, or an empty one: an absent `meta` may be a userdata.
local function record(value)
  return type(value) == "table" and value or {}
end

local function number(value)
  return numbers.is_finite(value) and value or nil
end

--- One enabled model of a backend.
local function pair_of(backend, provider, name, model)
  local meta, provider_meta = record(model.meta), record(provider.meta)
  local greybox = record(meta.greybox)
  return {
    backend = backend,
    model = name,
    family = backend .. "/" .. name,
    supports_json = model.supports_json == true,
    supports_image = model.supports_image == true,
    use_max_completion_tokens = model.use_max_completion_tokens,
    timeout = number(model.timeout) or number(provider.timeout),
    greybox_text = number(greybox.text),
    greybox_image = number(greybox.image),
    priority = number(provider_meta.priority),
    metas = { provider_meta, meta },
  }
end

--- Every enabled model of every backend, in byte order of backend and model.
---@param providers table what GenVM gives
---@return table pairs
local function read(providers)
  local out, backends = {}, tables.keys(record(providers))
  for b = 1, #backends do
    local provider = record(providers[backends[b]])
    local models = record(provider.models)
    local listed = tables.keys(models)
    for m = 1, #listed do
      local model = record(models[listed[m]])
      if model.enabled ~= false then
        out[#out + 1] = pair_of(backends[b], provider, listed[m], model)
      end
    end
  end
  return out
end

--- Takes the declared fields of a record over those before.
local function take_declared(out, given, fields)
  local declared = tables.keys(fields)
  for i = 1, #declared do
    local value = given[declared[i]]
    if value ~= nil and type(value) ~= "userdata" then
      out[declared[i]] = value
    end
  end
end

--- Takes what an overlay says of a provider or model: its fields, and the declared ones under `meta`.
local function take_overlay(out, given, fields)
  local keys = tables.keys(given)
  for i = 1, #keys do
    if keys[i] ~= "meta" then
      out[keys[i]] = given[keys[i]]
    end
  end
  take_declared(out, record(given.meta), fields)
  return out
end

local function provider_entry(overlay, fields)
  return take_overlay({ base_url = MANAGED, auth_env = MANAGED }, overlay, fields)
end

local function model_entry(pair, overlay, fields)
  local own = { provider = pair.backend, provider_model_id = pair.model }
  own.priority, own.greybox_text, own.greybox_image = pair.priority, pair.greybox_text, pair.greybox_image
  for i = 1, #pair.metas do
    take_declared(own, pair.metas[i], fields)
  end
  take_overlay(own, overlay, fields)
  own.capabilities = tables.copy(record(overlay.capabilities))
  own.capabilities.supports_json_mode = pair.supports_json
  own.capabilities.supports_vision = pair.supports_image
  return own
end

--- Refuses what an overlay says about where calls go.
local function check_keys(part, entries)
  local names = tables.keys(entries)
  for i = 1, #names do
    for k = 1, #GENVMS_OWN do
      if record(entries[names[i]])[GENVMS_OWN[k]] ~= nil then
        local path = "router-overlay." .. part .. "." .. names[i] .. "." .. GENVMS_OWN[k]
        error("greybox: " .. path .. ": is for GenVM's YAML to say", 0)
      end
    end
  end
end

--- Refuses names of an overlay that GenVM does not know; disabled ones are known.
local function check_names(overlay, providers)
  local known = {}
  check_keys("providers", record(overlay.providers))
  check_keys("models", record(overlay.models))
  local backends = tables.keys(providers)
  for b = 1, #backends do
    local models = tables.keys(record(record(providers[backends[b]]).models))
    for m = 1, #models do
      known[backends[b] .. "/" .. models[m]] = true
    end
  end
  local function check(part, names, is_known)
    for i = 1, #names do
      if is_known[names[i]] == nil then
        error("greybox: router-overlay." .. part .. "." .. names[i] .. ": GenVM has no such entry", 0)
      end
    end
  end
  check("providers", tables.keys(record(overlay.providers)), providers)
  check("models", tables.keys(record(overlay.models)), known)
end

--- The catalog as parts of the engine's config.
---@param pairs_ table what `read` gives
---@param overlay table
---@param fields table declared fields
---@return table providers
---@return table models
local function entries(pairs_, overlay, fields)
  local providers, models = {}, {}
  local of_providers, of_models = record(overlay.providers), record(overlay.models)
  for i = 1, #pairs_ do
    local pair = pairs_[i]
    providers[pair.backend] = providers[pair.backend] or provider_entry(record(of_providers[pair.backend]), fields)
    local model = models[pair.family] or { served_by = {} }
    model.served_by[#model.served_by + 1] = model_entry(pair, record(of_models[pair.family]), fields)
    models[pair.family] = model
  end
  return providers, models
end

--- The key under which a pair is found again from the engine's request.
local function key(backend, model)
  return backend .. "|" .. model
end

return { read = read, entries = entries, check_names = check_names, key = key, FIELDS = FIELDS }
