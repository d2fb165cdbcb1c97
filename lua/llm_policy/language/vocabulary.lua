-- The vocabulary: what a policy may name and what it can see of a candidate (spec 1.5, 1.7).
--
-- A policy observes candidates through declared fields only. Each field has a sort, a place it is
-- read from, and a conservative default: an unknown price is higher than every number.

local numbers = require("llm_policy.base.numbers")
local tables = require("llm_policy.base.tables")

local type, rawget = type, rawget
local carrier, is_finite, HIGH = numbers.carrier, numbers.is_finite, numbers.HIGH

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

--- A field: {key, sort, default, dynamic?, meaning?, show(value) -> what a policy sees of a value: one that is
--- none of the sort counts as absent; read(candidate, ctx) -> what it sees of a candidate; total}.
local function field(key, sort, default, find, dynamic)
  local function show(value)
    if sort == "Bool" then
      if type(value) == "boolean" then
        return value
      end
      return default
    end
    return is_finite(value) and carrier(value) or default
  end
  local function read(candidate, ctx)
    return show(find(candidate, ctx))
  end
  return { key = key, sort = sort, default = default, dynamic = dynamic, show = show, read = read }
end

-- Name, sort, default (HIGH: higher than every number), where it is read from, what makes it change
-- between calls (a field without that is the candidate's own), and its meaning.
local FIELD_ROWS = {
  { "price_in", "Num", HIGH, price("price_in"), "price", "USD per million tokens in" },
  { "price_out", "Num", HIGH, price("price_out"), "price", "USD per million tokens out" },
  { "latency_ms", "Num", HIGH, own("latency_ms"), "observed", "observed latency in milliseconds" },
  { "tok_s", "Num", 0.0, own("tok_s"), "observed", "observed tokens per second" },
  { "success_rate", "Num", 1.0, own("success_rate"), "observed", "share of calls that succeed, 0 to 1" },
  { "credits", "Num", 0.0, read_credits, "state", "USD left at the provider" },
  { "context", "Num", 0.0, read_context, nil, "tokens of the context window" },
  { "has_tee", "Bool", false, own("has_tee"), nil, "computes in a trusted execution environment" },
  { "no_log", "Bool", false, own("no_log"), nil, "keeps no log" },
  { "breaker_open", "Bool", false, read_breaker, "state", "the breaker of the provider or of the route is open" },
  { "disabled", "Bool", false, read_disabled, "state", "the provider is disabled" },
}

local FIELDS = {}
for i = 1, #FIELD_ROWS do
  local row = FIELD_ROWS[i]
  FIELDS[row[1]] = field(row[1], row[2], row[3], row[4], row[5])
  FIELDS[row[1]].meaning = row[6]
end

--- A declared field: read from `candidate[name]`, overlaid by what the host observed.
local function declared(name, declaration)
  local sort, default = at(declaration, "sort"), at(declaration, "default")
  if sort == "Bool" then
    return field(name, "Bool", default == true, own(name), "observed")
  end
  return field(name, "Num", is_finite(default) and carrier(default) or HIGH, own(name), "observed")
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

return {
  new = new,
  at = at,
  route = route,
  CORE_FIELDS = FIELDS,
  CORE_PARAMS = PARAMS,
  NEVER_PARAMS = NEVER_PARAMS,
  TIERS = TIERS,
}
