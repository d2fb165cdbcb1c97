-- Explain: a second algebra over the same signature. A term in plain words, and what each part of
-- a scorer contributed to a candidate's score.

local decide = require("llm_policy.semantics.decide")
local encoding = require("llm_policy.language.encoding")
local fold = require("llm_policy.semantics.fold")
local numbers = require("llm_policy.base.numbers")

local concat, type = table.concat, type

local RELATIONS = { lt = "<", le = "<=", eq = "=", ne = "~=", ge = ">=", gt = ">" }

local function shown(value)
  if type(value) == "number" then
    return numbers.brief(value)
  end
  return type(value) == "string" and value or encoding.value(value)
end

--- A sentence with arguments in the places of {1}, {2}, ....
local function words(template)
  return function(args)
    local out = string.gsub(template, "{(%d)}", function(digit)
      return shown(args[digit == "1" and 1 or digit == "2" and 2 or digit == "3" and 3 or 4])
    end)
    return out
  end
end

local function joined(separator)
  return function(args)
    return "(" .. concat(args, separator) .. ")"
  end
end

local function chain_words(args)
  local out = {}
  for i = 1, #args[1] do
    out[i] = args[1][i].provider .. "/" .. args[1][i].model
  end
  return "exactly, in this order: " .. concat(out, ", ")
end

local OPTIONAL = { "then_action", "attempts", "backoff_ms", "open_breaker_ms" }

local function action_words(action)
  local out = { action.action }
  for i = 1, #OPTIONAL do
    local value = action[OPTIONAL[i]]
    if value ~= nil then
      out[#out + 1] = OPTIONAL[i] .. " " .. shown(value)
    end
  end
  return concat(out, ", ")
end

local ALGEBRA = {
  top = words("anything"),
  bot = words("nothing"),
  ["and"] = joined(" and "),
  ["or"] = joined(" or "),
  ["not"] = words("not {1}"),
  meets_req = words("meets the contract's requirements"),
  scope_matches = words("has the request's scope or none"),
  is = words("{1}"),
  cmp = function(args)
    return args[1] .. " " .. RELATIONS[args[2]] .. " " .. shown(args[3])
  end,
  tier_eq = words("tier is {1}"),
  min_tier = words("tier is at least {1}"),
  family_eq = words("model is {1}"),
  provider_eq = words("provider is {1}"),
  served_by_eq = words("served by {1}"),
  has_cap = words("can do {1}"),
  zero = words("0"),
  add = joined(" + "),
  scale = words("{1} x {2}"),
  gate = words("({2} if {1}, else 0)"),
  neg = words("(1 - {1})"),
  normalize = words("normalized {1}"),
  clamp = words("{3} kept within {1} to {2}"),
  field = words("{1}"),
  lit = words("{1}"),
  argmax = words("highest score first"),
  ordered = words("in catalog order"),
  sample = words("drawn by the call's seed, higher scores likelier (temperature {1})"),
  chain = chain_words,
  top_k = words("the first {1} of: {2}"),
  prefer = words("{2}; those with {1} before the others"),
  id = words("unchanged"),
  seq = joined(", then "),
  set_param = words("set {1} to {2}"),
  inject_seed = words("set {1} to the call's seed"),
  clamp_param = words("keep {1} within {2} to {3}"),
  jitter = words("move {1} by up to {2}, by the call's seed"),
  filter_text = words("filter texts with {1}"),
  filter_image = words("filter images with {1}"),
  custom = words("apply the operator's {1}"),
  when = words("where {1}: {2}"),
  always = function(args)
    return "on any failure: " .. action_words(args[1])
  end,
  override = function(args)
    return args[1] .. "\n  on " .. args[2] .. ": " .. action_words(args[3])
  end,
  where = words("a function of the operator holds"),
  rank_with = words("as a function of the operator orders"),
  mutate_with = words("apply a function of the operator"),
}

ALGEBRA.policy = function(args)
  local lines = {
    "eligible: " .. args[1],
    "score: " .. args[2],
    "order: " .. args[3],
    "request: " .. args[4],
    "failures:\n  " .. args[5],
  }
  return concat(lines, "\n")
end

--- A term in plain words.
---@param term table admitted
---@return string
local function describe(term)
  return fold(term, ALGEBRA)
end

--- The parts of a scorer whose sum is the score, and the predicates that gate them.
local function parts_of(scorer)
  local gates = {}
  while scorer[1] == "gate" do
    gates[#gates + 1] = scorer[2]
    scorer = scorer[3]
  end
  local parts = {}
  if scorer[1] ~= "add" then
    return { scorer }, gates
  end
  for i = 2, #scorer do
    parts[i - 1] = scorer[i]
  end
  return parts, gates
end

local function gated(part, gates)
  for i = #gates, 1, -1 do
    part = { "gate", gates[i], part }
  end
  return part
end

--- What each part of a scorer term contributes, for every survivor.
---@param scorer table the Scorer term, in normal form
---@param idx table indices of the survivors
---@return table contributions list of {term = plain words, scores = list by survivor}
local function contributions(scorer, vocabulary, view, idx, m)
  local parts, gates = parts_of(scorer)
  local out = {}
  for p = 1, #parts do
    local scores = {}
    decide.carrier(gated(parts[p], gates), vocabulary):score(view, idx, m, scores)
    out[p] = { term = describe(parts[p]), scores = scores }
  end
  return out
end

return { describe = describe, contributions = contributions, ALGEBRA = ALGEBRA }
