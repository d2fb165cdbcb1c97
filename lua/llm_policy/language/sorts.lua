-- The parameter sorts: what may stand where an operation takes no subterm (spec 1.1, 1.6).
--
-- A check is a function (value, vocabulary) -> nothing when admitted, or a refusal code and a detail.

local names = require("llm_policy.base.names")
local numbers = require("llm_policy.base.numbers")
local tables = require("llm_policy.base.tables")

local type, rawget = type, rawget
local is_finite = numbers.is_finite

local MAX_NAME_BYTES = 256
local MAX_ENTRIES = 1024
local MAX_ACTION_KEYS = 64
local MAX_INTEGRAL = 9007199254740992

local RELS = { "lt", "le", "eq", "ne", "ge", "gt" }
local ACTIONS = { "retry_same", "next_candidate", "next_provider_same_model", "disable_provider", "abort" }
local KINDS = {
  "rate_limit",
  "timeout",
  "server_error",
  "auth_error",
  "bad_request",
  "content_filter",
  "model_unavailable",
  "context_overflow",
  "network_error",
  "payment_required",
  "bad_response",
  "empty_completion",
  "stream_interrupted",
  "unknown",
}

local IS_REL, IS_ACTION = tables.set(RELS), tables.set(ACTIONS)

local function is_name(value)
  return type(value) == "string" and #value >= 1 and #value <= MAX_NAME_BYTES
end

local function hint(name, known)
  local near = names.nearest(name, known)
  return near and ", did you mean `" .. near .. "`?" or ""
end

local function check_name(value)
  if not is_name(value) then
    return "bad_name", "a name is a string of 1 to 256 bytes"
  end
end

local function is_not_negative(value)
  return is_finite(value) and value >= 0
end

local function is_backoff(value)
  if type(value) ~= "table" then
    return is_not_negative(value)
  end
  local n = tables.dense(value)
  if not n or n < 1 or n > MAX_ENTRIES then
    return false
  end
  for i = 1, n do
    if not is_not_negative(rawget(value, i)) then
      return false
    end
  end
  return true
end

local function is_action_word(value)
  return type(value) == "string" and IS_ACTION[value] == true
end

-- The keys of an action: what kind of value each takes. Any other key must map to a finite number.
local ACTION_KEYS = {
  action = { kind = "word", words = ACTIONS, holds = is_action_word },
  then_action = { kind = "word", words = ACTIONS, holds = is_action_word },
  attempts = { kind = "amount", holds = is_not_negative },
  open_breaker_ms = { kind = "amount", holds = is_not_negative },
  backoff_ms = { kind = "waits", holds = is_backoff },
}

local function check_action(value)
  if type(value) ~= "table" then
    return "bad_action", "an action is a record"
  end
  local keys, has_others = tables.keys(value)
  if has_others or #keys > MAX_ACTION_KEYS then
    return "bad_action", "an action is a record of at most 64 named entries"
  end
  if not is_action_word(rawget(value, "action")) then
    local word = rawget(value, "action")
    local near = is_name(word) and hint(word, ACTIONS) or ""
    return "bad_action", "`action` is none of the action words" .. near
  end
  for i = 1, #keys do
    local row = ACTION_KEYS[keys[i]]
    local is_good = row and row.holds or is_finite
    if not is_name(keys[i]) or not is_good(rawget(value, keys[i])) then
      return "bad_action", "`" .. keys[i] .. "` has no admissible value"
    end
  end
end

local function is_recipe_record(value)
  local keys, has_others = tables.keys(value)
  if has_others or #keys == 0 or #keys > MAX_ENTRIES then
    return false
  end
  for i = 1, #keys do
    if not is_name(keys[i]) or not is_finite(rawget(value, keys[i])) then
      return false
    end
  end
  return true
end

--- The length of a bounded dense list, or nothing.
local function list_length(value)
  local n = type(value) == "table" and tables.dense(value)
  return n and n <= MAX_ENTRIES and n or nil
end

local function check_recipe(value)
  local n = list_length(value)
  if not n then
    return "bad_recipe", "a recipe is a list of at most 1024 entries"
  end
  for i = 1, n do
    local entry = rawget(value, i)
    if not is_name(entry) and not (type(entry) == "table" and is_recipe_record(entry)) then
      return "bad_recipe", "a recipe's entry is a name or a record of names to numbers"
    end
  end
end

--- Provider and model of a chain's entry in either spelling, or nothing.
local function chain_entry(entry)
  local keys = tables.keys(entry)
  local provider = rawget(entry, "provider") or rawget(entry, "provider_id")
  local model = rawget(entry, "model") or rawget(entry, "model_family")
  local _, has_others = tables.keys(entry)
  if #keys == 2 and not has_others and is_name(provider) and is_name(model) then
    return provider, model
  end
end

local function check_chain(value)
  local n = list_length(value)
  if not n then
    return "bad_chain", "a chain is a list of at most 1024 entries"
  end
  for i = 1, n do
    local entry = rawget(value, i)
    if type(entry) ~= "table" or not chain_entry(entry) then
      return "bad_chain", "a chain's entry has exactly a provider and a model"
    end
  end
end

local function check_field(sort)
  return function(value, vocabulary)
    local code, detail = check_name(value)
    if code then
      return code, detail
    end
    local field = vocabulary.fields[value]
    if not field then
      return "undeclared_field", "no field `" .. value .. "`" .. hint(value, tables.keys(vocabulary.fields))
    end
    if field.sort ~= sort then
      return "field_sort", "field `" .. value .. "` is a " .. field.sort .. " field"
    end
  end
end

--- A check against a set of the vocabulary.
local function check_member(part, code, noun)
  return function(value, vocabulary)
    local refused, detail = check_name(value)
    if refused then
      return refused, detail
    end
    if not vocabulary[part][value] then
      return code, "no " .. noun .. " `" .. value .. "`" .. hint(value, tables.keys(vocabulary[part]))
    end
  end
end

local checks = {
  Num = function(value)
    if not is_finite(value) then
      return "bad_number", "a finite number is wanted"
    end
  end,
  Count = function(value)
    if not is_finite(value) or value < 1 or value > MAX_INTEGRAL or numbers.floor(value) ~= value then
      return "bad_count", "a count is an integer of at least 1"
    end
  end,
  Rel = function(value)
    if type(value) ~= "string" or not IS_REL[value] then
      return "bad_rel", "a relation is one of lt le eq ne ge gt"
    end
  end,
  Scalar = function(value)
    if type(value) ~= "string" and type(value) ~= "boolean" and not is_finite(value) then
      return "bad_scalar", "a finite number, a string or a boolean is wanted"
    end
  end,
  NumField = check_field("Num"),
  BoolField = check_field("Bool"),
  Tier = check_member("tiers", "unknown_tier", "tier"),
  ParamName = check_member("params", "undeclared_param", "parameter"),
  Sym = check_member("customs", "unknown_custom", "custom transform"),
  Family = check_name,
  Provider = check_name,
  ServedBy = check_name,
  Capability = check_name,
  FailReason = check_name,
  Action = check_action,
  Recipe = check_recipe,
  Chain = check_chain,
  Function = function(value)
    if type(value) ~= "function" then
      return "bad_scalar", "a function is wanted"
    end
  end,
}

return {
  checks = checks,
  chain_entry = chain_entry,
  is_name = is_name,
  hint = hint,
  RELS = RELS,
  ACTIONS = ACTIONS,
  KINDS = KINDS,
  ACTION_KEYS = ACTION_KEYS,
}
