-- The vocabulary: what a policy may name and what it can see of a candidate (spec 1.5, 1.7).
--
-- A policy observes candidates through declared fields only. Each field has a sort, a place it is
-- read from, and a conservative default: an unknown price is higher than every number.

local numbers = require("llm_policy.base.numbers")
local tables = require("llm_policy.base.tables")

local type, rawget = type, rawget
local is_finite, HIGH = numbers.is_finite, numbers.HIGH

local TIERS = { "fallback", "marketplace", "partner" }

local PARAMS = {
  "temperature",
  "top_p",
  "top_k",
  "min_p",
  "max_tokens",
  "seed",
  "presence_penalty",
  "frequency_penalty",
  "repetition_penalty",
  "n",
  "reasoning_effort",
  "verbosity",
  "timeout_ms",
  "ttft_ms",
  "idle_ms",
}

-- Where a call goes, who pays and what it says: never a parameter, whatever a config declares.
local NEVER_PARAMS = {
  "_filters",
  "api_key",
  "api_kind",
  "auth",
  "auth_env",
  "auth_override",
  "aws_region",
  "base_url",
  "discovery_id",
  "extra_candidates",
  "headers",
  "images",
  "messages",
  "model",
  "model_family",
  "offer",
  "policy_ir",
  "profile",
  "prompt",
  "provider",
  "provider_id",
  "region",
  "requirements",
  "response_format",
  "scope",
  "served_by",
  "served_model_id",
  "tools",
}

--- `t[key]` where t is a table, else nothing: contexts may come malformed.
local function at(t, key)
  if type(t) == "table" and key ~= nil then
    return rawget(t, key)
  end
end

--- One part of ctx.state, indexed.
local function state(ctx, part, key)
  return at(at(at(ctx, "state"), part), key)
end

--- A name of the candidate as a key; a missing one is empty.
local function name_of(candidate, key)
  local value = at(candidate, key)
  return type(value) == "string" and value or ""
end

--- The key of a candidate's route: "provider_id|model_family".
local function route(candidate)
  return name_of(candidate, "provider_id") .. "|" .. name_of(candidate, "model_family")
end

local function own(name)
  return function(candidate)
    return at(candidate, name)
  end
end

local function price(name)
  return function(candidate, ctx)
    local value = at(candidate, name)
    if is_finite(value) then
      return value
    end
    return at(state(ctx, "ema", route(candidate)), name)
  end
end

local function read_credits(candidate, ctx)
  return state(ctx, "credits", name_of(candidate, "provider_id"))
end

local function read_context(candidate)
  return at(at(candidate, "capabilities"), "context")
end

local function read_breaker(candidate, ctx)
  return state(ctx, "breakers", name_of(candidate, "provider_id")) == true
    or state(ctx, "breakers", route(candidate)) == true
end

local function read_disabled(candidate, ctx)
  return state(ctx, "disabled", name_of(candidate, "provider_id")) ~= nil
end

-- `dynamic` fields change between calls; the others are the candidate's own.
local FIELDS = {
  price_in = { sort = "Num", default = HIGH, read = price("price_in"), dynamic = "price" },
  price_out = { sort = "Num", default = HIGH, read = price("price_out"), dynamic = "price" },
  latency_ms = { sort = "Num", default = HIGH, read = own("latency_ms"), dynamic = "observed" },
  tok_s = { sort = "Num", default = 0, read = own("tok_s"), dynamic = "observed" },
  success_rate = { sort = "Num", default = 1, read = own("success_rate"), dynamic = "observed" },
  credits = { sort = "Num", default = 0, read = read_credits, dynamic = "state" },
  context = { sort = "Num", default = 0, read = read_context },
  has_tee = { sort = "Bool", default = false, read = own("has_tee") },
  no_log = { sort = "Bool", default = false, read = own("no_log") },
  breaker_open = { sort = "Bool", default = false, read = read_breaker, dynamic = "state" },
  disabled = { sort = "Bool", default = false, read = read_disabled, dynamic = "state" },
}

--- A declared field: read from `candidate[name]`, overlaid by what the host observed.
local function declared(name, declaration)
  local sort, default = at(declaration, "sort"), at(declaration, "default")
  if sort == "Bool" then
    return { sort = "Bool", default = default == true, read = own(name), dynamic = "observed" }
  end
  return { sort = "Num", default = is_finite(default) and default or HIGH, read = own(name), dynamic = "observed" }
end

local function ranks(order)
  local out = {}
  for i = 1, #order do
    out[order[i]] = i
  end
  return out
end

--- The vocabulary that a schema declares on top of the core's.
---@param schema table|nil {fields = {name = {sort, default}}, params = {names}, tier_order = {names, lowest first},
---customs = {names} or {name = function}}, or a vocabulary
---@return table vocabulary {fields, params, tiers, customs}
local function new(schema)
  if type(schema) == "table" and rawget(schema, "is_vocabulary") == true then
    return schema
  end
  local fields, params = tables.copy(FIELDS), tables.set(PARAMS)
  local extra = at(schema, "fields") or {}
  local extra_names = tables.keys(extra)
  for i = 1, #extra_names do
    local name = extra_names[i]
    if not FIELDS[name] then
      fields[name] = declared(name, extra[name])
    end
  end
  local never, more = tables.set(NEVER_PARAMS), at(schema, "params") or {}
  for i = 1, #more do
    if not never[more[i]] then
      params[more[i]] = true
    end
  end
  local tier_order = at(schema, "tier_order") or TIERS
  if #tier_order == 0 then
    tier_order = TIERS
  end
  local customs = at(schema, "customs") or {}
  if tables.dense(customs) ~= 0 and tables.dense(customs) then
    customs = tables.set(customs)
  end
  return {
    is_vocabulary = true,
    fields = fields,
    params = params,
    tier_order = tier_order,
    tiers = ranks(tier_order),
    customs = customs,
  }
end

--- What a policy sees of a candidate under a field name; total (spec 1.5).
---@return number|boolean value numbers.HIGH for an absent-high number
local function observe(field, candidate, ctx)
  local value = field.read(candidate, ctx)
  if field.sort == "Bool" then
    if type(value) ~= "boolean" then
      return field.default
    end
    return value
  end
  if is_finite(value) then
    return numbers.carrier(value)
  end
  return field.default
end

return {
  new = new,
  observe = observe,
  at = at,
  route = route,
  CORE_FIELDS = FIELDS,
  CORE_PARAMS = PARAMS,
  NEVER_PARAMS = NEVER_PARAMS,
  TIERS = TIERS,
}
