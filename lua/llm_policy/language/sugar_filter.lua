-- The sugar of filters: words, lists and records as predicates (spec 1.8).

local lowering = require("llm_policy.language.lowering")
local signature = require("llm_policy.language.signature")
local tables = require("llm_policy.base.tables")

local type, rawget = type, rawget
local joined = lowering.joined

-- A word alone is a predicate; as a key, `false` asks nothing.
local WORDS = {
  requirements = { "meets_req" },
  not_disabled = { "not", { "is", "disabled" } },
  breaker_closed = { "not", { "is", "breaker_open" } },
  scope_matches = { "scope_matches" },
}

local DEFAULT = { "and", WORDS.requirements, WORDS.not_disabled }

local lower

--- The entries of a list under one operation.
local function all_under(op, unit)
  local function lower_list(low, at, value)
    return joined(op, lowering.each_entry(low, at, value, "Pred", lower), unit)
  end
  return { takes = { kind = "list", entry = { kind = "Filter" } }, lower = lower_list }
end

--- A list of names, any of which will do.
local function any_name(op)
  local function lower_name(low, at, name)
    return lowering.made(low, at, { op, name }, "Pred")
  end
  local function lower_list(low, at, value)
    return joined("or", lowering.each_entry(low, at, value, "Pred", lower_name), "bot")
  end
  local sort = signature.by_name[op].args[1].sort
  return { takes = { kind = "list", entry = { kind = sort } }, lower = lower_list }
end

local function negated(row)
  local function lower_negated(low, at, value)
    return { "not", row.lower(low, at, value) }
  end
  return { takes = row.takes, lower = lower_negated }
end

local function ceiling(field)
  local function lower_ceiling(low, at, value)
    return lowering.made(low, at, { "cmp", field, "le", value }, "Pred")
  end
  return { takes = { kind = "Num" }, lower = lower_ceiling }
end

local CEILINGS = { input = ceiling("price_in"), output = ceiling("price_out") }

local lower_ceiling = lowering.by_row(CEILINGS, "Pred", "price")

--- A triple; a mistake in it stands at its place.
local function compare(low, at, value)
  local n, term = type(value) == "table" and tables.dense(value), { "cmp" }
  if n ~= 3 then
    return lowering.fail(low, at, "Pred", "a list of field, relation and number is wanted")
  end
  for i = 1, n do
    term[i + 1] = rawget(value, i)
  end
  return lowering.made(low, at, term, "Pred", true)
end

local function switch(word)
  local function lower_flag(low, at, value)
    if type(value) ~= "boolean" then
      return lowering.fail(low, at, "Pred", "true or false is wanted")
    end
    return value and WORDS[word] or { "top" }
  end
  return { takes = { kind = "flag" }, lower = lower_flag }
end

local ROWS = {
  requirements = switch("requirements"),
  not_disabled = switch("not_disabled"),
  breaker_closed = switch("breaker_closed"),
  scope_matches = switch("scope_matches"),
  all_of = all_under("and", "top"),
  any_of = all_under("or", "bot"),
  none_of = negated(all_under("or", "bot")),
  tier_in = any_name("tier_eq"),
  family_in = any_name("family_eq"),
  provider_in = any_name("provider_eq"),
  served_by_in = any_name("served_by_eq"),
  provider_not_in = negated(any_name("provider_eq")),
  served_by_not_in = negated(any_name("served_by_eq")),
  price_max = {
    takes = { kind = "record", noun = "price", rows = CEILINGS },
    lower = function(low, at, value)
      return joined("and", lowering.each_key(low, at, value, "Pred", lower_ceiling), "top")
    end,
  },
  cmp = { takes = { kind = "arguments", op = "cmp" }, lower = compare },
  is = {
    takes = { kind = "BoolField" },
    lower = function(low, at, value)
      return lowering.made(low, at, { "is", value }, "Pred")
    end,
  },
}

local lower_key = lowering.by_row(ROWS, "Pred", "filter")

local function lower_word(low, at, word)
  if ROWS[word] and not WORDS[word] then
    return lowering.fail(
      low,
      at,
      "Pred",
      "`" .. word .. "` wants a value: write it as a record, `{" .. word .. ": ...}`"
    )
  end
  if not WORDS[word] then
    return lowering.fail_unknown(low, at, "Pred", "filter", word, tables.keys(ROWS))
  end
  return WORDS[word]
end

--- A filter as a predicate: a word, a list (all of it), a record (all of it), or a term.
lower = function(low, at, value)
  if not lowering.may_enter(low, at) then
    return { "bot" }
  end
  if type(value) == "string" then
    return lower_word(low, at, value)
  end
  if lowering.is_term(value, WORDS) then
    return lowering.written(low, at, value, "Pred")
  end
  if type(value) ~= "table" then
    return lowering.fail(low, at, "Pred", "a word, a list or a record is wanted")
  end
  if tables.dense(value) then
    return ROWS.all_of.lower(low, at, value)
  end
  return joined("and", lowering.each_key(low, at, value, "Pred", lower_key), "top")
end

return { lower = lower, DEFAULT = DEFAULT, ROWS = ROWS, WORDS = WORDS }
